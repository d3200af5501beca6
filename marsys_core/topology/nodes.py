"""The nodes and edges of a topology, and the words that describe them."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Any, TypeVar

import attrs

from marsys_core.errors import TopologyError, nearest
from marsys_core.topology.conditions import Condition, condition_of
from marsys_core.topology.metadata import plain_metadata
from marsys_core.topology.names import RESERVED, canonical, clip, is_gather
from marsys_core.topology.policy import ConvergencePolicy

__all__ = ["MAX_TURNS", "Dispatch", "Edge", "EdgePattern", "Node", "NodeKind", "kind_of"]

MAX_TURNS = 10
"""How many turns a conversation has where its edge does not say."""


class NodeKind(enum.Enum):
    """What stands at a node; behaviour goes by this, never by a name."""

    AGENT = "agent"
    """An agent, a pool or a nested team: one step for each turn."""
    USER = "user"
    """A person who is asked."""
    START = "start"
    """Where a run begins; its successors are the entries."""
    END = "end"
    """Where a branch contributes to the run's result."""
    GATHER = "gather"
    """Costs no step: passes what arrives on to all its successors."""


class Dispatch(enum.Enum):
    """What plain content does at a node with nodes onward of it."""

    STOP = "stop"
    """It answers."""
    NEXT = "next"
    """It goes to the next node; of several to the first in edge order."""
    AGENT = "agent"
    """The agent has to choose; its plain content is its answer."""
    ALL = "all"
    """It forks to all; with a limit, so many children run at a time."""
    EACH = "each"
    """It goes to them one by one, and the node runs again with each answer."""
    MAP = "map"
    """It is a list, and each item goes to one of them, in turn."""


class EdgePattern(enum.Enum):
    """What an edge is besides a way from one node to another."""

    ALTERNATING = "alternating"
    """A conversation: plain content goes to and fro between its two sides."""


_Words = TypeVar("_Words", NodeKind, Dispatch, EdgePattern)


def _kind(value: object) -> NodeKind:
    return _member(NodeKind, "kind of node", value)


def _dispatch(value: object) -> Dispatch | None:
    return None if value is None else _member(Dispatch, "dispatch", value)


def _pattern(value: object) -> EdgePattern | None:
    if value is None:
        return None
    return _member(EdgePattern, "pattern of an edge", value.lower() if isinstance(value, str) else value)


def _turns(value: object) -> int | None:
    return None if value is None else _count("max_turns", value)


def _member(words: type[_Words], what: str, value: object) -> _Words:
    if isinstance(value, words):
        return value
    known = [word.value for word in words]
    if value in known:
        return words(value)
    msg = (
        f"no {what} is called {clip(value)}; there are: {', '.join(known)}.{nearest(str(value)[:40], known)}"
    )
    raise TopologyError(msg)


def _limit(value: object) -> int | None:
    return None if value is None else _count("limit", value)


def _rounds(value: object) -> int:
    return _count("rounds", value)


def _count(what: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value < 2**31:
        msg = f"{what} is a whole number from 1, not {clip(value)}"
        raise TopologyError(msg)
    return value


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        msg = f"a flag of a node or an edge is True or False, not {clip(value)}"
        raise TopologyError(msg)
    return value


def _agent(value: object) -> str | None:
    if value is not None and (not isinstance(value, str) or not value):
        msg = f"agent is the name of a registered agent, not {clip(value)}"
        raise TopologyError(msg)
    return value


def _policy(value: object) -> ConvergencePolicy | None:
    return None if value is None else ConvergencePolicy.of(value)


@attrs.frozen
class Node:
    """One place of a topology.

    The names ``start``, ``end`` and ``user``, in any case, and ``gather:<n>`` have their kind; the first
    three become lower case.

    Args:
        name: Letters, digits, ``_ - . :`` and spaces inside, at most 100 characters.
        kind: A `NodeKind` or its word; only ``agent`` and ``gather`` are free to choose.
        agent: Under which name the agent is registered; by default the node's.
        dispatch: What plain content does here, a `Dispatch` or its word; None leaves it to the number of
            nodes onward. A gather node has ``all``.
        limit: With ``all``: how many children of a fork run at a time; None is no limit.
        rounds: How often the node starts afresh once everything onward was asked.
        is_convergence_point: Forks of which all branches can come here go on here.
        convergence_policy: How forks made here judge what arrives: what `ConvergencePolicy.of` takes.
        metadata: Plain JSON data for whoever wrote the topology; the engine does not read it.

    Raises:
        TopologyError: A value out of its range, or one that has no effect on a node of this kind.
    """

    name: str = attrs.field(converter=canonical)
    kind: NodeKind = attrs.field(default=NodeKind.AGENT, converter=_kind, kw_only=True)
    agent: str | None = attrs.field(default=None, converter=_agent, kw_only=True)
    dispatch: Dispatch | None = attrs.field(default=None, converter=_dispatch, kw_only=True)
    limit: int | None = attrs.field(default=None, converter=_limit, kw_only=True)
    rounds: int = attrs.field(default=1, converter=_rounds, kw_only=True)
    is_convergence_point: bool = attrs.field(default=False, converter=_flag, kw_only=True)
    convergence_policy: ConvergencePolicy | None = attrs.field(default=None, converter=_policy, kw_only=True)
    metadata: Mapping[str, Any] = attrs.field(
        factory=dict, converter=plain_metadata, kw_only=True, hash=False
    )

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "kind", _kind_for(self.name, self.kind))
        if self.kind is NodeKind.AGENT and self.agent is None:
            object.__setattr__(self, "agent", self.name)
        if self.kind is NodeKind.GATHER and self.dispatch is None:
            object.__setattr__(self, "dispatch", Dispatch.ALL)
        _refuse_without_effect(self)

    @property
    def works(self) -> bool:
        """Whether branches can stand here: an agent or a gather node."""
        return self.kind is NodeKind.AGENT or self.kind is NodeKind.GATHER


