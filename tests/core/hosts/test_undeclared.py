"""Errors of code that awaits asyncio under Trio are recognised, and others are not."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import trio

from marsys_core.hosts.apart import apart
from marsys_core.hosts.bridge import on_asyncio
from marsys_core.hosts.undeclared import asyncio_awaited, trio_awaited


async def sleeps() -> None:
    await asyncio.sleep(1)


async def sleeps_not_at_all() -> None:
    await asyncio.sleep(0)


async def limits() -> None:
    async with asyncio.timeout(1):
        pass


async def queues() -> None:
    await asyncio.Queue().get()  # type: ignore[var-annotated]


async def groups() -> None:
    async with asyncio.TaskGroup():
        pass


async def in_a_thread() -> None:
    await asyncio.to_thread(int)


async def waits() -> None:
    future = sleeps()
    try:
        await asyncio.wait_for(future, 1)
    finally:
        future.close()


AWAITED = {
    sleeps: "asyncio.sleep",
    sleeps_not_at_all: "asyncio.sleep",
    limits: "asyncio.timeout",
    queues: "asyncio.Queue",
    groups: "asyncio.TaskGroup",
    in_a_thread: "asyncio.to_thread",
    waits: "asyncio.wait_for",
}


def raised(run: Any, work: Any) -> BaseException:
    async def main() -> BaseException:
        try:
            await work()
        except Exception as error:
            return error
        raise AssertionError

    error: BaseException = run(main)
    return error


@pytest.mark.parametrize("work", AWAITED, ids=lambda work: work.__name__)
def test_what_was_awaited_is_named_with_its_place(run, work):
    found = asyncio_awaited(raised(run, work))

    assert found is not None
    assert (found.what, found.file) == (AWAITED[work], __file__)
    first = work.__code__.co_firstlineno
    assert first < found.line <= first + 3
    assert str(found).startswith(f"{found.what} at {__file__}:{found.line} (a")


@pytest.mark.parametrize("carried", [False, True])
def test_a_future_has_no_function_to_name_and_neither_has_what_carries_the_code(run, carried):
    async def awaits() -> None:
        await asyncio.Future(loop=loop)

    loop = asyncio.new_event_loop()
    try:
        found = asyncio_awaited(raised(run, (lambda: apart(awaits())) if carried else awaits))
    finally:
        loop.close()

    assert found is not None
    assert found.what == "an asyncio future"


def test_one_in_a_group_is_found(run):
    async def parallel() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sleeps)

    found = asyncio_awaited(raised(run, parallel))

    assert found is not None
    assert found.what == "asyncio.sleep"


@pytest.mark.parametrize(
    "error", [RuntimeError("x"), TypeError("x"), ValueError("x"), AttributeError("NoneType")]
)
def test_other_errors_are_none_of_it(run, error):
    async def fails() -> None:
        raise error

    assert asyncio_awaited(raised(run, fails)) is None
    assert asyncio_awaited(RuntimeError("no running event loop")) is None  # raised by nobody


def test_code_that_has_its_loop_and_goes_wrong_there_is_none_of_it(run):
    async def nested() -> None:
        inner = sleeps()
        try:
            asyncio.run(inner)
        finally:
            inner.close()

    async def crosses() -> None:
        await on_asyncio(nested)

    assert isinstance(raised(run, crosses), RuntimeError)
    assert asyncio_awaited(raised(run, crosses)) is None


async def sleeps_in_trio() -> None:
    await trio.sleep(0)


async def limits_in_trio() -> None:
    with trio.fail_after(1):
        await asyncio.sleep(0)


async def waits_in_trio() -> None:
    await trio.Event().wait()


async def groups_in_trio() -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(sleeps_in_trio())


TRIO = {
    sleeps_in_trio: ("trio.sleep", 1),
    limits_in_trio: ("trio.fail_after", 1),
    waits_in_trio: ("Trio", 1),
}


@pytest.mark.parametrize("work", TRIO, ids=lambda work: work.__name__)
def test_trio_that_is_awaited_on_an_asyncio_loop_is_named_with_its_place(run, work):
    what, below = TRIO[work]
    error = raised(run, lambda: on_asyncio(work))
    found = trio_awaited(error)

    assert found is not None
    assert (found.what, found.file, found.line) == (what, __file__, work.__code__.co_firstlineno + below)
    assert asyncio_awaited(error) is None


def test_trio_is_found_in_a_group(run):
    found = trio_awaited(raised(run, lambda: on_asyncio(groups_in_trio)))

    assert found is not None
    assert (found.what, found.file) == ("trio.sleep", __file__)


async def says_the_same() -> None:
    raise RuntimeError("must be called from async context")


@pytest.mark.parametrize(
    "work", [says_the_same, lambda: on_asyncio(says_the_same), sleeps], ids=["here", "there", "asyncio"]
)
def test_other_errors_are_not_about_trio(run, work):
    assert trio_awaited(raised(run, work)) is None
