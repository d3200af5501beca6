"""Whenever asyncio code cancels a call of the engine: nothing is left of it, in Trio or on the loop."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import itertools
import os
import warnings
from typing import Any

import pytest
import trio

from marsys_core.actions import AskUser
from marsys_core.agents import FunctionAgent, agent
from marsys_core.errors import LifecycleError
from marsys_core.hosts.guest import Guest
from marsys_core.orchestra import Orchestra
from tests.core.engine.cancelling import DRIVERS, Trial, all_tasks, assert_complete
from tests.core.engine.corpus import CORPUS
from tests.core.fakes import Heard, bare
from tests.core.hosts.cancelling import campaign, driven, later, tick_by_tick
from tests.core.hosts.five import virtual
from tests.core.hosts.loops import LOOPS, each_loop, run_on, turns, until

_CASES = list(itertools.product(CORPUS, DRIVERS, LOOPS))
if os.environ.get("MARSYS_SIMULATE") != "1":  # the loops take turns
    _CASES = [case for number, case in enumerate(_CASES) if (number // len(LOOPS) + number) % len(LOOPS) == 0]


@pytest.mark.slow
@pytest.mark.parametrize(("workflow", "driver", "loop"), _CASES)
def test_a_run_can_be_cancelled_in_every_turn_of_its_loop(workflow: str, driver: str, loop: str) -> None:
    tally = campaign(workflow, driver, LOOPS[loop])

    assert tally["caught"] > 0.3 * tally["tries"]  # the rest ended before it came to that


# -- the engine, the loop and its callbacks ------------------------------------------------------


def case_of(name: str, orchestra: Any = None) -> Trial:
    return Trial(CORPUS[name], orchestra, Heard())


def assert_nothing_left(trial: Trial) -> None:
    assert (trial.books.inside, trial.books.threads, trial.books.leases) == (0, 0, 0)
    if trial.heard.events:
        assert_complete(trial.heard.events)


@each_loop
@pytest.mark.parametrize("used", ["an orchestra", "a bare call"])
def test_a_call_that_comes_as_the_last_orchestra_closes_is_served(used: str, new_loop: Any) -> None:
    @agent
    async def Hello(prompt: str) -> str:
        await trio.lowlevel.checkpoint()
        return f"hello {prompt}"

    async def block() -> Any:
        async with bare() as orchestra:
            return (await orchestra.run("you", "Hello")).final_response

    async def bare_call() -> Any:
        return (await Orchestra.run("you", "Hello")).final_response

    async def main(count: int) -> tuple[Any, bool]:
        first = asyncio.create_task(block())
        await turns(count)
        ended = first.done()
        answer = await (block() if used == "an orchestra" else bare_call())
        assert await first == answer == "hello you"
        return ended

    with tick_by_tick():
        for count in range(200):
            if run_on(new_loop, main(count)):
                break
    assert 10 < count < 199


@each_loop
@pytest.mark.parametrize("busy", ["asleep", "in a run", "in several", "opening another"])
def test_an_engine_that_breaks_in_any_turn_says_so_and_leaves_nothing(busy: str, new_loop: Any) -> None:
    async def crash() -> None:
        raise ValueError("in the background")

    async def work(trial: Trial) -> None:
        if busy == "asleep":
            await turns(60)
        elif busy == "in a run":
            await DRIVERS["execute"](trial)
        elif busy == "in several":
            await asyncio.gather(*[DRIVERS["execute"](trial) for _ in range(3)])
        else:
            async with bare():
                await turns(10)

    async def main(count: int) -> bool:
        me, raised, books = asyncio.current_task(), [], []
        assert me is not None

        def start_to_crash() -> None:
            with contextlib.suppress(RuntimeError):  # it has closed
                nursery.start_soon(crash)

        try:
            async with bare() as orchestra:
                nursery = orchestra.engine.services.nursery
                later(count, start_to_crash)
                books.append((trial := Trial(CORPUS["fan-out"], orchestra, Heard())).books)
                await work(trial)
        except ValueError as error:
            raised.append(str(error))
        assert raised in ([], ["in the background"])
        assert me.cancelling() == 0
        await turns()  # no cancellation comes later
        assert [(each.inside, each.threads, each.leases) for each in books] == [(0, 0, 0)]
        return bool(raised)

    with tick_by_tick(), virtual():
        count = 0
        while run_on(new_loop, main(count)):
            count += 1
    assert count > 5


@each_loop
@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize("workflow", ["fan-out", "tools side by side", "nested teams", "open questions"])
def test_a_program_that_ends_in_any_turn_ends_its_runs(workflow: str, driver: str, new_loop: Any) -> None:
    async def main(trial: Trial, count: int) -> bool:
        trial.orchestra = await bare(sinks=[trial.heard]).__aenter__()
        task = asyncio.create_task(driven(DRIVERS[driver], trial))
        await turns(count)
        return task.done()

    with tick_by_tick(), virtual():
        for count in range(0, 400, 7):
            trial = case_of(workflow)
            if run_on(new_loop, main(trial, count)):
                break
            assert_nothing_left(trial)
            assert not trio.lowlevel.in_trio_run()


@each_loop
@pytest.mark.parametrize("driver", ["execute", "class-level run", "start"])
def test_a_loop_that_is_closed_in_any_turn_ends_its_runs(driver: str, new_loop: Any) -> None:
    async def main(trial: Trial, count: int) -> asyncio.Task[Any]:
        trial.orchestra = await bare(sinks=[trial.heard]).__aenter__()
        task = asyncio.create_task(driven(DRIVERS[driver], trial))
        await turns(count)
        return task

    with tick_by_tick(), virtual():
        for count in range(0, 120, 3):
            loop, trial = new_loop(), case_of("fan-out")
            task = loop.run_until_complete(main(trial, count))
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                loop.close()
                task._log_destroy_pending = False
                done = task.done()
                del task, loop
                gc.collect()
            assert_nothing_left(trial)
            assert not trio.lowlevel.in_trio_run()
            if done:
                break
            del caught


@each_loop
@pytest.mark.slow
@pytest.mark.parametrize("closed", [True, False], ids=["closed", "forgotten"])
@pytest.mark.parametrize("workflow", ["fan-out", "tools side by side", "nested teams", "threads"])
def test_a_stream_can_be_left_at_every_event(workflow: str, closed: bool, new_loop: Any) -> None:
    async def main(count: int) -> bool:
        heard = Heard()
        async with bare(sinks=[heard]) as orchestra:
            trial = Trial(CORPUS[workflow], orchestra, heard)
            events, seen = orchestra.stream("task", trial.workflow.topology, **trial.given()), 0
            guest = await Guest.here()
            tasks = all_tasks()
            async for _ in events:
                seen += 1
                if seen == count:
                    break
            if closed:
                await events.aclose()
            else:
                del events, _
                gc.collect()
                await turns()
                await until(lambda: not guest.calls and all_tasks() == tasks)
            assert guest.calls == {}
            await turns(3)
            assert all_tasks() == tasks
            assert_nothing_left(trial)
        return seen == count

    with virtual():
        count = 1
        while run_on(new_loop, main(count)):
            count += 1 if closed else 5  # collecting garbage takes its time
    assert count > 10


@each_loop
@pytest.mark.parametrize("delay", [0, 1, 5])
def test_questions_are_answered_by_callbacks_of_the_loop(delay: int, new_loop: Any) -> None:
    @agent
    async def Asks(prompt: Any, context: Any) -> Any:
        return AskUser(f"{prompt}?") if context.step == 1 else f"heard {prompt}"

    async def never(question: Any) -> Any:
        await trio.sleep_forever()

    async def main() -> Any:
        asked: set[str] = set()
        async with bare(sinks=[heard]) as orchestra:
            run = orchestra.start("it", "S -> [A, B, C]; [A, B, C] -> user", agents=agents, channel=never)

            def look() -> None:
                for question in run.questions:
                    if question.request_id not in asked:
                        asked.add(question.request_id)
                        later(delay, functools.partial(run.answer, question, f"yes {len(asked)}"))
                if run.status in ("starting", "running"):
                    asyncio.get_running_loop().call_soon(look)

            look()
            return await run.result(), len(asked)

    heard = Heard()
    agents = {"S": FunctionAgent(lambda prompt: prompt, name="S"), **dict.fromkeys("ABC", Asks)}
    result, asked = run_on(new_loop, main())

    assert result.success
    assert sorted(result.final_response) == ["heard yes 1", "heard yes 2", "heard yes 3"]
    assert asked == 3
    assert_complete(heard.events)


@each_loop
def test_a_run_that_is_open_as_the_loop_shuts_down_says_so_also_where_it_has_forked(new_loop: Any) -> None:
    async def main(count: int) -> bool:
        trial = case_of("agents with nurseries")
        task = asyncio.create_task(driven(DRIVERS["class-level run"], trial))
        await turns(count)
        ended = task.done()
        await asyncio.get_running_loop().shutdown_asyncgens()
        try:
            result = await task
        except LifecycleError as error:
            raised.append(str(error))
        else:  # it was as good as over
            assert result.success
        assert_nothing_left(trial)
        return not ended

    raised: list[str] = []
    with tick_by_tick(), virtual():
        count = 3
        while run_on(new_loop, main(count)):
            count += 1
    assert len(raised) > 5
    assert all(text.endswith(" shut down, and this call was cancelled") for text in raised)


@each_loop
def test_a_block_that_is_open_as_the_loop_is_closed_is_closed_with_it(new_loop: Any) -> None:
    """Also with a fork on its way, of which each branch is cancelled."""

    async def main() -> None:
        async with bare() as orchestra:
            trial = Trial(CORPUS["fan-out"], orchestra, Heard())
            orchestra.start("task", trial.workflow.topology, **trial.given())
            await turns(8)
            stop.set_result(None)
            await asyncio.get_running_loop().create_future()

    loop = new_loop()
    stop = loop.create_future()
    told: list[Any] = []
    loop.set_exception_handler(lambda _, context: told.append(context))
    with tick_by_tick(), virtual():
        task = loop.create_task(main())
        loop.run_until_complete(stop)
        task._log_destroy_pending = False
        loop.close()
        del task, loop
        gc.collect()

    assert told == []
    assert not trio.lowlevel.in_trio_run()
