"""Runs that rest: they end their process's part with work left, and go on later from what their store has.

A run rests where it was asked to pause, or where all that it could do next is to hear a person's answer, and
nobody here can give one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import trio

from marsys_core import events as e
from marsys_core.orchestrator import Phase

if TYPE_CHECKING:
    from marsys_core.engine.run import RunShell
    from marsys_core.engine.step import Step
    from marsys_core.orchestrator import Branch
    from marsys_core.questions import Question

__all__ = ["Rest"]


@attrs.define(eq=False)
class Rest:
    """When one run comes to rest, and how. Nested runs rest with the one that they are part of.

    Attributes:
        run: The run.
        kind: ``paused`` or ``waiting``, once it rests; of the outermost run it holds for all.
        asked: Whether it is to pause.
        left: How many questions there are that nobody here can answer, those of nested runs included.
        steps: The steps that are under way, by branch; None of one that is just beginning.
        questions: What was open when it came to rest.
    """

    run: RunShell
    kind: str = ""
    asked: bool = False
    left: int = 0
    steps: dict[str, Step | None] = attrs.field(factory=dict)
    questions: tuple[Question, ...] = ()

    @property
    def top(self) -> Rest:
        """That of the outermost run."""
        nested, rest = self.run.nested, self
        while nested is not None and nested.step.run.rest is not None:
            rest = nested.step.run.rest
            nested = rest.run.nested
        return rest

    @property
    def resting(self) -> str:
        """How the run rests; nothing while it goes on, and of one that has finished."""
        return "" if self.run.orchestrator.state.finished else self.top.kind

    def pause(self, immediate: bool) -> None:
        """Let no step begin any more, and rest when the last one has ended; or at once."""
        self.asked = True
        if immediate and not self.kind:
            self._come_to("paused")
        else:
            self.look()

    async def enter(self, branch: Branch) -> None:
        """A step of `branch` is about to begin: where the run is to pause it never does, here."""
        if self.top.asked:
            self.look()
            await trio.sleep_forever()
        self.steps[branch.id] = None

    def leave(self, branch: Branch) -> None:
        """The step of `branch` is over, or was cut off."""
        del self.steps[branch.id]

    def look(self) -> None:
        """Something has come to a stop: rest, if now nothing moves."""
        top = self.top
        if top.kind or not (top.asked or top.left) or top.run.orchestrator.state.stopped:
            return
        if top.still(top.asked):
            top._come_to("paused" if top.asked else "waiting")

    def _come_to(self, kind: str) -> None:
        run = self.run
        self.kind = kind
        self.questions = () if run.people is None else run.people.questions
        run.scope.cancel()
        run.drop_detached()

    def still(self, pausing: bool) -> bool:
        """Whether no step of this run goes on, or begins by itself."""
        if not pausing and self.run.has_mail:
            return False
        branches = self.run.orchestrator.state.branches.values()
        return all(branch.outcome is not None or self._stands(branch, pausing) for branch in branches)

    def _stands(self, branch: Branch, pausing: bool) -> bool:
        if branch.id in self.steps:
            step = self.steps[branch.id]
            return step is not None and step.stands(pausing)
        if pausing or branch.phase is Phase.WAITING:
            return True
        return branch.fork is not None and not branch.fork.complete  # its children are looked at themselves

    def told(self) -> e.Event:
        """Return what the run's record says of its coming to rest."""
        n = self.run.orchestrator.state.run_n
        if self.top.kind == "paused":
            return e.RunPaused("", n, ("", 0))
        asked = tuple(each.request_id for each in self.run.orchestrator.open_questions)
        return e.RunWaiting("", n, ("", 0), asked)
