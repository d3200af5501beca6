"""A run that is cancelled at a point of its own leaves the same journal under every host."""

from __future__ import annotations

import asyncio
import functools
import os
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError
from typing import Any

import attrs
import pytest
import trio

from marsys_core.embed import EngineThread
from tests.core.engine.cancelling import assert_complete
from tests.core.engine.corpus import CORPUS, Books
from tests.core.hosts.five import ON_A_LOOP, Case, scheduled, stopped, until_nothing_moves, virtual
from tests.core.hosts.loops import LOOPS, run_on

STEPS = range(1, 30) if os.environ.get("MARSYS_SIMULATE") == "1" else (1, 3)


@attrs.define(eq=False)
class Stop:
    """Middleware that has the run cancelled when its n-th step is about to begin, and nothing else goes on.

    The clock stands still from then on until the cancellation comes, and the step with it.
    """

    at: int
    steps: int = 0
    name: str = "stop"
    _told: threading.Event = attrs.field(factory=threading.Event)
    _cancel: Callable[[], object] | None = None

    def by(self, cancel: Callable[[], object]) -> None:
        self._cancel = cancel
        self._told.set()

    async def agent_step(self, call: Any, proceed: Any) -> Any:
        self.steps += 1
        if self.steps == self.at:
            with stopped():
                await until_nothing_moves()
                assert self._told.wait(10)  # the future may come later than the step
                assert self._cancel is not None
                self._cancel()
                await trio.sleep_forever()
        return await proceed(call)


def under_trio(case: Case, stop: Stop) -> bool:
    async def main() -> bool:
        with trio.CancelScope() as scope:
            stop.by(scope.cancel)
            await case.own.run(case.task, case.topology, **case.options)
        return scope.cancelled_caught

    return trio.run(main)


def on_a_loop(new_loop: Callable[[], asyncio.AbstractEventLoop], case: Case, stop: Stop) -> bool:
    async def main() -> bool:
        task = asyncio.create_task(case.own.run(case.task, case.topology, **case.options))
        stop.by(task.cancel)
        try:
            await task
        except asyncio.CancelledError:
            return True
        return False

    caught: bool = run_on(new_loop, main())
    return caught


def through_a_portal(case: Case, stop: Stop) -> bool:
    with EngineThread(**case.all_settings) as engine:
        future = engine.submit(case.task, case.topology, **case.options)
        stop.by(future.cancel)
        try:
            future.result()
        except CancelledError:
            return True
    return False


HOSTS: dict[str, Callable[[Case, Stop], bool]] = {
    "trio": under_trio,
    **{name: functools.partial(on_a_loop, new_loop) for name, new_loop in LOOPS.items()},
    "thread": through_a_portal,
}


def cancelled(name: str, at: int, host: str) -> tuple[bool, Any]:
    """Whether the caller saw it, and the journal."""
    workflow, books, stop = CORPUS[name], Books(), Stop(at)
    person = workflow.person
    case = Case(
        topology=workflow.topology,
        options={
            "agents": workflow.agents(books),
            "execution_config": workflow.config,
            "channel": None if person is None else person(books),
        },
        settings={"middleware": [stop]},
    )
    with virtual():
        caught = HOSTS[host](case, stop)
    assert (books.inside, books.threads, books.leases) == (0, 0, 0)
    assert_complete(case.heard.events)
    return caught, sorted(case.heard.journal)  # runs inside runs have events of the same ids


@pytest.mark.parametrize("name", [name for name in CORPUS if name not in ON_A_LOOP])
def test_a_run_cancelled_at_a_step_leaves_the_same_journal_under_every_host(name: str) -> None:
    with scheduled():
        for at in STEPS:
            expected = cancelled(name, at, "trio")
            for host in HOSTS:
                assert (host, at, cancelled(name, at, host)) == (host, at, expected)
            if not expected[0]:
                break


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("name", ON_A_LOOP)
def test_a_run_cancelled_at_a_step_leaves_a_whole_journal_under_every_host(name: str, host: str) -> None:
    assert [cancelled(name, at, host)[0] for at in (1, 2, 99)] == [True, True, False]
