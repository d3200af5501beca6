"""Where plain content goes, and which reserved tools an agent is offered: what the topology decides."""

from __future__ import annotations

from collections.abc import Container, Iterator
from typing import Any

import attrs

from marsys_core.orchestrator.branch import Branch
from marsys_core.topology import Dispatch, Graph, Link, Node, NodeKind

__all__ = ["Offer", "Plan", "describe", "enclosing", "is_loop", "offer", "onward", "plan"]


@attrs.define(eq=False)
class Plan:
    """What to do with plain content.

    Args:
        mode: The dispatch that applied; None where nothing was onward.
        targets: The nodes to invoke, with the links to them; empty means that the content answers.
        fresh: The node starts a new round with this.
        unasked: Onward nodes that were left alone because the agent was free to choose.
        turn: It is what a side of a conversation says to the other one, the only target.
        over: The conversation has ended, and the content goes on from this node, its other side.
    """

    mode: Dispatch | None
    targets: list[Link]
    fresh: bool = False
    unasked: tuple[str, ...] = ()
    turn: bool = False
    over: str = ""


@attrs.frozen
class Offer:
    """What an agent may do besides answering, at its place in the run."""

    invoke: tuple[str, ...] = ()
    answer: bool = False
    finish: bool = False
    ask: bool = False
    end: bool = False


def enclosing(branch: Branch) -> Iterator[str]:
    """Yield the invoking nodes of all forks that enclose `branch`, innermost first."""
    join = branch.join
    while join is not None:
        yield join.owner.node
        join = join.owner.join


def onward(graph: Graph, branch: Branch, asked: Container[str], shut: Container[str] = ()) -> list[Link]:
    """Return the links along which plain content could go from where `branch` stands, in edge order.

    `shut` are the targets of links whose condition is false.
    """
    links = graph.leads[branch.node]
    if not links:
        return []
    closed: Container[str | None] = ()
    if branch.join or branch.stack:
        closed = {branch.caller, *enclosing(branch)}
    if graph.conversations and (talk := graph.conversations.get(branch.node)) is not None:
        closed = {talk.target, branch.caller, *enclosing(branch)}
    return [
        link
        for link in links
        if link.target not in asked and link.target not in closed and link.target not in shut
    ]


def plan(graph: Graph, branch: Branch, offered: bool, shut: Container[str] = ()) -> Plan:
    """Decide what plain content does at the node of `branch`, whose agent was `offered` to invoke others or not."""
    node = graph.nodes[branch.node]
    if branch.own is not None and node.name in branch.own:
        return Plan(None, [])
    asked = branch.asked.get(node.name, _EMPTY) if branch.asked else _EMPTY
    first = _plan_round(graph, branch, node, offered, asked, branch.stepped, shut)
    if first.targets or first.unasked or not _may_start_afresh(branch, node):
        return first
    again = _plan_round(graph, branch, node, offered, _EMPTY, _EMPTY, shut)
    again.fresh = True
    return again if again.targets else first


_EMPTY: frozenset[str] = frozenset()


def _may_start_afresh(branch: Branch, node: Node) -> bool:
    return node.rounds > 1 and (branch.rounds or {}).get(node.name, 1) < node.rounds


def _plan_round(
    graph: Graph,
    branch: Branch,
    node: Node,
    offered: bool,
    asked: Container[str],
    stepped: Container[str],
    shut: Container[str],
) -> Plan:
    links = onward(graph, branch, asked, shut)
    if not links:
        return Plan(None, [])
    mode = _mode(graph, node, offered, links, shut)
    if mode is Dispatch.STOP:
        return Plan(mode, [])
    if mode is Dispatch.AGENT:
        return Plan(mode, [], unasked=tuple(link.target for link in links))
    chosen = links[:1] if mode in (Dispatch.NEXT, Dispatch.EACH) else links
    # Loops are made by actions, conditions and rounds: content never comes back by a one-way edge on its own.
    # A circle of gathers takes no step, so nothing else would end it.
    passed = branch.passed or ()
    return Plan(
        mode,
        [
            link
            for link in chosen
            if (link.bidirectional or link.target not in stepped or link.edge.condition is not None)
            and link.target not in passed
        ],
    )


def is_loop(branch: Branch, link: Link) -> bool:
    """Whether plain content along `link` comes back where `branch` has stepped, by a one-way condition."""
    return link.edge.condition is not None and not link.bidirectional and link.target in branch.stepped


def _mode(graph: Graph, node: Node, offered: bool, links: list[Link], shut: Container[str]) -> Dispatch:
    if node.kind is NodeKind.GATHER:
        return Dispatch.ALL
    if node.dispatch is not None:
        return node.dispatch
    if len(links) > 1 or (node.name in graph.ends and "end" not in shut):
        return Dispatch.AGENT
    return Dispatch.AGENT if offered and links[0].bidirectional else Dispatch.NEXT


def offer(graph: Graph, branch: Branch, shut: Container[str] = ()) -> Offer:
    """Return what the agent at the node of `branch` may do; it never sees a tool that it may not use.

    `shut` are the targets of links whose condition is false.
    """
    name = branch.node
    inside = branch.join is not None or bool(branch.stack)
    closed: Container[str | None] = {branch.caller, *enclosing(branch)} if inside else ()
    if branch.turn:  # what it says goes there by itself
        closed = {graph.conversations[name].target, branch.caller, *enclosing(branch)}
    names = tuple(
        [link.target for link in graph.leads[name] if link.target not in closed and link.target not in shut]
    )
    return Offer(
        invoke=names,
        answer=inside,
        finish="end" not in shut if name in graph.ends else name in graph.exits and not inside,
        ask=name in graph.asks and "user" not in shut,
        end=branch.turn > 0,
    )


def describe(graph: Graph, branch: Branch, shut: Container[str] = ()) -> str:
    """Say in words what `offer` offers, for a note to the agent."""
    given = offer(graph, branch, shut)
    parts: list[Any] = [f"agents you may invoke: {', '.join(given.invoke) or 'none'}"]
    parts += ["return_result" if given.answer else "", "finish" if given.finish else ""]
    parts += ["end_conversation"] if given.end else []
    parts += ["ask_user" if given.ask else ""]
    return "; ".join(part for part in parts if part)
