"""What is wrong with how a step has ended, and what becomes of it: it is steered, or it fails."""

from __future__ import annotations

from collections.abc import Container, Sequence

import attrs

from marsys_core import events as e
from marsys_core.actions import Action, AskUser, CallTools, EndConversation, Invoke, Malformed
from marsys_core.errors import ActionError
from marsys_core.messages import Usage
from marsys_core.orchestrator.asking import Asking
from marsys_core.orchestrator.branch import Branch
from marsys_core.orchestrator.commands import Command, Steer
from marsys_core.orchestrator.judging import Verdicts, closed_by
from marsys_core.orchestrator.ledger import USER
from marsys_core.orchestrator.phases import Phase
from marsys_core.orchestrator.plain import describe, offer
from marsys_core.orchestrator.shared import Write
from marsys_core.orchestrator.shares import why_no_share
from marsys_core.questions import refusal

__all__ = ["Steering"]


@attrs.define(eq=False)
class Steering(Asking):
    """Refuses actions that cannot be carried out; an agent that takes notes is told, and asked again."""

    def on_failure(
        self, branch: Branch, error: BaseException, *, duration: float = 0.0, usage: Usage | None = None
    ) -> list[Command]:
        """A step failed for good; the branch settles as failed, unless a person is to say what becomes of it."""
        if branch.phase is not Phase.RUNNING:
            return self._drain()
        failure = self._failure(error, branch)
        self._emit(e.StepFailed(branch.id, branch.n, branch.last, branch.node, failure, duration, usage))
        self._continue(branch)
        return self._drain()

    def _judged_early(
        self, branch: Branch, action: Action, writes: tuple[Write, ...]
    ) -> tuple[Verdicts, tuple[str, ...], BaseException | None]:
        """Judge the edges out of the node of `branch` before rules are asked; return also where none is open.

        Where there is nothing yet that conditions could read, that is what is known so far.
        """
        if type(action) is Malformed or type(action) is CallTools or self._judges_late(action):
            return (), self.closed_so_far(branch), None
        verdicts, raised = self._judged_action(branch, action, writes)
        return verdicts, closed_by(verdicts), raised

    def _refusal(self, branch: Branch, action: Action, shut: tuple[str, ...] = ()) -> str | None:
        """Say what is wrong with `action` here, or None."""
        if type(action) is Malformed:
            return action.reason
        if type(action) is CallTools:
            return "this agent has no tools to call"
        if type(action) is EndConversation and not branch.turn:
            return "there is no conversation to end here"
        if type(action) is AskUser:
            return self._unaskable(branch, action, shut)
        if type(action) is not Invoke:
            return None
        if action.budget is not None and (wrong := why_no_share(action)):
            return wrong
        out = self.graph.link
        missing = sorted({node for node, _ in action.calls if out(branch.node, node) is None})
        if missing:
            return self._no_edge(branch, missing)
        if closed := sorted({node for node, _ in action.calls if node in shut}):
            return "; ".join(self._closed_edge(branch.node, node) for node in closed)
        return None if self.admits is None else self._ill_handed(branch, action)

    def _unaskable(self, branch: Branch, action: AskUser, shut: Container[str]) -> str | None:
        if branch.node not in self.graph.asks:
            return self._no_edge(branch, [USER])
        if USER in shut:
            return self._closed_edge(branch.node, USER)
        if action.default is None:
            return None
        wrong = refusal(action.default, action.options, action.schema, "question")
        return f"the default cannot be the answer: {wrong}" if wrong else None

    def _no_edge(self, branch: Branch, missing: Sequence[str]) -> str:
        leads = ", ".join(link.target for link in self.graph.out[branch.node]) or "nowhere"
        names = ", ".join(map(repr, missing))
        return f"there is no edge from {branch.node!r} to {names}; its edges lead to: {leads}"

    def _refuse(
        self,
        branch: Branch,
        ruling: e.RuleDecided | BaseException,
        action: Action,
        duration: float,
        usage: Usage | None,
        verdicts: Verdicts,
    ) -> list[Command]:
        """A rule does not let the action of a step be, or a condition raised that was judged after the rules."""
        if isinstance(ruling, BaseException):
            return self.on_failure(branch, ruling, duration=duration, usage=usage)
        if ruling.verdict == "stop":
            self._halt(ruling)
            return self._drain()
        error = self._error_of(ruling)
        if ruling.verdict == "block":
            shut = closed_by(verdicts) if verdicts else self.closed_so_far(branch)
            return self._steer(branch, str(error), action, duration, usage, shut, error)
        return self.on_failure(branch, error, duration=duration, usage=usage)

    def _ill_handed(self, branch: Branch, action: Invoke) -> str | None:
        """Say which node does not take what it would be handed, or None; what arrives at a join is not looked at."""
        assert self.admits is not None  # the caller has looked
        names = [node for node, _ in action.calls]
        elsewhere = {*branch.stack} if action.wait and len(names) == 1 else set()
        join = branch.join if action.wait else None
        while join is not None:
            elsewhere.add(join.meeting or "")
            join = join.owner.join
        if len(names) > 1 and action.wait:
            elsewhere.add(self._meeting(branch, names, plain=False) or "")
        wrong = [self.admits(node, value) for node, value in action.calls if node not in elsewhere]
        return "; ".join(each for each in wrong if each) or None

    def _steer(
        self,
        branch: Branch,
        wrong: str,
        action: Action,
        duration: float,
        usage: Usage | None,
        shut: tuple[str, ...] = (),
        error: BaseException | None = None,
    ) -> list[Command]:
        limit = self.config.max_steering_retries
        attempt = branch.attempts + 1
        if not self._traits(branch.node).notes or attempt > limit:
            reply = action.reply if type(action) is Malformed else action
            tried = f" (asked {attempt} times)" if attempt > 1 else ""
            error = error or ActionError(wrong + tried, reply)
            return self.on_failure(branch, error, duration=duration, usage=usage)
        note = action.note if type(action) is Malformed else ""
        if not note:
            note = f"Your last reply could not be carried out: {wrong}. Here there are: {describe(self.graph, branch, shut)}."
            if attempt >= 3:
                note += self._exact_call(branch, shut)
        self._emit(e.StepSteered(branch.id, branch.n, branch.last, branch.node, attempt, note))
        self._commands.append(Steer(branch, note))
        return self._drain()

    def _exact_call(self, branch: Branch, shut: tuple[str, ...] = ()) -> str:
        for name in offer(self.graph, branch, shut).invoke:
            return (
                ' Call invoke_agent with exactly {"invocations": '
                f'[{{"agent_name": "{name}", "request": "..."}}]}}, or answer in plain text.'
            )
        return " Answer in plain text."
