"""What a fork has of the run that it was forked from, beside the past that they share: calls that it need not make."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

import attrs

from marsys_core import events as e
from marsys_core.engine.recorded import Taken, given_to, steps_taken

__all__ = ["Borrowed", "copied_by", "taken_up_from"]


def copied_by(events: Sequence[e.Event]) -> int:
    """Return how many of the first events of a run another one has recorded, which this one was forked from."""
    for index in range(len(events) - 1, -1, -1):
        event = events[index]
        if type(event) is e.RunResumed and event.source:
            return index
    return 0


def taken_up_from(events: Sequence[e.Event], others: Collection[int]) -> set[int]:
    """Return the `seq` of what another run has recorded of steps that were open where a fork parted from it.

    Args:
        events: The record of the fork.
        others: The `seq` of what the other one did after they parted.
    """
    return {
        event.seq
        for _, takes in steps_taken(events)
        for taken in takes
        if taken.started.seq not in others
        for event in (*taken.before, *taken.calls)
        if event.seq in others
    }


@attrs.define(eq=False)
class Borrowed:
    """What answers steps of a fork that are the same in the run that it was forked from.

    Args:
        events: The record of the fork, as it was taken up.
        others: The `seq` of what the other run did after they parted.
        kept: How many of the events hold.
    """

    events: Sequence[e.Event]
    others: Collection[int]
    kept: int

    def by(self, journal: Sequence[e.Event]) -> list[e.Event]:
        """Return what was recorded in the other run of steps that the fork has taken with the same input.

        Args:
            journal: The events that hold, and those that were recorded since.
        """
        events = [*self.events, *journal[self.kept :]]
        given = given_to(events)
        found: list[e.Event] = []
        for _, takes in steps_taken(events):
            own = [taken for taken in takes if taken.started.seq not in self.others]
            for taken in takes:
                if taken.started.seq in self.others:
                    same = [each for each in own if _are_same(taken, each, given)]
                    found += _counted(taken, same)
        return found


def _are_same(one: Taken, other: Taken, given: dict[int, object]) -> bool:
    same_node = one.started.node == other.started.node
    return same_node and bool(given[one.started.seq] == given[other.started.seq])


def _counted(taken: Taken, same: Sequence[Taken]) -> Iterator[e.Event]:
    """Yield what counts of a step of the other run; a team that failed there goes on in a copy, which counts all of it."""
    if not same:
        return
    again = any(type(event) is e.TeamStarted for each in same for event in (*each.before, *each.calls))
    for event in (*taken.before, *taken.calls):
        if not (again and type(event) is e.TeamFailed):
            yield event
