"""The plugin that checks values against JSON Schemas."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from marsys_core import Provider, hookimpl
from marsys_core.errors import PluginUnavailable

if TYPE_CHECKING:
    from marsys_core.plugins.providers import OpenContext
    from marsys_core.protocols.schema import SchemaChecker

__all__ = ["marsys_schema_checkers"]


def _make_jsonschema(_context: OpenContext, _settings: Any) -> SchemaChecker:
    from marsys.schema._checker import JsonSchemaChecker

    return JsonSchemaChecker()


@hookimpl
def marsys_schema_checkers() -> Iterable[Provider[SchemaChecker]]:
    """Offer the checker of JSON Schemas, where its library is installed."""
    if importlib.util.find_spec("jsonschema") is None:
        msg = "pip install 'marsys-core[schema]'"
        raise PluginUnavailable(msg)
    summary = "Checks what agents take and give against their JSON Schemas; fetches nothing"
    return [Provider("jsonschema", make=_make_jsonschema, summary=summary)]
