"""The five hosts an application may bring, as one interface: each runs the same case and tells the same of it.

Time is virtual under all of them. Trio's own choice among what is ready at once is made the same everywhere, so
that what still differs is the host's doing.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from itertools import count
from typing import Any
from unittest import mock

import attrs
import trio
import trio.testing

from marsys_core.embed import EngineThread
from marsys_core.hosts.bridge import Call
from marsys_core.orchestra import Orchestra
from marsys_core.results import RunResult
from tests.core.fakes import BARE, Heard
from tests.core.hosts.loops import LOOPS, run_on

__all__ = [
    "HOSTS",
    "ON_A_LOOP",
    "OTHERS",
    "Case",
    "Told",
    "error_of",
    "scheduled",
    "stopped",
    "tell",
    "told",
    "until_nothing_moves",
    "virtual",
    "without_order",
]


@attrs.frozen(kw_only=True)
class Case:
    """What a host is given; made anew for each, as scripts and agents are used up.

    Args:
        task: What the run is about.
        topology: Its topology.
        options: The options of the run.
        settings: The settings of its orchestra, besides plugins, sinks and ids.
    """

    topology: Any
    task: Any = "task"
    options: Mapping[str, Any] = attrs.field(factory=dict)
    settings: Mapping[str, Any] = attrs.field(factory=dict)
    heard: Heard = attrs.field(factory=Heard)

    @property
    def all_settings(self) -> dict[str, Any]:
        ids = map("run {}".format, count())
        return {"plugins": BARE, "sinks": [self.heard], "new_id": ids.__next__, **self.settings}

    @property
    def own(self) -> type[Orchestra]:
        """A class whose bare calls have these settings."""
        settings = self.all_settings

        class Own(Orchestra):
            def __init__(self) -> None:
                super().__init__(**settings)

        return Own


Host = Callable[[Case], RunResult]


def under_trio(case: Case) -> RunResult:
    return trio.run(functools.partial(case.own.run, case.task, case.topology, **case.options))


def on_a_loop(new_loop: Callable[[], asyncio.AbstractEventLoop], case: Case) -> RunResult:
    result: RunResult = run_on(new_loop, case.own.run(case.task, case.topology, **case.options))
    return result


def through_a_portal(case: Case) -> RunResult:
    with EngineThread(**case.all_settings) as engine:
        return engine.submit(case.task, case.topology, **case.options).result()


def in_plain_code(case: Case) -> RunResult:
    return case.own.run_sync(case.task, case.topology, **case.options)


HOSTS: dict[str, Host] = {
    "trio": under_trio,
    **{name: functools.partial(on_a_loop, new_loop) for name, new_loop in LOOPS.items()},
    "thread": through_a_portal,
    "sync": in_plain_code,
}

OTHERS = [name for name in HOSTS if name != "trio"]


# -- what they have to agree on ------------------------------------------------------------------


@attrs.frozen
class Told:
    """What a run came to, and what it told on its way, without anything that two equal runs may differ in."""

    success: bool
    response: str
    error: Any
    steps: int
    seconds: float
    usage: Any
    branches: Any
    state: Any
    metadata: str
    messages: Any
    journal: Any


ON_A_LOOP = ["code written for asyncio"]
"""Workflows that call models from a loop beside Trio: in which order calls of one step are heard, nobody decides."""


def told(result: RunResult, heard: Heard) -> Told:
    return Told(
        result.success,
        repr(result.final_response),
        error_of(result.error),
        result.total_steps,
        round(result.total_duration, 6),
        result.usage,
        [
            (b.branch_id, b.agent, b.success, repr(b.response), error_of(b.error), b.steps, b.outcome)
            for b in result.branch_results
        ],
        repr(dict(result.state)),
        repr(result.metadata),
        [repr(message) for message in result.messages],
        sorted(heard.journal),  # runs inside runs have events of the same ids
    )


def error_of(error: BaseException | None) -> Any:
    """An error as plain data, with what caused it."""
    if error is None:
        return None
    inner = error.exceptions if isinstance(error, BaseExceptionGroup) else ()
    notes = getattr(error, "__notes__", [])
    return type(error), str(error), notes, error_of(error.__cause__), [error_of(each) for each in inner]


def tell(case: Case, host: str) -> Told:
    """Run `case` under `host`, on a virtual clock."""
    with virtual():
        return told(HOSTS[host](case), case.heard)


def without_order(seen: Told) -> Told:
    """The same, but for the numbers of events within their branches."""
    return attrs.evolve(seen, journal=sorted((*event[:2], *event[4:]) for event in seen.journal))


# -- time and order ------------------------------------------------------------------------------


_stopped: Counter[trio.abc.Clock] = Counter()
_working: Counter[trio.abc.Clock] = Counter()


@contextlib.contextmanager
def _counted(count: Counter[trio.abc.Clock]) -> Iterator[trio.testing.MockClock]:
    clock = trio.lowlevel.current_clock()
    assert isinstance(clock, trio.testing.MockClock)
    count[clock] += 1
    try:
        yield clock
    finally:
        count[clock] -= 1
        if not count[clock]:
            del count[clock]


@contextlib.contextmanager
def stopped() -> Iterator[None]:
    """Have the clock of this Trio stand still meanwhile."""
    with _counted(_stopped) as clock:
        clock.autojump_threshold = math.inf
        try:
            yield
        finally:
            clock.autojump_threshold = math.inf if _stopped[clock] > 1 else 0


async def until_nothing_moves() -> None:
    """Wait until every other task waits, and no worker thread works; for use where the clock is `stopped`."""
    while True:
        await trio.testing.wait_all_tasks_blocked()
        if trio.lowlevel.current_clock() not in _working:
            return


@contextlib.contextmanager
def virtual() -> Iterator[None]:
    """Have every Trio that is started meanwhile, as a guest or not, in any thread, run on a clock that jumps.

    It stands still while a worker thread works, or code on an asyncio loop, which can make something happen.
    """
    in_thread, on_a_loop = trio.to_thread.run_sync, Call.result

    def on_a_clock(start: Callable[..., Any]) -> Callable[..., Any]:
        def started(*args: Any, **options: Any) -> Any:
            if options.get("clock") is None:
                options["clock"] = trio.testing.MockClock(autojump_threshold=0)
            return start(*args, **options)

        return started

    async def waited_for(*args: Any, **options: Any) -> Any:
        with stopped(), _counted(_working):
            return await in_thread(*args, **options)

    async def awaited(call: Call) -> Any:
        with stopped(), _counted(_working):
            return await on_a_loop(call)

    with (
        mock.patch.object(trio, "run", on_a_clock(trio.run)),
        mock.patch.object(trio.lowlevel, "start_guest_run", on_a_clock(trio.lowlevel.start_guest_run)),
        mock.patch.object(trio.to_thread, "run_sync", waited_for),
        mock.patch.object(Call, "result", awaited),
    ):
        yield


class _Order:
    """What Trio asks for the order of what is ready at once: by age, or the other way round."""

    def __init__(self, *, turned: bool) -> None:
        self._turned = turned

    def uniform(self, low: float, high: float) -> float:
        return low

    def shuffle(self, batch: list[Any]) -> None:
        if self._turned:
            batch.reverse()


@contextlib.contextmanager
def scheduled(*, turned: bool = False) -> Iterator[None]:
    """Have Trio run what is ready at once in the order in which it was made, or the other way round."""
    from trio._core import _run

    with (
        mock.patch.object(_run, "_ALLOW_DETERMINISTIC_SCHEDULING", True),
        mock.patch.object(_run, "_r", _Order(turned=turned)),
    ):
        yield
