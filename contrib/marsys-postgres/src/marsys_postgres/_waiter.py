"""A task that waits for the writer's thread."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import psycopg
import trio

from marsys_core.errors import RunHeld

__all__ = ["Held", "Waiter"]


@attrs.define(eq=False)
class Held:
    """What the writer knows of a run that is held here: its key in the tables, and whether it was lost."""

    run_id: str
    key: int
    lost: RunHeld | None = None


@attrs.define(eq=False)
class Waiter:
    """A task that waits for a transaction; with `call`, for what that does inside it.

    A commit that is cancelled just stops to wait. A call that is cancelled is not carried out, or, once it has
    begun, waited for.
    """

    held: Held | None = None
    call: Callable[[psycopg.Connection], Any] | None = None
    value: Any = None
    error: BaseException | None = None
    begun: bool = False
    _task: trio.lowlevel.Task | None = None
    _done: bool = False
    # Whoever takes the one item out decides: the writer, that there is a result, or the task, that there is none.
    # Both may try at the same moment in two threads; taking from a list is atomic.
    _turn: list[None] = attrs.field(factory=lambda: [None])

    def claim(self) -> bool:
        """Return True for the first who asks."""
        try:
            self._turn.pop()
        except IndexError:
            return False
        return True

    async def result(self) -> Any:
        """Wait for what comes out, and return or raise it."""
        if not self._done:
            await self._parked()
        if self.error is not None:
            raise self.error
        return self.value

    def finish(self) -> None:
        """Let the task go on; called on its loop."""
        self._done = True
        if self._task is not None:
            trio.lowlevel.reschedule(self._task)

    async def _parked(self) -> None:
        def abort(_raise_cancel: Any) -> trio.lowlevel.Abort:
            if not self.claim():
                return trio.lowlevel.Abort.FAILED  # it is being carried out
            self._task = None
            return trio.lowlevel.Abort.SUCCEEDED

        self._task = trio.lowlevel.current_task()
        await trio.lowlevel.wait_task_rescheduled(abort)
