"""What every decision is made with: the state, the events it appends, the commands it hands out."""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping
from typing import Any

import attrs

from marsys_core import events as e
from marsys_core.actions import AskUser
from marsys_core.config import ExecutionConfig
from marsys_core.errors import AgentError, Place, placed
from marsys_core.events import Event, EventId
from marsys_core.orchestrator.branch import Branch, Contribution
from marsys_core.orchestrator.commands import Command
from marsys_core.orchestrator.phases import Settled
from marsys_core.orchestrator.plain import Plan
from marsys_core.orchestrator.shared import Sharing
from marsys_core.orchestrator.shares import Outer
from marsys_core.orchestrator.state import RunState
from marsys_core.topology import NO_LIMITS, ConvergencePolicy, Graph, Limits
from marsys_core.values import Failure, Ref, failure_of

__all__ = ["END", "ROOT", "START", "USER", "Ledger", "Traits", "order"]

ROOT = "0"
START, END, USER = "start", "end", "user"


@attrs.frozen
class Traits:
    """What the orchestrator has to know of the agent at a node.

    Args:
        notes: It can be told what was wrong with its action, and asked again.
        tools: It acts by reserved tools, `invoke_agent` among them.
    """

    notes: bool = False
    tools: bool = False


def order(contribution: Contribution) -> tuple[int, tuple[int, ...]]:
    """The order of contributions: by call, and within one call by branch."""
    return (contribution.call, contribution.key)


def _into_nothing(_: Event) -> None:
    """Journal nothing."""


_PLAIN = Traits()


def _as_is(value: Any) -> Any:
    return value


@attrs.define(eq=False)
class Ledger(abc.ABC):
    """The parts of a decision that all rules share."""

    graph: Graph
    config: ExecutionConfig
    traits: Mapping[str, Traits] = attrs.field(factory=dict)
    append: Callable[[Event], None] = attrs.field(factory=lambda: _into_nothing)
    pack: Callable[[Any], Any] = _as_is
    unpack: Callable[[Any], Any] = _as_is
    admits: Callable[[str, Any], str] | None = None
    state: RunState = attrs.field(factory=RunState)
    turn_limits: Mapping[str, int] | None = None
    limits: Limits = NO_LIMITS
    outer: Outer | None = None
    _commands: list[Command] = attrs.field(factory=list)
    _arrived: list[tuple[tuple[int, ...], Branch]] = attrs.field(factory=list)
    _default_policy: ConvergencePolicy | None = None
    _planned: Plan | None = None
    sharing: Sharing = attrs.field(factory=Sharing)

    @abc.abstractmethod
    def _continue(self, branch: Branch) -> None:
        """Decide what the phase of `branch` leaves to be decided."""

    @abc.abstractmethod
    def _dispatch(self, branch: Branch, value: Any, inputs: tuple[EventId, ...]) -> None:
        """Plain content: the topology decides."""

    @abc.abstractmethod
    def _ask(self, branch: Branch, given: AskUser) -> None:
        """Suspend `branch` until a person answers."""

    @abc.abstractmethod
    def _lose_writes(self, branch: Branch, outcome: Settled) -> None:
        """Drop what `branch` wrote to the shared state, where coming to this end loses it."""

    def _traits(self, node: str) -> Traits:
        return self.traits.get(node, _PLAIN)

    def _emit(self, event: Event) -> Event:
        self.append(event)
        self.state.apply(event)
        return event

    def _items(self, value: Any) -> list[Any] | None:
        """Return the items of a list that is handed on, each as events carry it; None where it is no list."""
        if type(value) is Ref:
            opened = self.unpack(value)
            return [self.pack(item) for item in opened] if isinstance(opened, list) else None
        return value if isinstance(value, list) else None

    def _failure(self, error: BaseException | str, branch: Branch) -> Failure:
        exception = AgentError(error) if isinstance(error, str) else error
        return failure_of(placed(exception, Place(branch.id, branch.node, branch.steps)))

    def _drop(self, branch: Branch, value: Any, source: EventId, reason: str) -> None:
        self._emit(e.Dropped(branch.id, branch.n, branch.last, value, source, reason))

    def _settle(
        self,
        branch: Branch,
        outcome: Settled,
        value: Any = None,
        *,
        contributes: bool = False,
        error: Failure | None = None,
        node: str = "",
        inputs: tuple[EventId, ...] = (),
    ) -> None:
        if branch.writes:
            self._lose_writes(branch, outcome)
        # `_value_` is what `value` returns by two calls.
        self._emit(
            e.BranchSettled(
                branch.id,
                branch.n,
                branch.last,
                outcome._value_,
                node or branch.node,
                value,
                contributes,
                error,
                inputs,
            )
        )
