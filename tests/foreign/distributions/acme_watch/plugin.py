"""What the engine asks."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import attrs

from acme_watch.parts import Counter, LabelMemory, Stamp, WordGuard
from marsys_core import Provider, hookimpl

__all__ = [
    "WatchSettings",
    "marsys_event_sinks",
    "marsys_guards",
    "marsys_memory",
    "marsys_middleware",
    "marsys_settings",
]


@attrs.frozen(kw_only=True)
class WatchSettings:
    """What may stand under ``[plugins.acme-watch]``.

    Args:
        word: No task may have it.
        stamp: Stands after every answer of a model.
    """

    word: str = "dynamite"
    stamp: str = ""


marsys_settings = WatchSettings


@hookimpl
def marsys_memory() -> Iterable[Provider[Any]]:
    """Offer a memory that puts a label in front."""
    return [Provider("acme-label", make=lambda _context, _settings: LabelMemory())]


@hookimpl
def marsys_guards() -> Iterable[Provider[Any]]:
    """Offer a guard against a word."""
    return [Provider("acme-word", make=lambda _context, settings: WordGuard(settings.word))]


@hookimpl
def marsys_event_sinks() -> Iterable[Provider[Any]]:
    """Offer a sink that counts steps."""
    return [Provider("acme-count", make=lambda _context, _settings: Counter())]


@hookimpl
def marsys_middleware(settings: WatchSettings) -> Iterable[Any]:
    """Offer middleware that stamps answers, if there is a stamp."""
    return [Stamp(settings.stamp)] if settings.stamp else []
