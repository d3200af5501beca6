"""The dict forms of nodes, edges and policies. What has its default value is left out."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import attrs

from marsys_core.errors import TopologyError
from marsys_core.topology.conditions import condition_name
from marsys_core.topology.names import clip, refuse_unknown_fields
from marsys_core.topology.nodes import MAX_TURNS, Edge, Node, NodeKind, kind_of
from marsys_core.topology.policy import ConvergencePolicy

__all__ = ["edge_from", "edge_to_dict", "node_from", "node_to_dict"]

_NODE_FIELDS = tuple(attrs.fields_dict(Node))
_EDGE_FIELDS = tuple(attrs.fields_dict(Edge))


def node_from(value: object) -> Node:
    """Return the node that a node, a name or a mapping of its fields stands for.

    Raises:
        TopologyError: It stands for none.
    """
    if isinstance(value, Node):
        return value
    if isinstance(value, Mapping):
        return Node(**_fields("a node", value, _NODE_FIELDS, required=("name",)))
    if isinstance(value, str):
        return Node(value)
    msg = f"a node is a name, a Node or a mapping, not {clip(value)} ({type(value).__name__})"
    raise TopologyError(msg)


def edge_from(value: object) -> Edge:
    """Return the edge that an edge, a pair of names or a mapping of its fields stands for.

    Raises:
        TopologyError: It stands for none.
    """
    if isinstance(value, Edge):
        return value
    if isinstance(value, Mapping):
        return Edge(**_fields("an edge", value, _EDGE_FIELDS, required=("source", "target")))
    if isinstance(value, tuple | list) and len(value) == 2:
        return Edge(value[0], value[1])
    msg = f"an edge is a text, a pair of names, an Edge or a mapping, not {clip(value)} ({type(value).__name__})"
    raise TopologyError(msg)


def node_to_dict(node: Node) -> dict[str, Any]:
    """Return `node` as JSON data that `node_from` reads."""
    fields: dict[str, Any] = {"name": node.name}
    if node.kind is not kind_of(node.name):
        fields["kind"] = node.kind.value
    if node.agent is not None and node.agent != node.name:
        fields["agent"] = node.agent
    # A gather node cannot have another dispatch than its own.
    if node.dispatch is not None and node.kind is not NodeKind.GATHER:
        fields["dispatch"] = node.dispatch.value
    for name, default in (("limit", None), ("rounds", 1), ("is_convergence_point", False)):
        if (value := getattr(node, name)) != default:
            fields[name] = value
    if node.convergence_policy is not None:
        fields["convergence_policy"] = _policy_to_dict(node.convergence_policy)
    if node.metadata:
        fields["metadata"] = _copied(node.metadata)
    return fields


def edge_to_dict(edge: Edge) -> dict[str, Any]:
    """Return `edge` as JSON data that `edge_from` reads."""
    fields: dict[str, Any] = {"source": edge.source, "target": edge.target}
    if edge.bidirectional:
        fields["bidirectional"] = True
    if edge.pattern is not None:
        fields["pattern"] = edge.pattern.value
        if edge.max_turns != MAX_TURNS:
            fields["max_turns"] = edge.max_turns
    if edge.condition is not None and "condition" not in edge.metadata:
        fields["condition"] = condition_name(edge.condition)
    if edge.metadata:
        fields["metadata"] = _copied(edge.metadata)
    return fields


def _policy_to_dict(policy: ConvergencePolicy) -> dict[str, Any]:
    return attrs.asdict(policy, filter=lambda field, value: value != field.default)


def _copied(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _copied(item) for key, item in value.items()}
    return [_copied(item) for item in value] if isinstance(value, list) else value


def _fields(
    what: str, value: Mapping[Any, Any], known: Collection[str], required: Collection[str]
) -> dict[str, Any]:
    refuse_unknown_fields(what, value, known)
    for field in required:
        if field not in value:
            msg = f"{what} needs the field {field!r}; given: {', '.join(sorted(value)) or 'nothing'}"
            raise TopologyError(msg)
    return dict(value)
