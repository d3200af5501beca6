"""Who waits for the writer, and for which run."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any

import attrs
import trio

from marsys_core.errors import StoreError

__all__ = ["Held", "Waiter"]


@attrs.define(eq=False)
class Held:
    """What the writer knows of a run that is held here: its key in the tables, and whether it was lost."""

    run_id: str
    key: int
    lost: StoreError | None = None


@attrs.define(eq=False)
class Waiter:
    """A task that waits for a transaction; with `call`, for what that does inside it."""

    held: Held | None = None
    call: Callable[[sqlite3.Connection], Any] | None = None
    task: trio.lowlevel.Task | None = None
    done: bool = False
    value: Any = None
    error: BaseException | None = None
    # Whoever takes the one item out decides: the writer, that it is carried out, or the task, that it is not.
    # Both may try at the same moment in two threads; taking from a list is atomic.
    _turn: list[None] = attrs.field(factory=lambda: [None])

    def claim(self) -> bool:
        """Return True for the first who asks."""
        try:
            self._turn.pop()
        except IndexError:
            return False
        return True

    def result(self) -> Any:
        """Return what came out, or raise it."""
        if self.error is not None:
            raise self.error
        return self.value
