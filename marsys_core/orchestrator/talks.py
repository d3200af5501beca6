"""Conversations: whose turn it is, and where what was said last goes on."""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Any

import attrs

from marsys_core.actions import Action, Content, EndConversation, Invoke
from marsys_core.events import EventId
from marsys_core.orchestrator.branch import Branch
from marsys_core.orchestrator.forks import Forks
from marsys_core.orchestrator.plain import Plan, enclosing, plan
from marsys_core.topology import Edge, Graph, Link

__all__ = ["Talks", "max_turns_of", "turn_of"]

_ANSWERS = frozenset({"return", "join", "again"})
"""How a branch moves when a node gets back what it has asked for; nobody arrives there."""


def max_turns_of(edge: Edge, opener: str, limits: Mapping[str, int] | None = None) -> int:
    """Return after how many turns a conversation along `edge` ends: the smaller of its own number and a limit.

    Args:
        edge: The edge of the conversation.
        opener: The side that took the first turn.
        limits: By the opener; ``""`` is for all that are not named.
    """
    own = edge.max_turns
    assert own is not None  # an edge with the pattern has it
    return own if not limits else min(own, limits.get(opener, limits.get("", own)))


def turn_of(graph: Graph, branch: Branch) -> int:
    """Return which turn of its conversation the step is that `branch` is about to take; 0 for no conversation.

    A branch that arrives at a side opens one. A side that gets answers to what it has asked does not, and
    neither does one whose other side waits, on the call stack or for a join: it could not answer. With what a
    person answered, a side goes on with the turn in which it asked.
    """
    talk = graph.conversations.get(branch.node)
    if talk is None or branch.how in _ANSWERS:
        return 0
    if talk.target in branch.stack or talk.target in enclosing(branch):
        return 0
    if branch.how == "answer":
        return branch.turn
    return branch.turn + 1 if branch.how == "turn" else 1


@attrs.define(eq=False)
class Talks(Forks):
    """What is said in a conversation: a turn, or its last word."""

    def _is_turn(self, branch: Branch, action: Invoke) -> bool:
        """Whether `action` goes along the edge of a conversation, and to nobody who waits for this branch."""
        talk = self.graph.conversations.get(branch.node)
        if talk is None or not action.wait or len(action.calls) > 1:
            return False
        return action.calls[0][0] == talk.target and talk.target not in branch.stack

    def _unasked(
        self, branch: Branch, action: Action | None, offered: bool, shut: Container[str]
    ) -> tuple[str, ...]:
        decided = self._said(branch, action, offered, shut)
        return () if decided is None else decided.unasked

    def _plan_of(self, branch: Branch, action: Action, offered: bool, shut: Container[str]) -> Plan | None:
        said = self._said(branch, action, offered, shut) if self.graph.conversations else None
        return said or super()._plan_of(branch, action, offered, shut)

    def _said(
        self, branch: Branch, action: Action | None, offered: bool, shut: Container[str]
    ) -> Plan | None:
        """Decide where goes what `action` says in a conversation; None where it says nothing in one."""
        if type(action) is Invoke:
            if not self._is_turn(branch, action):
                return None
        elif not branch.turn or (type(action) is not Content and type(action) is not EndConversation):
            return None
        talk = self.graph.conversations[branch.node]
        if not branch.turn or (type(action) is not EndConversation and self._has_turns_left(branch, talk)):
            return Plan(None, [talk], turn=True)
        decided = plan(self.graph, branch, offered, shut)
        if decided.mode is not None or (branch.own is not None and branch.node in branch.own):
            return decided
        # The conditions of the other side are judged when the value gets there.
        other = plan(self.graph, attrs.evolve(branch, node=talk.target), self._offers(talk.target))
        return Plan(None, [], over=talk.target) if other.targets else other

    def _has_turns_left(self, branch: Branch, talk: Link) -> bool:
        opener = branch.node if branch.turn % 2 else talk.target
        return branch.turn < max_turns_of(talk.edge, opener, self.turn_limits)

    def _offers(self, node: str) -> bool:
        """Whether the agent at `node` is offered to invoke others."""
        return self._traits(node).tools

    def _talk(self, branch: Branch, action: Action | None) -> bool:
        """Carry out what `action` says in a conversation; False where it says nothing in one."""
        decided = self._said(branch, action, branch.offered, branch.closed)
        if decided is None:
            return False
        value: Any = action.calls[0][1] if type(action) is Invoke else getattr(action, "value", None)
        inputs: tuple[EventId, ...] = (branch.last,)
        if decided.over:
            self._move(branch, decided.over, "over", value, branch.stack, inputs)
        elif not decided.turn:
            self._planned = decided
            self._dispatch(branch, value, inputs)
        elif not self._ends_at(branch, decided.targets[0].target, value, inputs, branch):
            self._move(branch, decided.targets[0].target, "turn", value, branch.stack, inputs)
        return True
