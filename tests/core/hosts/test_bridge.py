"""Calls from Trio to asyncio, and what the asyncio side asks of Trio meanwhile."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from typing import Any

import attrs
import pytest
import sniffio
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from marsys_core.errors import AsyncioError, LifecycleError
from marsys_core.hosts.bridge import Abroad, Call, on_asyncio, soon_on
from marsys_core.hosts.library import asyncio_loop, current_library
from marsys_core.hosts.loops import loops
from tests.core.hosts.guests import HOSTS

VARIABLE: contextvars.ContextVar[str] = contextvars.ContextVar("VARIABLE", default="unset")


async def double(number: int, *, plus: int = 0) -> int:
    await asyncio.sleep(0)
    return number * 2 + plus


async def for_ever() -> None:
    await asyncio.get_running_loop().create_future()


class Home:
    """An object of the Trio side: its async methods need Trio."""

    def __init__(self) -> None:
        self.ended: list[str] = []
        self.entered = trio.Event()

    def _for_asyncio(self, call: Call) -> Any:
        return Abroad(self, call)

    def plain(self) -> str:
        return "plain"

    async def echo(self, value: Any) -> Any:
        await trio.lowlevel.checkpoint()
        return value

    async def fail(self, error: BaseException) -> None:
        await trio.lowlevel.checkpoint()
        raise error

    async def wait(self) -> None:
        self.entered.set()
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await trio.lowlevel.checkpoint()
            self.ended.append("wait")

    async def until_entered(self) -> None:
        await self.entered.wait()

    async def cancel_me(self) -> None:
        with trio.CancelScope() as scope:
            scope.cancel()
            await trio.lowlevel.checkpoint()


def test_a_value_comes_back(run):
    async def main():
        return await on_asyncio(double, 3, plus=1)

    assert run(main) == 7


def test_where_asyncio_is_in_charge_the_function_is_awaited():
    async def main():
        return await on_asyncio(double, 3), asyncio.current_task() is not None

    assert asyncio.run(main()) == (6, True)


def test_the_function_runs_on_the_hosts_loop_in_its_thread_or_on_ours(run):
    async def seen():
        return asyncio.get_running_loop(), threading.current_thread().name, sniffio.current_async_library()

    async def main():
        return asyncio_loop(), await on_asyncio(seen), threading.current_thread().name

    host, (loop, thread, library), here = run(main)

    assert library == "asyncio"
    assert (loop, thread) == ((loop, "marsys asyncio") if host is None else (host, here))


def test_context_variables_are_seen_and_what_is_set_stays_there(run):
    async def change():
        seen = VARIABLE.get()
        VARIABLE.set("changed")
        return seen

    async def main():
        VARIABLE.set("given")
        return await on_asyncio(change), VARIABLE.get()

    assert run(main) == ("given", "given")


@pytest.mark.parametrize(
    "error",
    [ValueError("x"), ExceptionGroup("g", [ValueError("x")]), SystemExit(3), KeyboardInterrupt()],
    ids=lambda error: type(error).__name__,
)
def test_an_error_comes_through_as_the_same_object_and_the_loop_goes_on(run, error):
    async def fail():
        await asyncio.sleep(0)
        raise error

    async def main():
        async with loops():
            with pytest.raises(type(error)) as raised:
                await on_asyncio(fail)
            return raised.value, await on_asyncio(double, 1)

    seen, after = run(main)

    assert seen is error
    assert after == 2


def test_a_function_that_raises_at_once_is_heard_too(run):
    def broken() -> Any:
        raise StopIteration("x")

    async def main():
        await on_asyncio(broken)

    with pytest.raises(RuntimeError, match=r"^coroutine raised StopIteration$"):
        run(main)


def test_cancelling_the_caller_cancels_the_task_once_and_waits_for_its_end(run):
    seen = []

    async def slow():
        started.set()
        try:
            await for_ever()
        except asyncio.CancelledError:
            for _ in range(20):
                await asyncio.sleep(0)
            seen.append("ended")
            raise

    async def main():
        with trio.CancelScope() as outer, trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:

                async def cancel():
                    while not started.is_set():
                        await trio.lowlevel.checkpoint()
                    scope.cancel()
                    await trio.lowlevel.cancel_shielded_checkpoint()
                    outer.cancel()

                nursery.start_soon(cancel)
                await on_asyncio(slow)
        return scope.cancelled_caught or outer.cancelled_caught

    started = threading.Event()
    assert run(main) is True
    assert seen == ["ended"]


@pytest.mark.parametrize("ending", ["value", "error"])
def test_what_a_cancelled_task_comes_to_all_the_same_comes_through(run, ending):
    async def stubborn():
        started.set()
        try:
            await for_ever()
        except asyncio.CancelledError:
            if ending == "error":
                raise ValueError("in the clean-up") from None
            return "value"

    async def main():
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(cancel_when, started, scope)
                try:
                    seen = await on_asyncio(stubborn)
                except ValueError as error:
                    seen = str(error)
        return seen

    started = threading.Event()
    assert run(main) == ("value" if ending == "value" else "in the clean-up")


async def cancel_when(started: threading.Event, scope: trio.CancelScope) -> None:
    while not started.is_set():
        await trio.lowlevel.cancel_shielded_checkpoint()
    scope.cancel()


def test_a_caller_that_is_cancelled_already_starts_nothing(run):
    async def main():
        with trio.CancelScope() as scope:
            scope.cancel()
            await on_asyncio(started.append, 1)  # type: ignore[func-returns-value]
        return scope.cancelled_caught

    started: list[int] = []
    assert run(main) is True
    assert started == []


def test_a_task_that_is_cancelled_from_inside_is_an_error_that_says_so(run):
    async def gives_up():
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(0)

    async def main():
        await on_asyncio(gives_up)

    with pytest.raises(
        AsyncioError, match=r"^the asyncio task of .*gives_up was cancelled from inside"
    ) as raised:
        run(main)

    assert isinstance(raised.value.__cause__, asyncio.CancelledError)


def test_a_group_with_a_cancellation_in_it_becomes_one_of_exceptions(run):
    async def both():
        raise BaseExceptionGroup("both", [asyncio.CancelledError(), ValueError("x")])

    async def main():
        await on_asyncio(both)

    with pytest.raises(ExceptionGroup) as raised:
        run(main)

    assert [type(each) for each in raised.value.exceptions] == [ValueError, AsyncioError]


def test_a_loop_that_makes_no_task_is_an_error_of_the_call(run):
    async def main():
        async with loops() as held:
            loop = held.loop()
            loop.set_task_factory(broken)
            try:
                await on_asyncio(double, 1)
            finally:
                loop.set_task_factory(None)

    def broken(*args: Any, **kwargs: Any) -> Any:
        raise ValueError("no task")

    with pytest.raises(ValueError, match=r"^no task$"):
        run(main)


# -- back to Trio --------------------------------------------------------------------------------


def test_what_is_handed_over_works_on_the_other_side(run):
    async def use(home: Any, *, again: Any):
        assert current_library() == "asyncio"
        home.note = "set"
        return home.plain(), await home.echo(1), await asyncio.gather(home.echo(2), again.echo(3)), repr(home)

    async def main():
        home = Home()
        result = await on_asyncio(use, home, again=home)
        return result, home.note, repr(home)

    (plain, one, more, shown), note, whole = run(main)

    assert (plain, one, more, note, shown) == ("plain", 1, [2, 3], "set", whole)


def test_an_error_in_trio_reaches_the_asyncio_code_as_the_same_object(run):
    error = ValueError("home")

    async def use(home: Any):
        with pytest.raises(ValueError, match=r"^home$") as raised:
            await home.fail(error)
        return raised.value

    async def main():
        return await on_asyncio(use, Home())

    assert run(main) is error


def test_cancelling_in_asyncio_cancels_in_trio_and_waits(run):
    async def use(home: Any):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.001):
                await home.wait()
        return list(home.ended)

    async def main():
        return await on_asyncio(use, Home())

    assert run(main) == ["wait"]


def test_cancelling_the_caller_cancels_what_was_asked_for_and_the_task_once(run):
    seen = []

    async def use(home: Any):
        try:
            await home.wait()
        except asyncio.CancelledError:
            for _ in range(20):
                await asyncio.sleep(0)  # a second cancellation would end this
            seen.append(list(home.ended))
            raise

    async def main():
        home = Home()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(on_asyncio, use, home)
            await home.entered.wait()
            nursery.cancel_scope.cancel()
        return nursery.cancel_scope.cancelled_caught

    assert run(main) is True
    assert seen == [["wait"]]


def test_what_a_task_leaves_running_in_trio_ends_with_the_call(run):
    async def use(home: Any):
        left.append(asyncio.create_task(home.wait()))
        await home.until_entered()
        return "done"

    async def main():
        home = Home()
        async with loops():
            result = await on_asyncio(use, home)
            ended = list(home.ended)
            with pytest.raises(AsyncioError):
                await on_asyncio(lambda: left[0])
        return result, ended

    left: list[Any] = []
    assert run(main) == ("done", ["wait"])


def test_what_was_handed_over_is_of_no_use_after_the_call(run):
    async def keep(home: Any):
        kept.append(home)

    async def use():
        await kept[0].echo(1)

    async def main():
        await on_asyncio(keep, Home())
        await on_asyncio(use)

    kept: list[Any] = []
    with pytest.raises(
        LifecycleError, match=r"^what .*keep was handed is used after its end: it lives as long as the call$"
    ):
        run(main)


def test_a_cancellation_that_trio_deals_with_itself_is_none(run):
    async def use(home: Any):
        await home.cancel_me()
        return "on"

    async def main():
        return await on_asyncio(use, Home())

    assert run(main) == "on"


def test_an_exit_in_trio_ends_the_call(run):
    async def use(home: Any):
        await home.fail(SystemExit(4))

    async def main():
        await on_asyncio(use, Home())

    with pytest.raises(SystemExit) as raised:
        run(main)

    assert raised.value.code == 4


def test_calls_within_calls_cross_each_time(run):
    async def outer(home: Any):
        return await home.inward()

    class Nesting(Home):
        async def inward(self) -> int:
            return await on_asyncio(double, 4)

    async def main():
        return await on_asyncio(outer, Nesting())

    assert run(main) == 8


def test_a_trio_program_inside_a_callback_is_no_guest_of_the_loop_that_it_blocks():
    async def main():
        return await on_asyncio(double, 2), threading.active_count()

    async def host():
        return trio.run(main)

    assert asyncio.run(host())[0] == 4


def test_giving_work_to_a_loop_from_its_own_thread_wakes_nobody():
    async def host():
        loop = asyncio.get_running_loop()
        return soon_on(loop) == loop.call_soon, await asyncio.to_thread(
            lambda: soon_on(loop) == loop.call_soon_threadsafe
        )

    assert asyncio.run(host()) == (True, True)


# -- races ---------------------------------------------------------------------------------------


@attrs.define
class Tally:
    inside: int = 0
    began: int = 0
    values: int = 0
    errors: int = 0
    cancelled: int = 0


async def _work(tally: Tally, home: Any, waits: int, fails: bool) -> str:
    tally.inside += 1
    tally.began += 1
    try:
        for index in range(waits):
            await (home.echo(index) if index % 3 == 2 else asyncio.sleep(0))
        if fails:
            raise ValueError("failed")
        return "value"
    finally:
        try:
            await asyncio.sleep(0)
        finally:
            tally.inside -= 1


async def _one(tally: Tally, waits: int, fails: bool, after: int) -> None:
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:

            async def cancel() -> None:
                for _ in range(after):
                    await trio.lowlevel.cancel_shielded_checkpoint()
                scope.cancel()

            nursery.start_soon(cancel)
            try:
                assert await on_asyncio(_work, tally, Home(), waits, fails) == "value"
                tally.values += 1
            except ValueError:
                tally.errors += 1
            except trio.Cancelled:
                tally.cancelled += 1
                raise
            finally:
                nursery.cancel_scope.cancel()


CALLS = st.lists(st.tuples(st.integers(0, 6), st.booleans(), st.integers(0, 40)), min_size=1, max_size=8)


@pytest.mark.slow
@pytest.mark.parametrize("host", HOSTS)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(calls=CALLS, held=st.booleans())
def test_however_a_cancellation_meets_a_call_nothing_is_left_and_nothing_is_lost(host, calls, held):
    tally = Tally()

    async def main():
        async with trio.open_nursery() as nursery:
            if held:
                await nursery.start(_holding, len(calls), tally)
            for call in calls:
                nursery.start_soon(_one, tally, *call)
        assert tally.inside == 0

    HOSTS[host](main)

    assert tally.values + tally.errors + tally.cancelled == len(calls)
    assert [each.name for each in threading.enumerate() if each.name == "marsys asyncio"] == []


async def _holding(calls: int, tally: Tally, task_status: Any) -> None:
    async with loops():
        task_status.started()
        while tally.values + tally.errors + tally.cancelled < calls // 2:
            await trio.lowlevel.checkpoint()
