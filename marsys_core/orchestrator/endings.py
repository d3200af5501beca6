"""How branches and runs end before their time: limits, failures, cancellation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs

from marsys_core import events as e
from marsys_core.errors import Cancelled, LimitError
from marsys_core.orchestrator.branch import Branch, Join
from marsys_core.orchestrator.commands import CancelJoin, Complete, StopRun
from marsys_core.orchestrator.joining import flatten
from marsys_core.orchestrator.judging import Judging
from marsys_core.orchestrator.ledger import ROOT, order
from marsys_core.orchestrator.phases import Phase, Settled
from marsys_core.orchestrator.shares import steps_used_up
from marsys_core.values import Failure, failure_of

__all__ = ["Endings"]

Held = Sequence[Any]
"""Values that a branch would have handed on."""


_UNANSWERED = "a person was asked, and never answered"


@attrs.define(eq=False)
class Endings(Judging):
    """What is cancelled, what is dropped and said so, and when the run is over."""

    def _close(self, join: Join, error: BaseException | None) -> None:
        """Cancel what is still open below `join`; it then completes with what has arrived."""
        owner = join.owner
        reason = failure_of(error) if error is not None else "the policy is decided"
        self._emit(e.JoinCancelled(owner.id, owner.n, owner.last, join.number, reason))
        self._close_children(join, reason)
        self._commands.append(CancelJoin(join))

    def _close_children(self, join: Join, reason: Failure | str) -> None:
        for call in join.unopened[join.dropped :]:
            self._drop(join.owner, join.calls[call][1], join.event, "its branch was never opened")
        if not join.detached:
            for child in list(join.children):
                self._cancel(child, reason)

    def _cancel(self, branch: Branch, reason: Failure | str, outcome: Settled = Settled.CANCELLED) -> None:
        """Settle `branch` and everything below it; what they held is dropped by event."""
        if branch.phase is Phase.SETTLED:
            return
        fork = branch.fork
        if fork is not None and not fork.complete:
            if not fork.closing:
                self._emit(e.JoinCancelled(branch.id, branch.n, branch.last, fork.number, reason))
            self._close_children(fork, reason)
            unopened = len(fork.unopened)
            for contribution in sorted(fork.contributions, key=order)[fork.dropped - unopened :]:
                self._drop(branch, contribution.value, contribution.id, "its join was cancelled")
            if self.state.wrote:
                self._drop_pending(fork, "the join that was to take it was cancelled")
        elif fork is not None and branch.phase is Phase.WAITING:
            for contribution in sorted(fork.contributions, key=order)[branch.dropped :]:
                self._drop(branch, contribution.value, contribution.id, _UNANSWERED)
            if self.state.wrote:
                self._drop_pending(fork, _UNANSWERED)
        if branch.phase in (Phase.READY, Phase.ARRIVED) and not branch.dropped:
            self._drop(branch, branch.value, branch.inputs[0], "the branch ended before its step")
        error = reason if isinstance(reason, Failure) else self._failure(Cancelled(reason), branch)
        self._settle(branch, outcome, error=error)

    def _limit_run(self, limit: str, value: float, message: str) -> None:
        if self.state.limited is None:
            self._emit(e.LimitReached("", self.state.run_n, ("", 0), limit, value, message))
        self._stop(LimitError(f"{message} ({limit}={value:g})", limit), limit)

    def _limit_branch(self, branch: Branch, limit: str, value: float, message: str, held: Held) -> None:
        """Fail `branch` at a limit; the values in `held` go nowhere, and that is said."""
        if branch.limited is None:
            self._emit(e.LimitReached(branch.id, branch.n, branch.last, limit, value, message))
        error = LimitError(f"{message} ({limit}={value:g})", limit)
        self._fail_with(branch, error, held)

    def _is_used_up(self, branch: Branch) -> bool:
        """Whether the steps of a share are used up, or those of a run that this one is part of; it then fails."""
        reached = steps_used_up(self, branch)
        if reached is None:
            return False
        whose, most, taken = reached
        msg = f"all steps of {whose} are used up: {taken}"
        self._limit_branch(branch, "max_steps", most, msg, ())
        return True

    def _fail_with(self, branch: Branch, error: BaseException, held: Held) -> None:
        failure = self._failure(error, branch)
        if branch.phase is Phase.READY:
            held = [branch.value]
        for held_value in held[branch.dropped :]:
            self._drop(branch, held_value, branch.last, failure.message)
        self._settle(branch, Settled.FAILED, error=failure)

    def _stop(self, error: BaseException | None, reason: str) -> None:
        failure = failure_of(error) if error is not None else None
        self._emit(e.RunStopped("", self.state.run_n, ("", 0), reason, failure))
        self._stop_live()

    def _stop_live(self) -> None:
        root = self.state.branches.get(ROOT)
        error, reason = self.state.stopping, self.state.stopping or "the run has its first result"
        for branch in list(self.state.branches.values()):
            if branch.detached:
                self._cancel(branch, reason)
        if root is not None:
            self._cancel(root, reason, Settled.CANCELLED if error is None else Settled.FAILED)
        self._commands.append(StopRun())

    def _finish_run(self) -> None:
        state = self.state
        contributions = sorted(state.contributions, key=order)
        values = flatten(contribution.value for contribution in contributions)
        root = state.branches[ROOT]
        success = bool(values) and root.outcome is not Settled.FAILED and state.stopping is None
        error = state.stopping or root.error
        text = "" if error is None or success else str(error)
        ids = tuple(contribution.id for contribution in contributions)
        if state.unasked:
            self._warn_unasked()
        if state.wrote:
            self._merge_detached()
        self._emit(e.RunFinished("", state.run_n, ("", 0), success, ids, state.steps, text))
        self._commands.append(Complete())

    def _warn_unasked(self) -> None:
        """Say once, at the end, where plain content was the answer though an edge led on."""
        told = "; ".join(
            f"plain content ended at {node!r} without asking {', '.join(sorted(names))}"
            for node, names in sorted(self.state.unasked.items())
        )
        self._emit(e.Warned("", self.state.run_n, ("", 0), f"{told}; return Invoke, or set dispatch"))
