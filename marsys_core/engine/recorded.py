"""Steps as they are recorded: how often each was taken, with what, and what it did then.

A run that failed and goes on takes steps again that its record has already, perhaps several times over. Whatever a
step did in any of these lives is done: it is looked for in all of them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import attrs

from marsys_core import events as e
from marsys_core.engine.replay import CALLS, Replay
from marsys_core.engine.spending import usage_of
from marsys_core.journal import Journal
from marsys_core.orchestrator import Branch, RunState

__all__ = ["Recorded", "Taken", "given_to", "parted", "records", "steps_taken"]

_ENDS = (e.StepFinished, e.StepFailed, e.BranchSettled)
_ANEW = (e.StepRetried, e.StepSteered)
_NONE: Mapping[int, Any] = {}


@attrs.define(eq=False)
class Taken:
    """A step, from where it began.

    Args:
        started: Its beginning.
        calls: Its calls since its last attempt began, and after what that did.
        before: Those of the attempts before.
        finished: What it came to, whether that holds or not.
        ended: The `seq` of its end, where that holds.
        void: Whether its beginning does not hold.
    """

    started: e.StepStarted
    calls: list[e.Event] = attrs.field(factory=list)
    before: list[e.Event] = attrs.field(factory=list)
    finished: e.StepFinished | None = None
    ended: int | None = None
    void: bool = False

    def follow(self, event: e.Event) -> None:
        """Take note of what happened on the step's branch while it was open."""
        if type(event) in _ENDS:
            self.ended = event.seq
            self.finished = event if isinstance(event, e.StepFinished) else None
        elif type(event) in _ANEW:
            self.before += self.calls
            self.calls = [event]
        elif type(event) in CALLS:
            self.calls.append(event)


@attrs.define(eq=False, kw_only=True)
class Recorded:
    """All that is recorded of a step that will be taken again.

    Args:
        journal: Where large values are.
        takes: The step in each life, in order.
        given: What steps were given, by the `seq` of their beginnings.
        others: The `seq` of what another run did that this one was forked from: no part of it where the step is given
            something else now.
        since: The `seq` from which on calls that failed count: not where what they led to is to be tried once more.
        heard: What a person answered while the run rested.
    """

    journal: Journal
    takes: Sequence[Taken]
    given: Mapping[int, Any]
    others: Collection[int]
    since: float
    heard: list[e.UserAnswered] = attrs.field(factory=list)

    @property
    def open_at(self) -> float:
        """The `seq` where it began, if that holds; infinite if it is to begin again."""
        last = self.takes[-1]
        return float("inf") if last.void else last.started.seq

    @property
    def note(self) -> str:
        """What it was told to do better in its last attempt."""
        return next((event.note for event in self.takes[-1].calls if isinstance(event, e.StepSteered)), "")

    def answering(self, branch: Branch) -> Replay | None:
        """Return what answers the step that `branch` takes again with what it is given now; None where nothing does."""
        same = [taken for taken in self.takes if self._is_for(taken, branch)]
        binding = [taken for taken in self.takes if taken in same or taken.started.seq not in self.others]
        if not binding:
            return None
        replay = Replay(self.journal)
        for taken in binding:
            # It asks other questions where it is given something else, and what a model replied answers none of them.
            replay.add(taken.calls, self.since, models=taken in same)
        for answered in self.heard:
            replay.hear(answered)
        if self.since < 0:
            branch.n = max(branch.n, replay.stand_at(self.takes[-1].calls))
        if same and same[-1] is self.takes[-1]:
            replay.go_on_from(self.takes[-1].calls)
            replay.earlier = usage_of(self.takes[-1].before)
        replay.finished = next(
            (taken.finished for taken in reversed(same) if taken.finished is not None), None
        )
        return replay

    def _is_for(self, taken: Taken, branch: Branch) -> bool:
        if not taken.void:
            return True  # it is open, and can be given nothing else
        return taken.started.node == branch.node and bool(self.given[taken.started.seq] == branch.value)


def records(
    journal: Journal,
    events: Sequence[e.Event],
    at: int | None = None,
    given: Mapping[int, Any] = _NONE,
    others: Collection[int] = (),
) -> dict[tuple[str, int], Recorded]:
    """Return, by branch and number of the step, what is recorded of steps that will be taken again.

    Args:
        journal: Where large values are.
        events: The whole record, in order.
        at: The `seq` from which on it holds no more from now on, if there is one.
        given: What steps were given, by the `seq` of their beginnings.
        others: The `seq` of what has happened in the run that this one was forked from, and not in this one.
    """
    again = [event.seq for event in events if type(event) is e.RunResumed and event.at < event.seq]
    since = float("inf") if at is not None else max(again, default=-1)
    return {
        step: Recorded(journal=journal, takes=takes, given=given, others=others, since=since)
        for step, takes in steps_taken(events, at)
        if all(taken.void or taken.ended is None for taken in takes)
    }


def steps_taken(
    events: Sequence[e.Event], at: int | None = None
) -> Iterator[tuple[tuple[str, int], list[Taken]]]:
    """Yield each step, by its branch and number, as often as it was taken.

    Args:
        events: The whole record, in order.
        at: The `seq` from which on it holds no more from now on, if there is one.
    """
    steps: dict[tuple[str, int], list[Taken]] = {}
    under_way: dict[str, Taken] = {}
    for event in events:
        if type(event) is e.RunResumed:
            under_way = _left_open(steps, event.at)
        elif type(event) is e.StepStarted:
            under_way[event.branch] = taken = Taken(event)
            steps.setdefault((event.branch, event.step), []).append(taken)
        elif (found := under_way.get(event.branch)) is not None:
            found.follow(event)
            if found.ended is not None:
                del under_way[event.branch]
    if at is not None:
        _left_open(steps, at)
    yield from steps.items()


def _left_open(steps: Mapping[tuple[str, int], list[Taken]], at: int) -> dict[str, Taken]:
    """Let what happened from `at` on hold no more, and return the steps that are open then, by their branches."""
    found = {}
    for (branch, _), takes in steps.items():
        for taken in takes:
            taken.void = taken.void or taken.started.seq >= at
            if taken.ended is not None and taken.ended >= at:
                taken.ended = None
            if not taken.void and taken.ended is None:
                found[branch] = taken
    return found


def parted(events: Sequence[e.Event]) -> tuple[list[e.Event], list[e.Event]]:
    """Return the events that hold, and those that were made void by going on from before them, with what did so."""
    kept: list[e.Event] = []
    void: list[e.Event] = []
    for event in events:
        if type(event) is e.RunResumed:
            if kept and kept[-1].seq >= event.at:
                void.append(event)
            while kept and kept[-1].seq >= event.at:
                void.append(kept.pop())
        else:
            kept.append(event)
    return kept, sorted(void, key=lambda event: event.seq)


def given_to(events: Sequence[e.Event]) -> dict[int, Any]:
    """Return what each step was given, by the `seq` of its beginning."""
    state, found = RunState(), {}
    for event in events:
        if type(event) is e.RunResumed:
            if event.at >= event.seq:
                continue
            state = RunState()
            for kept in parted([each for each in events if each.seq <= event.seq])[0]:
                state.apply(kept)
            continue
        if type(event) is e.StepStarted:
            found[event.seq] = state.branches[event.branch].value
        state.apply(event)
    return found
