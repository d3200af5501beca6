"""Answers to what a run has open that rests, or that goes on here."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import trio

from marsys_core import events as e
from marsys_core.engine.durable import StoredJournal, carry_out
from marsys_core.engine.opening import concluded
from marsys_core.engine.people import question
from marsys_core.engine.rebuild import parted, read_events
from marsys_core.engine.resuming import store_of, taken_up
from marsys_core.errors import UnknownName
from marsys_core.orchestrator import RunState

if TYPE_CHECKING:
    from collections.abc import Callable

    from marsys_core.engine.engine import Engine
    from marsys_core.engine.people import GivenAnswer
    from marsys_core.engine.run import RunShell
    from marsys_core.options import RunOptions
    from marsys_core.orchestra import Orchestra
    from marsys_core.protocols.store import Store
    from marsys_core.questions import Question
    from marsys_core.results import RunResult
    from marsys_core.values import Converter

__all__ = ["answer", "questions_of"]


async def answer(
    orchestra: Orchestra,
    engine: Engine,
    given: GivenAnswer,
    topology: Any,
    options: RunOptions,
    accept_changes: bool,
    adopt: Callable[[RunShell], None] | None = None,
) -> RunResult:
    """Answer what a run has open, and return what it comes to with that; a run that goes on here hears it at once.

    `adopt` is told of the run where it was taken up for that, and is ready to go on.

    Raises:
        UnknownName: It has no such question open.
        AnswerRefused: The question does not allow this answer.
    """
    store = store_of(engine)
    given.value = engine.converter.plain(given.value)
    info = await store.info(given.run_id)
    while info.parent:  # a nested run goes on with the one that it is part of
        info = await store.info(info.parent)
    live: Any = next((run for run in engine.runs if run.run_id == info.run_id), None)
    if live is not None:
        return await _tell(live, given)

    async def check() -> None:
        await _check(store, engine.converter, given)

    await check()
    # Once more when the run is held here: somebody may have answered meanwhile.
    run = await taken_up(orchestra, engine, info.run_id, topology, options, accept_changes, check)
    assert run.people is not None  # a run that is kept can ask people
    run.people.answers.append(given)
    if adopt is not None:
        adopt(run)
    await carry_out(run)
    return concluded(run)


async def _check(store: Store, converter: Converter, given: GivenAnswer) -> None:
    """Return where the question is open, and allows the answer.

    Raises:
        UnknownName: It is not open.
        AnswerRefused: It does not.
    """
    own = await questions_of(store, converter, given.run_id, nested=False)
    known = {each.request_id: each for each in own}
    if given.request_id not in known:
        status = (await store.info(given.run_id)).status
        raise UnknownName("open question", given.request_id, known, f"(run {given.run_id!r}, {status})")
    known[given.request_id].check(given.value)


async def _tell(run: RunShell, given: GivenAnswer) -> RunResult:
    """Answer a question of a run that goes on here, and wait for its end."""
    assert run.people is not None  # a run that is kept can ask people
    run.people.asking(given.request_id, given.run_id).answer(given.request_id, given.value, given.source)
    if run.over is None:
        run.over = trio.Event()
    await run.over.wait()
    return concluded(run)


async def questions_of(
    store: Store, converter: Converter, run_id: str, *, nested: bool = True
) -> tuple[Question, ...]:
    """Return what a run that is kept has open, and then, with `nested`, what the runs nested in it have.

    Raises:
        UnknownName: There is no such run.
    """
    info = await store.info(run_id)
    events = parted(read_events(await store.entries(run_id), converter, run_id))[0]
    journal = StoredJournal(converter)
    if any(isinstance(event, e.UserAsked) for event in events):
        for sha256, data in (await store.blobs(run_id)).items():
            journal.load(sha256, data)
    machine = RunState()
    for event in events:
        machine.apply(event)
    branches = sorted(machine.branches.values(), key=lambda branch: branch.key)
    found = [
        question(asked, run_id, info.session_id, journal)
        for branch in (() if machine.finished else branches)
        for asked in (branch.person.in_order if branch.person is not None else ())
    ]
    if nested:
        ended = {event.inner for event in events if isinstance(event, e.TeamFinished | e.TeamFailed)}
        for event in events:
            if isinstance(event, e.TeamStarted) and event.inner not in ended:
                with suppress(
                    UnknownName
                ):  # it was cut off before it was kept, and begins when the run goes on
                    found += await questions_of(store, converter, event.inner)
    return tuple(found)
