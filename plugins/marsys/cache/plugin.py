"""The plugin that offers the cache in memory, and is the default where several caches are installed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import attrs

from marsys_core import Provider, hookimpl

if TYPE_CHECKING:
    from marsys_core.plugins.providers import OpenContext
    from marsys_core.protocols.cache import Cache

__all__ = ["CacheSettings", "marsys_caches", "marsys_choose"]


@attrs.frozen(kw_only=True)
class CacheSettings:
    """What the cache in memory holds.

    Args:
        max_entries: How many values at most.
        ttl: How many seconds a value is kept where its writer does not say; without limit unless given.
    """

    max_entries: int = attrs.field(default=1024, validator=attrs.validators.ge(1))
    ttl: float | None = attrs.field(default=None, validator=attrs.validators.optional(attrs.validators.gt(0)))


def _make_memory(_context: OpenContext, settings: CacheSettings) -> Cache:
    from marsys.cache._memory import MemoryCache

    return MemoryCache(max_entries=settings.max_entries, ttl=settings.ttl)


@hookimpl
def marsys_caches() -> Iterable[Provider[Cache]]:
    """Offer the cache in memory."""
    summary = "Least recently used values in this process's memory; nothing is written to disk"
    return [Provider("memory", make=_make_memory, settings=CacheSettings, summary=summary)]


# It speaks for this plugin's own kind only, and after every plugin that has an opinion (the engine's own
# answer comes later still). The choice is for "memory" because nothing that was merely installed should
# start to write to a disk or a server.
@hookimpl(trylast=True)
def marsys_choose(kind: str, names: Sequence[str]) -> str | None:
    """Prefer the cache in memory where several caches are installed and the configuration names none."""
    return "memory" if kind == "cache" and "memory" in names else None
