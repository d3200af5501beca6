"""Rules that change where plain content goes and where forks meet."""

from __future__ import annotations

from typing import Any

import attrs

from marsys_core.errors import TopologyError
from marsys_core.topology import Dispatch, Node, NodeKind, Topology
from marsys_core.topology.names import canonical, clip, listed

__all__ = ["ConvergencePoint", "Parallel"]


class Parallel:
    """Lets agents work side by side: the nodes that lead to all of them send their plain content to all.

    That is every onward node of theirs, as with ``dispatch="all"``, with no limit on how many at a time.

    Args:
        nodes: Two nodes or more, with a node that leads to all of them.

    Raises:
        TopologyError: There are fewer.
    """

    def __init__(self, *nodes: str) -> None:
        self.nodes = tuple(dict.fromkeys(_node(name) for name in nodes))
        if len(self.nodes) < 2:
            msg = f"it takes two nodes or more, not {listed(map(repr, self.nodes))}"
            raise TopologyError(msg)

    def shape(self, topology: Topology) -> list[Node]:
        """Return the common predecessors, each with dispatch `all`.

        Raises:
            TopologyError: There is none.
        """
        graph = topology.graph
        common = [
            node
            for name, node in graph.nodes.items()
            if all(graph.link(name, target) is not None for target in self.nodes)
        ]
        if not common and not set(self.nodes) <= set(graph.entries):
            msg = (
                f"no node leads to all of {listed(self.nodes)}; add one, as in A -> [{', '.join(self.nodes)}]"
            )
            raise TopologyError(msg)
        # Several entries are side by side in any case, and a gather node sends to all by its nature.
        return [
            attrs.evolve(node, dispatch=Dispatch.ALL, limit=None)
            for node in common
            if node.kind is NodeKind.AGENT or node.kind is NodeKind.GATHER
        ]

    def to_dict(self) -> dict[str, Any]:
        """Return it as data."""
        return {"parallel": list(self.nodes)}

    def __repr__(self) -> str:
        return f"Parallel{self.nodes!r}"


class ConvergencePoint:
    """Lets forks go on at a node if all their branches can come there: sets its `is_convergence_point`.

    Args:
        node: Which node.
    """

    def __init__(self, node: str) -> None:
        self.nodes = (_node(node),)

    def shape(self, topology: Topology) -> list[Node]:
        """Return the node with its flag.

        Raises:
            TopologyError: It is `start`, `end` or `user`, where no branch can meet another.
        """
        return [attrs.evolve(topology.nodes[self.nodes[0]], is_convergence_point=True)]

    def to_dict(self) -> dict[str, Any]:
        """Return it as data."""
        return {"convergence_point": self.nodes[0]}

    def __repr__(self) -> str:
        return f"ConvergencePoint({self.nodes[0]!r})"


def _node(name: object) -> str:
    if not isinstance(name, str):
        msg = f"the name of a node is expected, not {clip(name)}"
        raise TopologyError(msg)
    return canonical(name)
