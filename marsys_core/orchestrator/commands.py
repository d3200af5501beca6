"""What the orchestrator asks of the engine, as plain values."""

from __future__ import annotations

import attrs

from marsys_core.events import UserAsked
from marsys_core.orchestrator.branch import Branch, Join

__all__ = ["Ask", "CancelJoin", "Command", "Complete", "RunStep", "Steer", "StopRun"]


class Command:
    """Something for the engine to do."""

    __slots__ = ()


@attrs.define(eq=False)
class RunStep(Command):
    """Take a step on this branch: it is ready, at its node, with its value."""

    branch: Branch


@attrs.define(eq=False)
class Steer(Command):
    """Take the step that just ended again, with this note to the agent; an empty one is none."""

    branch: Branch
    note: str


@attrs.define(eq=False)
class Ask(Command):
    """Get an answer to this question; the branch waits for it."""

    branch: Branch
    question: UserAsked


@attrs.define(eq=False)
class CancelJoin(Command):
    """End every task below this join; the orchestrator has settled their branches already."""

    join: Join


@attrs.define(eq=False)
class StopRun(Command):
    """End every task of the run; the orchestrator has settled their branches already."""


@attrs.define(eq=False)
class Complete(Command):
    """Every branch has settled: the run is over."""
