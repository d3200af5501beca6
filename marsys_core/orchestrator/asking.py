"""People in a run: when one is asked, and what the answer does."""

from __future__ import annotations

import abc
from collections.abc import Container
from typing import Any

import attrs

from marsys_core import events as e
from marsys_core.actions import Action, AskUser, Content
from marsys_core.errors import AnswerRefused, ErrorClass, UnknownName, UserTimeout, UserUnavailable
from marsys_core.orchestrator.branch import Branch
from marsys_core.orchestrator.commands import Ask, Command, Steer
from marsys_core.orchestrator.joining import convergence_error
from marsys_core.orchestrator.judging import OPEN, closed_by
from marsys_core.orchestrator.ledger import USER
from marsys_core.orchestrator.phases import Phase, Settled
from marsys_core.orchestrator.plain import plan
from marsys_core.orchestrator.talks import Talks
from marsys_core.questions import WITHIN_STEP, refusal
from marsys_core.topology import Dispatch

__all__ = ["APPROVALS", "Asking"]

APPROVALS = ("approve", "reject")
_WITHIN = {"approval": APPROVALS, "uncertain": ("retry", "done", "fail")}
_ERRORS = ("retry", "skip", "abort")
_JOINS = ("retry", "proceed", "abort")
_NOBODY = "nobody could be asked"


