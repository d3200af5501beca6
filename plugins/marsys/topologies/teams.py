"""Patterns without one middle: a tree of managers, and a mesh of equals."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import combinations, pairwise
from typing import Any

from marsys.topologies._checks import several, team
from marsys_core.errors import TopologyError
from marsys_core.topology import Dispatch, Edge, Node, Topology

__all__ = ["hierarchical", "mesh"]

_MAX_DEPTH = 100


def hierarchical(
    tree: Mapping[str, Any] | None = None,
    *,
    root: str | None = None,
    levels: Iterable[Iterable[str]] | None = None,
) -> Topology:
    """Return a topology in which each manager calls those below it, all at once, and answers above.

    Managers run twice and leaves once. Give `tree`, or `root` and `levels`.

    Args:
        tree: Children by parent: ``{"CEO": ["Sales", "Tech"], "Tech": ["Dev"]}``, or nested:
            ``{"CEO": {"Sales": [], "Tech": ["Dev"]}}``. A run begins at the one that is nobody's child.
        root: The agent at the top.
        levels: The agents of each level below it. Each level is dealt out to the one above in blocks as
            even as they can be, in order; for any other shape use `tree`.

    Raises:
        TopologyError: Neither or both ways, no root or several, an agent with two parents, or a cycle.
    """
    if (tree is None) == (root is None and levels is None):
        msg = "hierarchical: give tree=, or root= and levels="
        raise TopologyError(msg)
    if tree is not None:
        children = _flat(tree)
    elif root is None or levels is None:
        msg = "hierarchical: root= and levels= go together"
        raise TopologyError(msg)
    else:
        children = _dealt(root, levels)
    top = _top(children)
    order = _downwards(top, children)
    nodes = [Node(name, dispatch=Dispatch.ALL if children.get(name) else None) for name in order]
    edges = [Edge(name, child, bidirectional=True) for name in order for child in children.get(name, ())]
    return Topology(nodes, edges, entry_point=top)


def mesh(agents: Iterable[str], fully_connected: bool = True) -> Topology:
    """Return a topology in which agents can call each other and decide themselves whom.

    Args:
        agents: A run begins at the first; its plain content is its answer (1 step).
        fully_connected: True: every pair is connected; False: each agent with its two neighbours in a ring.

    Raises:
        TopologyError: Fewer than two agents, a name that is none, or one that stands twice.
    """
    names = several("mesh", "agents", agents, least=2)
    team("mesh", agents=names)
    pairs = combinations(names, 2) if fully_connected or len(names) == 2 else pairwise([*names, names[0]])
    nodes = [Node(name, dispatch=Dispatch.AGENT) for name in names]
    return Topology(nodes, [Edge(a, b, bidirectional=True) for a, b in pairs], entry_point=names[0])


def _flat(tree: object) -> dict[str, list[str]]:
    """Return the children of each parent of a tree, nested or not."""
    if not isinstance(tree, Mapping):
        msg = f"hierarchical: tree is a mapping from parents to children, not {tree!r}"
        raise TopologyError(msg)
    children: dict[str, list[str]] = {}
    waiting: list[tuple[Mapping[str, Any], int]] = [(tree, 0)]
    for below, depth in waiting:
        if depth > _MAX_DEPTH:
            msg = f"hierarchical: tree is nested deeper than {_MAX_DEPTH} levels"
            raise TopologyError(msg)
        for parent, value in below.items():
            if parent in children:
                msg = f"hierarchical: tree has {parent!r} as a parent twice; write its children in one place"
                raise TopologyError(msg)
            place = f"tree[{parent!r}]"
            children[parent] = several("hierarchical", place, () if value is None else value, least=0)
            team("hierarchical", tree=[parent], **{place: children[parent]})
            if isinstance(value, Mapping):
                waiting.append((value, depth + 1))
    return children


def _dealt(root: str, levels: Iterable[Iterable[str]]) -> dict[str, list[str]]:
    children: dict[str, list[str]] = {root: []}
    above = [root]
    for index, level in enumerate(several("hierarchical", "levels", levels)):
        names = several("hierarchical", f"levels[{index}]", level)
        team("hierarchical", root=root, **{f"levels[{index}]": names})
        share, extra = divmod(len(names), len(above))
        start = 0
        for position, parent in enumerate(above):
            end = start + share + (position < extra)
            children[parent] = names[start:end]
            start = end
        above = names
    return children


def _top(children: Mapping[str, list[str]]) -> str:
    below = {child for names in children.values() for child in names}
    tops = [name for name in children if name not in below]
    if len(tops) != 1:
        found = (
            f"there are {len(tops)}: {', '.join(map(repr, tops))}" if tops else "every agent is below another"
        )
        msg = f"hierarchical: the tree needs one root, an agent that is nobody's child; {found}"
        raise TopologyError(msg)
    return tops[0]


def _downwards(top: str, children: Mapping[str, list[str]]) -> list[str]:
    """Return all agents level by level, having checked that each has one place."""
    order = [top]
    for name in order:
        order += children.get(name, ())
        if len(order) > len(set(order)):
            twice = next(child for child in children[name] if order.count(child) > 1)
            msg = f"hierarchical: {twice!r} stands below {name!r} and in another place; each agent has one parent"
            raise TopologyError(msg)
    team("hierarchical", tree=order)
    if missing := [name for name in children if name not in order]:
        msg = (
            f"hierarchical: {', '.join(map(repr, missing))} cannot be reached from {top!r}; there is a cycle"
        )
        raise TopologyError(msg)
    return order
