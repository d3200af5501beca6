"""`Graph`: a topology compiled for running. Made once, never changed, fast to ask."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import attrs

from marsys_core.errors import TopologyError
from marsys_core.topology.meeting import MeetingSearch
from marsys_core.topology.names import END, START, USER, unknown_nodes
from marsys_core.topology.nodes import Edge, Node

__all__ = ["Graph", "Link"]

_MEETINGS = 4096  # models choose targets freely, so a long-lived graph could see any subset of its nodes


@attrs.frozen(eq=False)
class Link:
    """An edge as one of its ends sees it.

    Args:
        target: The node it leads to.
        bidirectional: Whether going along it is a call. A conversation leads both ways and is none.
        edge: The edge that it comes from.
    """

    target: str
    bidirectional: bool
    edge: Edge


class Graph:
    """A topology compiled for running.

    Args:
        nodes: By name, in the order of the definition.
        edges: In order; both ends have to be in `nodes`.
        entry_point: Where a run begins if no edge out of ``start`` or ``user`` says so.

    Attributes:
        nodes: By name, in the order of the definition.
        out: The links out of each node in the order of the edges, those to ``end`` and ``user`` included.
            A bidirectional edge gives a link each way; of parallel edges there is one link, bidirectional
            if one of them is. A conversation gives a link each way, too.
        leads: Of these links those to agents and gather nodes.
        conversations: For each side of a conversation the link to the other side; empty for most graphs.
        ends: The nodes with an edge to ``end``.
        asks: The nodes with an edge to ``user``.
        entries: The nodes at which a run begins, in order.
        conditional: The nodes with a link that has a condition, and those links.
        exits: The nodes with an edge to ``end``; else those without an edge to another node than ``user``, the
            two sides of a conversation counting as one; else the entries. In the order of the definition.

    Raises:
        TopologyError: An edge names a node that is not there.
    """

    def __init__(
        self, nodes: Mapping[str, Node], edges: Iterable[Edge], entry_point: str | None = None
    ) -> None:
        self.nodes: dict[str, Node] = dict(nodes)
        self._links: dict[str, dict[str, Link]] = {name: {} for name in self.nodes}
        self.conversations: dict[str, Link] = {}
        self._lay(edges)
        self.out: dict[str, tuple[Link, ...]] = {
            name: tuple(links.values()) for name, links in self._links.items()
        }
        self.leads: dict[str, tuple[Link, ...]] = {
            name: tuple([link for link in links if self.nodes[link.target].works])
            for name, links in self.out.items()
        }
        self.conditional: dict[str, tuple[Link, ...]] = {
            name: found
            for name, links in self.out.items()
            if (found := tuple([link for link in links if link.edge.condition is not None]))
        }
        self.ends: frozenset[str] = self._with_link_to(END)
        self.asks: frozenset[str] = self._with_link_to(USER)
        self.entries: tuple[str, ...] = self._find_entries(entry_point)
        self.exits: tuple[str, ...] = self._find_exits()
        self._flagged = [name for name, node in self.nodes.items() if node.is_convergence_point]
        self._successors = {name: self._onward(name) for name, node in self.nodes.items() if node.works}
        self._predecessors = _reversed(self._successors)
        self._searches: dict[str, MeetingSearch] = {}
        self._meetings: dict[tuple[str, tuple[str, ...]], str] = {}

    def link(self, source: str, target: str) -> Link | None:
        """Return the link from `source` to `target`, or None where no edge leads there."""
        links = self._links.get(source)
        return None if links is None else links.get(target)

    def successors(self, name: str) -> tuple[str, ...]:
        """Return the agents and gather nodes that an edge leads to from `name`, itself left out."""
        return self._successors[name] if name in self._successors else self._onward(name)

    def meeting(self, invoker: str, targets: Sequence[str]) -> str:
        """Return the node at which a branch goes on after a fork.

        It is the nearest convergence point that all targets reach; else, if every target reaches a dead
        end or the invoking node, the nearest node on every path to one of these; else the invoking node.
        A target can be the meeting node, unless all calls name it.

        Args:
            invoker: The invoking node; ``start`` for the fork to several entries.
            targets: The target of each call, in any order, the same one as often as it is called.
        """
        key = (invoker, tuple(targets))
        found = self._meetings.get(key)
        if found is None:
            self._check(key[1])
            found = self._search(invoker).find(key[1]) or invoker
            if len(self._meetings) >= _MEETINGS:
                self._meetings.clear()
            self._meetings[key] = found
        return found

    def leads_back(self, invoker: str, targets: Iterable[str]) -> bool:
        """Return whether at least one of `targets` has a path to the invoking node."""
        return self._search(invoker).leads_back(targets)

    def _search(self, invoker: str) -> MeetingSearch:
        search = self._searches.get(invoker)
        if search is None:
            search = MeetingSearch(self._successors, self._predecessors, self._flagged, invoker)
            self._searches[invoker] = search
        return search

    def _check(self, targets: Iterable[str]) -> None:
        if problems := list(unknown_nodes(dict.fromkeys(targets), self.nodes)):
            raise TopologyError("", problems)

    def _lay(self, edges: Iterable[Edge]) -> None:
        for edge in edges:
            self._check((edge.source, edge.target))
            self._link(edge.source, edge.target, edge)
            if edge.bidirectional or edge.pattern is not None:
                self._link(edge.target, edge.source, edge)
            if edge.pattern is not None:
                for side, other in ((edge.source, edge.target), (edge.target, edge.source)):
                    self.conversations.setdefault(side, Link(other, False, edge))

    def _link(self, source: str, target: str, edge: Edge) -> None:
        links = self._links[source]
        present = links.get(target)
        if present is None or (edge.bidirectional and not present.bidirectional):
            links[target] = Link(target, edge.bidirectional, edge)

    def _onward(self, name: str) -> tuple[str, ...]:
        links = self._links[name].values()
        return tuple(link.target for link in links if link.target != name and self.nodes[link.target].works)

    def _with_link_to(self, target: str) -> frozenset[str]:
        return frozenset(name for name, links in self._links.items() if target in links)

    def _find_entries(self, entry_point: str | None) -> tuple[str, ...]:
        for door in (START, USER):
            if self._links.get(door):
                return self._onward(door)
        if entry_point is not None:
            return (entry_point,)
        working = [name for name, node in self.nodes.items() if node.works]
        entered = {link.target for name in working for link in self.out[name]}
        return tuple(name for name in working if name not in entered) or tuple(working[:1])

    def _find_exits(self) -> tuple[str, ...]:
        working = [name for name, node in self.nodes.items() if node.works]
        if exits := tuple(name for name in working if name in self.ends):
            return exits
        # A question to a person comes back to its node, so an edge to `user` leads nowhere else.
        return tuple(name for name in working if self._leads_nowhere(name)) or self.entries

    def _leads_nowhere(self, name: str) -> bool:
        talk = self.conversations.get(name)
        if talk is None:
            return set(self._links[name]) <= {USER}
        # What is said last goes on along the edges of either side.
        return {*self._links[name], *self._links[talk.target]} <= {USER, name, talk.target}


def _reversed(successors: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    predecessors: dict[str, list[str]] = {name: [] for name in successors}
    for name, after in successors.items():
        for target in after:
            predecessors[target].append(name)
    return predecessors
