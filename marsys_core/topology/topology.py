"""`Topology`: who may invoke whom, in whatever form it is written."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from types import MappingProxyType
from typing import Any, Self

import attrs

from marsys_core.errors import TopologyError
from marsys_core.topology import dicts, drawing, text, validation
from marsys_core.topology.conditions import conditions_joined
from marsys_core.topology.graph import Graph
from marsys_core.topology.names import (
    RESERVED,
    canonical,
    clip,
    is_gather,
    refuse_unknown_fields,
    unknown_nodes,
)
from marsys_core.topology.nodes import Dispatch, Edge, Node, NodeKind
from marsys_core.topology.reducers import Reducer, reducers_from, reducers_to_dict
from marsys_core.topology.rules import rule_from, rule_to_dict, rule_to_text

__all__ = ["Topology"]

_FORMS = (("nodes", "edges"), ("agents", "flows"))
_KEYS = ("nodes", "edges", "agents", "flows", "entry_point", "rules", "state")


class Topology:
    """A directed graph of agents: who may invoke whom.

    Edges declare the nodes that they name where `nodes` is empty; where it is not, a name that it lacks is
    found by `validate`. ``start``, ``end``, ``user`` and gather nodes need no declaration. Two edges from
    one node to another are one, bidirectional if either is; a conversation stands alone between its two nodes.

    Args:
        nodes: Names, `Node` objects or mappings of their fields.
        edges: `Edge` objects, texts such as ``"A -> [B, C] -> D"``, pairs of names, or mappings.
        entry_point: Where a run begins if no edge out of ``start`` or ``user`` says so.
        rules: Texts such as ``"timeout(30)"``, mappings such as ``{"timeout": 30}``, or objects. What their
            names stand for is looked up when a run is put together.
        state: How writes to keys of the shared state come together: for each key a reducer's name, a function
            of the old value and the new one, or a dict of ``reducer`` and ``initial``.

    Raises:
        TopologyError: Something cannot be read; all such problems at once.
    """

    def __init__(
        self,
        nodes: Iterable[object] = (),
        edges: Iterable[object] = (),
        *,
        entry_point: str | None = None,
        rules: Iterable[object] = (),
        state: Mapping[str, object] | None = None,
    ) -> None:
        self._nodes: dict[str, Node] = {}
        self._edges: dict[tuple[str, str], Edge] = {}
        self._entry_point: str | None = None
        self._rules: tuple[object, ...] = ()
        self._graph: Graph | None = None
        self._warnings: tuple[str, ...] = ()
        self._sound = False
        self._fingerprint: str | None = None
        self._state: dict[str, Reducer] = {}
        self._fill(nodes, edges, entry_point, rules, ("nodes", "edges"), state)

    @classmethod
    def of(cls, value: object) -> Topology:
        """Return the topology that `value` stands for.

        Args:
            value: A topology, which is returned as it is; a text; a list of texts and edges; or a mapping
                with ``nodes`` and ``edges`` or with ``agents`` and ``flows``, ``entry_point`` and ``state``.

        Raises:
            TopologyError: It cannot be read.
        """
        if isinstance(value, Topology):
            return value
        if isinstance(value, Mapping):
            return cls.from_dict(value)
        if isinstance(value, str):
            return cls(edges=(value,))
        if isinstance(value, list | tuple):
            return cls(edges=value)
        msg = f"a topology is a Topology, a text, a list of edges or a mapping, not {clip(value)} ({type(value).__name__})"
        if hasattr(value, "as_node"):
            msg += "; a team runs by itself: await team.run(task)"
        raise TopologyError(msg)

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Topology:
        """Return the topology of a mapping, as `to_dict` makes it or with ``agents`` and ``flows``.

        Raises:
            TopologyError: It cannot be read; all problems at once, each with its path.
        """
        refuse_unknown_fields("a topology", value, _KEYS)
        used = [form for form in _FORMS if any(key in value for key in form)]
        if len(used) > 1:
            msg = "write a topology with 'nodes' and 'edges' or with 'agents' and 'flows', not with both"
            raise TopologyError(msg)
        form = used[0] if used else _FORMS[0]
        topology = cls()
        topology._fill(
            value.get(form[0], ()),
            value.get(form[1], ()),
            value.get("entry_point"),
            value.get("rules", ()),
            form,
            value.get("state"),
        )
        return topology

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON data that `from_dict` reads.

        A function, of the state or as a condition, appears as ``module:qualname``, which `from_dict` refuses:
        it has to be given in Python.
        """
        value: dict[str, Any] = {
            "nodes": [dicts.node_to_dict(node) for node in self._nodes.values()],
            "edges": [dicts.edge_to_dict(edge) for edge in self._edges.values()],
        }
        if self._entry_point is not None:
            value["entry_point"] = self._entry_point
        if self._rules:
            value["rules"] = [rule_to_dict(rule) for rule in self._rules]
        if self._state:
            value["state"] = reducers_to_dict(self._state)
        return value

    @property
    def nodes(self) -> Mapping[str, Node]:
        """The nodes by name, in the order of the definition."""
        return MappingProxyType(self._nodes)

    @property
    def edges(self) -> tuple[Edge, ...]:
        """The edges, in the order of the definition."""
        return tuple(self._edges.values())

    @property
    def entry_point(self) -> str | None:
        """Where a run begins if no edge out of ``start`` or ``user`` says so."""
        return self._entry_point

    @entry_point.setter
    def entry_point(self, name: str | None) -> None:
        self._entry_point = None if name is None else canonical(name)
        self._changed()

    @property
    def rules(self) -> tuple[object, ...]:
        """The rules, each a `RuleCall` or an object, in the order in which they are asked.

        Raises:
            TopologyError: On setting, one cannot be read; all such problems at once.
        """
        return self._rules

    @rules.setter
    def rules(self, rules: Iterable[object]) -> None:
        problems: list[str] = []
        self._set_rules(rules, problems)
        if problems:
            raise _error(problems)
        self._changed()

    @property
    def state(self) -> Mapping[str, Reducer]:
        """How writes to keys of the shared state come together, by key; it takes what the argument takes."""
        return MappingProxyType(self._state)

    @state.setter
    def state(self, value: Mapping[str, object]) -> None:
        self._state = reducers_from(value)
        self._changed()

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the last `validate` found to look wrong; empty before it, and after a change."""
        return self._warnings

    def add_node(self, node: str | Node, /, **fields: Any) -> Self:
        """Add a node, by its name and the fields of `Node`, or as it is.

        Raises:
            TopologyError: There is one of that name, or a field is wrong.
        """
        if isinstance(node, Node) and fields:
            msg = f"give a Node or the fields of one, not both: {', '.join(fields)}"
            raise TopologyError(msg)
        made = node if isinstance(node, Node) else dicts.node_from({**fields, "name": node})
        self._put_node(made)
        self._changed()
        return self

    def update_node(self, name: str, /, **fields: Any) -> Self:
        """Change fields of a node; its name and its place in the order stay.

        Raises:
            TopologyError: There is no such node, or a field is wrong.
        """
        node = self._nodes[self._known(name)]
        if "name" in fields:
            msg = f"node {node.name!r} cannot be renamed; add another and remove this one"
            raise TopologyError(msg)
        self._nodes[node.name] = dicts.node_from({**dicts.node_to_dict(node), **fields})
        self._changed()
        return self

    def remove_node(self, name: str) -> Self:
        """Remove a node with its edges; if it was the entry point, there is none afterwards.

        Raises:
            TopologyError: There is no such node.
        """
        name = self._known(name)
        del self._nodes[name]
        self._edges = {pair: edge for pair, edge in self._edges.items() if name not in pair}
        if self._entry_point == name:
            self._entry_point = None
        self._changed()
        return self

    def add_edge(self, source: str | Edge, target: str | None = None, **fields: Any) -> Self:
        """Add an edge between nodes that are there.

        ``add_edge("A", "B", bidirectional=True)``, ``add_edge(Edge("A", "B"))`` or ``add_edge("A -> B")``; for a
        conversation ``add_edge("A", "B", pattern="alternating", max_turns=6)`` or ``add_edge("A <~6> B")``.

        Raises:
            TopologyError: A node is not there, or the edge cannot be read.
        """
        if target is not None:
            source = dicts.edge_from({"source": source, "target": target, **fields})
        elif fields:
            msg = f"these fields need a source and a target of their own: {', '.join(fields)}"
            raise TopologyError(msg)
        reading = self._read(source)
        missing = [
            name for name in reading.names if name not in self._nodes and not _needs_no_declaration(name)
        ]
        if problems := [
            f"{problem} Add it with add_node first." for problem in unknown_nodes(missing, self._nodes)
        ]:
            raise _error(problems)
        self._take(reading, declare=False)
        self._changed()
        return self

    def remove_edge(self, source: str, target: str) -> Self:
        """Remove the edge from `source` to `target`; a bidirectional one, or a conversation, from either end.

        Raises:
            TopologyError: There is no such edge.
        """
        pair = (self._known(source), self._known(target))
        back = self._edges.get(pair[::-1])
        if pair not in self._edges and back is not None and (back.bidirectional or back.pattern is not None):
            pair = pair[::-1]
        if pair not in self._edges:
            there = [str(edge) for edge in self._edges.values() if pair[0] in (edge.source, edge.target)]
            msg = f"no edge leads from {pair[0]!r} to {pair[1]!r}; the edges of {pair[0]!r}: {'; '.join(there[:20]) or 'none'}"
            raise TopologyError(msg)
        del self._edges[pair]
        self._changed()
        return self

    @property
    def graph(self) -> Graph:
        """The compiled form, made when first asked for after a change.

        Raises:
            TopologyError: An edge names a node that is not there.
        """
        if self._graph is None:
            self._graph = Graph(self._nodes, self._edges.values(), self._entry_point)
        return self._graph

    def validate(self, known_agents: Iterable[str] | None = None, also: Iterable[str] = ()) -> None:
        """Check that this can run, and set `warnings`.

        Args:
            known_agents: The names of all registered agents; None leaves them unchecked.
            also: Problems that were found elsewhere, in its rules for example, to be raised with the others.

        Raises:
            TopologyError: It cannot run; every problem at once, each with the nodes and the fix.
        """
        # What the graph itself allows is worked out once; who is registered may differ from run to run.
        known = known_agents if isinstance(known_agents, Collection | None) else frozenset(known_agents)
        found = [] if self._sound else list(validation.problems(self._nodes, self.edges, self._entry_point))
        if known is not None:
            found += validation.unregistered(self._nodes, known)
        found += also
        if found:
            raise TopologyError("this topology cannot run:", found)
        if not self._sound:
            self._warnings = tuple(validation.warnings(self.graph))
            self._sound = True

    @property
    def fingerprint(self) -> str:
        """A SHA-256 in hexadecimal of everything in `to_dict`, the order of nodes and edges included."""
        if self._fingerprint is None:
            import hashlib
            import json

            canonical_text = json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"))
            self._fingerprint = hashlib.sha256(canonical_text.encode()).hexdigest()
        return self._fingerprint

    def to_mermaid(self) -> str:
        """Return a Mermaid flowchart."""
        return drawing.draw_mermaid(self._nodes, self._edges.values())

    def to_dot(self) -> str:
        """Return a directed graph in the DOT language of Graphviz."""
        return drawing.draw_dot(self._nodes, self._edges.values())

    def to_text(self) -> str:
        """Return a drawing in text: each node, what is set on it and where its edges lead, and the rules."""
        return drawing.draw_text(self._nodes, self._edges.values(), map(rule_to_text, self._rules))

    def __str__(self) -> str:
        return drawing.write_text(self._nodes, self._edges.values())

    def __repr__(self) -> str:
        return f"<Topology: {len(self._nodes)} nodes, {len(self._edges)} edges>"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Topology):
            return NotImplemented
        return self is other or self.fingerprint == other.fingerprint

    __hash__ = None  # type: ignore[assignment]  # it can be changed; `fingerprint` is for keys

    def _changed(self) -> None:
        self._graph = None
        self._warnings = ()
        self._sound = False
        self._fingerprint = None

    def _known(self, name: object) -> str:
        found = canonical(name)
        for problem in unknown_nodes([found], self._nodes):
            raise TopologyError(problem)
        return found

    def _put_node(self, node: Node) -> None:
        if node.name in self._nodes:
            msg = f"node {node.name!r} is there already; change it with update_node, or choose another name"
            raise TopologyError(msg)
        self._nodes[node.name] = node

    def _put_edge(self, edge: Edge) -> None:
        pair = (edge.source, edge.target)
        if (present := self._edges.get(pair)) is not None:
            if (edge.pattern, edge.max_turns) != (present.pattern, present.max_turns):
                msg = f"edge {edge} stands beside {present}, and between two nodes a conversation is alone; keep one"
                raise TopologyError(msg)
            edge = attrs.evolve(
                edge,
                bidirectional=edge.bidirectional or present.bidirectional,
                condition=conditions_joined(present.condition, edge.condition, edge),
                metadata={**present.metadata, **edge.metadata},
            )
        self._edges[pair] = edge

    def _read(self, value: object) -> text.Reading:
        if isinstance(value, str):
            return text.read(value, self._nodes)
        edge = dicts.edge_from(value)
        return text.Reading(names=dict.fromkeys((edge.source, edge.target)), edges=[edge])

    def _take(self, reading: text.Reading, *, declare: bool) -> None:
        for name in reading.names:
            if name not in self._nodes and (
                declare or name in reading.declared or _needs_no_declaration(name)
            ):
                self._nodes[name] = Node(name)
        for edge in reading.edges:
            self._put_edge(edge)
        for name in reading.forks:
            node = self._nodes.get(name)
            if node is not None and node.kind is NodeKind.AGENT and node.dispatch is None:
                self._nodes[name] = attrs.evolve(node, dispatch=Dispatch.ALL)

    def _fill(
        self,
        nodes: object,
        edges: object,
        entry_point: object,
        rules: object,
        keys: tuple[str, str],
        state: object = None,
    ) -> None:
        problems: list[str] = []
        self._set_rules(rules, problems)
        given = _items(keys[0], nodes, problems)
        for index, value in enumerate(given):
            _attempt(
                lambda node: self._put_node(dicts.node_from(node)), value, f"$.{keys[0]}[{index}]", problems
            )
        declare = not given
        items = [edges] if isinstance(edges, str) else _items(keys[1], edges, problems)
        for index, value in enumerate(items):
            path = "" if isinstance(value, str) else f"$.{keys[1]}[{index}]"  # texts show their place
            _attempt(lambda edge: self._take(self._read(edge), declare=declare), value, path, problems)
        if entry_point is not None:
            _attempt(self._set_entry_point, entry_point, "$.entry_point", problems)
        if state is not None:
            _attempt(self._set_state, state, "", problems)
        if problems:
            raise _error(problems)

    def _set_rules(self, rules: object, problems: list[str]) -> None:
        read: list[object] = []
        for index, value in enumerate(_items("rules", rules, problems)):
            _attempt(lambda rule: read.append(rule_from(rule)), value, f"$.rules[{index}]", problems)
        self._rules = tuple(read)

    def _set_entry_point(self, name: object) -> None:
        self._entry_point = canonical(name)

    def _set_state(self, value: object) -> None:
        self._state = reducers_from(value)


def _needs_no_declaration(name: str) -> bool:
    return name in RESERVED or is_gather(name)


def _items(key: str, values: object, problems: list[str]) -> list[object]:
    if isinstance(values, str | bytes | Mapping) or not isinstance(values, Iterable):
        problems.append(f"a list is expected, not {clip(values)} ({type(values).__name__}) @ $.{key}")
        return []
    return list(values)


def _attempt(take: Callable[[object], None], value: object, path: str, problems: list[str]) -> None:
    """Take one item; what is wrong with it is added to the problems, to be raised with all others."""
    try:
        take(value)
    except TopologyError as error:
        where = f" @ {path}" if path else ""
        problems += [f"{problem}{where}" for problem in error.problems or (str(error),)]


def _error(problems: list[str]) -> TopologyError:
    if len(problems) == 1:
        return TopologyError(problems[0])
    return TopologyError("this topology cannot be read:", problems)
