"""The plugin that offers the SQLite store."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from marsys_core import Provider, hookimpl
from marsys_core.errors import SettingsError

if TYPE_CHECKING:
    from marsys_core.plugins.providers import OpenContext
    from marsys_core.protocols.store import Store

__all__ = ["StorageSettings", "marsys_journals"]


@attrs.frozen(kw_only=True)
class StorageSettings:
    """Where runs are kept, and what a commit promises.

    Args:
        path: The file; ``runs.db`` in the engine's directory unless given.
        synchronous: ``NORMAL``: a commit outlives the process; ``FULL``: it outlives a loss of power, too.
        busy_seconds: How long a write waits for other processes that write to the file.
    """

    path: Path | None = None
    synchronous: str = attrs.field(default="NORMAL", validator=attrs.validators.in_(("NORMAL", "FULL")))
    busy_seconds: float = attrs.field(default=30.0, validator=attrs.validators.gt(0))


def _open_sqlite(context: OpenContext, settings: StorageSettings) -> AbstractAsyncContextManager[Store]:
    from marsys.storage._store import SQLiteStore

    directory = context.engine.directory
    path = context.engine.storage or settings.path or (directory / "runs.db" if directory else None)
    if path is None:
        msg = "the SQLite store has no file: set plugins.storage.path, or give the engine a directory"
        raise SettingsError(msg)
    return SQLiteStore(path, synchronous=settings.synchronous, busy_seconds=settings.busy_seconds)


@hookimpl
def marsys_journals() -> Iterable[Provider[Store]]:
    """Offer the SQLite store."""
    summary = "Runs in one SQLite file, which several processes may share"
    return [Provider("sqlite", _open_sqlite, settings=StorageSettings, summary=summary)]
