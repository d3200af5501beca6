"""The context of a step, as code written for asyncio sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import trio

from marsys_core.engine.nested import budget_of
from marsys_core.hosts.bridge import Abroad

if TYPE_CHECKING:
    from marsys_core.context import Budget
    from marsys_core.hosts.bridge import Call

__all__ = ["StepAbroad"]


class StepAbroad(Abroad):
    """A `context` whose async methods cross back to the step.

    What is not async acts where it is called, as it does for a plain function in a thread: the step belongs to
    its code, and its task waits meanwhile.
    """

    __slots__ = ("_clock", "_end")

    def __init__(self, step: Any, call: Call) -> None:
        super().__init__(step, call)
        object.__setattr__(self, "_end", trio.current_effective_deadline())
        object.__setattr__(self, "_clock", trio.lowlevel.current_clock())

    @property
    def budget(self) -> Budget:
        """What is left of the limits; the deadlines are those that held when the step began."""
        return budget_of(self._object, self._end, self._clock)