def kind_of(name: str) -> NodeKind:
    """Return the kind of a node that is given nothing but this name."""
    return _kind_for(name, NodeKind.AGENT)


def _kind_for(name: str, given: NodeKind) -> NodeKind:
    if name in RESERVED:
        kind = NodeKind(name)
    elif is_gather(name):
        kind = NodeKind.GATHER
    elif given.value in RESERVED:
        msg = f"node {name!r} cannot be of kind {given.value!r}: that node is called {given.value!r}"
        raise TopologyError(msg)
    else:
        return given
    if given not in (kind, NodeKind.AGENT):
        msg = f"node {name!r} is of kind {kind.value!r} by its name, not {given.value!r}; choose another name"
        raise TopologyError(msg)
    return kind


def _refuse_without_effect(node: Node) -> None:
    """Raise for settings that nothing would read on a node of this kind."""
    kind = node.kind
    without_effect = {
        "agent": node.agent is not None and kind is not NodeKind.AGENT,
        "dispatch": node.dispatch is not None and not node.works,
        "rounds": node.rounds != 1 and kind is not NodeKind.AGENT,
        "is_convergence_point": node.is_convergence_point and not node.works,
        # A fork stands at `start` where there are several entries, and its join has a policy too.
        "convergence_policy": node.convergence_policy is not None and kind in (NodeKind.USER, NodeKind.END),
    }
    for setting, idle in without_effect.items():
        if idle:
            msg = f"{setting} has no effect on node {node.name!r} of kind {kind.value!r}; remove it"
            raise TopologyError(msg)
    if kind is NodeKind.GATHER and node.dispatch is not Dispatch.ALL:
        msg = f"gather node {node.name!r} passes on to all; its dispatch can only be 'all'"
        raise TopologyError(msg)
    if node.limit is not None and node.dispatch is not Dispatch.ALL:
        msg = f"limit={node.limit} of node {node.name!r} has an effect only with dispatch='all'"
        raise TopologyError(msg)


@attrs.frozen
class Edge:
    """Who may invoke whom.

    Args:
        source: The node that may invoke.
        target: The node that may be invoked.
        bidirectional: An invocation along it, either way, is a call that comes back; without it, it is a
            hand-off.
        pattern: ``"alternating"``, in any case, or an `EdgePattern`, for a conversation: plain content goes
            from each side to the other. None for an ordinary edge.
        max_turns: After how many turns, from 1, a conversation ends; 10 where it is not said.
        condition: Where it is false, the edge is not there for that step: an expression such as
            ``"score < 0.8 and visits < 3"``, or a function of the facts. A bidirectional edge has it both ways.
        metadata: Plain JSON data for whoever wrote the topology; the engine reads ``condition`` in it.

    Raises:
        TopologyError: A name that is none, a bidirectional edge or a conversation from a node to itself, one
            that is both, `max_turns` without the pattern, or a condition that is none or on a conversation.
    """

    source: str = attrs.field(converter=canonical)
    target: str = attrs.field(converter=canonical)
    bidirectional: bool = attrs.field(default=False, converter=_flag, kw_only=True)
    pattern: EdgePattern | None = attrs.field(default=None, converter=_pattern, kw_only=True)
    max_turns: int | None = attrs.field(default=None, converter=_turns, kw_only=True)
    condition: Condition | None = attrs.field(default=None, kw_only=True)
    metadata: Mapping[str, Any] = attrs.field(
        factory=dict, converter=plain_metadata, kw_only=True, hash=False
    )

    def __attrs_post_init__(self) -> None:
        if self.condition is not None or self.metadata:
            object.__setattr__(self, "condition", condition_of(self.condition, self.metadata))
        if self.pattern is not None:
            self._check_conversation()
        elif self.max_turns is not None:
            msg = (
                f"max_turns={self.max_turns} of {self} has an effect only with pattern='alternating', "
                f"as in {self.source} <~{self.max_turns}> {self.target}"
            )
            raise TopologyError(msg)
        if self.bidirectional and self.source == self.target:
            msg = f"node {self.source!r} cannot call itself; write {self.source} -> {self.source} for a hand-off to itself"
            raise TopologyError(msg)

    def _check_conversation(self) -> None:
        if self.source == self.target:
            msg = f"node {self.source!r} cannot be in conversation with itself; name another node"
            raise TopologyError(msg)
        if self.bidirectional:
            msg = (
                f"{self.source} <~> {self.target} goes both ways by itself, and no invocation along it is a call; "
                "remove bidirectional, or the pattern"
            )
            raise TopologyError(msg)
        if self.condition is not None:
            msg = (
                f"{self.source} <~> {self.target} is a conversation and has no condition: it goes on until its turns "
                "are over or a side ends it; put the condition on an edge that leads to it, or out of it"
            )
            raise TopologyError(msg)
        if self.max_turns is None:
            object.__setattr__(self, "max_turns", MAX_TURNS)

    @property
    def arrow(self) -> str:
        """How the text form writes it: ``->``, ``<->``, ``<~>``, or ``<~6>`` for six turns."""
        if self.pattern is None:
            return "<->" if self.bidirectional else "->"
        return "<~>" if self.max_turns == MAX_TURNS else f"<~{self.max_turns}>"

    def __str__(self) -> str:
        return f"{self.source} {self.arrow} {self.target}"
