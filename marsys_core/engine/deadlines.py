"""Deadlines of steps and branches: one cancel scope, whose deadline is the earliest of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import attrs
import trio

from marsys_core.errors import BranchTimeout, StepTimeout
from marsys_core.topology import NO_LIMITS, Limits

if TYPE_CHECKING:
    from marsys_core.config import ExecutionConfig
    from marsys_core.engine.step import Step
    from marsys_core.engine.turns import Turns
    from marsys_core.orchestrator import Branch

__all__ = ["Deadlines"]


@attrs.frozen
class Deadlines:
    """The limits of a step and of its branch, in seconds; None for no limit. `rules` has those of single agents."""

    step: float | None
    branch: float | None
    rules: Limits = NO_LIMITS

    @classmethod
    def of(cls, config: ExecutionConfig, rules: Limits = NO_LIMITS) -> Deadlines | None:
        """Return the limits that `config` and `rules` set, or None: then no step pays for a scope."""
        if config.step_timeout is None and config.branch_timeout is None and not rules.agent_timeout:
            return None
        return cls(config.step_timeout, config.branch_timeout, rules)

    def branch_end(self, run: Turns, branch: Branch) -> float:
        """Return when `branch` has to have ended, on Trio's clock."""
        if self.branch is None:
            return float("inf")
        end = run.began + branch.started + self.branch
        if run.people is None:
            return end
        waited = 0.0 if branch.person is None else branch.person.waited
        return end + waited + run.people.paused.get(branch.id, 0.0)

    def overrun(self, branch: Branch) -> BranchTimeout:
        """Return the error of a branch that took too long."""
        seconds = self.branch or 0.0
        msg = f"branch {branch.id} took longer than branch_timeout={seconds:g} s"
        return BranchTimeout(msg, "branch_timeout", seconds)

    async def within(self, step: Step, act: Callable[[Step], Awaitable[Any]]) -> Any:
        """Run `act` within the earlier of the two limits.

        Raises:
            StepTimeout: The step took too long.
            BranchTimeout: The branch, with all its steps, took too long.
        """
        now = trio.current_time()
        own = self.rules.of("agent_timeout", step.node)
        named = own is not None and (self.step is None or own < self.step)
        limit = own if named else self.step
        step_end = now + limit if limit is not None else float("inf")
        branch_end = self.branch_end(step.run, step.branch)
        with trio.CancelScope(deadline=min(step_end, branch_end)) as scope:
            step.scope = scope
            value = await act(step)
            if not scope.cancel_called:
                return value
            step.run.drop_late(step, value)
        if branch_end < step_end:
            raise self.overrun(step.branch)
        setting, whose = "step_timeout", ""
        if named:
            setting, whose = "agent_timeout", self.rules.whose("agent_timeout", step.node)
        msg = f"the step of {step.node!r} took longer than {setting}={limit:g} s{whose}"
        raise StepTimeout(msg, setting, limit or 0.0)
