"""The conditions of edges: what they may read, and which edges are open for a step."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import attrs

from marsys_core.actions import Action, Content, EndConversation, Fail, Finish, Return
from marsys_core.errors import ConditionError, ConfigError, told
from marsys_core.orchestrator.branch import Branch
from marsys_core.orchestrator.merging import Merging
from marsys_core.orchestrator.shared import Frame, Reading, written
from marsys_core.topology import Edge
from marsys_core.topology.conditions import condition_name
from marsys_core.values import Failure, JoinInput

__all__ = ["FACTS", "OPEN", "Facts", "Judge", "Judging", "Verdicts", "closed_by", "judged"]

FACTS = ("state", "output", "steps", "visits", "errors")
"""What a condition may read."""

Verdicts = tuple[tuple[str, bool], ...]
"""For each conditional edge out of a node its target, and whether it is open."""

_UNKNOWN: Any = object()
OPEN: tuple[Verdicts, BaseException | None] = ((), None)
"""What comes of judging where no edge has a condition."""


class _NotYet(Exception):
    """A condition asked for what only the end of the step will tell."""


class Facts:
    """What the condition of an edge may read, when the step at its source has ended.

    Attributes:
        state: The shared state as the branch sees it, this step's writes included; read-only.
        output: The value of the step's action; None for an `Invoke`.
        steps: How many steps the branch has taken.
        visits: How many of them at the edge's source, this one included.
        errors: How many failures are labelled in what the step was given.
    """

    __slots__ = ("_branch", "_frame", "_given", "_node", "_output", "_unpack")

    def __init__(
        self,
        branch: Branch,
        node: str,
        frame: Frame | None,
        given: Any,
        output: Any,
        unpack: Callable[[Any], Any],
    ) -> None:
        self._branch, self._node, self._frame = branch, node, frame
        self._given, self._output, self._unpack = given, output, unpack

    @property
    def state(self) -> Mapping[str, Any]:
        """The shared state, read-only."""
        return Reading(self._frame, self._unpack)

    @property
    def output(self) -> Any:
        """The value of the step's action; None for an `Invoke`."""
        if self._output is _UNKNOWN:
            raise _NotYet
        return self._unpack(self._output)

    @property
    def steps(self) -> int:
        """How many steps the branch has taken."""
        return self._branch.steps

    @property
    def visits(self) -> int:
        """How many steps the branch has taken at the edge's source, this one included."""
        return self._branch.visits(self._node)

    @property
    def errors(self) -> int:
        """How many failures are labelled in what the step was given."""
        given = self._unpack(self._given)
        if isinstance(given, JoinInput):
            return sum(isinstance(item.value, Failure) for item in given.flat())
        return int(isinstance(given, Failure))

    def __repr__(self) -> str:
        branch = self._branch
        return f"<facts at {self._node!r}, branch {branch.id}, step {branch.steps}>"


Judge = Callable[[Edge, Facts], Any]
"""Says whether an edge is open; what it raises, the condition raised."""


def judged(edge: Edge, facts: Facts) -> Any:
    """Judge a condition that is a function.

    Raises:
        ConfigError: It is an expression, and nobody here can read one.
    """
    if not callable(edge.condition):
        msg = f"edge {edge}: nothing here reads the expression {edge.condition!r}"
        raise ConfigError(msg)
    return edge.condition(facts)


def _settled(verdict: Any) -> bool:
    if verdict is True or verdict is False:
        return verdict
    if hasattr(verdict, "__await__"):
        if hasattr(verdict, "close"):
            verdict.close()
        msg = "it has to be awaited, and a condition may not wait; make it a plain function"
        raise TypeError(msg)
    return bool(verdict)


def closed_by(verdicts: Verdicts) -> tuple[str, ...]:
    """Return the targets of the edges that are closed."""
    return tuple([target for target, is_open in verdicts if not is_open])


@attrs.define(eq=False)
class Judging(Merging):
    """Judges conditions, once for each step and each gather; what came of it is recorded."""

    judge: Judge = judged

    def closed_so_far(self, branch: Branch) -> tuple[str, ...]:
        """Return the targets of edges that are closed already as a step begins.

        A condition that reads `output`, or fails for lack of what the step may still write, counts as open.
        """
        if branch.node not in self.graph.conditional:
            return ()
        facts = Facts(branch, branch.node, branch.shared, branch.value, _UNKNOWN, self.sharing.unpack)
        links = self.graph.conditional[branch.node]
        return tuple([link.target for link in links if not self._may_be_open(link.edge, facts)])

    def _may_be_open(self, edge: Edge, facts: Facts) -> bool:
        try:
            return _settled(self.judge(edge, facts))
        except Exception:
            return (
                True  # the word that counts is spoken when the step has ended, and what is raised then counts
            )

    def _judged_action(
        self, branch: Branch, action: Action, writes: Iterable[tuple[Any, ...]] = ()
    ) -> tuple[Verdicts, BaseException | None]:
        """Judge the edges out of the node of `branch`, whose step ended in `action`, or return what was raised."""
        if branch.node not in self.graph.conditional or type(action) is Fail:
            return OPEN
        output = action.value if isinstance(action, Content | Return | Finish | EndConversation) else None
        frame = written(branch.shared, writes) if writes else branch.shared
        try:
            return self._verdicts(branch, branch.node, frame, branch.value, output), None
        except ConditionError as error:
            return (), error

    def _judged_arrival(self, branch: Branch, node: str, value: Any) -> tuple[Verdicts, BaseException | None]:
        """Judge the edges out of a node whose step `branch` does not take, or return what was raised.

        That is a gather, and the side of a conversation that its last value goes on from.
        """
        try:
            return self._verdicts(branch, node, branch.shared, value, value), None
        except ConditionError as error:
            return (), error

    def _verdicts(self, branch: Branch, node: str, frame: Frame | None, given: Any, output: Any) -> Verdicts:
        facts = Facts(branch, node, frame, given, output, self.sharing.unpack)
        return tuple(
            [(link.target, self._is_open(link.edge, facts)) for link in self.graph.conditional[node]]
        )

    def _is_open(self, edge: Edge, facts: Facts) -> bool:
        try:
            return _settled(self.judge(edge, facts))
        except Exception as error:
            assert edge.condition is not None  # it is conditional
            name = condition_name(edge.condition)
            msg = f"the condition {name!r} of edge {edge} raised {type(error).__name__}: {told(error)}"
            raise ConditionError(msg, str(edge), name) from error

    def _closed_edge(self, node: str, target: str) -> str:
        """Say which edge is closed, and by what."""
        link = self.graph.link(node, target)
        assert link is not None  # a condition was judged
        assert link.edge.condition is not None
        return f"the edge {link.edge} is closed here, since its condition {condition_name(link.edge.condition)!r} does not hold"
