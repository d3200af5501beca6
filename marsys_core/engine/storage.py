"""Where an engine keeps its runs: what the application said, and the store that this comes to."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from marsys_core.errors import ConfigError
from marsys_core.protocols.store import Store

if TYPE_CHECKING:
    from marsys_core.engine.engine import Engine

__all__ = ["Storage"]

_DEFAULT = "sqlite"


@attrs.frozen(kw_only=True)
class Storage:
    """What `storage=` asks for: a file, the name of a plugin's store, or a store."""

    name: str = _DEFAULT
    path: Path | None = None
    store: Any = None

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
        msg = f"storage= takes a file, the name of a store or a store, not {given!r:.200}"
        raise ConfigError(msg)

    async def opened(self, engine: Engine) -> Store:
        """Return the open store."""
        if self.store is not None:
            found: Store = self.store
        else:
            found = await engine.get("journal", self.name)
        return found
