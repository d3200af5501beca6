"""A topology as plain data, and the search for a fork's meeting node by reachability alone."""

from collections.abc import Iterable, Mapping, Sequence

import attrs

__all__ = ["Edge", "Net", "NodeSpec", "Policy", "distances", "meeting_node"]


@attrs.frozen
class Policy:
    """What a join needs: a ratio or a quorum of delivering calls; `on_insufficient` is "fail" or "proceed"."""

    min_ratio: float = 1.0
    quorum: int | None = None
    on_insufficient: str = "fail"

    def met(self, delivered: int, failed: int) -> bool:
        if self.quorum is not None:
            return delivered >= self.quorum
        counted = delivered + failed
        return counted == 0 or delivered / counted >= self.min_ratio


@attrs.frozen(kw_only=True)
class NodeSpec:
    """One node; `kind` is "agent", "gather", "start" or "end"."""

    kind: str = "agent"
    dispatch: str | None = None
    rounds: int = 1
    limit: int | None = None
    convergence: bool = False
    policy: Policy | None = None


@attrs.frozen
class Edge:
    """`src -> dst`, or `src <-> dst`; with `turns`, a conversation of so many turns."""

    src: str
    dst: str
    bidirectional: bool = False
    turns: int | None = None


@attrs.frozen
class Net:
    """A topology as plain data. At most one edge each way joins two nodes, and none joins a node to itself."""

    nodes: Mapping[str, NodeSpec]
    edges: tuple[Edge, ...]
    entry_point: str | None = None

    def successors(self, node: str) -> list[str]:
        found = []
        for edge in self.edges:
            if edge.src == node:
                found.append(edge.dst)
            elif (edge.bidirectional or edge.turns is not None) and edge.dst == node:
                found.append(edge.src)
        return found

    def of_kind(self, names: Iterable[str], *kinds: str) -> list[str]:
        return [name for name in names if self.nodes[name].kind in kinds]

    def seen(self, names: Iterable[str]) -> list[str]:
        return self.of_kind(names, "agent", "gather")

    def is_bidirectional(self, a: str, b: str) -> bool:
        return any(edge.bidirectional and {edge.src, edge.dst} == {a, b} for edge in self.edges)

    def partner(self, node: str) -> str | None:
        """The other side of the node's conversation."""
        for edge in self.edges:
            if edge.turns is not None and node in (edge.src, edge.dst):
                return edge.dst if edge.src == node else edge.src
        return None

    def turns(self, node: str) -> int:
        return next(e.turns for e in self.edges if e.turns is not None and node in (e.src, e.dst))

    def leads_to_end(self, node: str) -> bool:
        return bool(self.of_kind(self.successors(node), "end"))

    def start(self) -> str:
        return next(iter(self.of_kind(self.nodes, "start")), "start")

    def entries(self) -> list[str]:
        if starts := self.of_kind(self.nodes, "start"):
            return self.successors(starts[0])
        if self.entry_point is not None:
            return [self.entry_point]
        entered = {dst for node in self.nodes for dst in self.successors(node)}
        names = self.seen(self.nodes)
        return [name for name in names if name not in entered] or names[:1]

    def exits(self) -> list[str]:
        names = self.seen(self.nodes)
        to_end = [name for name in names if self.leads_to_end(name)]
        return to_end or [name for name in names if self.leads_nowhere(name)] or self.entries()

    def leads_nowhere(self, node: str) -> bool:
        pair = [node] if self.partner(node) is None else [node, self.partner(node)]
        return all(succ in pair for side in pair for succ in self.successors(side))


def distances(net: Net, source: str, invoking: str, without: str | None = None) -> dict[str, int]:
    """How far each node is from `source`, on paths that stop at `invoking` and do not touch `without`."""
    found = {} if source == without else {source: 0}
    frontier = list(found)
    while frontier:
        node = frontier.pop(0)
        for succ in [] if node == invoking else net.seen(net.successors(node)):
            if succ not in found and succ != without:
                found[succ] = found[node] + 1
                frontier.append(succ)
    return found


def meeting_node(net: Net, invoking: str, targets: Sequence[str]) -> str:
    """Rule 2 for the targets of all calls: a flagged node, else one on every path, else the invoking node."""
    named, targets = set(targets), net.seen(targets)
    if not targets:
        return invoking
    far = [distances(net, target, invoking) for target in targets]
    shared = set(far[0]).intersection(*far)
    if len(named) == 1:
        shared -= named
    flagged = [name for name in shared if net.nodes[name].convergence]
    terminals = {invoking, *(n for n in net.seen(net.nodes) if not net.seen(net.successors(n)))}
    on_every_path = []
    if all(terminals & set(reached) for reached in far):
        on_every_path = [
            name
            for name in shared
            if not any(terminals & set(distances(net, t, invoking, without=name)) for t in targets)
        ]
    candidates = flagged or on_every_path or [invoking]
    return min(candidates, key=lambda name: (max(reached.get(name, 0) for reached in far), name))
