"""What is wrong with a topology before anything runs, and what looks wrong."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import islice

from marsys_core.errors import nearest
from marsys_core.topology.graph import Graph
from marsys_core.topology.names import END, START, USER, listed, unknown_nodes
from marsys_core.topology.nodes import Edge, Node, NodeKind

__all__ = ["problems", "unregistered", "warnings"]

_COMPARED = 1000  # names that are compared with one that is not known, and names that get this help
_HINTS = 20


def problems(
    nodes: Mapping[str, Node],
    edges: Sequence[Edge],
    entry_point: str | None,
) -> Iterator[str]:
    """Yield every reason why this cannot run, each with the nodes and the fix."""
    yield from _unknown_ends(nodes, edges)
    sound = [edge for edge in edges if edge.source in nodes and edge.target in nodes]
    begin = nodes.get(entry_point or "")
    graph = Graph(nodes, sound, begin.name if begin is not None and begin.works else None)
    if not any(node.works for node in nodes.values()):
        yield "there is no agent; add one, for example with add_node"
    yield from _wrong_start_and_end(graph)
    yield from _idle_conditions(graph, sound)
    yield from _wrong_entry_point(graph, entry_point)
    yield from _conversations(sound, nodes)
    yield from _unreachable(graph)


def warnings(graph: Graph) -> Iterator[str]:
    """Yield what looks wrong but can run: closed cycles, which only an agent's own action can end."""
    for cycle in _closed_cycles(graph):
        if cycle.isdisjoint(graph.exits):
            names = [name for name in graph.nodes if name in cycle]
            yield (
                f"no edge leads out of the cycle of {listed(names)} and no exit is in it; it goes on until an "
                f"agent returns or a limit is reached. Add an edge to 'end' from one of them."
            )


def _unknown_ends(nodes: Mapping[str, Node], edges: Sequence[Edge]) -> Iterator[str]:
    named = {name: edge for edge in reversed(edges) for name in (edge.target, edge.source)}
    missing = [name for name in named if name not in nodes]
    missing.reverse()
    for name, problem in zip(missing, unknown_nodes(missing, nodes), strict=True):
        yield f"edge {named[name]}: {problem} Add it to the nodes, or mend the edge."


def _wrong_start_and_end(graph: Graph) -> Iterator[str]:
    into_start = [name for name, links in graph.out.items() if graph.link(name, START) if links]
    if into_start:
        yield f"'start' has an incoming edge from {listed(into_start)}; edges only lead out of it, as in start -> A"
    if out_of_end := [link.target for link in graph.out.get(END, ())]:
        yield f"'end' has an outgoing edge to {listed(out_of_end)}; edges only lead into it, as in A -> end"
    if START in graph.nodes and not graph.out[START]:
        yield "'start' leads nowhere; add an edge from it to the first agent, or remove it"
    if graph.out.get(START) and (asked := [link.target for link in graph.out.get(USER, ())]):
        yield (
            f"'start' and 'user' both say where a run begins; of the edges between 'user' and {listed(asked)} "
            "keep only those towards 'user', as in A -> user"
        )
    for door in (START, USER):
        for link in graph.out.get(door, ()):
            if not graph.nodes[link.target].works and link.target != START:
                yield f"edge {door} -> {link.target}: a run begins at an agent; let {door!r} lead to one"


def _idle_conditions(graph: Graph, edges: Sequence[Edge]) -> Iterator[str]:
    """Conditions that nobody would ever judge."""
    for edge in edges:
        if edge.condition is None:
            continue
        link = graph.link(edge.source, edge.target)
        if not graph.nodes[edge.source].works:
            yield (
                f"edge {edge} has a condition, and no step is taken at {edge.source!r} that could meet it; put the "
                f"condition on an edge out of an agent"
            )
        elif link is not None and link.edge is not edge:
            yield (
                f"edge {edge} has a condition, but {link.edge} leads the same way and holds instead; put the "
                f"condition there, or remove one of the two"
            )


def _wrong_entry_point(graph: Graph, entry_point: str | None) -> Iterator[str]:
    if entry_point is None:
        return
    if entry_point not in graph.nodes:
        for problem in unknown_nodes([entry_point], graph.nodes):
            yield f"entry_point: {problem}"
    elif not graph.nodes[entry_point].works:
        yield f"entry_point is {entry_point!r}, and a run begins at an agent; name one"
    elif graph.entries != (entry_point,):
        yield (
            f"entry_point is {entry_point!r}, but the edges out of 'start' or 'user' begin at "
            f"{listed(graph.entries)}; remove one of the two"
        )


