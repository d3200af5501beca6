"""The orchestrator: a pure state machine that decides what a run does next.

Sans-I/O: no clock, no randomness, no Trio. Outcomes go in, events and commands come out. Every decision is
made of events that are appended and folded one by one, and what an event leaves to be decided is visible in
the state; so a run that is rebuilt from any prefix of its journal goes on to the same decisions (`resume`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs

from marsys_core import events as e
from marsys_core.actions import (
    Action,
    AskUser,
    Content,
    Fail,
    Finish,
    Invoke,
    Return,
)
from marsys_core.errors import InternalError, JoinTimeout
from marsys_core.events import EventId
from marsys_core.messages import Message, Usage
from marsys_core.orchestrator.branch import Branch, Join
from marsys_core.orchestrator.commands import Command, RunStep
from marsys_core.orchestrator.joining import exception_of
from marsys_core.orchestrator.judging import Verdicts, closed_by
from marsys_core.orchestrator.ledger import END
from marsys_core.orchestrator.phases import Phase, Settled
from marsys_core.orchestrator.plain import is_loop, plan
from marsys_core.orchestrator.shared import Write
from marsys_core.orchestrator.shares import budget_of, join_outer
from marsys_core.orchestrator.steering import Steering
from marsys_core.orchestrator.talks import turn_of
from marsys_core.topology import Dispatch

__all__ = ["Orchestrator"]

RULES_VERSION = 1
_OPEN: tuple[Verdicts, tuple[str, ...], None] = ((), (), None)


@attrs.define(eq=False)
class Orchestrator(Steering):
    """Decides what a run does.

    Args:
        graph: The compiled topology.
        config: Limits and policies.
        traits: What is special about the agents, by node.
        append: Takes each event before anybody acts on it.
        pack: Takes a value that is made here (a `JoinInput`) and returns what events should carry for it.
        unpack: Takes what events carry, and returns the value.
        turn_limits: After how many turns a conversation ends at the latest, by the node that opens it; ``""`` is
            for all others.
        admits: Says what is wrong with handing a value to a node, or nothing; None where every node takes
            anything. What it says is recorded with the refusal, so that nobody asks it again.
        reachable: Whether a channel leads to a person.
    """

    def start(
        self,
        task: Any,
        *,
        run_id: str = "",
        session_id: str = "",
        fingerprint: str = "",
        wall_time: float = 0.0,
        given: dict[str, Any] | None = None,
        state: dict[str, Any] | None = None,
        parent: tuple[str, str, int, str] | None = None,
        session_version: int | None = None,
    ) -> list[Command]:
        """Begin the run with `task`; the commands are the first steps.

        `given` is what agents had said before, `state` what the shared state begins with, where there is one.
        `session_version` is that of the session which `given` comes from.
        """
        dispatch = {n.name: n.dispatch.value for n in self.graph.nodes.values() if n.dispatch is not None}
        entries, exits = tuple(self.graph.entries), tuple(self.graph.exits)
        self._emit(
            e.RunStarted(
                "",
                0,
                ("", -1),
                run_id,
                session_id,
                task,
                fingerprint,
                entries,
                exits,
                dispatch,
                RULES_VERSION,
                wall_time,
                given or {},
                state=state,
                parent=parent,
                budget=budget_of(self),
                session_version=session_version,
            )
        )
        join_outer(self)
        self._open_root(task)
        return self._drain()

    def begin(self, branch: Branch) -> bool:
        """Start the step of a ready branch; False when a limit forbids it (then see `take`)."""
        state, config = self.state, self.config
        if branch.phase is not Phase.READY:
            return False
        if state.steps >= config.max_steps:
            plural = "s" * (state.steps != 1)
            rule = self.limits.whose("max_steps")
            msg = f"the run took {state.steps} step{plural}{rule}"
            self._limit_run("max_steps", config.max_steps, msg)
            return False
        if config.max_steps_per_branch is not None and branch.steps >= config.max_steps_per_branch:
            msg = f"branch {branch.id} took {branch.steps} step{'s' * (branch.steps != 1)}"
            self._limit_branch(branch, "max_steps_per_branch", config.max_steps_per_branch, msg, ())
            return False
        if (branch.share is not None or self.outer is not None) and self._is_used_up(branch):
            return False
        if self.rules is not None and self.rules.before_step and not self._may_begin(branch):
            return False
        turn = turn_of(self.graph, branch) if self.graph.conversations else 0
        self._emit(
            e.StepStarted(
                branch.id, branch.n, branch.last, branch.node, branch.steps + 1, branch.inputs, turn
            )
        )
        if self.outer is not None:
            self.outer.count_step()
        return True

    def take(self) -> list[Command]:
        """Return the commands that are waiting, after settling whatever follows."""
        return self._drain()

    def on_step(
        self,
        branch: Branch,
        action: Action,
        *,
        messages: Sequence[Message] = (),
        usage: Usage | None = None,
        duration: float = 0.0,
        offered: bool | None = None,
        writes: tuple[Write, ...] = (),
    ) -> list[Command]:
        """A step ended in `action`; the commands say what comes next."""
        if branch.phase is not Phase.RUNNING:
            return self._late(branch, action)
        conditional = branch.node in self.graph.conditional
        verdicts, shut, raised = self._judged_early(branch, action, writes) if conditional else _OPEN
        if raised is not None:
            return self.on_failure(branch, raised, duration=duration, usage=usage)
        if type(action) is not Content and (wrong := self._refusal(branch, action, shut)) is not None:
            return self._steer(branch, wrong, action, duration, usage, shut)
        if offered is None:
            offered = self._offers(branch.node)
        if self.rules is not None:
            action, verdicts, against = self._judge(branch, action, offered, verdicts, writes)
            if against is not None:
                return self._refuse(branch, against, action, duration, usage, verdicts)
            shut = closed_by(verdicts) if verdicts else ()
        if type(action) is Fail:
            error = self._failure(action.error, branch)
            self._emit(e.StepFailed(branch.id, branch.n, branch.last, branch.node, error, duration, usage))
        else:
            unasked: tuple[str, ...] = ()
            turn = False
            if type(action) is Content and not branch.turn:
                self._planned = plan(self.graph, branch, offered, shut)
                unasked = self._planned.unasked
            elif self.graph.conversations:
                turn = type(action) is Invoke and self._is_turn(branch, action)
                unasked = self._unasked(branch, action, offered, shut)
            self._emit(
                e.StepFinished(
                    branch.id,
                    branch.n,
                    branch.last,
                    branch.node,
                    action,
                    offered,
                    tuple(messages),
                    usage,
                    duration,
                    unasked,
                    turn,
                    writes,
                    verdicts,
                )
            )
        self._continue(branch)
        return self._drain()

    def on_timeout(self, join: Join, seconds: float) -> list[Command]:
        """A join's deadline passed: the rest is cancelled, and the policy judges what has arrived."""
        if not join.complete and join.owner.fork is join:
            msg = f"the join of branch {join.owner.id} at {join.owner.node!r} took longer than {seconds:g} s"
            self._close(join, JoinTimeout(msg, "convergence_timeout", seconds))
        return self._drain()

    def on_branch_timeout(self, branch: Branch, error: BaseException) -> list[Command]:
        """A branch's own deadline passed while it waited for its join: it fails, and the rest is cancelled."""
        if branch.phase is not Phase.SETTLED:
            failure = self._failure(error, branch)
            self._emit(e.StepFailed(branch.id, branch.n, branch.last, branch.node, failure))
            self._continue(branch)
        return self._drain()

    def stop(self, error: BaseException | None, reason: str) -> list[Command]:
        """End the whole run: every branch settles as cancelled, branch `0` as failed with `error`."""
        if not self.state.finished:
            self._stop(error, reason)
        return self._drain()

    def resume(self) -> list[Command]:
        """Carry out what the folded events had decided but not yet done; ready branches step again."""
        state = self.state
        join_outer(self)
        if state.stopped:
            self._stop_live()
        elif state.limited is not None:
            self._limit_run(state.limited.limit, state.limited.value, state.limited.message)
        elif state.halted is not None:
            self._halt(state.halted)
        elif not state.branches:
            self._open_root(state.task)
        # A child goes on before its parent opens the next one, as it did when it was opened.
        for branch in reversed(list(state.branches.values())):
            fork = branch.fork
            if branch.outcome is None and fork is not None and fork.closing and not fork.complete:
                self._close_children(fork, fork.closing)
            self._continue(branch)
        return self._drain()

    def comes_back(self, branch: Branch, action: Invoke) -> bool:
        """Whether `branch` will be back at its node with the answers to `action`, if all goes well."""
        if not action.wait:
            return True
        if len(action.calls) > 1:
            return self._meeting(branch, [node for node, _ in action.calls], plain=False) == branch.node
        if action.asks:
            return True
        node = action.calls[0][0]
        link = self.graph.link(branch.node, node)
        if link is None or not link.bidirectional or node in branch.stack or node == END:
            return False
        join = branch.join
        while join is not None and join.meeting != node:
            join = join.owner.join
        return join is None

    def _drain(self) -> list[Command]:
        """Carry out what follows from branches that have settled, and hand out the commands."""
        state = self.state
        while state.settled or self._arrived:
            if state.settled:
                # The last first: after a resume, those that were looked after already then change nothing.
                self._after(state.settled.pop())
            else:
                self._pass_on()
        if state.live == 0 and not state.finished and state.branches:
            self._finish_run()
        commands, self._commands = self._commands, []
        return commands

    def _continue(self, branch: Branch) -> None:
        """Decide what the phase of `branch` leaves to be decided."""
        phase = branch.phase
        if phase is Phase.ACTED:
            self._act(branch)
        elif phase is Phase.READY:
            if branch.limited is not None:
                limit = branch.limited
                self._limit_branch(branch, limit.limit, limit.value, limit.message, ())
            elif branch.rulings and branch.rulings[-1].verdict != "modify":
                self._overrule(branch, branch.rulings[-1])
            elif branch.how == "start":
                self._enter(branch)
            else:
                self._commands.append(RunStep(branch))
        elif phase is Phase.ARRIVED:
            self._wait_to_pass_on(branch)
        elif phase is Phase.OPENING:
            self._open(branch)
        elif phase is Phase.JOINED:
            self._joined(branch)
        elif phase is Phase.DELIVERED:
            self._settle(branch, Settled.DELIVERED)
        else:
            super()._continue(branch)

    def _wait_to_pass_on(self, branch: Branch) -> None:
        """Gathers take turns in branch order, one at a time: a chain of them is as long as it likes."""
        import heapq

        heapq.heappush(self._arrived, (branch.key, branch))

    def _pass_on(self) -> None:
        import heapq

        _, branch = heapq.heappop(self._arrived)
        if branch.phase is Phase.ARRIVED and branch.error is not None:
            self._cancel(branch, branch.error, Settled.FAILED)
        elif branch.phase is Phase.ARRIVED:
            self._dispatch(branch, branch.value, branch.inputs)

    def _after(self, branch: Branch) -> None:
        """A branch has settled: its join may be complete, or met early; the run may be over."""
        state = self.state
        if self.config.first_result and state.contributions and not state.stopped:
            self._stop(None, "first_result")
        failed = branch.detached and branch.outcome is Settled.FAILED
        if failed and self.config.detached_failures == "fail" and not state.stopped:
            self._stop(exception_of(branch.error), "detached_failures")
        # What was delivered further out counts there at once, for a policy that may be met early; and an
        # outer join that is decided leaves nothing to be done further in.
        joins = []
        join = branch.join
        while join is not None:
            joins.append(join)
            join = join.owner.join
        for join in reversed(joins):
            self._check(join)

    def _late(self, branch: Branch, action: Action) -> list[Command]:
        """The step of a branch that was cancelled meanwhile: its values go nowhere, and that is said."""
        values = (
            [payload for _, payload in action.calls]
            if type(action) is Invoke
            else [getattr(action, "value", None)]
        )
        for value in values:
            if value is not None:
                self._drop(branch, value, branch.last, "the branch was cancelled while its step ran")
        return self._drain()

    def _act(self, branch: Branch) -> None:
        action = branch.action
        if self.graph.conversations and self._talk(branch, action):
            return
        if type(action) is Content:
            self._dispatch(branch, action.value, (branch.last,))
        elif type(action) is Invoke:
            self._invoke(branch, action)
        elif type(action) is Return:
            self._return(branch, action.value, (branch.last,))
        elif type(action) is Finish:
            self._settle(branch, Settled.FINISHED, action.value, contributes=True, inputs=(branch.last,))
        elif type(action) is AskUser:
            self._ask(branch, action)
        else:
            msg = f"no rule for the action {action!r}"
            raise InternalError(msg)

    def _invoke(self, branch: Branch, action: Invoke) -> None:
        calls = action.calls
        if not action.wait:
            self._fork(branch, calls, policy=None, detached=True, budget=action.budget)
        elif len(calls) > 1:
            self._fork(branch, calls, policy=action.policy, budget=action.budget)
        else:
            node, payload = calls[0]
            link = self.graph.link(branch.node, node)
            assert link is not None  # `_refusal` has looked
            self._arrive(branch, link.target, payload, (branch.last,), call=link.bidirectional)

    def _dispatch(self, branch: Branch, value: Any, inputs: tuple[EventId, ...]) -> None:
        """Plain content: the topology decides."""
        planned, self._planned = self._planned, None
        # What a conversation came to is the other side's content, though that side has not just stepped.
        offered = branch.offered if branch.how != "over" else self._offers(branch.node)
        decided = planned or plan(self.graph, branch, offered, branch.closed)
        if not decided.targets:
            self._answer(branch, value, inputs)
        elif decided.mode is Dispatch.MAP:
            self._map(branch, decided, value)
        elif len(decided.targets) == 1:
            link = decided.targets[0]
            # Coming back by a condition is the next turn of a loop: all of it may be entered again.
            loop = link.edge.condition is not None and is_loop(branch, link)
            self._arrive(
                branch, link.target, value, inputs, call=link.bidirectional, fresh=decided.fresh, loop=loop
            )
        else:
            self._fork(branch, self._plain_calls(decided, value), plain=True, fresh=decided.fresh)
