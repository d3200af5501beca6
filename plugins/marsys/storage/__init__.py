"""Stores that keep runs on disk."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from marsys.storage._store import SQLiteStore

__all__ = ["SQLiteStore"]


def __getattr__(name: str) -> object:
    if name == "SQLiteStore":
        from marsys.storage._store import SQLiteStore

        return SQLiteStore
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)
