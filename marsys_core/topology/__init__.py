"""Who may invoke whom: nodes, edges, their text and dict forms, validation, and where forks meet."""

from __future__ import annotations

from marsys_core.topology.graph import Graph, Link
from marsys_core.topology.limits import NO_LIMITS, Limits
from marsys_core.topology.nodes import Dispatch, Edge, EdgePattern, Node, NodeKind
from marsys_core.topology.patterns import Pattern
from marsys_core.topology.policy import ConvergencePolicy
from marsys_core.topology.reducers import Reducer
from marsys_core.topology.topology import Topology

__all__ = [
    "NO_LIMITS",
    "ConvergencePolicy",
    "Dispatch",
    "Edge",
    "EdgePattern",
    "Graph",
    "Limits",
    "Link",
    "Node",
    "NodeKind",
    "Pattern",
    "Reducer",
    "Topology",
]
