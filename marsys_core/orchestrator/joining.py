"""What a join makes of its children: who delivered, failed or left, and the value to go on with."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import attrs

from marsys_core.errors import AgentError, ConvergenceError
from marsys_core.orchestrator.branch import Branch, Contribution, Join
from marsys_core.orchestrator.phases import Settled
from marsys_core.values import Failure, JoinInput

__all__ = ["Tally", "convergence_error", "exception_of", "flatten", "gather_input", "tally"]


@attrs.define(eq=False)
class Tally:
    """How the calls of a fork stand. A call that failed after it delivered has delivered."""

    delivered: int = 0
    left: int = 0
    failures: list[tuple[int, Branch]] = attrs.field(factory=list)

    def of(self, total: int) -> tuple[int, int, int]:
        """Return what a policy is asked with, of `total` calls; those that left do not count."""
        return (self.delivered, len(self.failures), total - self.left)


def tally(join: Join) -> Tally:
    """Count the calls of `join`; those that are still open are in none of the numbers."""
    counted = Tally()
    delivered = {contribution.call for contribution in join.contributions}
    for child in join.children:
        if child.call in delivered:
            counted.delivered += 1
        elif child.outcome is Settled.FAILED or (
            child.outcome is Settled.CANCELLED and isinstance(join.closing, Failure)
        ):
            counted.failures.append((child.call, child))
        elif child.outcome is not None and child.outcome is not Settled.CANCELLED:
            counted.left += 1
    return counted


def gather_input(arrived: Sequence[Contribution], failures: Iterable[tuple[int, Branch]]) -> Any:
    """Return what the branch goes on with: one value as it is, else a `JoinInput` with the failures labelled."""
    labelled = [(call, child.key, (child.node, child.id, child.error)) for call, child in failures]
    if len(arrived) == 1 and not labelled:
        return arrived[0].value
    items = [(c.call, c.key, (c.node, c.source, c.value)) for c in arrived] + labelled
    items.sort(key=lambda item: item[:2])
    return JoinInput(item for _, _, item in items)


def convergence_error(join: Join, note: str = "") -> ConvergenceError:
    """Return the error of a join whose policy was not met; it names every child that failed."""
    # A child that failed after something below it had delivered is a cause as well, though not a failed call.
    failed = [child for child in join.children if child.error is not None]
    errors = [exception_of(child.error) for child in failed]
    arrived = len({contribution.call for contribution in join.contributions})
    told = "; ".join(f"{child.node!r} ({child.id}): {child.error}" for child in failed)
    msg = f"{arrived} of {len(join.calls)} calls from {join.owner.node!r} delivered, the policy asks for more"
    msg = f"{msg}: {told}" if told else msg
    return ConvergenceError(f"{msg}; {note}" if note else msg, errors)


def exception_of(failure: Failure | None) -> BaseException:
    """Return the exception behind a recorded failure; one that was read from a journal is rebuilt."""
    if failure is None:
        return AgentError("failed")
    if failure.exception is not None:
        return failure.exception
    error = AgentError(f"{failure.error}: {failure.message}")
    error.error_class = failure.error_class
    return error


def flatten(values: Iterable[Any]) -> list[Any]:
    """Return what reached the run: a `JoinInput` counts as its values, in order; nested ones stay nested."""
    flat: list[Any] = []
    for value in values:
        if type(value) is not str and isinstance(value, JoinInput):
            flat += value.values
        else:
            flat.append(value)
    return flat
