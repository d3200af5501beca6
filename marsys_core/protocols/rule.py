"""Rules: what bounds a run, shapes its topology, or is asked before and after its steps.

A rule decides at once: it is a plain function of the facts, called by the engine between two events, and may
neither wait nor change what it is shown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import attrs

if TYPE_CHECKING:
    from marsys_core.actions import Action
    from marsys_core.topology import Limits, Node, Topology

__all__ = ["Allow", "Block", "Facts", "Modify", "Rule", "RuleFacts", "RuleType", "Stop", "Verdict"]


@attrs.frozen
class Allow:
    """Let it be; the same as returning None."""


@attrs.frozen
class Block:
    """Do not let it be.

    Before a step, the branch fails with `RuleBlocked`. After a step and before a fork, an agent that takes
    notes is told the reason and acts again; any other fails with `RuleBlocked`.

    Args:
        reason: What the agent and the error say.
    """

    reason: str = ""


@attrs.frozen
class Modify:
    """Let it be with another value.

    Args:
        value: What the step is given; after a step the value that it returned, finished or said; before a
            fork the calls, a sequence of ``(node, payload)``.
        reason: Why; it is recorded.
    """

    value: Any
    reason: str = ""


@attrs.frozen
class Stop:
    """End the whole run with `RuleStopped`.

    Args:
        reason: What the error says.
    """

    reason: str = ""


Verdict: TypeAlias = Allow | Block | Modify | Stop | None
"""What a rule may say."""


class Facts(Protocol):
    """What the facts of all steps of a run have in common; provided by the engine."""

    task: Any

    def elapsed(self) -> float:
        """Return the seconds since the run began."""

    def unpack(self, value: Any) -> Any:
        """Return the value behind what events carry: a copy where it could be changed."""


@attrs.define(eq=False)
class RuleFacts:
    """What a rule is asked about. Immutable by rule: what is changed in it changes nothing.

    Attributes:
        node: Where the branch stands; ``start`` for the fork to several entries.
        branch_id: The branch.
        step: The number of the step on its branch, from 1; before a step the one that is about to be.
        run_step: The same, counted in the whole run. Where branches run side by side it depends on which
            came first.
    """

    node: str
    branch_id: str
    step: int
    run_step: int
    _value: Any
    _action: Any
    _run: Facts

    @property
    def value(self) -> Any:
        """Before a step what it is given; after it what it returned, finished or said, or None where it did
        none of that; before a fork its calls, a list of ``(node, payload)``.
        """
        return self._run.unpack(self._value)

    @property
    def action(self) -> Action | None:
        """After a step what it ended in; else None. A large value in it stands as a `Ref`."""
        action: Action | None = self._action
        return action

    @property
    def task(self) -> Any:
        """The run's task."""
        return self._run.unpack(self._run.task)

    @property
    def elapsed(self) -> float:
        """Seconds since the run began."""
        return self._run.elapsed()


class Rule(Protocol):
    """Has any of these methods, all of them plain functions.

    Asked while a run goes on, in the order of the rules; what one of them modifies, the next one sees:

    * ``before_step(facts)``: a step is about to begin. Gather nodes take none.
    * ``after_step(facts)``: a step has ended in an action that the topology allows.
    * ``before_fork(facts)``: calls are about to be made side by side: by an action, by plain content, or to
      several entries.

    Called once, before any run:

    * ``limits(limits)`` returns a `Limits` that is as low or lower.
    * ``shape(topology)`` returns the nodes that it wants different, and changes nothing itself.

    It may have a `name`, which errors and events give, or else its class has; `nodes`, the names of the
    nodes it is about, which are checked; and `to_dict()`, its form as data. One object serves all runs of
    its topology at once, so what it remembers of one should be kept by branch, or not at all. A rule that
    raises fails the branch.
    """

    if TYPE_CHECKING:
        before_step: Callable[[RuleFacts], Verdict]
        after_step: Callable[[RuleFacts], Verdict]
        before_fork: Callable[[RuleFacts], Verdict]
        limits: Callable[[Limits], Limits]
        shape: Callable[[Topology], Iterable[Node]]


@attrs.frozen
class RuleType:
    """A kind of rule, by name; what the hook `marsys_rules` returns.

    Args:
        name: What it is written as: ``"timeout"``.
        make: Makes a rule of the arguments; its signature says which there are. It raises TopologyError,
            ValueError or TypeError for one that is wrong.
        summary: One line for people who choose between rules.
    """

    name: str
    make: Callable[..., Any]
    summary: str = ""
