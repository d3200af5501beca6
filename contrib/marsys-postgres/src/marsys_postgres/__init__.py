"""A store that keeps runs in a PostgreSQL database."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from marsys_postgres._store import PostgresStore

__all__ = ["PostgresStore"]


def __getattr__(name: str) -> object:
    if name == "PostgresStore":
        from marsys_postgres._store import PostgresStore

        return PostgresStore
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)
