"""What branches have written to the shared state, as the fold keeps it until a join has taken it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import attrs

from marsys_core.orchestrator.phases import LOST
from marsys_core.orchestrator.shared import Write, fold_write

if TYPE_CHECKING:
    from marsys_core.orchestrator.branch import Branch, Join

__all__ = ["Entry", "pending", "share", "take_in", "write_down"]


@attrs.define(eq=False)
class Entry:
    """A write to the shared state, with the branch and the node that it is from."""

    write: Write
    branch: str
    node: str


def share(parent: Branch, child: Branch) -> None:
    """The child starts from the state of its parent; whoever writes next does so on top of it."""
    child.shared, parent.owns_frame = parent.shared, False
    child.since = 0 if parent.writes is None else len(parent.writes)


def write_down(branch: Branch, writes: Iterable[Write]) -> None:
    """Fold what a step of `branch` has written, and remember it for the join that is to take it."""
    frame = branch.frame()
    for write in writes:
        fold_write(frame, write)
    if branch.join is not None or branch.detached:
        branch.take_down([Entry(write, branch.id, branch.node) for write in writes])


def pending(join: Join) -> list[Branch]:
    """Return the branches whose writes `join` takes, in call order and within one call in branch order.

    A child that delivered further out takes its writes there; those of one that failed go nowhere.
    """
    found = [
        (child.call, child)
        for child in join.children
        if child.writes and not child.left and child.outcome is not None and child.outcome not in LOST
    ]
    found += [(call, branch) for call, branch in join.passed_in or () if branch.writes]
    return [branch for _, branch in sorted(found, key=lambda each: (each[0], each[1].key))]


def take_in(owner: Branch, sources: list[Branch], made: dict[str, Any]) -> None:
    """Write what `sources` wrote into the state of `owner`; of functions, what they `made` of it."""
    frame = owner.frame()
    for source in sources:
        entries = source.writes or []
        for entry in entries:
            if entry.write[1] != "call":
                fold_write(frame, entry.write)
        owner.take_down(entries)
        source.writes = None
    frame.own.update(made)
