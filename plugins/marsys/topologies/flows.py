"""Patterns in which content flows on: a pipeline, a ring, a map with its reducer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any

from marsys.topologies._checks import several, team, whole
from marsys_core.errors import TopologyError
from marsys_core.topology import Dispatch, Edge, Node, NodeKind, Topology

__all__ = ["map_reduce", "pipeline", "ring"]

Stage = str | Iterable[str] | Mapping[str, Any]


def pipeline(stages: Iterable[Stage], parallel_within_stage: bool = False) -> Topology:
    """Return a topology of stages, each of which gets what the one before it made.

    Between two stages of several agents, and before a first one, stands a gather node, which costs no step:
    a run takes as many steps as there are agents.

    Args:
        stages: Each an agent's name, a list of names, or a mapping with ``agents`` and a ``name`` for the
            stage, which is kept as ``metadata["stage"]`` of its nodes.
        parallel_within_stage: True: the agents of a stage run at once; False: one after another.

    Raises:
        TopologyError: No stages, a stage without agents, a name that is none, or one that stands twice.
    """
    nodes = [_stage(index, stage) for index, stage in enumerate(_stages(stages))]
    team("pipeline", stages=[node.name for stage in nodes for node in stage])
    limit = None if parallel_within_stage else 1
    columns = _with_gathers(nodes)
    topology = Topology()
    for column, after in pairwise([*columns, []]):
        for node in column:
            topology.add_node(node)
            if len(after) > 1:
                topology.update_node(node.name, dispatch=Dispatch.ALL, limit=limit)
    for column, after in pairwise(columns):
        for node in column:
            for target in after:
                topology.add_edge(Edge(node.name, target.name))
    topology.entry_point = columns[0][0].name
    return topology


def ring(agents: Iterable[str], bidirectional: bool = False, rounds: int = 1) -> Topology:
    """Return a topology in which content goes round, from each agent to the next.

    Args:
        agents: In their order; a run begins at the first, and the last answers.
        bidirectional: True: agents may hand over to the one before them, too; plain content never does.
        rounds: How often it goes round, from 1: n x rounds steps.

    Raises:
        TopologyError: Fewer than two agents, a name that is none or stands twice, or `rounds` below 1.
    """
    names = several("ring", "agents", agents, least=2)
    team("ring", agents=names)
    times = whole("ring", "rounds", rounds)
    onward = list(pairwise([*names, names[0]]))
    # All edges onward come first: of several, plain content takes the first in edge order.
    back = [(after, before) for before, after in onward] if bidirectional else []
    nodes = [Node(name, dispatch=Dispatch.NEXT, rounds=times) for name in names]
    return Topology(nodes, onward + back, entry_point=names[0])


def map_reduce(splitter: str, workers: Iterable[str], reducer: str) -> Topology:
    """Return a topology in which each item of a list goes to a worker, and a reducer gets what they made.

    Args:
        splitter: Where a run begins; its content has to be a list.
        workers: They get the items in turn; with more items than workers, a worker gets several.
        reducer: It gets what the workers made, in the order of the items: items + 2 steps.

    Raises:
        TopologyError: No workers, a name that is none, or one that stands twice.
    """
    names = several("map_reduce", "workers", workers)
    team("map_reduce", splitter=splitter, workers=names, reducer=reducer)
    edges = [(splitter, name) for name in names] + [(name, reducer) for name in names]
    nodes = [Node(splitter, dispatch=Dispatch.MAP), *names, reducer]
    return Topology(nodes, edges, entry_point=splitter)


def _stages(stages: object) -> list[Stage]:
    if isinstance(stages, str | Mapping) or not isinstance(stages, Iterable):
        msg = f"pipeline: stages is a list of names and lists of names, not {stages!r}"
        raise TopologyError(msg)
    found: list[Stage] = list(stages)
    if not found:
        msg = "pipeline: stages needs at least 1 stage, and has 0"
        raise TopologyError(msg)
    return found


def _stage(index: int, stage: Stage) -> list[Node]:
    where = f"stages[{index}]"
    if isinstance(stage, str):
        return [Node(name) for name in _checked(where, [stage])]
    if not isinstance(stage, Mapping):
        return [Node(name) for name in _checked(where, stage)]
    if not {"agents"} <= set(stage) <= {"agents", "name"}:
        msg = f"pipeline: {where} is a mapping with 'agents' and, if you like, 'name'; it has {sorted(stage, key=str)}"
        raise TopologyError(msg)
    metadata = {"stage": stage["name"]} if "name" in stage else {}
    agents = [stage["agents"]] if isinstance(stage["agents"], str) else stage["agents"]
    return [Node(name, metadata=metadata) for name in _checked(where, agents)]


def _checked(where: str, names: object) -> list[str]:
    found = several("pipeline", where, names)
    team("pipeline", **{where: found})
    return found


def _with_gathers(stages: list[list[Node]]) -> list[list[Node]]:
    columns: list[list[Node]] = []
    gathers = 0
    for stage in stages:
        if len(stage) > 1 and (not columns or len(columns[-1]) > 1):
            gathers += 1
            columns.append([Node(f"gather:{gathers}", kind=NodeKind.GATHER)])
        columns.append(stage)
    return columns
