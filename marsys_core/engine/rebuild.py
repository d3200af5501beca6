"""Rebuilding a run from what a store has of it, so that it goes on where it was."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import attrs

from marsys_core import events as e
from marsys_core.engine.borrowed import Borrowed, copied_by, taken_up_from
from marsys_core.engine.durable import StoredJournal, adopt_log, holder
from marsys_core.engine.recall import recall
from marsys_core.engine.recollection import recall_again
from marsys_core.engine.recorded import Recorded, given_to, parted, records
from marsys_core.engine.spending import usage_of
from marsys_core.errors import LifecycleError, UnknownName
from marsys_core.format import Texts, check_format, decode, referred
from marsys_core.journal import unpack
from marsys_core.values import Converter

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from marsys_core.engine.run import RunShell
    from marsys_core.protocols.store import Entry, Store

__all__ = ["given_to", "parted", "read_events", "read_part", "rebuild", "refuse_unparted", "take_up"]

_WRONG = (e.StepFailed, e.LimitReached, e.GuardRefusedInput, e.RunStopped)


def read_events(
    entries: Sequence[Entry], converter: Converter, run_id: str, texts: Texts | None = None
) -> list[e.Event]:
    """Return the events of a run's entries, from the first one on; `texts` knows what later ones refer to.

    Raises:
        FormatError: An entry that is none, or of a newer format.
    """
    found: list[e.Event] = []
    texts = Texts() if texts is None else texts
    for entry in entries:
        event = decode(
            entry.kind, entry.data, converter, texts=texts,
            branch=entry.branch, n=entry.n, cause=entry.cause, seq=entry.seq, time=entry.time, run_id=run_id,
        )  # fmt: skip
        if type(event) is e.RunStarted:
            check_format(event.format, run_id)
        found.append(event)
    return found


async def read_part(
    store: Store, converter: Converter, run_id: str, start: int = 0, stop: int | None = None
) -> list[e.Event]:
    """Return the events of a run from place `start` on and before `stop`, without reading all that is before.

    Raises:
        UnknownName: There is no such run.
        FormatError: An entry that is none, or of a newer format.
    """
    entries, texts = await store.entries(run_id, start, stop), Texts()
    for seq in referred(entries):
        if seq < start:
            for entry in await store.entries(run_id, seq, seq + 1):
                texts.remember(entry)
    return read_events(entries, converter, run_id, texts)


def rebuild(
    run: RunShell, events: Sequence[e.Event], blobs: Mapping[str, bytes], copied: int | None = None
) -> None:
    """Bring `run`, which has not begun, to where `events` end; one that had failed, to before it did.

    Args:
        run: The run.
        events: Its record.
        blobs: Its large values.
        copied: How many of the events a fork has from another run, where they do not tell yet.
    """
    copied = copied_by(events) if copied is None else copied
    kept, void = parted(events)
    cut = _failed_at(kept)
    if cut is not None:
        kept, void = kept[:cut], [*kept[cut:], *void]
    given = given_to(events) if void else {}
    at = None if cut is None else kept[-1].seq + 1
    others = {event.seq for event in parted(events[:copied])[1]}
    recorded = records(run.journal, events, at, given, others)
    _bring_to(run, kept, recorded, blobs)
    run.before, run.skipped = events[-1].time, events[-1].seq + 1 - len(kept)
    # What says that a run goes on is not folded, and keeps its id.
    resumed = [event.n + 1 for event in events if type(event) is e.RunResumed]
    run.orchestrator.state.run_n = max([run.orchestrator.state.run_n, *resumed])
    run.voids, run.void = at, void
    if copied:
        taken_over = taken_up_from(events, others)
        run.void = [event for event in void if event.seq not in others or event.seq in taken_over]
        run.borrowed = Borrowed(events, others, len(kept))
    run.lives = _lives(events)
    if run.opening is not None:
        run.opening.ended = run.orchestrator.state.finished


def _lives(events: Sequence[e.Event]) -> list[tuple[float, float]]:
    """Return when each process began to carry the run out, in seconds since it started, and the date."""
    return [
        (event.time, event.wall_time)
        for event in events
        if isinstance(event, e.RunStarted | e.RunResumed) and event.wall_time
    ]


def _bring_to(
    run: RunShell,
    kept: Sequence[e.Event],
    recorded: dict[tuple[str, int], Recorded],
    blobs: Mapping[str, bytes],
) -> None:
    """Bring `run`, which has not begun, to where `kept` ends; `recorded` are the steps that will be taken again."""
    journal = run.journal
    assert isinstance(journal, StoredJournal)  # it was assembled for a store
    for sha256, data in blobs.items():
        journal.load(sha256, data)
    started = kept[0]
    assert isinstance(started, e.RunStarted)  # every journal begins with it
    run.task = unpack(journal, started.task)
    if run.opening is not None:
        own = {name: given for name, given in started.given.items() if name not in run.opening.refs}
        said = {name: unpack(journal, messages) for name, messages in own.items()}
        recalled = {name: run.opening.given[name] for name in run.opening.refs}
        run.opening = attrs.evolve(run.opening, given={**recalled, **said})
    for event in kept:
        _remember(run, event)
        run.orchestrator.state.apply(event)
        journal.events.append(event)
    run.recorded = recorded
    # What is open counts, with all its attempts, when it is taken again.
    run.usage = usage_of(kept, {branch: step.open_at for (branch, _), step in recorded.items()})
    run.taken_up = True


def refuse_unparted(run_id: str, source: str, events: Sequence[e.Event]) -> None:
    """See that a fork has the whole record of the run that it was forked from, and what it was given in place of it.

    Raises:
        LifecycleError: It was cut off before.
    """
    if source and not any(type(event) is e.RunResumed and event.source == source for event in events):
        msg = f"run {run_id!r} was cut off before it had parted from run {source!r}; fork that one again"
        raise LifecycleError(msg)


def _failed_at(events: Sequence[e.Event]) -> int | None:
    """Return the place of the first thing that went wrong in a run that failed; None where it has not."""
    last = events[-1]
    if not isinstance(last, e.RunFinished) or last.success:
        return None
    return next((index for index, event in enumerate(events) if isinstance(event, _WRONG)), None)


def _remember(run: RunShell, event: e.Event) -> None:
    """Keep what the engine knows besides the orchestrator: conversations, and warnings."""
    if type(event) is e.Warned:
        run.warnings[event.message] = None
    elif type(event) is e.StepFinished and event.messages:
        recall(run, run.orchestrator.state.branches[event.branch], event)


async def take_up(
    run: RunShell, store: Store, check: Callable[[], Awaitable[None]] | None = None, source: str = ""
) -> bool:
    """Take up a run in `store` where it was left, if it is there, and say whether it is.

    Args:
        run: The run, put together.
        store: Where it is.
        check: Called when it is held; may refuse.
        source: The run that it was forked from.

    Raises:
        RunHeld: Somebody else has it.
        LifecycleError: It is a fork that was cut off before it had begun.
    """
    left = run.engine.unreleased.get(run.run_id)
    if left is not None:  # the store could not keep it when it ended here
        await left.release()
        run.engine.unreleased.pop(run.run_id, None)
    try:
        log = await store.take(run.run_id, holder())
    except UnknownName:
        return False
    try:
        if check is not None:
            await check()
        entries = await store.entries(run.run_id)
        events = read_events(entries, run.engine.converter, run.run_id)
        refuse_unparted(run.run_id, source, events)
        if events:
            blobs = await store.blobs(run.run_id)
            await recall_again(run, events, blobs)
            rebuild(run, events, blobs)
        adopt_log(run, log)
        state = run.orchestrator.state
        if not state.finished:  # it is not what it had come to any more; and void steps do not count
            log.update(status="running", steps=state.steps, error="")
            await log.commit()
    except BaseException:
        await log.release()
        raise
    return True