def _conversations(edges: Sequence[Edge], nodes: Mapping[str, Node]) -> Iterator[str]:
    """Yield what is wrong with conversations: who takes part in them, and what stands beside them."""
    held: dict[str, dict[str, Edge]] = {}
    beside: dict[frozenset[str], Edge] = {}
    for edge in (edge for edge in edges if edge.pattern is not None):
        beside.setdefault(frozenset((edge.source, edge.target)), edge)
        for name, other in ((edge.source, edge.target), (edge.target, edge.source)):
            held.setdefault(name, {}).setdefault(other, edge)
            if nodes[name].kind is not NodeKind.AGENT:
                yield f"conversation {edge}: {name!r} is of kind {nodes[name].kind.value!r}; only agents take turns"
    for name, own in held.items():
        if len(own) > 1:
            yield (
                f"node {name!r} is in {len(own)} conversations, {listed(map(str, own.values()))}; a node has at most one, "
                "so keep one of them"
            )
    for edge in edges:
        talk = beside.get(frozenset((edge.source, edge.target))) if beside else None
        if talk is not None and talk is not edge:
            yield f"edge {edge} stands beside conversation {talk}; keep one of the two"


def _unreachable(graph: Graph) -> Iterator[str]:
    doors = [door for door in (START, USER) if graph.out.get(door)]
    reached = {*graph.entries, *doors}
    waiting = list(reached)
    while waiting:
        for link in graph.out[waiting.pop()]:
            if link.target not in reached:
                reached.add(link.target)
                waiting.append(link.target)
    for name, node in graph.nodes.items():
        if name not in reached and node.kind is not NodeKind.START:
            why = " (an edge out of 'user' says where a run begins)" if graph.out.get(USER) else ""
            yield (
                f"node {name!r} cannot be reached from {listed(graph.entries)}{why}; add an edge to it, or remove it"
            )


def unregistered(nodes: Mapping[str, Node], known: Collection[str]) -> Iterator[str]:
    """Yield every node whose agent is not among the `known` ones."""
    hints = 0
    for node in nodes.values():
        if node.agent is None or node.agent in known:
            continue
        near = nearest(node.agent[:100], islice(known, _COMPARED)) if hints < _HINTS else ""
        hints += 1
        yield (
            f"node {node.name!r}: no agent is registered as {node.agent!r}; there are: {listed(sorted(known))}."
            f"{near} Make one of that name, or pass it with agents=."
        )


def _closed_cycles(graph: Graph) -> Iterator[set[str]]:
    """Yield the sets of nodes that reach each other along hand-offs and from which no edge leads out."""
    for group in _strongly_connected(
        {name: graph.successors(name) for name in graph.nodes if graph.nodes[name].works}
    ):
        links = [(name, link) for name in group for link in graph.out[name] if graph.nodes[link.target].works]
        # Calls come back by themselves, and conversations end; what only these connect is no cycle.
        handed_on = any(not link.bidirectional and link.edge.pattern is None for _, link in links)
        if handed_on and all(link.target in group for _, link in links):
            yield group


def _strongly_connected(successors: Mapping[str, Sequence[str]]) -> Iterator[set[str]]:
    """Yield the strongly connected components: Tarjan's algorithm, with a stack of its own."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    path: list[str] = []
    on_path: set[str] = set()
    for root in successors:
        if root in index:
            continue
        work = [(root, iter(successors[root]))]
        while work:
            name, rest = work[-1]
            if name not in index:
                index[name] = low[name] = len(index)
                path.append(name)
                on_path.add(name)
            for after in rest:
                if after not in index:
                    work.append((after, iter(successors[after])))
                    break
                if after in on_path:
                    low[name] = min(low[name], low[after])
            else:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[name])
                if low[name] == index[name]:
                    yield _cut(path, on_path, name)


def _cut(path: list[str], on_path: set[str], name: str) -> set[str]:
    """Take one finished component, which ends the path, off it."""
    group: set[str] = set()
    while name not in group:
        group.add(path.pop())
    on_path -= group
    return group
