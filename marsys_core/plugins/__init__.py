"""Plugins: how they are found, loaded, put together, opened and closed.

The way through: `PluginSettings` says which plugins are wanted; `compose` finds and loads them and
returns a `Composition`, an immutable table of everything they declare; `open_services` opens and closes
what a `Composition` describes.
"""

from __future__ import annotations

from marsys_core.plugins.composition import Composition, compose, load_commands, survey
from marsys_core.plugins.declarations import Declared
from marsys_core.plugins.knobs import PluginSettings
from marsys_core.plugins.providers import EngineInfo, OpenContext, Provider
from marsys_core.plugins.records import API, OLDEST_API, Record, Status
from marsys_core.plugins.scan import Found, notice, scan
from marsys_core.plugins.services import Services, open_services

__all__ = [
    "API",
    "OLDEST_API",
    "Composition",
    "Declared",
    "EngineInfo",
    "Found",
    "OpenContext",
    "PluginSettings",
    "Provider",
    "Record",
    "Services",
    "Status",
    "compose",
    "load_commands",
    "notice",
    "open_services",
    "scan",
    "survey",
]
