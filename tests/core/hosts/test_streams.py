"""Async generators and context managers that are written for asyncio, used from Trio."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import Any

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from marsys_core.errors import AsyncioError
from marsys_core.hosts.bridge import on_asyncio
from marsys_core.hosts.streams import entered_on_asyncio, generator_on_asyncio
from tests.core.hosts.guests import HOSTS


class Source:
    """An async generator that notes what happens to it, and in which task."""

    def __init__(self, items: int = 3) -> None:
        self.items, self.made, self.ends = items, 0, []  # type: ignore[var-annotated]
        self.tasks: set[Any] = set()
        self.hanging = threading.Event()

    async def numbers(self) -> Any:
        try:
            for index in range(self.items):
                self.tasks.add(asyncio.current_task())
                await asyncio.sleep(0)
                self.made += 1
                yield index
        except BaseException as error:
            self.ends.append(type(error).__name__)
            raise
        finally:
            self.tasks.add(asyncio.current_task())
            await asyncio.sleep(0)
            self.ends.append("closed")

    async def hangs(self) -> Any:
        yield 0
        self.hanging.set()
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            self.ends.append("cancelled")
            yield 1
        finally:
            self.ends.append("closed")


def test_items_are_made_on_demand_by_one_task(run):
    source = Source()

    async def main():
        seen = []
        async for item in generator_on_asyncio(source.numbers)():
            await trio.lowlevel.checkpoint()
            seen.append((item, source.made))
        return seen

    assert run(main) == [(0, 1), (1, 2), (2, 3)]
    assert len(source.tasks) == 1
    assert source.ends == ["closed"]


def test_closing_the_generator_closes_the_one_behind_it_and_waits(run):
    source = Source()

    async def main():
        async with contextlib.aclosing(generator_on_asyncio(source.numbers)()) as items:
            async for _ in items:
                break
        return list(source.ends)

    assert run(main) == ["GeneratorExit", "closed"]
    assert len(source.tasks) == 1


def test_one_that_was_never_begun_has_nothing_to_close(run):
    source = Source()

    async def main():
        await generator_on_asyncio(source.numbers)().aclose()

    run(main)

    assert (source.made, source.ends) == (0, [])


def test_what_is_thrown_into_it_arrives_and_comes_out_as_the_same_object(run):
    source, error = Source(), ValueError("x")

    async def main():
        items = generator_on_asyncio(source.numbers)()
        await items.__anext__()
        with pytest.raises(ValueError, match="^x$") as raised:
            await items.athrow(error)
        return raised.value

    assert run(main) is error
    assert source.ends == ["ValueError", "closed"]


def test_what_is_sent_into_it_arrives(run):
    async def echo():
        received = yield "first"
        while received != "stop":
            received = yield received

    async def main():
        items = generator_on_asyncio(echo)()
        seen = [await items.asend(None), await items.asend("a"), await items.asend("b")]
        with pytest.raises(StopAsyncIteration):
            await items.asend("stop")
        return seen

    assert run(main) == ["first", "a", "b"]


def test_a_cancellation_reaches_the_generator_where_it_waits(run):
    source = Source()

    async def main():
        seen = []
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:

                async def cancel():
                    while not source.hanging.is_set():
                        await trio.lowlevel.checkpoint()
                    scope.cancel()

                nursery.start_soon(cancel)
                async with contextlib.aclosing(generator_on_asyncio(source.hangs)()) as items:
                    async for item in items:
                        seen.append(item)
        return seen

    assert run(main) == [0, 1]  # it went on all the same, and its item was not lost
    assert source.ends == ["cancelled", "closed"]


def test_an_error_of_the_generator_is_raised_and_ends_it(run):
    async def fails():
        yield 1
        raise ValueError("x")

    async def main():
        items = generator_on_asyncio(fails)()
        assert await items.__anext__() == 1
        with pytest.raises(ValueError, match="^x$"):
            await items.__anext__()
        with pytest.raises(StopAsyncIteration):
            await items.__anext__()

    run(main)


def test_one_that_is_cancelled_from_inside_is_an_error_that_says_so(run):
    async def gives_up():
        yield 1
        raise asyncio.CancelledError

    async def main():
        async for _ in generator_on_asyncio(gives_up)():
            pass

    with pytest.raises(AsyncioError, match=r"^the asyncio task of .*gives_up was cancelled from inside"):
        run(main)


def test_where_asyncio_is_in_charge_it_is_the_generator_itself():
    source = Source()

    async def main():
        seen = [item async for item in generator_on_asyncio(source.numbers)()]
        async with contextlib.aclosing(generator_on_asyncio(source.numbers)()) as items:
            async for _ in items:
                break
        return seen, source.tasks == {asyncio.current_task()}

    assert asyncio.run(main()) == ([0, 1, 2], True)
    assert source.ends == ["closed", "GeneratorExit", "closed"]


class Pool:
    """A context manager that has to be entered and left in one task, as pools of connections have."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    async def __aenter__(self) -> Pool:
        self.task = asyncio.current_task()
        await asyncio.sleep(0)
        return self

    async def __aexit__(self, kind: Any, error: Any, traceback: Any) -> bool:
        assert asyncio.current_task() is self.task
        for _ in range(5):
            await asyncio.sleep(0)
        self.seen.append(kind)
        return kind is KeyError


