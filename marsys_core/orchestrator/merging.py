"""What becomes of the writes of a branch to the shared state: a join takes them, or they are dropped."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import attrs

from marsys_core import events as e
from marsys_core.errors import StateConflict, StateError
from marsys_core.orchestrator.branch import Branch, Join
from marsys_core.orchestrator.ledger import ROOT, Ledger
from marsys_core.orchestrator.phases import LOST, Settled
from marsys_core.orchestrator.shared import Frame
from marsys_core.orchestrator.writes import Entry, pending

__all__ = ["Merging"]

_UNDECLARED = frozenset({"set", "del"})


@attrs.define(eq=False)
class Merging(Ledger):
    """A join takes what its contributing and finished children wrote, in call order."""

    def _merged(self, join: Join) -> dict[str, Any] | None:
        """Return what reducers that are functions make of the writes that `join` takes; None where there are none.

        Raises:
            StateError: Two children wrote the same key side by side, or a reducer does not take a write.
        """
        sources = pending(join)
        if not sources:  # whether anybody else has written by now goes by who came first
            return None
        _refuse_conflicts(sources)
        return self._taken(join.owner, [entry for branch in sources for entry in branch.writes or ()])

    def _taken(self, owner: Branch, entries: Iterable[Entry]) -> dict[str, Any]:
        """Do `entries` again on top of what `owner` has, without keeping it: the event says what came of it."""
        frame, made = Frame(owner.shared), {}
        for entry in entries:
            try:
                write = self.sharing.again(frame, entry.write)
            except StateError as error:
                error.args = (f"{error} (written by branch {entry.branch} at {entry.node!r})",)
                raise
            if write[1] == "call":
                made[write[0]] = write[3]
        return made

    def _merge_detached(self) -> None:
        """The run is ending: what detached branches wrote goes into its state, in branch order."""
        root = self.state.branches[ROOT]
        detached = [branch for branch in self.state.branches.values() if branch.detached and branch.writes]
        for branch in sorted(detached, key=lambda branch: branch.key):
            try:
                made = self._taken(root, branch.writes or ())
            except StateError as error:
                self._drop_writes(branch, str(error))
            else:
                self._emit(e.StateMerged(branch.id, branch.n, branch.last, made))

    def _drop_writes(self, branch: Branch, reason: str) -> None:
        values = self.pack(_by_key(branch.writes or ()))
        self._emit(e.Dropped(branch.id, branch.n, branch.last, values, branch.last, reason, "branch"))

    def _drop_pending(self, join: Join, reason: str) -> None:
        """What the children of `join` wrote goes nowhere."""
        entries = [entry for branch in pending(join) for entry in branch.writes or ()]
        if entries:
            owner, values = join.owner, self.pack(_by_key(entries))
            self._emit(e.Dropped(owner.id, owner.n, owner.last, values, join.event, reason, "join"))

    def _lose_writes(self, branch: Branch, outcome: Settled) -> None:
        if outcome in LOST:
            how = "failed" if outcome is Settled.FAILED else "was cancelled"
            self._drop_writes(branch, f"the branch that wrote it {how}")


def _by_key(entries: Iterable[Entry]) -> dict[str, list[Any]]:
    values: dict[str, list[Any]] = {}
    for entry in entries:
        value = None if entry.write[1] == "del" else entry.write[2]
        values.setdefault(entry.write[0], []).append(value)
    return values


def _refuse_conflicts(sources: Iterable[Branch]) -> None:
    """Raise where two branches that ran side by side wrote the same undeclared key."""
    seen: dict[str, list[tuple[Branch, int, Entry]]] = {}
    for branch in sources:
        own: dict[str, tuple[int, Entry]] = {}
        for place, entry in enumerate(branch.writes or ()):
            if entry.write[1] in _UNDECLARED:
                own[entry.write[0]] = (place, entry)
        for key, (place, entry) in own.items():
            for other, last, before in seen.get(key, ()):
                if not _led_to(other, last, branch):
                    raise _conflict(key, before, entry)
            seen.setdefault(key, []).append((branch, place, entry))


def _led_to(one: Branch, place: int, other: Branch) -> bool:
    """Whether `other` started from a state that has the write of `one` at `place`."""
    child = other
    while child.join is not None:
        if child.join.owner is one:
            return place < child.since
        child = child.join.owner
    return False


def _conflict(key: str, one: Entry, other: Entry) -> StateConflict:
    msg = (
        f"state {key!r} was written by branch {one.branch} at {one.node!r} and, side by side, by branch "
        f"{other.branch} at {other.node!r}, and nothing says how the two come together; declare a reducer: "
        f"Topology(..., state={{{key!r}: 'append'}}), or 'add', 'last' or a function of (old, new)"
    )
    return StateConflict(msg, key)
