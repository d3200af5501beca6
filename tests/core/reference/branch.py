"""The two things that a run moves about: branches and forks."""

from collections import Counter
from collections.abc import Iterator

import attrs

from tests.core.reference.data import BranchId, Entry, Failure, Value
from tests.core.reference.net import Policy

__all__ = ["Branch", "Fork"]


@attrs.define(eq=False, kw_only=True)
class Branch:
    """One line of execution and all that the rules remember about it."""

    id: BranchId
    name: str
    node: str
    fork: "Fork | None" = None
    input: Value = None
    holding: bool = False  # `input` was given and no turn has taken it yet
    stack: list[str] = attrs.Factory(list)
    turns: int = 0  # a gather's, too
    coming: str = "new"  # how the next turn comes about: "new", "said" in a conversation, or an "answer"
    talk: int = 0  # which turn of a conversation this one is
    steps: int = 0
    stepped: set[str] = attrs.Factory(set)
    passed: set[str] = attrs.Factory(set)  # gathers since the last step
    children: int = 0
    visits: Counter[str] = attrs.Factory(Counter)
    asked: dict[str, set[str]] = attrs.Factory(dict)
    acted: set[str] = attrs.Factory(set)  # nodes that invoked somebody by an action of their own
    rounds: Counter[str] = attrs.Factory(Counter)  # rounds done
    end: str | None = None
    failure: Failure | None = None

    def hold(self, value: Value, coming: str) -> None:
        assert not self.holding
        self.input, self.holding, self.coming = value, True, coming

    def settle(self, end: str) -> None:
        assert self.end is None
        assert not self.holding
        self.end = end

    def enclosing(self) -> Iterator["Fork"]:
        fork = self.fork
        while fork is not None:
            yield fork
            fork = fork.branch.fork


@attrs.define(eq=False, kw_only=True)
class Fork:
    """A suspended branch, its children, and what they delivered to the join."""

    branch: Branch
    node: str
    meeting: str | None
    policy: Policy
    limit: int | None
    children: list[Branch] = attrs.Factory(list)
    contributions: list[Entry] = attrs.Factory(list)
    open: bool = True

    def delivered(self, child: Branch) -> bool:
        depth = len(child.id)
        return any(entry.place[:depth] == child.id for entry in self.contributions)
