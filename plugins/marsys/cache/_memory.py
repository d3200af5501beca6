"""A cache in this process's memory."""

from __future__ import annotations

from collections import OrderedDict

import attrs
import trio

from marsys_core.protocols.cache import CacheStats

__all__ = ["MemoryCache"]

_NEVER = float("inf")


def _above_zero(ttl: float | None, what: str) -> None:
    if ttl is not None and not ttl > 0:
        msg = f"{what} should be a number of seconds above 0, or None for no limit, not {ttl!r}"
        raise ValueError(msg)


def _only_bytes(value: object, key: str) -> None:
    if not isinstance(value, bytes):
        msg = f"a cache holds bytes, not {type(value).__name__} (under {key!r}); encode the value first"
        raise TypeError(msg)


@attrs.define(eq=False, kw_only=True)
class MemoryCache:
    """Keeps the values that were used last, for a while.

    It is empty when the process starts, and never writes to disk. When it is full, the value that has not
    been got or set for longest makes room. Its time is Trio's clock, so tests can jump. It serves the tasks
    of one Trio run and is not safe to share between threads.

    Args:
        max_entries: How many values are held at most, at least 1.
        ttl: How many seconds a value is kept where `set` does not say; None keeps it without limit.

    Raises:
        ValueError: An argument is out of bounds.
    """

    max_entries: int = attrs.field(default=1024, validator=attrs.validators.ge(1))
    ttl: float | None = attrs.field(default=None)
    # Invariant: in the order of use, the longest unused first; `_size` is the sum of the lengths.
    _entries: OrderedDict[str, tuple[bytes, float]] = attrs.field(factory=OrderedDict, init=False)
    _size: int = attrs.field(default=0, init=False)
    _hits: int = attrs.field(default=0, init=False)
    _misses: int = attrs.field(default=0, init=False)

    @ttl.validator
    def _check_ttl(self, _attribute: object, ttl: float | None) -> None:
        _above_zero(ttl, "ttl")

    async def get(self, key: str) -> bytes | None:
        """Return the value under `key`, or None where there is none or it has expired."""
        await trio.lowlevel.checkpoint()
        entry = self._entries.get(key)
        if entry is not None and trio.current_time() >= entry[1]:
            self._remove(key)
            entry = None
        if entry is None:
            self._misses += 1
            return None
        self._hits += 1
        self._entries.move_to_end(key)
        return entry[0]

    async def set(self, key: str, value: bytes, ttl: float | None = None) -> None:
        """Keep `value` under `key`, in place of what was there.

        Args:
            key: The key.
            value: Bytes, which are kept as they are.
            ttl: For how many seconds; None for as long as the cache's own `ttl` says.

        Raises:
            TypeError: `value` is not bytes.
            ValueError: `ttl` is not above 0.
        """
        _only_bytes(value, key)
        _above_zero(ttl, "ttl")
        await trio.lowlevel.checkpoint()
        ttl = self.ttl if ttl is None else ttl
        self._remove(key)
        self._entries[key] = (value, _NEVER if ttl is None else trio.current_time() + ttl)
        self._size += len(value)
        if len(self._entries) > self.max_entries:
            self._remove(next(iter(self._entries)))

    async def delete(self, key: str) -> None:
        """Forget `key`; nothing happens where it is not there."""
        await trio.lowlevel.checkpoint()
        self._remove(key)

    async def clear(self) -> None:
        """Forget everything. The statistics are kept."""
        await trio.lowlevel.checkpoint()
        self._entries.clear()
        self._size = 0

    def stats(self) -> CacheStats:
        """Return what happened since the cache was made; expired values that nobody asked for still count."""
        return CacheStats(hits=self._hits, misses=self._misses, entries=len(self._entries), size=self._size)

    def _remove(self, key: str) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._size -= len(entry[0])
