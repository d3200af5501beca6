"""Where a fork's branch goes on: the search for the meeting node.

The search sees only nodes at which a branch can stand, and its paths stop at the invoking node. A *dead end*
has no successor but itself. The nodes on every path from a target to a dead end or to the invoking node are
the target's post-dominators in the graph in which all of these lead to one common sink. The post-dominators
that all targets share lie on one line towards the sink, each nearer than the next, so the nearest is where
the targets' lines meet first.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Collection, Iterable, Mapping, Sequence

__all__ = ["MeetingSearch"]

Neighbours = Mapping[str, Sequence[str]]


class MeetingSearch:
    """The search for one invoking node; makes its tables once and answers for any targets.

    Args:
        successors: For each node that can be met, its successors of that kind, itself left out.
        predecessors: The same the other way round.
        flagged: The convergence points.
        invoker: The invoking node; it need not be one of the nodes (``start`` is not).
    """

    def __init__(
        self, successors: Neighbours, predecessors: Neighbours, flagged: Collection[str], invoker: str
    ) -> None:
        self._successors, self._predecessors = successors, predecessors
        self._flagged, self._invoker = flagged, invoker
        self._distances: dict[str, dict[str, int]] = {}
        self._order: list[str] | None = None
        self._number: dict[str, int] = {}
        self._parent: list[int] = []

    def find(self, targets: Iterable[str]) -> str | None:
        """Return the meeting node of a fork to `targets`, or None where only the invoking node is left.

        Args:
            targets: The targets, with every call that names one; those that cannot be met (``end``,
                ``user``) take no part but in the question whether all calls name the same node.
        """
        called = set(targets)
        only = next(iter(called)) if len(called) == 1 else None
        seen = sorted(target for target in called if target in self._successors)
        if not seen:
            return None
        return self._nearest_flagged(seen, only) or self._nearest_common(seen, only)

    def leads_back(self, targets: Iterable[str]) -> bool:
        """Return whether at least one of `targets` has a path to the invoking node."""
        if self._invoker not in self._successors:
            return False
        distances = self._distances_to(self._invoker)
        return any(target in distances for target in targets)

    def _nearest_flagged(self, targets: list[str], only: str | None) -> str | None:
        best: tuple[int, str] | None = None
        for name in self._flagged:
            if name == only:
                continue
            distances = self._distances_to(name)
            if all(target in distances for target in targets):
                found = (max(distances[target] for target in targets), name)
                best = found if best is None else min(best, found)
        return None if best is None else best[1]

    def _distances_to(self, goal: str) -> dict[str, int]:
        """Return how many edges each node that has a path to `goal` is away from it."""
        if (known := self._distances.get(goal)) is not None:
            return known
        distances = {goal: 0}
        waiting = deque([goal])
        while waiting:
            name = waiting.popleft()
            for before in self._predecessors[name]:
                if before not in distances and before != self._invoker:
                    distances[before] = distances[name] + 1
                    waiting.append(before)
        self._distances[goal] = distances
        return distances

    def _nearest_common(self, targets: list[str], only: str | None) -> str | None:
        if self._order is None:
            self._order = self._post_dominators()
        if not all(target in self._number for target in targets):
            return None  # a target with no way to a dead end or back: no node is on every path of its own
        # Numbers fall towards the sink, 0. Always moving the highest one meets the others at the first node
        # that all have in common, and visits each node once however many targets there are.
        numbers = {self._number[target] for target in targets}
        if only is not None:
            numbers = {self._parent[number] for number in numbers}
        heap = [-number for number in numbers]
        heapq.heapify(heap)
        while len(heap) > 1:
            parent = self._parent[-heapq.heappop(heap)]
            if parent not in numbers:
                numbers.add(parent)
                heapq.heappush(heap, -parent)
        return self._order[-heap[0]] or None

    def _post_dominators(self) -> list[str]:
        """Number the nodes outwards from the sink, and find the parent of each in the post-dominator tree.

        The iterative algorithm of Cooper, Harvey and Kennedy, on the reversed graph.
        """
        order = self._outwards_from_sink()
        number = self._number = {name: index for index, name in enumerate(order) if index}
        ends = self._ends()
        nexts = [
            [0] if name in ends else [number[after] for after in self._successors[name] if after in number]
            for name in order[1:]
        ]
        parent = self._parent = [0] + [-1] * len(nexts)
        changed = True
        while changed:
            changed = False
            for index, afters in enumerate(nexts, 1):
                new = -1
                for after in afters:
                    if parent[after] >= 0:
                        new = after if new < 0 else _common(parent, new, after)
                if new != parent[index]:
                    parent[index] = new
                    changed = True
        return order

    def _ends(self) -> set[str]:
        ends = {name for name, after in self._successors.items() if not after}
        if self._invoker in self._successors:
            ends.add(self._invoker)
        return ends

    def _outwards_from_sink(self) -> list[str]:
        """Return the sink, as ``""``, and the nodes that reach it, in reverse postorder of the reversed graph."""
        seen: set[str] = set()
        postorder: list[str] = []
        for root in sorted(self._ends(), reverse=True):
            if root in seen:
                continue
            seen.add(root)
            stack = [(root, iter(self._predecessors[root]))]
            while stack:
                name, rest = stack[-1]
                for before in rest:
                    if before not in seen and before != self._invoker:
                        seen.add(before)
                        stack.append((before, iter(self._predecessors[before])))
                        break
                else:
                    stack.pop()
                    postorder.append(name)
        return ["", *reversed(postorder)]


def _common(parent: Sequence[int], one: int, other: int) -> int:
    """Return the nearest ancestor that two numbers share."""
    while one != other:
        if one > other:
            one = parent[one]
        else:
            other = parent[other]
    return one
