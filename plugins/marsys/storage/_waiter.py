"""Who waits for the writer, and for which run."""

from __future__ import annotations

import sqlite3
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import attrs
import trio

from marsys_core.errors import StoreError

__all__ = ["Held", "Waiter", "claimed", "told_of_losses"]


@attrs.define(eq=False)
class Held:
    """What the writer knows of a run that is held here: its key in the tables, and whether it was lost.

    `number` stands for it in the queue. A tuple of numbers and texts is nothing that the garbage collector looks at
    twice, and thousands of them wait when many runs go on at once.
    """

    run_id: str
    key: int
    lost: StoreError | None = None
    number: int = attrs.field(default=0, init=False)


@attrs.define(eq=False)
class Waiter:
    """A task that waits for a transaction; with `call`, for what that does inside it."""

    held: Held | None = None
    call: Callable[[sqlite3.Connection], Any] | None = None
    guarded: bool = True
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

    def abort(self, _raise_cancel: Any) -> trio.lowlevel.Abort:
        """Give up waiting, if it is not being carried out already; that is soon over."""
        if not self.claim():
            return trio.lowlevel.Abort.FAILED
        self.task = None
        return trio.lowlevel.Abort.SUCCEEDED

    def result(self) -> Any:
        """Return what came out, or raise it."""
        if self.error is not None:
            raise self.error
        return self.value


def claimed(waiting: deque[Waiter]) -> Iterator[Waiter]:
    """Take those who wait, but for those who have given up."""
    while waiting:
        waiter = waiting.popleft()
        if waiter.claim():
            yield waiter


def told_of_losses(waiters: list[Waiter]) -> list[Waiter]:
    """Tell each whether its run was lost, and return them."""
    for waiter in waiters:
        waiter.error = waiter.held.lost if waiter.held is not None else None
    return waiters
