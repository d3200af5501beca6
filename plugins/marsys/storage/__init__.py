"""Stores that keep runs: in one SQLite file, or in a database of the application's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from marsys.storage._store import SQLiteStore
    from marsys_core.backend import DatabaseBackend

__all__ = ["DatabaseBackend", "SQLiteStore"]


def __getattr__(name: str) -> object:
    if name == "SQLiteStore":
        from marsys.storage._store import SQLiteStore

        return SQLiteStore
    if name == "DatabaseBackend":
        from marsys_core.backend import DatabaseBackend

        return DatabaseBackend
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)
