"""Caches that keep what was worked out before."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from marsys.cache._memory import MemoryCache

__all__ = ["MemoryCache"]


def __getattr__(name: str) -> object:
    if name == "MemoryCache":
        from marsys.cache._memory import MemoryCache

        return MemoryCache
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)
