"""Forks and joins: opening children, completing, and where the suspended branch goes on."""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from marsys_core import events as e
from marsys_core.errors import ActionError, StateError, TopologyError
from marsys_core.events import EventId
from marsys_core.orchestrator.branch import Branch, Join
from marsys_core.orchestrator.commands import RunStep
from marsys_core.orchestrator.joining import convergence_error, gather_input, tally
from marsys_core.orchestrator.ledger import ROOT, START, order
from marsys_core.orchestrator.phases import Phase, Settled
from marsys_core.orchestrator.plain import Plan
from marsys_core.orchestrator.rulings import Rulings
from marsys_core.orchestrator.shares import limits_of
from marsys_core.topology import ConvergencePolicy, NodeKind
from marsys_core.values import Detached, Failure

__all__ = ["Forks"]


@attrs.define(eq=False)
class Forks(Rulings):
    """Opens forks, completes joins, and lets the suspended branch go on, fail or leave."""

    def _open_root(self, task: Any) -> None:
        entries = self.graph.entries
        node = entries[0] if len(entries) == 1 else START
        self._emit(e.BranchStarted(ROOT, 0, ("", 0), node, ROOT, task))
        self._continue(self.state.branches[ROOT])

    def _enter(self, branch: Branch) -> None:
        """A branch was just opened: it takes a step at its node, or goes on at once."""
        node, value = branch.node, branch.value
        # A value handed straight to a meeting node comes from the invoking step: nobody else has touched it.
        source = branch if branch.join is None else branch.join.owner
        if node == START:
            self._fork(branch, tuple((entry, value) for entry in self.graph.entries), plain=True)
        elif self._ends_at(branch, node, value, branch.inputs, source):
            return
        elif self.graph.nodes[node].kind is NodeKind.GATHER:
            self._move(branch, node, "gather", value, (), branch.inputs)
        else:
            self._commands.append(RunStep(branch))

    def _meeting(self, branch: Branch, targets: Sequence[str], *, plain: bool) -> str | None:
        meeting = self.graph.meeting(branch.node, tuple(targets))
        if meeting == START:
            return None
        if plain and meeting == branch.node and not self.graph.leads_back(branch.node, tuple(targets)):
            return None
        return meeting

    def _fork(
        self,
        branch: Branch,
        calls: tuple[tuple[str, Any], ...],
        *,
        policy: Any = None,
        plain: bool = False,
        fresh: bool = False,
        detached: bool = False,
        asked: tuple[str, ...] = (),
        budget: float | Mapping[str, float] | None = None,
    ) -> None:
        config = self.config
        if branch.depth + 1 > config.max_branch_depth:
            msg = f"a fork at {branch.node!r} would be {branch.depth + 1} deep"
            # Content that goes to several nodes is one value until the fork is made; a list, its items.
            values = [value for _, value in (calls[:1] if plain and not asked else calls)]
            self._limit_branch(branch, "max_branch_depth", config.max_branch_depth, msg, values)
            return
        if self.rules is not None:
            allowed = self._allowed_fork(branch, calls)
            if allowed is None:
                return
            if allowed is not calls:  # what plain content would have asked counts as asked
                asked = tuple(dict.fromkeys([*asked, *(node for node, _ in calls)])) if plain else asked
                calls = allowed
        targets = [node for node, _ in calls] or asked
        meeting = None if detached else self._meeting(branch, targets, plain=plain)
        try:
            chosen = None if detached else self._policy(branch.node, meeting, policy)
        except TopologyError as error:
            self._fail_with(branch, ActionError(str(error)), [value for _, value in calls])
            return
        limit = self.graph.nodes[branch.node].limit if plain and branch.node in self.graph.nodes else None
        names = _names(branch, calls, detached)
        share = None if budget is None else limits_of(self, branch, budget)
        self._emit(
            e.BranchForked(
                branch.id, branch.n, branch.last, branch.forks, meeting, calls, branch.children, chosen, names, limit,
                detached, plain, fresh, asked, share,
            )
        )  # fmt: skip
        self._open(branch)

    def _map(self, branch: Branch, decided: Plan, value: Any) -> None:
        if self._items(value) is None:
            msg = (
                f"dispatch 'map' needs a list, not {type(value).__name__}; {branch.node!r} gave {value!r:.80}"
            )
            self._fail_with(branch, ActionError(msg, value), [value])
            return
        # With fewer items than nodes, the nodes left over are asked too: a list is dispatched once.
        targets = tuple(link.target for link in decided.targets)
        self._fork(branch, self._plain_calls(decided, value), plain=True, fresh=decided.fresh, asked=targets)

    def _policy(self, node: str, meeting: str | None, given: Any) -> ConvergencePolicy:
        """The policy of a fork: its own, else the meeting node's, else the forking node's, else the config's."""
        if given is not None:
            return ConvergencePolicy.of(given)
        for name in (meeting, node):
            spec = self.graph.nodes.get(name) if name is not None else None
            if spec is not None and spec.convergence_policy is not None:
                return spec.convergence_policy
        if self._default_policy is None:
            self._default_policy = ConvergencePolicy.of(self.config.convergence_policy)
        return self._default_policy

    def _open(self, branch: Branch) -> None:
        """Open the children that may start now, in call order."""
        fork = branch.fork
        assert fork is not None  # the phase says so
        detached = fork.detached
        while fork.queued and not fork.complete:
            if fork.limit is not None and (fork.open >= fork.limit or self._awaits_check(fork)):
                return
            self._open_child(branch, fork, fork.unopened[0] if fork.again else len(fork.children), detached)
        if detached:
            ids = tuple(child.id for child in fork.children)
            self._move(branch, branch.node, "again", Detached(ids), branch.stack, ())
        elif not fork.calls:
            self._check(fork)

    def _awaits_check(self, fork: Join) -> bool:
        """Whether a child has settled at once: its end may decide the join, or the run, before the next opens."""
        return any(branch.join is fork for branch in self.state.settled)

    def _open_child(self, branch: Branch, fork: Join, call: int, detached: bool) -> None:
        node, value = fork.calls[call]
        index = fork.first + call if fork.again is None else fork.again.get(call, fork.first + call)
        child_id = f"{branch.id}.{index}"
        self._emit(
            e.BranchStarted(
                child_id,
                0,
                fork.event,
                node,
                fork.names[call],
                value,
                None if detached else fork.id,
                call,
                detached,
            )
        )
        self._continue(self.state.branches[child_id])

    def _check(self, join: Join) -> None:
        if join.complete or join.owner.phase is Phase.SETTLED:
            return
        if not join.closing and join.policy.early and self._decided(join):
            self._close(join, None)
        if join.queued and join.owner.phase is Phase.OPENING:
            self._open(join.owner)
        elif join.open == 0 and not join.queued:
            self._complete(join)

    def _decided(self, join: Join) -> bool:
        if not (join.open or join.queued):
            return False
        count = (len(join.delivered), join.failed, len(join.calls) - join.left)
        return bool(join.policy.met(*count) or join.policy.hopeless(*count))

    def _complete(self, join: Join) -> None:
        met = join.policy.met(*tally(join).of(len(join.calls)))
        ids = tuple(c.id for c in sorted(join.contributions, key=order))
        owner = join.owner
        taken, error = None, None
        if self.state.wrote and (met or join.policy.on_insufficient == "proceed"):
            try:
                taken = self._merged(join)
            except StateError as refused:
                error = self._failure(refused, owner)
        self._emit(e.JoinCompleted(owner.id, owner.n, owner.last, join.number, ids, met, taken, error))
        self._continue(owner)

    def _joined(self, branch: Branch) -> None:
        """The join is complete: the branch fails, has nothing to go on with, or goes on."""
        join = branch.fork
        assert join is not None  # the phase says so
        if join.met or join.policy.on_insufficient == "proceed":
            self._proceed(branch, join)
        elif join.policy.on_insufficient == "fail":
            self._give_up(branch, join)
        elif not self._ask_about_join(branch):
            self._give_up(branch, join, "nobody could be asked: there is no channel to a person")

    @abc.abstractmethod
    def _ask_about_join(self, branch: Branch) -> bool:
        """Ask a person what becomes of a join whose policy was not met; False where nobody can be asked."""

    def _give_up(
        self,
        branch: Branch,
        join: Join,
        note: str = "",
        *,
        reason: str = "the policy of its join was not met",
        failure: Failure | None = None,
    ) -> None:
        """Fail `branch`, whose join is complete; what the join collected goes nowhere."""
        for contribution in sorted(join.contributions, key=order)[branch.dropped :]:
            self._drop(branch, contribution.value, contribution.id, reason)
        if self.state.wrote:
            self._drop_pending(join, reason)
        error = failure or self._failure(convergence_error(join, note), branch)
        self._settle(branch, Settled.FAILED, error=error)

    def _merges_late(self, branch: Branch, join: Join) -> bool:
        """Take what was written only now, as a person has let the join go on; True where that cannot be."""
        if not self.state.wrote or join.error is not None:
            return False
        taken, error = None, None
        try:
            taken = self._merged(join)
        except StateError as refused:
            error = self._failure(refused, branch)
        if taken is None and error is None:
            return False
        self._emit(e.StateMerged(branch.id, branch.n, branch.last, taken, join.number, error))
        return error is not None

    def _proceed(self, branch: Branch, join: Join) -> None:
        """Go on with what there is."""
        failures = tally(join).failures
        arrived = sorted(join.contributions, key=order)
        if self._merges_late(branch, join) or join.error is not None:
            reason = "what the children of its join wrote does not go together"
            self._give_up(branch, join, reason=reason, failure=join.error)
        elif not arrived and not failures and join.calls:
            self._settle(branch, Settled.LEFT)
        else:
            value = self.pack(gather_input(arrived, failures))
            self._go_on(branch, join.meeting, value, tuple(c.id for c in arrived))

    def _go_on(
        self,
        branch: Branch,
        meeting: str | None,
        value: Any,
        inputs: tuple[EventId, ...],
    ) -> None:
        if meeting is None:
            if branch.node == START:
                self._settle(branch, Settled.RETURNED, value, contributes=True, inputs=inputs)
            else:
                self._answer(branch, value, inputs)
        elif meeting == branch.node:
            self._move(branch, meeting, "join", value, branch.stack, inputs)
        else:
            self._arrive(branch, meeting, value, inputs)


def _names(branch: Branch, calls: tuple[tuple[str, Any], ...], detached: bool) -> tuple[str, ...]:
    """Stable names: the same call of the next round goes on with the same memory.

    A detached branch may live beside a later fork to the same node, so its name is its own.
    """
    if detached:
        return tuple(f"{branch.name}/{node}~{branch.children + i}" for i, (node, _) in enumerate(calls))
    seen: dict[str, int] = {}
    names = []
    for node, _ in calls:
        index = seen.get(node, 0)
        seen[node] = index + 1
        names.append(f"{branch.name}/{node}#{index}")
    return tuple(names)
