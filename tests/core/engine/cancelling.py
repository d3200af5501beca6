"""Runs workflows and cancels them at a chosen schedule point, then looks for what is left."""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import attrs
import trio
import trio.testing

from marsys_core import events as e
from marsys_core.errors import Cancelled
from marsys_core.hosts.loops import loops
from marsys_core.orchestra import Orchestra
from marsys_core.orchestrator import RunState
from marsys_core.results import RunResult
from marsys_core.run import Run
from tests.core.engine.corpus import CORPUS, Books, Workflow
from tests.core.fakes import BARE, Heard, bare, seeded

__all__ = ["DRIVERS", "all_tasks", "assert_complete", "campaign", "descriptors"]

_TRIES = 100_000 if os.environ.get("MARSYS_SIMULATE") == "1" else 10_000


class Points(trio.abc.Instrument):
    """Counts where the tasks under test are resumed and where they wait, and acts at one such point."""

    def __init__(self, others: set[Any]) -> None:
        self.others = others
        self.passed = 0
        self.plans: dict[int, Callable[[], object]] = {}

    def arm(self, plans: dict[int, Callable[[], object]]) -> None:
        self.passed, self.plans = 0, plans

    def _pass(self, task: trio.lowlevel.Task) -> None:
        if task in self.others:
            return
        self.passed += 1
        plan = self.plans.get(self.passed)
        if plan is not None:
            plan()

    before_task_step = after_task_step = _pass


def all_tasks() -> set[trio.lowlevel.Task]:
    """Every task there is, from the root down."""
    found: set[trio.lowlevel.Task] = set()
    root = trio.lowlevel.current_root_task()
    pending = [root] if root is not None else []
    while pending:
        task = pending.pop()
        found.add(task)
        for nursery in task.child_nurseries:
            pending.extend(nursery.child_tasks)
    return found


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def assert_complete(events: Sequence[Any]) -> None:
    """A journal is complete: every branch settled once, ids are unique, and the run's end is the last word."""
    for run_id in dict.fromkeys(event.run_id for event in events):
        _assert_one_complete([event for event in events if event.run_id == run_id])
    nested = Counter(event.inner for event in events if type(event) is e.TeamStarted)
    assert nested == Counter(event.inner for event in events if type(event) in (e.TeamFinished, e.TeamFailed))


def _assert_one_complete(events: Sequence[Any]) -> None:
    assert type(events[0]) is e.RunStarted
    assert type(events[-1]) is e.RunFinished, events[-1]
    assert sum(type(event) is e.RunFinished for event in events) == 1
    assert [event.seq for event in events] == list(range(len(events)))
    repeated = [id for id, times in Counter(event.id for event in events).items() if times > 1]
    assert not repeated, [event for event in events if event.id in repeated]
    started = [event.branch for event in events if type(event) is e.BranchStarted]
    settled = [event.branch for event in events if type(event) is e.BranchSettled]
    assert sorted(started) == sorted(settled)
    calls = Counter(event.call_id for event in events if type(event) is e.ToolStarted)
    ended = Counter(event.call_id for event in events if type(event) in (e.ToolFinished, e.ToolFailed))
    assert calls == ended
    state = RunState()
    for event in events:
        state.apply(event)
    assert state.finished
    assert state.live == 0


# -- how a run is started ------------------------------------------------------------------------


@attrs.define(eq=False)
class Trial:
    """One run of a workflow on its way; `run` is what `start` gave, where that was used."""

    workflow: Workflow
    orchestra: Orchestra
    heard: Heard
    books: Books = attrs.field(factory=Books)
    run: Run | None = None

    def given(self) -> dict[str, Any]:
        person = self.workflow.person
        return {
            "agents": self.workflow.agents(self.books),
            "execution_config": self.workflow.config,
            "channel": None if person is None else person(self.books),
        }


async def execute(trial: Trial) -> RunResult:
    return await trial.orchestra.execute("task", trial.workflow.topology, **trial.given())


async def class_level(trial: Trial) -> RunResult:
    class Own(Orchestra):
        def __init__(self) -> None:
            super().__init__(plugins=BARE, sinks=[trial.heard])

    return await Own.run("task", trial.workflow.topology, **trial.given())


async def started(trial: Trial) -> RunResult:
    async with bare(sinks=[trial.heard]) as orchestra:
        trial.run = orchestra.start("task", trial.workflow.topology, **trial.given())
        return await trial.run.result()


async def read(trial: Trial) -> RunResult:
    async with bare(sinks=[trial.heard]) as orchestra:
        trial.run = orchestra.start("task", trial.workflow.topology, **trial.given())
        async with contextlib.aclosing(trial.run.events()) as events:
            async for _ in events:
                pass
        return await trial.run.result()


async def streamed(trial: Trial) -> RunResult | None:
    async with bare(sinks=[trial.heard]) as orchestra:
        stream = orchestra.stream("task", trial.workflow.topology, **trial.given())
        async with contextlib.aclosing(stream) as events:
            async for _ in events:
                pass
    return None


