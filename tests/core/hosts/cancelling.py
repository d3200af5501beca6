"""Runs that asyncio code cancels in the n-th turn of its loop, and a look at what is left then."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any
from unittest import mock

from marsys_core.errors import Cancelled
from marsys_core.hosts import guest as guests
from marsys_core.hosts.guest import Guest
from tests.core.engine.cancelling import DRIVERS, Trial, all_tasks, assert_complete, descriptors
from tests.core.engine.corpus import CORPUS
from tests.core.fakes import Heard, bare
from tests.core.hosts.five import virtual
from tests.core.hosts.loops import our_threads, run_on

__all__ = ["campaign", "driven", "later", "tick_by_tick"]

_TRIES = 60_000 if os.environ.get("MARSYS_SIMULATE") == "1" else 2_000

Drive = Callable[[Trial], Awaitable[Any]]


class Boom(Exception):
    """What a sibling in the caller's task group fails with."""


async def by_task(at: int, trial: Trial, drive: Drive) -> bool:
    task = asyncio.create_task(driven(drive, trial))
    if await _turns(at, task):
        task.cancel()
    return await _caught(task)


async def twice(at: int, trial: Trial, drive: Drive) -> bool:
    task = asyncio.create_task(driven(drive, trial))
    if await _turns(at, task):
        task.cancel()
        if await _turns(2, task):
            task.cancel()
    return await _caught(task)


async def by_timeout(at: int, trial: Trial, drive: Drive) -> bool:
    reached = False

    async def limited() -> bool:
        try:
            async with asyncio.timeout(None) as limit:
                limits.append(limit)
                await drive(trial)
        except TimeoutError:
            return True
        return False

    limits: list[asyncio.Timeout] = []
    task = asyncio.create_task(limited())
    reached = await _turns(at, task)
    if reached and limits:
        limits[0].reschedule(asyncio.get_running_loop().time())
    elif reached:  # it has not begun
        task.cancel()
        return await _caught(task)
    return await task


async def by_sibling(at: int, trial: Trial, drive: Drive) -> bool:
    async def fail() -> None:
        if await _turns(at, task):
            raise Boom

    failed = False
    try:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(driven(drive, trial))
            group.create_task(fail())
    except* Boom:
        failed = True
    return failed


async def by_run(at: int, trial: Trial, drive: Drive) -> bool:
    """`Run.cancel` from a callback of the loop; the run then ends with a result that says so."""
    task = asyncio.create_task(driven(drive, trial))
    if await _turns(at, task) and trial.run is not None:
        asyncio.get_running_loop().call_soon(trial.run.cancel)
    result = await task
    return result is not None and isinstance(result.error, Cancelled)


WAYS: dict[str, Callable[[int, Trial, Drive], Awaitable[bool]]] = {
    "task": by_task,
    "timeout": by_timeout,
    "twice": twice,
    "sibling": by_sibling,
    "Run.cancel": by_run,
}


def tick_by_tick() -> contextlib.AbstractContextManager[Any]:
    """Give the guest no more than one tick in each turn of the loop."""
    return mock.patch.object(guests, "_SLICE", 0.0)


def later(count: int, act: Callable[[], object]) -> None:
    """Call `act` after that many turns of the running loop."""
    loop = asyncio.get_running_loop()
    loop.call_soon(act if count <= 0 else lambda: later(count - 1, act))


async def driven(drive: Drive, trial: Trial) -> Any:
    return await drive(trial)


async def _turns(count: int, task: asyncio.Task[Any]) -> bool:
    """Let the loop go round, and say whether `task` goes on then."""
    for _ in range(count):
        if task.done():
            return False
        await asyncio.sleep(0)
    return not task.done()


async def _caught(task: asyncio.Task[Any]) -> bool:
    try:
        await task
    except asyncio.CancelledError:
        assert task.cancelled()
        return True
    return False


def campaign(name: str, driver: str, new_loop: Callable[[], asyncio.AbstractEventLoop]) -> Counter[str]:
    """Cancel workflow `name` in turn after turn of the loop, in one way after another; a tick of Trio is a turn.

    Where there are more turns than tries, they are spread evenly.
    """
    tally: Counter[str] = Counter()
    before = our_threads()
    with virtual(), tick_by_tick():
        run_on(new_loop, _campaign(name, driver, tally))
    assert our_threads() == before
    return tally


async def _campaign(name: str, driver: str, tally: Counter[str]) -> None:
    heard = Heard()
    ways = [way for way in WAYS if way != "Run.cancel" or driver in ("start", "events")]
    tries = max(len(ways), round(_TRIES / (len(CORPUS) * len(DRIVERS) * 2)))
    async with bare(sinks=[heard]) as orchestra:
        # Where a thread is waited for, the loop goes round as often as it can meanwhile.
        lengths = [await _length(Trial(CORPUS[name], orchestra, heard), DRIVERS[driver]) for _ in range(3)]
        total = min(lengths)
        for number in range(min(tries, total * len(ways))):
            at = number // len(ways) if tries >= total * len(ways) else number * total // tries
            await _try(
                ways[number % len(ways)], at, Trial(CORPUS[name], orchestra, heard), DRIVERS[driver], tally
            )


async def _length(trial: Trial, drive: Drive) -> int:
    """How many turns of the loop it takes when nobody cancels it."""
    task, turns = asyncio.create_task(driven(drive, trial)), 0
    while not task.done():
        await asyncio.sleep(0)
        turns += 1
    await task
    return turns


async def _try(way: str, at: int, trial: Trial, drive: Drive, tally: Counter[str]) -> None:
    trial.heard.events.clear()
    guest = await Guest.here()
    tasks, others, files, held = all_tasks(), asyncio.all_tasks(), descriptors(), guest.held
    caught = await WAYS[way](at, trial, drive)
    try:
        assert (dict(guest.calls), guest.held) == ({}, held)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert all_tasks() == tasks
        assert asyncio.all_tasks() == others
        assert descriptors() <= files
        assert (trial.books.inside, trial.books.threads, trial.books.leases) == (0, 0, 0)
        if trial.heard.events:
            assert_complete(trial.heard.events)
    except AssertionError as error:
        error.add_note(f"{way} in turn {at}")
        raise
    tally["tries"] += 1
    tally["caught"] += caught
