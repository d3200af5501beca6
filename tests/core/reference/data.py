"""What goes in and out of a reference run: actions, values and the outcome, as plain data."""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import attrs

from tests.core.reference.net import Policy

__all__ = [
    "Action",
    "BranchId",
    "Call",
    "Content",
    "Detached",
    "EndConversation",
    "Entry",
    "Fail",
    "Failure",
    "Finish",
    "Invoke",
    "Join",
    "Outcome",
    "Return",
    "Script",
    "Turn",
    "Value",
    "dotted",
    "joined",
    "leaves",
    "rendered",
]

Value: TypeAlias = Any  # a str, a list of values, a Join, or a Detached
BranchId: TypeAlias = tuple[int, ...]
Call: TypeAlias = tuple[str, Value]


@attrs.frozen
class Failure:
    """Why a branch failed; `kind` is the name of the error type, or "Fail" for a scripted one."""

    kind: str
    node: str
    branch: BranchId
    detail: str
    causes: tuple["Failure", ...] = ()


@attrs.frozen
class Entry:
    """One contribution; `node` and `branch` label it, `place` is the branch that delivered or failed."""

    node: str
    branch: BranchId
    value: Value | Failure
    place: BranchId


@attrs.frozen
class Join:
    entries: tuple[Entry, ...]

    def values(self) -> list[Value]:
        return [entry.value for entry in self.entries if not isinstance(entry.value, Failure)]


@attrs.frozen
class Detached:
    ids: tuple[BranchId, ...]


@attrs.frozen
class Content:
    value: Value


@attrs.frozen
class Invoke:
    calls: tuple[Call, ...]
    wait: bool = True
    policy: Policy | None = None


@attrs.frozen
class Return:
    value: Value


@attrs.frozen
class Finish:
    value: Value


@attrs.frozen
class EndConversation:
    value: Value


@attrs.frozen
class Fail:
    detail: str


Action: TypeAlias = Content | Invoke | Return | Finish | EndConversation | Fail


@attrs.frozen(kw_only=True)
class Turn:
    """What a script may decide by: `visit` counts the steps of this agent on this branch, from 1."""

    branch: str
    name: str
    node: str
    visit: int
    input: Value


Script: TypeAlias = Callable[[Turn], Action]


@attrs.frozen(kw_only=True)
class Outcome:
    """What a run came to, as plain data; `log` holds (branch, n-th step of the branch, node, input)."""

    success: bool
    values: list[Any]
    steps: int
    log: frozenset[tuple[str, int, str, Any]]
    settled: dict[str, str]
    names: dict[str, str]
    errors: dict[str, Failure]
    error: Failure | None
    branch_results: dict[str, Any]
    detached: frozenset[str]
    emitted: Counter[str]
    consumed: Counter[str]
    dropped: list[tuple[Any, str]]

    def nodes(self) -> Counter[str]:
        return Counter(node for _, _, node, _ in self.log)

    def inputs(self, node: str) -> list[Any]:
        """The inputs of that node's steps, by branch and step."""
        return [value for _, _, value in sorted((b, n, v) for b, n, at, v in self.log if at == node)]


def dotted(branch: BranchId) -> str:
    return ".".join(map(str, branch))


def rendered(value: Value | Failure) -> Any:
    """A value as nested tuples that can be compared and hashed."""
    match value:
        case Join(entries):
            return ("join", tuple((e.node, dotted(e.branch), rendered(e.value)) for e in entries))
        case Failure(kind=kind):
            return ("failure", kind)
        case Detached(ids):
            return ("detached", tuple(map(dotted, ids)))
        case list():
            return ("list", tuple(map(rendered, value)))
    return value


def leaves(value: Value | Failure) -> Iterator[str]:
    """The strings in a value: what the conservation law counts."""
    match value:
        case str():
            yield value
        case list():
            for item in value:
                yield from leaves(item)
        case Join(entries):
            for entry in entries:
                yield from leaves(entry.value)


def joined(contributions: list[Entry], failed: list[Failure]) -> Value:
    """Rule 6: in branch order; one value alone is passed on as it is."""
    if len(contributions) == 1 and not failed:
        return contributions[0].value
    labelled = [Entry(failure.node, failure.branch, failure, failure.branch) for failure in failed]
    return Join(tuple(sorted([*contributions, *labelled], key=lambda entry: entry.place)))
