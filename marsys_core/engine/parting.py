"""Nested runs of a fork: it gets its own of those that are to go on, and leaves those of the run that it parts from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import attrs

from marsys_core import events as e
from marsys_core.engine.durable import holder
from marsys_core.engine.rebuild import read_events
from marsys_core.errors import UnknownName
from marsys_core.format import encode
from marsys_core.protocols.store import Entry

if TYPE_CHECKING:
    from marsys_core.protocols.store import Store
    from marsys_core.values import Converter

__all__ = ["copy_nested", "own_teams"]

_ENDS = (e.StepFinished, e.StepFailed, e.BranchSettled)
_TEAMS = (e.TeamStarted, e.TeamFinished, e.TeamFailed)


async def own_teams(
    store: Store,
    converter: Converter,
    past: Sequence[e.Event],
    events: Sequence[e.Event],
    ids: tuple[str, str],
) -> None:
    """Give the fork its own of the nested runs that are at work where `past` ends, and have `events` name those.

    Args:
        store: Where runs are.
        converter: What reads them.
        past: What the fork has of the run that it parts from.
        events: All that is recorded of that run; those of `past` are among them.
        ids: That of the run, and that of the fork.
    """
    named = {}
    for inner in dict.fromkeys(_open_teams(past)):
        named[inner] = own = ids[1] + inner.removeprefix(ids[0])
        await copy_nested(store, converter, inner, own, ids[1])
    for event in events:
        if isinstance(event, _TEAMS):
            event.inner = named.get(event.inner, event.inner)


async def copy_nested(store: Store, converter: Converter, run_id: str, own_id: str, parent: str) -> None:
    """Begin the record of a nested run of a fork with all that is recorded of the one that it stands for."""
    try:
        info = await store.info(run_id)
    except UnknownName:
        return  # it was cut off before it was kept, or is not kept any more: it begins anew
    events = read_events(await store.entries(run_id), converter, own_id)
    blobs = await store.blobs(run_id)
    await own_teams(store, converter, events, events, (run_id, own_id))
    last = events[-1].seq if events else 0
    log = await store.create(
        attrs.evolve(info, run_id=own_id, parent=parent, forked_from=(run_id, last)), holder()
    )
    for sha256, data in blobs.items():
        log.put(sha256, data)
    for event in events:
        if type(event) is e.RunStarted and event.parent is not None:
            event.parent = (parent, *event.parent[1:])
        text = encode(event, converter)
        log.append(
            Entry(event.seq, event.branch, event.n, event.cause, type(event).__name__, event.time, text)
        )
    log.update(status=info.status, steps=info.steps, error=info.error)
    await log.release()


def _open_teams(events: Sequence[e.Event]) -> list[str]:
    """Return the nested runs that a step goes on with when it is taken again."""
    found: dict[str, list[str]] = {}
    for event in events:
        if isinstance(event, (e.StepStarted, *_ENDS)):
            found[event.branch] = []
        elif type(event) is e.TeamStarted:
            found.setdefault(event.branch, []).append(event.inner)
        elif type(event) is e.TeamFinished and event.inner in found.get(event.branch, ()):
            found[event.branch].remove(event.inner)
    return [inner for teams in found.values() for inner in teams]