def test_a_context_manager_is_entered_and_left_in_one_task(run):
    pool = Pool()

    async def main():
        async with entered_on_asyncio(lambda: pool) as live:
            assert live is pool
            await trio.lowlevel.checkpoint()
            assert pool.seen == []

    run(main)

    assert pool.seen == [None]


def test_what_the_block_raises_reaches_it_and_may_end_there(run):
    pool = Pool()

    async def main():
        with pytest.raises(ValueError, match="^x$"):
            async with entered_on_asyncio(lambda: pool):
                raise ValueError("x")
        async with entered_on_asyncio(lambda: pool):
            raise KeyError("it deals with this one")

    run(main)

    assert pool.seen == [ValueError, KeyError]


def test_a_block_that_is_cancelled_leaves_in_peace(run):
    pool = Pool()

    async def main():
        with trio.CancelScope() as scope:
            async with entered_on_asyncio(lambda: pool):
                scope.cancel()
                await trio.sleep_forever()
        return scope.cancelled_caught

    assert run(main) is True
    assert pool.seen == [asyncio.CancelledError]


@pytest.mark.parametrize("ending", ["normally", "in an error", "cancelled"])
def test_one_whose_task_its_host_has_cancelled_has_left_by_then(run, ending):
    pool = Pool()

    async def cancel_it():
        pool.task.cancel()
        await asyncio.wait([pool.task])

    async def main():
        with trio.CancelScope() as scope:
            async with entered_on_asyncio(lambda: pool):
                await on_asyncio(cancel_it)
                if ending == "in an error":
                    raise ValueError("x")
                if ending == "cancelled":
                    scope.cancel()
                    await trio.sleep_forever()
        return scope.cancelled_caught

    if ending == "in an error":
        with pytest.raises(ValueError, match="^x$"):
            run(main)
    else:
        assert run(main) is (ending == "cancelled")
    assert pool.seen == [GeneratorExit]


def test_items_of_a_generator_whose_task_is_cancelled_are_missed_aloud(run):
    source = Source()

    async def cancel_it():
        (task,) = source.tasks
        task.cancel()
        await asyncio.wait([task])

    async def main():
        async for _ in generator_on_asyncio(source.numbers)():
            await on_asyncio(cancel_it)

    with pytest.raises(AsyncioError, match=r"numbers was cancelled from inside"):
        run(main)
    assert source.ends == ["GeneratorExit", "closed"]


def test_entering_may_be_cancelled(run):
    entering = threading.Event()

    class Slow(Pool):
        async def __aenter__(self) -> Pool:
            entering.set()
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                self.seen.append("given up")
            return self

    pool = Slow()

    async def main():
        async with trio.open_nursery() as nursery:

            async def cancel():
                while not entering.is_set():
                    await trio.lowlevel.checkpoint()
                nursery.cancel_scope.cancel()

            nursery.start_soon(cancel)
            async with entered_on_asyncio(lambda: pool):
                raise AssertionError

    run(main)

    assert pool.seen == ["given up"]


@pytest.mark.slow
@pytest.mark.parametrize("host", HOSTS)
@settings(max_examples=60, deadline=None)
@given(items=st.integers(0, 5), taken=st.integers(0, 6), after=st.integers(0, 60))
def test_however_a_cancellation_meets_a_stream_it_is_closed_and_items_come_in_order(
    host, items, taken, after
):
    source, seen = Source(items), []

    async def main():
        async with trio.open_nursery() as nursery:

            async def cancel():
                for _ in range(after):
                    await trio.lowlevel.cancel_shielded_checkpoint()
                nursery.cancel_scope.cancel()

            nursery.start_soon(cancel)
            async with contextlib.aclosing(generator_on_asyncio(source.numbers)()) as stream:
                async for item in stream:
                    seen.append(item)
                    if len(seen) == taken:
                        break
            nursery.cancel_scope.cancel()

    HOSTS[host](main)

    assert seen == list(range(len(seen)))
    assert source.made == len(seen)
    assert all(task.done() for task in source.tasks)
    assert "marsys asyncio" not in [thread.name for thread in threading.enumerate()]
