"""The state of a run: a fold of its events.

Folding makes no decision: `RunState.apply` only writes down what an event says, so a run can be rebuilt at
any event. What is still to be decided at that point is visible as a branch's `phase`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs

from marsys_core import events as e
from marsys_core.actions import AskUser, Invoke
from marsys_core.events import Event
from marsys_core.orchestrator.branch import Branch, Contribution, Join
from marsys_core.orchestrator.person import Person
from marsys_core.orchestrator.phases import Phase, Settled
from marsys_core.orchestrator.shared import Frame
from marsys_core.orchestrator.shares import Share, count_model, count_team, count_tool
from marsys_core.orchestrator.writes import pending, share, take_in, write_down
from marsys_core.questions import WITHIN_STEP

__all__ = ["RunState"]


_OUTCOMES = {each.value: each for each in Settled}
_SPENDING = frozenset({"max_tokens", "max_cost", "max_tool_calls"})


@attrs.define(eq=False)
class RunState:
    """Everything that is known of a run: a fold over its events."""

    branches: dict[str, Branch] = attrs.field(factory=dict)
    run_n: int = 0
    steps: int = 0
    live: int = 0
    task: Any = None
    contributions: list[Contribution] = attrs.field(factory=list)
    settled: list[Branch] = attrs.field(factory=list)
    """Branches whose end was not looked after yet; what settled before a step began or ended, was."""
    stopping: Any = None
    stopped: bool = False
    limited: e.LimitReached | None = None
    halted: e.RuleDecided | None = None
    finished: bool = False
    success: bool = False
    unasked: dict[str, set[str]] = attrs.field(factory=dict)
    wrote: bool = False
    """Whether anybody has written to the shared state."""
    initial: Frame | None = None
    share: Share | None = None

    def apply(self, event: Event) -> None:
        """Write down what `event` says."""
        branch = self.branches.get(event.branch)
        if not event.branch:
            self.run_n = event.n + 1
        elif branch is not None and branch.n <= event.n:
            # Calls that run side by side have their places reserved, and are appended as they end.
            branch.n = event.n + 1
        handler = _HANDLERS.get(type(event))
        if handler is not None:
            handler(self, branch, event)

    def join_of(self, id: tuple[str, int]) -> Join:
        """The open join with this id.

        Raises:
            KeyError: There is none.
        """
        join = self.branches[id[0]].fork
        if join is None or join.number != id[1]:
            raise KeyError(id)
        return join


def _run_started(state: RunState, _: Branch | None, event: Any) -> None:
    state.task = event.task
    if event.state is not None:
        state.initial = Frame(None, dict(event.state))
    if event.budget is not None:
        state.share = Share(**event.budget)


def _branch_started(state: RunState, _: Branch | None, event: Any) -> None:
    parent = state.branches.get(event.branch.rpartition(".")[0])
    branch = Branch(
        id=event.branch,
        key=(*parent.key, int(event.branch.rpartition(".")[2])) if parent else (0,),
        name=event.name,
        node=event.node,
        value=event.value,
        inputs=((event.branch, event.n),),
        detached=event.detached,
        call=event.call,
        depth=parent.depth + 1 if parent else 0,
        n=event.n + 1,
        last=event.id,
        started=event.time,
    )
    state.branches[branch.id] = branch
    state.live += 1
    if parent is None:
        branch.shared = state.initial
    elif parent.shared is not None:
        share(parent, branch)
    if parent is None or parent.fork is None:
        branch.share = state.share
        return
    fork = parent.fork
    branch.share = fork.share or parent.share
    if fork.again and event.call in fork.again:
        del fork.again[event.call]
        fork.children[event.call] = branch
    else:
        fork.children.append(branch)
    if not event.detached:
        branch.join = fork
        fork.open += 1
    if len(fork.children) == len(fork.calls) and not event.detached and not fork.again:
        parent.phase = Phase.SUSPENDED


def _branch_moved(state: RunState, branch: Branch, event: Any) -> None:
    if event.fresh:
        branch.start_afresh()
    if event.loop:
        branch.asked = None
        branch.forget_steps()
    if event.how == "call":
        branch.note_asked((event.node,))
    if event.asked:
        branch.note_asked(event.asked)
    branch.node, branch.value, branch.how, branch.stack = event.node, event.value, event.how, event.stack
    branch.inputs, branch.phase, branch.action = event.inputs or (event.id,), Phase.READY, None
    branch.joined = branch.fork if event.how == "join" else None
    branch.fork = branch.rulings = None
    if event.how != "turn" and event.how != "answer":  # a question is asked within a turn
        branch.turn = 0


def _branch_edited(state: RunState, branch: Branch, event: Any) -> None:
    branch.value = event.value


def _branch_arrived(state: RunState, branch: Branch, event: Any) -> None:
    _branch_moved(state, branch, event)
    if event.how == "gather" or event.how == "over":
        branch.phase, branch.error = Phase.ARRIVED, event.error
        _close(branch, event.conditions)
    if event.how == "gather":
        branch.passed = {*(branch.passed or ()), event.node}


def _branch_forked(state: RunState, branch: Branch, event: Any) -> None:
    if event.fresh:
        branch.start_afresh()
    branch.note_asked([*(node for node, _ in event.calls), *event.asked])
    branch.children = event.first + len(event.calls)
    branch.fork = Join(
        owner=branch,
        number=event.fork,
        meeting=event.meeting,
        calls=event.calls,
        names=event.names,
        first=event.first,
        policy=event.policy,
        limit=event.limit,
        plain=event.plain,
        event=event.id,
        share=None if event.budget is None else Share(**event.budget, parent=branch.share),
    )
    branch.forks = event.fork + 1
    branch.phase, branch.action, branch.turn = Phase.OPENING, None, 0
    branch.rulings = None


def _step_started(state: RunState, branch: Branch, event: Any) -> None:
    branch.phase, branch.turn = Phase.RUNNING, event.turn
    branch.rulings = None
    branch.steps += 1
    branch.stepped[event.node] = branch.stepped.get(event.node, 0) + 1
    branch.passed = None
    state.steps += 1
    if branch.share is not None:
        branch.share.add(steps=1)
    state.settled.clear()


def _step_finished(state: RunState, branch: Branch, event: Any) -> None:
    action = event.action
    branch.phase, branch.action, branch.last = Phase.ACTED, action, (event.branch, event.n)
    branch.offered, branch.attempts = event.offered, 0
    if event.unasked:
        state.unasked.setdefault(event.node, set()).update(event.unasked)
    if event.writes:
        state.wrote = True
        write_down(branch, event.writes)
    if event.conditions or branch.closed:
        _close(branch, event.conditions)
    state.settled.clear()
    if branch.person is not None:
        branch.person.close(event.time)
    if type(action) is Invoke or type(action) is AskUser:
        if type(action) is Invoke and not event.turn and not action.asks:
            if branch.own is None:
                branch.own = set()
            branch.own.add(event.node)
        branch.replies = {**(branch.replies or {}), event.node: action.replies}
    elif branch.replies:
        branch.replies.pop(event.node, None)


def _close(branch: Branch, conditions: tuple[tuple[str, bool], ...]) -> None:
    branch.closed = tuple([target for target, is_open in conditions if not is_open])


def _step_failed(state: RunState, branch: Branch, event: Any) -> None:
    branch.phase, branch.error, branch.last = Phase.FAILED, event.error, (event.branch, event.n)
    state.settled.clear()
    if branch.person is not None:
        branch.person.close(event.time)


def _step_steered(state: RunState, branch: Branch, event: Any) -> None:
    branch.attempts = event.attempt
    branch.rulings = None


def _rule_decided(state: RunState, branch: Branch, event: Any) -> None:
    branch.rulings = [*(branch.rulings or ()), event]
    if event.verdict == "stop":
        state.halted = event
    elif event.verdict == "modify" and event.point == "before_step":
        branch.value = event.value


def _step_retried(state: RunState, branch: Branch, event: Any) -> None:
    if branch.phase is Phase.ANSWERED:  # a person had it taken again, from its first attempt
        branch.phase, branch.attempts, branch.error = Phase.RUNNING, 0, None
        if branch.person is not None:
            branch.person.retried += 1
    if branch.person is not None:
        branch.person.close(event.time)


def _user_asked(state: RunState, branch: Branch, event: Any) -> None:
    if branch.person is None:
        branch.person = Person()
    person = branch.person
    if not person.open:
        person.since = event.time
    person.open[event.request_id] = event
    if event.kind in WITHIN_STEP:
        branch.n = max(branch.n, event.n + 2)  # the answer has its place too, whatever comes meanwhile
    else:
        person.kind, branch.phase, branch.action = event.kind, Phase.WAITING, None
        branch.rulings = None  # what is decided after the answer is ruled on anew


def _user_answered(state: RunState, branch: Branch, event: Any) -> None:
    person = branch.person
    assert person is not None  # it was asked
    asked = person.open.pop(event.request_id)
    if not person.open:
        person.waited += event.time - person.since
    if asked.kind not in WITHIN_STEP:
        person.answer, branch.phase, branch.last = event, Phase.ANSWERED, event.id
        state.settled.clear()


def _join_reopened(state: RunState, branch: Branch, event: Any) -> None:
    join = branch.fork
    assert join is not None  # it was complete
    had = [call for call in event.calls if call < len(join.children)]
    join.again = {call: event.first + i for i, call in enumerate(had)}
    join.closing, join.complete, join.failed, join.dropped = "", False, 0, 0
    branch.children = event.first + len(had)
    branch.phase = Phase.OPENING


def _branch_delivered(state: RunState, branch: Branch, event: Any) -> None:
    join = state.join_of(event.join)
    join.contributions.append(
        Contribution(event.call, branch.key, event.node, event.source, event.value, event.id)
    )
    join.delivered[event.call] = None
    if branch.writes and join is not branch.join:
        join.passed_in = [*(join.passed_in or ()), (event.call, branch)]
    branch.phase, branch.result = Phase.DELIVERED, event.value


def _branch_settled(state: RunState, branch: Branch, event: Any) -> None:
    branch.phase, branch.outcome = Phase.SETTLED, _OUTCOMES[event.outcome]
    branch.error, branch.ended = event.error, event.time
    if event.value is not None:
        branch.result = event.value
    state.live -= 1
    if branch.person is not None:
        branch.person.close(event.time)
    if event.contributes:
        contribution = Contribution(0, branch.key, event.node, branch.id, event.value, event.id)
        state.contributions.append(contribution)
    if branch.join is not None:
        _child_settled(branch.join, branch)
    state.settled.append(branch)


def _child_settled(join: Join, child: Branch) -> None:
    """Count how the call of a child came out; nothing of its subtree is open any more."""
    join.open -= 1
    if child.call in join.delivered or child.outcome is Settled.CANCELLED:
        return
    if child.outcome is Settled.FAILED:
        join.failed += 1
    else:
        join.left += 1


def _join_completed(state: RunState, branch: Branch, event: Any) -> None:
    join = branch.fork
    if join is not None:
        join.complete, join.met, join.error = True, event.met, event.error
        if event.state is not None:
            take_in(branch, pending(join), event.state)
    branch.phase, branch.last = Phase.JOINED, event.id


def _join_cancelled(state: RunState, branch: Branch, event: Any) -> None:
    if branch.fork is not None:
        branch.fork.closing = event.reason


def _run_stopped(state: RunState, _: Branch | None, event: Any) -> None:
    state.stopped, state.stopping = True, event.error


def _run_finished(state: RunState, _: Branch | None, event: Any) -> None:
    state.finished, state.success = True, event.success


def _branch_left(state: RunState, branch: Branch, event: Any) -> None:
    branch.left = True


def _limit_reached(state: RunState, branch: Branch | None, event: Any) -> None:
    if event.limit in _SPENDING:
        return  # it is said once; what becomes of the branch is for the call that asked, and its agent
    if branch is None:
        state.limited = event
    else:
        branch.limited = event


def _dropped(state: RunState, branch: Branch, event: Any) -> None:
    """Count what a join, or a branch that is about to settle, has dropped so far: none is dropped twice."""
    fork = branch.fork
    if event.state:
        for each in [branch] if event.state == "branch" or fork is None else pending(fork):
            each.writes = None
        return
    if fork is not None and fork.closing and not fork.complete:
        fork.dropped += 1
    else:
        branch.dropped += 1


def _state_merged(state: RunState, branch: Branch, event: Any) -> None:
    if event.fork is None:
        take_in(state.branches["0"], [branch], event.state)
        return
    join = branch.fork
    assert join is not None  # it is complete, and its branch has not gone on
    if event.error is not None:
        join.error = event.error
    else:
        take_in(branch, pending(join), event.state)


def _warned(state: RunState, branch: Branch | None, _: Any) -> None:
    if branch is None:  # the run's own, about content that ended early: it is said once
        state.unasked.clear()


_HANDLERS: dict[type[Event], Callable[[RunState, Any, Any], None]] = {
    e.RunStarted: _run_started,
    e.RunStopped: _run_stopped,
    e.RunFinished: _run_finished,
    e.BranchStarted: _branch_started,
    e.BranchEdited: _branch_edited,
    e.BranchMoved: _branch_arrived,
    e.BranchForked: _branch_forked,
    e.BranchDelivered: _branch_delivered,
    e.BranchLeft: _branch_left,
    e.BranchSettled: _branch_settled,
    e.JoinCompleted: _join_completed,
    e.JoinCancelled: _join_cancelled,
    e.LimitReached: _limit_reached,
    e.Dropped: _dropped,
    e.StateMerged: _state_merged,
    e.StepStarted: _step_started,
    e.StepFinished: _step_finished,
    e.StepFailed: _step_failed,
    e.StepSteered: _step_steered,
    e.RuleDecided: _rule_decided,
    e.StepRetried: _step_retried,
    e.UserAsked: _user_asked,
    e.UserAnswered: _user_answered,
    e.JoinReopened: _join_reopened,
    e.Warned: _warned,
    e.ModelReplied: count_model,
    e.ModelFailed: count_model,
    e.ToolStarted: count_tool,
    e.TeamFinished: count_team,
    e.TeamFailed: count_team,
}
