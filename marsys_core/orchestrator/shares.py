"""What a run, or a part of one, may spend, and what it has spent: sums that are a fold of the events.

A share belongs to the whole run, or to all children of one fork. Who spends in a share spends in the ones round
it as well, up to that of the run, and on into the run that a nested one is part of.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs

from marsys_core.messages import Usage

if TYPE_CHECKING:
    from marsys_core.actions import Invoke
    from marsys_core.orchestrator.branch import Branch
    from marsys_core.orchestrator.ledger import Ledger
    from marsys_core.orchestrator.state import RunState

__all__ = [
    "Outer",
    "Share",
    "budget_of",
    "count_model",
    "count_team",
    "count_tool",
    "join_outer",
    "limits_of",
    "remaining",
    "steps_used_up",
    "why_no_share",
]

_COUNTED = {"max_steps": "steps", "max_tokens": "tokens", "max_cost": "cost", "max_tool_calls": "tool_calls"}


@attrs.define(eq=False, kw_only=True)
class Share:
    """The limits of a part of a run, and the sums of what was spent in it; None is no limit."""

    max_steps: int | None = None
    max_tokens: int | None = None
    max_cost: float | None = None
    max_tool_calls: int | None = None
    parent: Share | None = None
    steps: int = 0
    tokens: int = 0
    cost: float = 0.0
    tool_calls: int = 0

    def chain(self) -> Iterator[Share]:
        """Yield this share and the ones round it, from the inside out."""
        share: Share | None = self
        while share is not None:
            yield share
            share = share.parent

    def add(
        self, *, steps: int = 0, tokens: int = 0, cost: float = 0.0, tool_calls: int = 0, sign: int = 1
    ) -> None:
        """Count what was spent, here and in the shares round this one; a `sign` of -1 takes it back."""
        for share in self.chain():
            share.steps += sign * steps
            share.tokens += sign * tokens
            share.cost += sign * cost
            share.tool_calls += sign * tool_calls

    def add_usage(self, usage: Usage) -> None:
        """Count what a model call cost."""
        self.add(tokens=usage.total_tokens, cost=usage.cost)


@attrs.define(eq=False)
class Outer:
    """The step that a nested run is part of; the steps of the nested run count in its run, too."""

    ledger: Ledger
    branch: Branch

    def count_step(self) -> None:
        """A step began further in. The event that ends the nested run has them all, and takes their place."""
        outer: Outer | None = self
        while outer is not None:
            outer.ledger.state.steps += 1
            outer = outer.ledger.outer

    def take_up(self, state: RunState, counted: Sequence[Any] = ()) -> None:
        """Count what a nested run had come to when it was interrupted, as if it had gone on here since.

        Args:
            state: Where it is.
            counted: How it had failed before, where that has been folded, and what it had spent with it.
        """
        steps = state.steps - sum(each.steps for each in counted)
        outer: Outer | None = self
        while outer is not None:
            outer.ledger.state.steps += steps
            outer = outer.ledger.outer
        self._share(state, counted)

    def settle(self, state: RunState, counted: Sequence[Any] = ()) -> None:
        """Take back what was counted while the nested run went on: its last event is about to count it."""
        self.ledger.state.steps -= state.steps - sum(each.steps for each in counted)
        self._share(state, counted, sign=-1)

    def _share(self, state: RunState, counted: Sequence[Any], sign: int = 1) -> None:
        spent = state.share
        if spent is not None and self.branch.share is not None:
            self.branch.share.add(
                steps=spent.steps - sum(each.steps for each in counted),
                tokens=spent.tokens - sum(each.usage.total_tokens for each in counted),
                cost=spent.cost - sum(each.usage.cost for each in counted),
                tool_calls=spent.tool_calls - sum(each.tool_calls for each in counted),
                sign=sign,
            )


def budget_of(ledger: Ledger) -> dict[str, float] | None:
    """Return what the calls of the whole run may spend; None where nothing is to be counted."""
    config, outer = ledger.config, ledger.outer
    if outer is None and config.max_tokens is config.max_cost is config.max_tool_calls is None:
        return None
    limits = {
        "max_tokens": config.max_tokens,
        "max_cost": config.max_cost,
        "max_tool_calls": config.max_tool_calls,
    }
    given = {name: most for name, most in limits.items() if most is not None}
    counted = outer is not None and outer.branch.share is not None
    return given if given or counted else None


def join_outer(ledger: Ledger) -> None:
    """Let what a nested run spends be spent by the run that it is part of, too."""
    if ledger.outer is not None and ledger.state.share is not None:
        ledger.state.share.parent = ledger.outer.branch.share


def steps_used_up(ledger: Ledger, branch: Branch) -> tuple[str, int, int] | None:
    """Return whose limit on steps is reached, the limit, and the steps taken; None where none is."""
    if branch.share is not None:
        for share in branch.share.chain():
            if share.max_steps is not None and share.steps >= share.max_steps:
                return f"a budget that branch {branch.id} shares", share.max_steps, share.steps
    outer = ledger.outer
    while outer is not None:
        state, most = outer.ledger.state, outer.ledger.config.max_steps
        if state.steps >= most:
            return "a run that this one is nested in", most, state.steps
        outer = outer.ledger.outer
    return None


def remaining(ledger: Ledger, branch: Branch) -> dict[str, float]:
    """Return what is left to `branch` under each limit that holds for it, never less than 0."""
    left: dict[str, float] = {}

    def bound(limit: str, rest: float) -> None:
        left[limit] = max(0, min(rest, left.get(limit, rest)))

    if branch.share is not None:
        for share in branch.share.chain():
            for limit, spent in _COUNTED.items():
                most = getattr(share, limit)
                if most is not None:
                    bound(limit, most - getattr(share, spent))
    at: Ledger | None = ledger
    while at is not None:
        bound("max_steps", at.config.max_steps - at.state.steps)
        at = at.outer.ledger if at.outer is not None else None
    return left


def limits_of(ledger: Ledger, branch: Branch, budget: float | Mapping[str, float]) -> Mapping[str, float]:
    """Return the limits that a fork is given: as they are, or a fraction of what is left under each."""
    if isinstance(budget, Mapping):
        return budget
    left = remaining(ledger, branch)
    return {
        limit: rest * budget if limit == "max_cost" else int(rest * budget) for limit, rest in left.items()
    }


def why_no_share(action: Invoke) -> str:
    """Say why nobody could hold the budget of `action`, or nothing."""
    if not action.wait or len(action.calls) > 1:
        return ""
    return (
        f"a budget is for the children of a fork, and one call to {action.calls[0][0]!r} makes none; "
        "leave budget out, or start it with wait=False"
    )


def count_model(state: RunState, branch: Branch | None, event: Any) -> None:
    """Fold what a model call cost."""
    if branch is not None and branch.share is not None and event.usage is not None:
        branch.share.add_usage(event.usage)


def count_tool(state: RunState, branch: Branch | None, event: Any) -> None:
    """Fold the beginning of a tool call."""
    if branch is not None and branch.share is not None:
        branch.share.add(tool_calls=1)


def count_team(state: RunState, branch: Branch | None, event: Any) -> None:
    """Fold what a nested run came to."""
    state.steps += event.steps
    if branch is not None and branch.share is not None:
        usage = event.usage
        branch.share.add(
            steps=event.steps, tokens=usage.total_tokens, cost=usage.cost, tool_calls=event.tool_calls
        )