@attrs.define(eq=False)
class Asking(Talks):
    """Questions, approvals, failed steps and failed joins: what people decide.

    `reachable` says whether a channel leads to a person; without one nothing waits for an answer.
    """

    reachable: bool = attrs.field(default=False, kw_only=True)

    @abc.abstractmethod
    def _drain(self) -> list[Command]:
        """Carry out what follows, and hand out the commands."""

    # -- what comes from outside ---------------------------------------------------------------

    def on_answer(self, request_id: str, value: Any, source: str = "") -> list[Command]:
        """Somebody answered an open question; the branch goes on with that.

        Raises:
            UnknownName: No question with this id is open; those that are, are listed.
            AnswerRefused: The question does not allow this answer; it stays open.
        """
        branch, asked = self._open_question(request_id)
        if wrong := refusal(value, asked.options, asked.schema, asked.kind):
            raise AnswerRefused(f"{wrong} (question {request_id!r})")
        self._hear(branch, asked, self.pack(value), source)
        return self._drain()

    def on_no_answer(self, request_id: str, error: BaseException) -> list[Command]:
        """There will be no answer to an open question, for this reason.

        Raises:
            UnknownName: No question with this id is open.
        """
        branch, asked = self._open_question(request_id)
        self._hear(branch, asked, None, "", error)
        return self._drain()

    def on_answer_timeout(self, request_id: str) -> list[Command]:
        """Nobody answered in time: the default is the answer, where there is one.

        Raises:
            UnknownName: No question with this id is open.
        """
        branch, asked = self._open_question(request_id)
        if asked.default is not None:
            self._hear(branch, asked, asked.default, "timeout")
        else:
            seconds = asked.timeout or 0.0
            msg = f"nobody answered question {request_id!r} within timeout={seconds:g} s"
            self._hear(branch, asked, None, "timeout", UserTimeout(msg, "timeout", seconds))
        return self._drain()

    def on_asked_within(
        self,
        branch: Branch,
        kind: str,
        prompt: Any,
        n: int,
        waited: Container[str] = (),
        again: str | None = None,
    ) -> e.UserAsked:
        """Ask about a tool call of a running step; the question takes the place `n`, the answer the next.

        A question of that prompt that was left open when the run was rebuilt, since it is not among those
        `waited` for, is the same one again; with the id `again` it is that one, where it is open.
        """
        if branch.person is not None and again in branch.person.open:
            return branch.person.open[again]
        for asked in () if branch.person is None else branch.person.open.values():
            if asked.prompt == prompt and asked.kind == kind and asked.request_id not in waited:
                return asked
        return self._emit_question(branch, kind, AskUser(prompt, _WITHIN[kind]), n)

    @property
    def open_questions(self) -> list[e.UserAsked]:
        """The questions that wait for an answer, in branch order."""
        branches = [branch for branch in self.state.branches.values() if branch.person is not None]
        branches.sort(key=lambda branch: branch.key)
        return [asked for branch in branches if branch.person is not None for asked in branch.person.in_order]

    def _open_question(self, request_id: str) -> tuple[Branch, e.UserAsked]:
        branch = self.state.branches.get(str(request_id).rpartition(":")[0])
        asked = None if branch is None or branch.person is None else branch.person.open.get(request_id)
        if branch is None or asked is None:
            known = [each.request_id for each in self.open_questions]
            raise UnknownName("open question", str(request_id), known)
        return branch, asked

    # -- asking --------------------------------------------------------------------------------

    def _ask(self, branch: Branch, given: AskUser) -> None:
        if not self.reachable:
            msg = f"a person was asked {given.prompt!r:.200}, and there is no channel to one; give the run channel=..."
            self._fail_with(branch, UserUnavailable(msg), [given.prompt])
            return
        self._put(branch, "question", given)

    def _put(self, branch: Branch, kind: str, given: AskUser) -> None:
        """Ask, and let the branch wait for the answer."""
        self._commands.append(Ask(branch, self._emit_question(branch, kind, given, branch.n)))

    def _emit_question(self, branch: Branch, kind: str, given: AskUser, at: int) -> e.UserAsked:
        asked = e.UserAsked(
            branch.id, at, branch.last, f"{branch.id}:{at}", branch.node, kind, given.prompt, given.options,
            given.schema, given.timeout, given.default,
        )  # fmt: skip
        self._emit(asked)
        return asked

    def _failed(self, branch: Branch) -> None:
        """A step has failed for good: the branch fails, unless a person is to say what becomes of it."""
        error = branch.error
        routed = self.config.error_routing_enabled and self.reachable and branch.fork is None
        if not routed or error.error_class is not ErrorClass.RECOVERABLE:
            self._cancel(branch, error, Settled.FAILED)
            return
        prompt = f"the step of {branch.node!r} {error}"
        # A retry costs no step, so something else has to bound a channel that always says so.
        retried = 0 if branch.person is None else branch.person.retried
        options = _ERRORS if retried < self.config.max_steps else _ERRORS[1:]
        self._put(branch, "error", AskUser(prompt, options))

    def _ask_about_join(self, branch: Branch) -> bool:
        assert branch.fork is not None  # it has just come to its end
        if not self.reachable:
            return False
        prompt = str(convergence_error(branch.fork))
        # A quorum of more than there are calls can be missed with none that failed.
        options = _JOINS if branch.fork.undelivered else _JOINS[1:]
        self._put(branch, "policy", AskUser(prompt, options))
        return True

    # -- going on ------------------------------------------------------------------------------

    def _hear(
        self,
        branch: Branch,
        asked: e.UserAsked,
        value: Any,
        source: str,
        error: BaseException | None = None,
    ) -> None:
        # The calls of one reply are approved in any order, so the places of their answers are reserved.
        n = asked.n + 1 if asked.kind in WITHIN_STEP else branch.n
        failure = None if error is None else self._failure(error, branch)
        answered = e.UserAnswered(branch.id, n, asked.id, asked.request_id, value, source, failure)
        self._emit(answered)
        self._continue(branch)

    def _answered(self, branch: Branch) -> None:
        """An answer has come, or none will: the branch goes on accordingly."""
        person = branch.person
        assert person is not None  # the phase says so
        assert person.answer is not None
        answer = person.answer
        if person.kind == "error":
            self._after_error(branch, answer.value)
        elif person.kind == "policy":
            self._after_policy(branch, answer)
        elif answer.error is not None:
            self._settle(branch, Settled.FAILED, error=answer.error)
        elif branch.node == USER:
            self._return(branch, answer.value, (answer.id,))
        else:
            self._move(branch, branch.node, "answer", answer.value, branch.stack, (answer.id,))

    def _after_error(self, branch: Branch, decision: Any) -> None:
        if decision == "retry":
            self._emit(
                e.StepRetried(branch.id, branch.n, branch.last, branch.node, 0, 0.0, str(branch.error))
            )
            self._commands.append(Steer(branch, ""))
        elif decision == "skip":
            self._skip(branch)
        else:
            self._cancel(branch, branch.error, Settled.FAILED)

    def _skip(self, branch: Branch) -> None:
        """The step counts as finished with nothing said."""
        empty: Any = [] if self.graph.nodes[branch.node].dispatch is Dispatch.MAP else ""
        action: Action = Content(empty)
        offered = self._offers(branch.node)
        against: e.RuleDecided | BaseException | None
        verdicts, against = OPEN if self._judges_late(action) else self._judged_action(branch, action)
        if against is None and self.rules is not None:
            action, verdicts, against = self._judge(branch, action, offered, verdicts)
        if against is not None:
            self._forbid(branch, against)
            return
        shut = closed_by(verdicts)
        if branch.turn:
            unasked = self._unasked(branch, action, offered, shut)
        else:
            unasked = plan(self.graph, branch, offered, shut).unasked
        self._emit(
            e.StepFinished(
                branch.id, branch.n, branch.last, branch.node, action, offered, unasked=unasked,
                conditions=verdicts,
            )
        )  # fmt: skip
        self._continue(branch)

    def _forbid(self, branch: Branch, against: e.RuleDecided | BaseException) -> None:
        """A rule, or what a condition raised, does not let a skipped step go on."""
        if isinstance(against, BaseException):
            self._cancel(branch, self._failure(against, branch), Settled.FAILED)
        elif against.verdict == "stop":
            self._halt(against)
        else:
            self._cancel(branch, self._failure(self._error_of(against), branch), Settled.FAILED)

    def _after_policy(self, branch: Branch, answer: e.UserAnswered) -> None:
        join = branch.fork
        assert join is not None  # the question was about it
        if answer.error is not None:
            self._give_up(branch, join, f"{_NOBODY}: {answer.error.message}")
        elif answer.value == "retry":
            calls = tuple(join.undelivered)
            self._emit(e.JoinReopened(branch.id, branch.n, branch.last, join.number, calls, branch.children))
            self._continue(branch)
        elif answer.value == "proceed":
            self._proceed(branch, join)
        else:
            self._give_up(branch, join)

    def _continue(self, branch: Branch) -> None:
        """Carry on what people have to do with."""
        if branch.phase is Phase.WAITING:
            assert branch.person is not None  # the phase says so
            for asked in branch.person.open.values():
                self._commands.append(Ask(branch, asked))
        elif branch.phase is Phase.ANSWERED:
            self._answered(branch)
        elif branch.phase is Phase.FAILED:
            self._failed(branch)
