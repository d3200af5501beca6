"""Where agents are found by name: the default registry, and ones of a block's own."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator, Mapping
from contextvars import ContextVar, Token
from typing import Any

__all__ = ["Registry", "current_lease", "current_registry", "inside_run", "register"]

_WARN_ABOVE = 10_000


class Registry(Mapping[str, Any]):
    """Agents by name. A later one of the same name takes an earlier one's place.

    Constructing an agent puts it into the current registry: the default one, or the one of the innermost
    ``with Registry():`` block. A run looks its names up once, when it starts.
    """

    def __init__(self) -> None:
        self._agents: dict[str, Any] = {}
        self._lock = threading.Lock()
        self._tokens: list[Token[Registry | None]] = []

    def add(self, name: str, agent: Any) -> None:
        """Put `agent` under `name`."""
        with self._lock:
            self._agents[name] = agent
            full = len(self._agents) == _WARN_ABOVE + 1
        if full:
            msg = (
                f"the registry holds more than {_WARN_ABOVE} agents, and keeps them alive; "
                "make short-lived ones inside `with Registry():`"
            )
            warnings.warn(msg, ResourceWarning, stacklevel=4)

    def discard(self, name: str) -> None:
        """Forget `name`, if it is there."""
        with self._lock:
            self._agents.pop(name, None)

    def __getitem__(self, name: str) -> Any:
        return self._agents[name]

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._agents))

    def __len__(self) -> int:
        return len(self._agents)

    def __enter__(self) -> Registry:
        self._tokens.append(_current.set(self))
        return self

    def __exit__(self, *_: object) -> None:
        _current.reset(self._tokens.pop())


_default = Registry()
_current: ContextVar[Registry | None] = ContextVar("marsys_registry", default=None)


inside_run: ContextVar[bool] = ContextVar("marsys_inside_run", default=False)
"""Whether this code runs inside a run; what is made there is the run's own and is not registered."""

current_lease: ContextVar[Any] = ContextVar("marsys_lease", default=None)
"""The `Lease` of the pool's instance whose step this code is part of, or None."""


def current_registry() -> Registry:
    """Return the registry that agents are put into here: the innermost block's, or the default one."""
    block = _current.get()
    return _default if block is None else block  # an empty registry is false, and still the block's own


def register(name: str, agent: Any) -> None:
    """Put `agent` into the current registry; agents made inside a run's steps are left out."""
    if not inside_run.get():
        current_registry().add(name, agent)
