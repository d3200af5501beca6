"""Clocks of joins, which stand still while everybody below waits for a person."""

from __future__ import annotations

import attrs
import trio

from marsys_core.orchestrator import Branch, Join

__all__ = ["Clock"]


@attrs.define(eq=False)
class Clock:
    """The deadline of a suspended branch and its join, which stands still while all its children wait."""

    join: Join
    scope: trio.CancelScope
    end: float
    paused: float = 0.0
    stopped: float | None = None

    def update(self) -> None:
        """Stop, or go on, as the children are waiting for people or not."""
        now = trio.current_time()
        if self.stopped is None and _all_wait(self.join):
            self.stopped, self.scope.deadline = now, float("inf")
        elif self.stopped is not None and not _all_wait(self.join):
            self.paused += now - self.stopped
            self.stopped, self.scope.deadline = None, self.end + self.paused


def _all_wait(join: Join) -> bool:
    """Whether there is a child that is live, and every one of them waits for a person."""
    live = [child for child in join.children if child.outcome is None]
    return bool(live) and all(_waits(child) for child in live)


def _waits(branch: Branch) -> bool:
    if branch.person is not None and branch.person.open:
        return True
    return branch.fork is not None and not branch.fork.complete and _all_wait(branch.fork)
