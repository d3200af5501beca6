"""What rules say before a step, after it and before a fork, and what becomes of it.

Whatever a rule says but Allow is an event, folded before it acts. It stays with its branch until the step
begins or is taken again, or until the fork is made; so a run that is rebuilt in between reads it, and asks
from the next rule on. That the others allowed it is proved by the event that followed: `StepStarted`,
`StepFinished`, `BranchForked`.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from typing import Any, Protocol

import attrs

from marsys_core import events as e
from marsys_core.actions import Action, Content, EndConversation, Finish, Invoke, Replies, Return
from marsys_core.errors import RuleBlocked, RuleError, RuleStopped, RunError
from marsys_core.orchestrator.branch import Branch
from marsys_core.orchestrator.judging import Verdicts, closed_by
from marsys_core.orchestrator.ledger import START
from marsys_core.orchestrator.moves import Moves
from marsys_core.orchestrator.phases import Phase
from marsys_core.orchestrator.plain import Plan, plan
from marsys_core.orchestrator.shared import Write
from marsys_core.orchestrator.state import RunState
from marsys_core.topology import Dispatch

__all__ = ["Rules", "Rulings", "Said"]

Calls = tuple[tuple[str, Any], ...]


@attrs.frozen
class Said:
    """What one rule said, other than Allow.

    Args:
        index: Its place among the rules that are asked at this point.
        rule: What it is called.
        verdict: ``block``, ``modify`` or ``stop``; ``raised`` where it gave no verdict.
        reason: Why.
        value: What it put in the place of the value it was shown.
        cause: What it raised.
    """

    index: int
    rule: str
    verdict: str
    reason: str
    value: Any = None
    cause: BaseException | None = attrs.field(default=None, eq=False)


class Rules(Protocol):
    """Asks the rules of a run; provided by the engine."""

    @property
    def before_step(self) -> Sequence[Any]:
        """The rules that are asked before a step."""

    @property
    def after_step(self) -> Sequence[Any]:
        """The rules that are asked after one."""

    @property
    def before_fork(self) -> Sequence[Any]:
        """The rules that are asked before a fork."""

    def ask(
        self,
        point: str,
        first: int,
        branch: Branch,
        value: Any,
        action: Action | None,
        state: RunState,
    ) -> Said | None:
        """Ask from the rule at index `first` on, until one says more than Allow."""


@attrs.define(eq=False)
class Rulings(Moves):
    """Asks the rules, once each, and carries out what they say."""

    rules: Rules | None = None
    _cause: BaseException | None = None

    def _may_begin(self, branch: Branch) -> bool:
        """Ask whether the step of a ready branch may begin; if not, what follows is done."""
        if branch.rulings is None:  # as almost always: a call less
            _, ruling = self._inquire(branch, "before_step", 0, branch.value, None)
        else:
            _, ruling = self._consult(branch, "before_step", branch.value)
        if ruling is not None:
            self._overrule(branch, ruling)
        return ruling is None

    def _judges_late(self, action: Action) -> bool:
        """Whether a rule may still change the value that conditions read: they are judged once, after that."""
        return self.rules is not None and bool(self.rules.after_step) and type(action) in _WITH_VALUE

    def _judge(
        self,
        branch: Branch,
        action: Action,
        offered: bool,
        verdicts: Verdicts,
        writes: Iterable[Write] = (),
    ) -> tuple[Action, Verdicts, e.RuleDecided | BaseException | None]:
        """Ask about the action of a step, and about the fork that it makes.

        Returns:
            The action that holds, what is open for it, and what forbids it: a ruling, or what a condition raised.
        """
        rules, ruling = self.rules, None
        assert rules is not None  # whoever calls has looked
        if rules.after_step:
            value = action.value if type(action) in _WITH_VALUE else None  # type: ignore[attr-defined]
            if branch.rulings is None:
                changed, ruling = self._inquire(branch, "after_step", 0, value, action)
            else:
                changed, ruling = self._consult(branch, "after_step", value, action)
            if changed is not value:
                action = _with(action, changed)
            if ruling is None and branch.node in self.graph.conditional and self._judges_late(action):
                verdicts, raised = self._judged_action(branch, action, writes)
                if raised is not None:
                    return action, verdicts, raised
        shut = closed_by(verdicts) if verdicts else ()
        if ruling is None and rules.before_fork and (calls := self._calls_of(branch, action, offered, shut)):
            changed, ruling = self._consult(branch, "before_fork", calls, shut=shut)
            if changed is not calls and type(action) is Invoke and calls is action.calls:
                replies = _reassigned(action.replies, action.calls, changed)
                action = attrs.evolve(action, calls=changed, replies=replies)
        return action, verdicts, ruling

    def _calls_of(self, branch: Branch, action: Action, offered: bool, shut: Container[str]) -> Calls:
        """The calls that `action` will make side by side; none where it makes no fork."""
        if type(action) is Invoke and (len(action.calls) > 1 or not action.wait):
            return action.calls
        dispatch = self.graph.nodes[branch.node].dispatch
        if dispatch is not Dispatch.ALL and dispatch is not Dispatch.MAP:
            return ()  # nothing else sends content to several nodes at a time
        decided = self._plan_of(branch, action, offered, shut)
        if decided is None:
            return ()
        value = action.calls[0][1] if type(action) is Invoke else getattr(action, "value", None)
        return self._plain_calls(decided, value)

    def _plan_of(self, branch: Branch, action: Action, offered: bool, shut: Container[str]) -> Plan | None:
        """Decide where goes what `action` says; None where it says nothing, but names what is to be done."""
        return plan(self.graph, branch, offered, shut) if type(action) is Content else None

    def _plain_calls(self, decided: Plan, value: Any) -> Calls:
        """The calls of a fork that plain content makes."""
        targets = decided.targets
        if decided.mode is not Dispatch.MAP:
            return tuple((link.target, value) for link in targets) if len(targets) > 1 else ()
        items = self._items(value) if targets else None
        return tuple((targets[i % len(targets)].target, item) for i, item in enumerate(items or ()))

    def _allowed_fork(self, branch: Branch, calls: Calls) -> Calls | None:
        """Return the calls that a fork is to make; None where a rule has forbidden it."""
        if branch.phase is Phase.ACTED:  # the rules were asked before the step was over
            return _modified(branch.rulings or (), calls)
        assert self.rules is not None  # whoever calls has looked
        if not calls or not self.rules.before_fork:
            return calls
        changed: Calls
        changed, ruling = self._consult(branch, "before_fork", calls, shut=branch.closed)
        if ruling is None:
            return changed
        self._overrule(branch, ruling)
        return None

    def _consult(
        self,
        branch: Branch,
        point: str,
        value: Any,
        action: Action | None = None,
        shut: Container[str] = (),
    ) -> tuple[Any, e.RuleDecided | None]:
        """Ask everybody at `point` who was not asked yet; `shut` is where no fork may go.

        Returns:
            The value with all that was modified, and what forbids going on, or None.
        """
        if branch.rulings is None:
            return self._inquire(branch, point, 0, value, action, shut)
        for ruling in branch.rulings:
            if ruling.point == point and ruling.verdict != "modify":
                return value, ruling
            value = ruling.value if ruling.point == point else value
        last = branch.rulings[-1]
        if last.point == point:
            action = None if action is None else _with(action, value)
            return self._inquire(branch, point, last.index + 1, value, action, shut)
        # What was said at a later point proves that everybody was asked at this one.
        was_asked = _ORDER.index(last.point) > _ORDER.index(point)
        return (value, None) if was_asked else self._inquire(branch, point, 0, value, action, shut)

    def _inquire(
        self,
        branch: Branch,
        point: str,
        first: int,
        value: Any,
        action: Action | None,
        shut: Container[str] = (),
    ) -> tuple[Any, e.RuleDecided | None]:
        rules, state = self.rules, self.state
        assert rules is not None  # whoever calls has looked
        while True:
            given = [list(call) for call in value] if point == "before_fork" else value
            said = rules.ask(point, first, branch, given, action, state)
            if said is None:
                return value, None
            said = self._checked(branch, point, said, shut)
            self._cause = said.cause
            ruling = e.RuleDecided(
                branch.id, branch.n, branch.last, branch.node, said.rule, point, said.index, said.verdict, said.reason,
                given, said.value,
            )  # fmt: skip
            self._emit(ruling)
            if said.verdict != "modify":
                return value, ruling
            value, first = said.value, said.index + 1
            action = None if action is None else _with(action, value)

    def _checked(self, branch: Branch, point: str, said: Said, shut: Container[str]) -> Said:
        """Return what was said, or, where it calls nodes that no open edge leads to, that it makes no sense."""
        if point != "before_fork" or said.verdict != "modify":
            return said
        known = (
            self.graph.entries
            if branch.node == START
            else [link.target for link in self.graph.out[branch.node]]
        )
        called = sorted({node for node, _ in said.value})
        if missing := [node for node in called if node not in known]:
            names = ", ".join(map(repr, missing))
            reason = f"it calls {names}, and from {branch.node!r} edges lead to: {', '.join(known)}"
        elif closed := [node for node in called if node in shut]:
            reason = "; ".join(self._closed_edge(branch.node, node) for node in closed)
        else:
            return said
        return attrs.evolve(said, verdict="raised", reason=reason, value=None)

    def _overrule(self, branch: Branch, ruling: e.RuleDecided) -> None:
        """Carry out a ruling on a branch that is about to take a step or to fork."""
        if ruling.verdict == "stop":
            self._halt(ruling)
        else:
            self._fail_with(branch, self._error_of(ruling), [branch.value])

    def _halt(self, ruling: e.RuleDecided) -> None:
        """A rule has stopped the run."""
        msg = f"rule {ruling.rule} stopped the run at {ruling.node!r}"
        self._stop(RuleStopped(_because(msg, ruling.reason), ruling.rule, ruling.reason), "rule")

    def _error_of(self, ruling: e.RuleDecided) -> RunError:
        """What a branch fails with."""
        if ruling.verdict == "block":
            msg = f"rule {ruling.rule} blocked {_WHAT[ruling.point]} {ruling.node!r}"
            return RuleBlocked(_because(msg, ruling.reason), ruling.rule, ruling.reason)
        error = RuleError(f"rule {ruling.rule} failed: {ruling.reason}", ruling.rule)
        error.__cause__, self._cause = self._cause, None
        return error


_WITH_VALUE: frozenset[type[Action]] = frozenset({Content, Return, Finish, EndConversation})
_WHAT = {"before_step": "the step of", "after_step": "the action of", "before_fork": "the fork at"}
_ORDER = tuple(_WHAT)


def _because(text: str, reason: str) -> str:
    return f"{text}: {reason}" if reason else text


def _with(action: Action, value: Any) -> Action:
    """Return what a step ended in, with what a rule made of its value."""
    if type(action) in _WITH_VALUE and action.value is not value:  # type: ignore[attr-defined]
        return type(action)(value)  # type: ignore[call-arg]
    return action


def _modified(rulings: Sequence[e.RuleDecided], calls: Calls) -> Calls:
    """Return what rules made of the calls of a fork, before the step was over."""
    for ruling in rulings:
        if ruling.point == "before_fork":
            calls = ruling.value
    return calls


def _reassigned(replies: Replies, before: Calls, after: Calls) -> Replies:
    """Return which of the calls that a rule made of others answer which tool call of a model.

    In order, each tool call keeps those to nodes that it had asked; the last one gets what is left over.
    """
    found: list[tuple[str, int, int]] = []
    at = 0
    for index, (call, start, stop) in enumerate(replies):
        wanted = [node for node, _ in before[start:stop]]
        end = at
        while end < len(after) and after[end][0] in wanted:
            wanted.remove(after[end][0])
            end += 1
        if index == len(replies) - 1:
            end = len(after)
        found.append((call, at, end))
        at = end
    return tuple(found)