DRIVERS: dict[str, Callable[[Trial], Awaitable[RunResult | None]]] = {
    "execute": execute,
    "class-level run": class_level,
    "start": started,
    "events": read,
    "stream": streamed,
}


# -- how it is cancelled -------------------------------------------------------------------------


class Boom(Exception):
    """What a sibling in the host's nursery fails with."""


@attrs.define(eq=False)
class Tried:
    """What became of a trial: whether the host saw the cancellation, or what it was given."""

    reached: bool
    caught: bool
    result: RunResult | None = None
    ended: bool = False


Way = Callable[[Points, int, Trial, Callable[[Trial], Awaitable[Any]]], Awaitable[Tried]]


async def by_scope(points: Points, at: int, trial: Trial, drive: Any) -> Tried:
    with trio.CancelScope() as scope:
        points.arm({at: scope.cancel})
        return Tried(points.passed >= at, False, await drive(trial), ended=True)
    return Tried(True, scope.cancelled_caught)


async def by_deadline(points: Points, at: int, trial: Trial, drive: Any) -> Tried:
    def expire() -> None:
        scope.deadline = trio.current_time()

    with trio.CancelScope() as scope:
        points.arm({at: expire})
        return Tried(points.passed >= at, False, await drive(trial), ended=True)
    return Tried(True, scope.cancelled_caught)


async def twice(points: Points, at: int, trial: Trial, drive: Any) -> Tried:
    with trio.CancelScope() as outer, trio.CancelScope() as inner:
        points.arm({at: inner.cancel, at + 3: outer.cancel})
        return Tried(points.passed >= at, False, await drive(trial), ended=True)
    return Tried(True, inner.cancelled_caught or outer.cancelled_caught)


async def by_sibling(points: Points, at: int, trial: Trial, drive: Any) -> Tried:
    wanted = trio.Event()

    async def fail() -> None:
        await wanted.wait()
        raise Boom

    tried = Tried(False, False)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fail)
            points.arm({at: wanted.set})
            tried.result = await drive(trial)
            tried.ended = True
            nursery.cancel_scope.cancel()
    except* Boom:
        tried.caught = tried.reached = True
    return tried


async def by_run(points: Points, at: int, trial: Trial, drive: Any) -> Tried:
    """`Run.cancel`, called twice; the run then ends with a result that says so."""

    def cancel() -> None:
        if trial.run is not None:
            trial.run.cancel()

    points.arm({at: cancel, at + 5: cancel})
    result = await drive(trial)
    caught = result is not None and isinstance(result.error, Cancelled)
    return Tried(points.passed >= at, caught, result, ended=True)


WAYS: dict[str, Way] = {
    "an outer scope": by_scope,
    "an outer deadline": by_deadline,
    "a second cancellation": twice,
    "a failing sibling": by_sibling,
    "Run.cancel": by_run,
}


# -- the campaign --------------------------------------------------------------------------------


def campaign(name: str, driver: str) -> Counter[str]:
    """Cancel workflow `name` at each of its points in turn, one schedule after another.

    Every point of a schedule is tried before the next one begins; each way of cancelling takes its turn.
    """
    tally: Counter[str] = Counter()
    with seeded(0):
        trio.run(_campaign, name, driver, tally, clock=trio.testing.MockClock(autojump_threshold=0))
    return tally


async def _campaign(name: str, driver: str, tally: Counter[str]) -> None:
    heard = Heard()
    points = Points(all_tasks() - {trio.lowlevel.current_task()})
    trio.lowlevel.add_instrument(points)
    ways = [way for way in WAYS.values() if way is not by_run or driver in ("start", "events")]
    least = _TRIES / (len(CORPUS) * len(DRIVERS))
    async with bare(sinks=[heard]) as orchestra:
        if "asyncio" in name:
            loops().loop()  # once used, it stays as long as this orchestra
        seed = 0
        while tally["points"] < least:
            at = 1
            while True:
                way = ways[(at + seed) % len(ways)]
                await _try(
                    points, seed, at, way, Trial(CORPUS[name], orchestra, heard), DRIVERS[driver], tally
                )
                if points.passed < at:
                    break
                at += 1
            seed += 1


async def _try(
    points: Points, seed: int, at: int, way: Way, trial: Trial, drive: Any, tally: Counter[str]
) -> None:
    from trio._core import _run as scheduler

    trial.heard.events.clear()
    tasks, files = all_tasks(), descriptors()
    scheduler._r.seed(seed)
    tried = await way(points, at, trial, drive)
    points.plans = {}
    try:
        assert all_tasks() == tasks
        assert descriptors() <= files
        assert (trial.books.inside, trial.books.threads, trial.books.leases) == (0, 0, 0)
        assert_complete(trial.heard.events)
        assert tried.caught or tried.ended
    except AssertionError as error:
        error.add_note(f"{way.__name__} at point {at} of the schedule {seed}")
        raise
    if tried.reached:
        tally["points"] += 1
        tally["caught"] += tried.caught
