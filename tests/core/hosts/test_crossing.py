import asyncio
import contextlib
import gc
import random
from contextvars import ContextVar

import pytest
import trio

from marsys_core.errors import AsyncioError, LifecycleError
from marsys_core.hosts.crossing import hosted
from marsys_core.hosts.library import current_library
from tests.core.hosts.loops import each_loop, run_on, until

colour: ContextVar[str] = ContextVar("colour", default="none")


@hosted
async def library():
    return current_library()


@hosted
async def forever(log):
    log.append("began")
    try:
        await trio.sleep_forever()
    finally:
        with trio.CancelScope(shield=True):
            for _ in range(10):
                await trio.lowlevel.checkpoint()
        log.append("ended")


def test_under_trio_it_is_the_function_itself():
    assert trio.run(library) == "trio"


@each_loop
def test_under_asyncio_it_runs_in_a_trio_task(new_loop):
    assert run_on(new_loop, library()) == "trio"


def test_it_keeps_its_name_and_its_signature():
    async def greet(name: str) -> str:
        """Greet."""
        return name

    assert hosted(greet).__name__ == "greet"
    assert hosted(greet).__doc__ == "Greet."
    assert asyncio.iscoroutinefunction(hosted(greet))


@each_loop
@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt(), SystemExit(3)])
def test_an_error_comes_through_as_the_same_object(new_loop, error):
    @hosted
    async def fail():
        await trio.lowlevel.checkpoint()
        raise error

    async def main():
        try:
            await fail()
        except BaseException as caught:
            return caught
        return None

    assert run_on(new_loop, main()) is error


@each_loop
def test_a_cancellation_kept_from_elsewhere_comes_through_as_an_error_of_its_code(new_loop):
    @hosted
    async def work():
        with trio.CancelScope() as scope:
            scope.cancel()
            try:
                await trio.lowlevel.checkpoint()
            except trio.Cancelled as error:
                kept.append(error)
        raise kept[0]

    async def main():
        with pytest.raises(trio.Cancelled) as caught:
            await work()
        return caught.value is kept[0]

    kept = []
    assert run_on(new_loop, main())


@each_loop
def test_a_cancellation_of_asyncio_s_that_trio_code_raises_itself_is_an_error(new_loop):
    @hosted
    async def fail():
        raise asyncio.CancelledError

    async def main():
        with pytest.raises(
            AsyncioError, match="^code that runs on Trio raised asyncio.CancelledError, and nobody had"
        ):
            await fail()
        return asyncio.current_task().cancelling()

    assert run_on(new_loop, main()) == 0


@each_loop
def test_a_group_of_errors_comes_through_whole(new_loop):
    async def fail(error):
        raise error

    @hosted
    async def work():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fail, ValueError("a"))
            nursery.start_soon(fail, KeyError("b"))

    async def main():
        with pytest.raises(ExceptionGroup) as caught:
            await work()
        return {type(error) for error in caught.value.exceptions}

    assert run_on(new_loop, main()) == {ValueError, KeyError}


@each_loop
def test_the_callers_context_goes_in_and_nothing_comes_out(new_loop):
    @hosted
    async def paint():
        seen = colour.get()
        colour.set("green")
        await trio.lowlevel.checkpoint()
        return seen, colour.get()

    async def main():
        colour.set("red")
        found = await paint()
        return found, colour.get()

    assert run_on(new_loop, main()) == (("red", "green"), "red")


@each_loop
def test_a_cancelled_caller_returns_when_everything_under_it_has_ended(new_loop):
    log = []

    async def main():
        task = asyncio.create_task(forever(log))
        await until(lambda: log)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return list(log)

    assert run_on(new_loop, main()) == ["began", "ended"]


@each_loop
def test_further_cancellations_tear_nothing_down(new_loop):
    log = []

    async def main():
        task = asyncio.create_task(forever(log))
        await until(lambda: log)
        times = 0
        while not task.done():
            task.cancel("again")
            times += 1
            await asyncio.sleep(0)
        return times, task.cancelled(), list(log)

    times, cancelled, log = run_on(new_loop, main())

    assert times > 1
    assert cancelled
    assert log == ["began", "ended"]


@each_loop
def test_a_call_that_is_cancelled_before_it_has_begun_does_nothing(new_loop):
    log = []

    async def main():
        await library()
        task = asyncio.create_task(forever(log))
        await asyncio.sleep(0)
        task.cancel("early")
        with pytest.raises(asyncio.CancelledError, match="^early$"):
            await task

    run_on(new_loop, main())

    assert log in ([], ["began", "ended"])


@each_loop
def test_the_host_s_deadline_is_a_timeout_there(new_loop):
    log = []

    async def main():
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await forever(log)
        assert asyncio.current_task().cancelling() == 0

    run_on(new_loop, main())

    assert log in ([], ["began", "ended"])


@each_loop
def test_an_error_while_it_is_cancelled_is_not_lost(new_loop):
    log = []

    @hosted
    async def work():
        log.append("began")
        try:
            await trio.sleep_forever()
        finally:
            msg = "cleaning up failed"
            raise ValueError(msg)

    async def main():
        task = asyncio.create_task(work())
        await until(lambda: log)
        task.cancel()
        with pytest.raises(ValueError, match="^cleaning up failed$"):
            await task

    run_on(new_loop, main())


@each_loop
def test_a_task_group_ends_all_its_calls_when_one_fails(new_loop):
    log = []

    @hosted
    async def fail():
        await until_trio(lambda: len(log) == 3)
        raise ValueError("no")

    async def main():
        with pytest.raises(ExceptionGroup):
            async with asyncio.TaskGroup() as group:
                for _ in range(3):
                    group.create_task(forever(log))
                group.create_task(fail())

    run_on(new_loop, main())

    assert log.count("began") == log.count("ended") == 3


async def until_trio(condition):
    while not condition():
        await trio.lowlevel.checkpoint()


def test_without_a_loop_it_says_what_to_write():
    with pytest.raises(LifecycleError, match="^no event loop is running here: "):
        library().send(None)


@each_loop
@pytest.mark.slow
def test_a_thousand_calls_half_of_them_cancelled_at_random_leave_nothing(new_loop):
    chance, open_now, done = random.Random(7), set(), []

    @hosted
    async def work(number, rounds):
        open_now.add(number)
        try:
            for _ in range(rounds):
                await trio.lowlevel.checkpoint()
        finally:
            open_now.discard(number)
        done.append(number)
        return number

    async def main():
        tasks = [asyncio.create_task(work(n, chance.randrange(200))) for n in range(1000)]
        for task in chance.sample(tasks, 500):
            asyncio.get_running_loop().call_later(chance.random() * 0.05, task.cancel)
        found = await asyncio.gather(*tasks, return_exceptions=True)
        assert len(asyncio.all_tasks()) == 1
        return found

    found = run_on(new_loop, main())

    assert open_now == set()
    assert all(isinstance(each, asyncio.CancelledError) or each == n for n, each in enumerate(found))
    assert {each for each in found if isinstance(each, int)} <= set(done)


def test_a_call_leaves_no_garbage_that_holds_its_errors():
    class Rare(Exception):
        pass

    @hosted
    async def fail():
        raise Rare

    async def main():
        gc.disable()
        try:
            for _ in range(3):
                with contextlib.suppress(Rare):
                    await fail()
            return sum(isinstance(each, Rare) for each in gc.get_objects())
        finally:
            gc.enable()

    assert asyncio.run(main()) == 0
