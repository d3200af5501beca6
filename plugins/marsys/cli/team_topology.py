"""The topology of a team file."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from marsys.cli.problems import Problems, at, clipped
from marsys_core.errors import ConfigError, TopologyError, UnknownName, nearest
from marsys_core.topology import Node, NodeKind, Topology

if TYPE_CHECKING:
    from marsys_core.plugins import Composition

__all__ = ["lay_out"]

_PATH = "$.topology"
_KEYS = ("flows", "edges", "nodes", "entry_point", "rules", "pattern", "state")


def lay_out(
    given: object, agents: Sequence[str], composition: Composition | None, problems: Problems
) -> Topology | None:
    """Make the topology of ``[topology]``; what is wrong is added to `problems`.

    It is written as ``flows``, a list of texts; as ``nodes`` and ``edges``, as `Topology.to_dict` makes them;
    or as ``pattern`` with its arguments. ``[topology.nodes.NAME]`` sets fields of a node, ``[topology.state]``
    says how writes to the shared state come together, and ``rules`` go with all of them. A single agent needs
    no topology.

    Args:
        given: The table, or a text, or a list of texts.
        agents: The names of the agents.
        composition: What plugins declare, to look patterns up; None where that is not known.
        problems: Takes what is wrong.
    """
    before = len(problems.found)
    topology = _topology(given, agents, composition, problems)
    if topology is None:
        return None
    if len(problems.found) == before:
        _check(topology, agents, problems)
        if topology.rules and composition is not None:
            _check_rules(topology, composition, problems)
        if composition is not None and topology.graph.conditional:
            _check_conditions(topology, composition, problems)
    return topology


def _topology(
    given: object, agents: Sequence[str], composition: Composition | None, problems: Problems
) -> Topology | None:
    if given is None:
        if len(agents) > 1:
            problems.add('with several agents, say who invokes whom: flows = ["A -> B"]', _PATH)
        return _of_one(agents[0], problems) if len(agents) == 1 else None
    if isinstance(given, str | list):
        given = {"flows": given}
    table = dict(problems.table(given, _PATH))
    flags = table.pop("nodes") if isinstance(table.get("nodes"), dict) else {}
    entry_point, rules = table.pop("entry_point", None), table.pop("rules", ())
    state = table.pop("state", None)
    if "pattern" in table:
        topology = _of_pattern(table, composition, problems)
    else:
        problems.refuse_unknown(table, _KEYS, _PATH)
        topology = _of_flows(table, problems)
    if topology is None:
        return None
    for name, fields in flags.items():
        _set_fields(topology, name, fields, problems)
    if entry_point is not None:
        _attempt(lambda: setattr(topology, "entry_point", entry_point), at(_PATH, "entry_point"), problems)
    path = at(_PATH, "rules")
    _attempt(lambda: setattr(topology, "rules", rules), path, problems, instead_of="$.rules")
    if state is not None:
        _attempt(lambda: setattr(topology, "state", state), _PATH, problems, instead_of="$")
    return topology


def _of_one(agent: str, problems: Problems) -> Topology | None:
    made: list[Topology] = []
    _attempt(
        lambda: made.append(Topology(nodes=[agent])), at("$.agents", agent), problems, instead_of="$.nodes[0]"
    )
    return made[0] if made else None


def _of_flows(table: Mapping[str, Any], problems: Problems) -> Topology | None:
    if "flows" in table and "edges" in table:
        problems.add("write 'flows' or 'edges', not both", _PATH)
        return None
    key = "flows" if "flows" in table else "edges"
    edges = table.get(key, [])
    path = at(_PATH, key)
    if isinstance(edges, str):
        edges = [edges]
    nodes = table.get("nodes", [])
    if not problems.expect(edges, list, path) or not problems.expect(nodes, list, at(_PATH, "nodes")):
        return None
    if not edges and not nodes:
        problems.add('nothing says who invokes whom: flows = ["A -> B"]', _PATH)
        return None
    before = len(problems.found)
    for index, edge in enumerate(edges):
        # One by one, so that each problem has its place; then all together, for what they have in common.
        _attempt(lambda edge=edge: Topology(edges=[edge]), at(path, index), problems, instead_of="$.edges[0]")
    if len(problems.found) > before:
        return None
    made: list[Topology] = []
    _attempt(lambda: made.append(Topology(nodes, edges)), _PATH, problems, instead_of="$")
    return made[0] if made else None


def _of_pattern(
    table: dict[str, Any], composition: Composition | None, problems: Problems
) -> Topology | None:
    name, path = table.pop("pattern"), at(_PATH, "pattern")
    if not problems.expect(name, str, path) or composition is None:
        return None
    try:
        build = composition.item("topology", name).build
    except UnknownName as error:
        problems.add(str(error).replace("no topology is", "no pattern is", 1), path)
        return None
    parameters = inspect.signature(build).parameters
    unknown = [key for key in table if key not in parameters]
    for key in unknown:
        hint = nearest(key, parameters) or f" It takes: {', '.join(parameters)}."
        problems.add(f"pattern {name!r} does not take {clipped(key)}.{hint}", _PATH)
    missing = [p.name for p in parameters.values() if p.default is p.empty and p.name not in table]
    for key in missing:
        problems.add(f"pattern {name!r} needs {key!r}", _PATH)
    if unknown or missing:
        return None
    made: list[Topology] = []
    _attempt(lambda: made.append(build(**table)), _PATH, problems)
    return made[0] if made else None


def _set_fields(topology: Topology, name: str, fields: object, problems: Problems) -> None:
    path = at(at(_PATH, "nodes"), name)
    if problems.expect(fields, dict, path):
        assert isinstance(fields, dict)
        _attempt(lambda: topology.update_node(name, **fields), path, problems)


def _attempt(make: Any, path: str, problems: Problems, *, instead_of: str = "") -> None:
    try:
        make()
    except ConfigError as error:
        problems.take(error, path, instead_of=instead_of)
    except Exception as error:
        # A pattern of a plugin, which may raise anything.
        problems.add(f"{type(error).__name__}: {error}", path)


def _check(topology: Topology, agents: Sequence[str], problems: Problems) -> None:
    """See that it can run, with every agent in it and no other."""
    try:
        topology.validate()
    except TopologyError as error:
        problems.take(error, _PATH)
    used = {node.agent for node in topology.nodes.values() if node.kind is NodeKind.AGENT}
    for name in sorted(name for name in used if name is not None and name not in agents):
        problems.add(
            f"there is no agent {name!r}; add a table {at('[agents', name)}].{nearest(name, agents)}", _PATH
        )
    for name in agents:
        if name not in used:
            problems.add(_why_unused(name), at("$.agents", name))


def _check_rules(topology: Topology, composition: Composition, problems: Problems) -> None:
    from marsys_core.engine.rulebook import lay_rules

    found = lay_rules(topology, lambda name: composition.item("rule", name)).problems
    if found:
        problems.take(ConfigError("", found), at(_PATH, "rules"), instead_of="$.rules")


def _check_conditions(topology: Topology, composition: Composition, problems: Problems) -> None:
    """See that the conditions of its edges can be read."""
    from marsys_core.engine.conditions import condition_problems

    for problem in condition_problems(topology.edges, composition):
        problems.add(problem.partition(" @ $.edges[")[0], _PATH)


def _why_unused(name: str) -> str:
    """Say why no node is an agent's, which may be its name."""
    try:
        kind = Node(name).kind
    except TopologyError as error:
        return f"{error}; rename it, or name it as the agent of a node"
    if kind is not NodeKind.AGENT:
        return f"{name!r} is kept for nodes of kind {kind.value!r}; choose another name"
    return "this agent stands nowhere in the topology; add it there, or remove it"
