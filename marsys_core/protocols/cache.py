"""Caches: bytes kept under a key for a while."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import attrs

__all__ = ["Cache", "CacheStats"]


@attrs.frozen(kw_only=True)
class CacheStats:
    """What a cache has done since it was opened.

    Args:
        hits: How many `get` calls found a value.
        misses: How many found none, or one that had expired.
        entries: How many values are held now; expired ones that were not yet removed may count.
        size: How many bytes the values take, or None where the cache does not know.
    """

    hits: int = 0
    misses: int = 0
    entries: int = 0
    size: int | None = None


@runtime_checkable
class Cache(Protocol):
    """Keeps bytes under a key, and may forget any of them at any time.

    A cache never interprets what it holds, and never unpickles. All methods may be called by many
    tasks at once; each call takes effect whole or, when it is cancelled, not at all.
    """

    async def get(self, key: str) -> bytes | None:
        """Return the value under `key`, or None where there is none or it has expired."""
        ...

    async def set(self, key: str, value: bytes, ttl: float | None = None) -> None:
        """Keep `value` under `key`, in place of what was there, for `ttl` seconds or without limit."""
        ...

    async def delete(self, key: str) -> None:
        """Forget `key`; nothing happens where it is not there."""
        ...

    async def clear(self) -> None:
        """Forget everything. The statistics are kept."""
        ...

    def stats(self) -> CacheStats:
        """Return what happened since the cache was opened; never waits."""
        ...
