"""Where an engine keeps its runs: what the application said, and the store that this comes to."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from marsys_core.errors import ConfigError, PluginError, StoreError
from marsys_core.protocols.store import Store

if TYPE_CHECKING:
    from marsys_core.backend import DatabaseBackend
    from marsys_core.engine.engine import Engine

__all__ = ["Storage"]

_DEFAULT = "sqlite"


@attrs.frozen(kw_only=True)
class Storage:
    """What `storage=` asks for: a file, the name of a plugin's store, a store, or a database of the application's."""

    name: str = _DEFAULT
    path: Path | None = None
    store: Store | None = None
    backend: DatabaseBackend | None = None

    @classmethod
    def of(cls, given: Any, directory: Path | None) -> Storage | None:
        """Return what was asked for; None where runs are not kept.

        Raises:
            ConfigError: Something else than a file, a name or a store.
        """
        if given is None:
            return None if directory is None else cls()
        if isinstance(given, Path):
            return cls(path=given)
        if isinstance(given, str) and given:
            # A name has no dot and no separator; a file has one of them.
            return cls(path=Path(given)) if {".", "/", "\\"} & set(given) else cls(name=given)
        if isinstance(given, Store):
            return cls(name="", store=given)
        from marsys_core.backend import DatabaseBackend

        if isinstance(given, DatabaseBackend):
            return cls(name="", backend=given)
        msg = f"storage= takes a file, the name of a store, a store or a DatabaseBackend, not {given!r:.200}"
        raise ConfigError(msg)

    @asynccontextmanager
    async def opened(self, engine: Engine) -> AsyncIterator[Store]:
        """Open the store for the block; one that is given open stays so.

        Raises:
            StoreError: It cannot be opened.
        """
        if self.backend is not None:
            from marsys_core.backend import BackendStore

            async with BackendStore(self.backend) as store:
                yield store
        elif self.store is not None:
            yield self.store
        else:
            try:
                found: Store = await engine.get("journal", self.name)
            except PluginError as error:
                if isinstance(
                    error.__cause__, StoreError
                ):  # it names the file and what to do, and can be caught
                    raise error.__cause__ from None
                raise
            yield found
