"""Hosts that end while code written for asyncio is at work: nothing hangs, and the code cleans up."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from typing import Any

import pytest
import trio

from marsys_core.errors import LifecycleError
from marsys_core.hosts.bridge import on_asyncio
from marsys_core.hosts.crossing import cross
from marsys_core.hosts.streams import entered_on_asyncio, generator_on_asyncio
from tests.core.hosts.loops import each_loop, until

ENDS: list[str] = []
AT_WORK: list[bool] = []


async def for_ever() -> None:
    AT_WORK.append(True)
    try:
        await asyncio.get_running_loop().create_future()
    finally:
        ENDS.append("call")


async def items() -> Any:
    try:
        yield 1
        await for_ever()
    finally:
        ENDS.append("generator")


async def call() -> None:
    await on_asyncio(for_ever)


async def stream() -> None:
    async with contextlib.aclosing(generator_on_asyncio(items)()) as found:
        async for _ in found:
            pass


async def call_while_cleaning_up() -> None:
    try:
        await call()
    finally:
        with (
            trio.CancelScope(shield=True),
            pytest.raises(LifecycleError, match=r"^the asyncio loop .* runs no more"),
        ):
            await on_asyncio(for_ever)
        ENDS.append("clean-up")


async def pool() -> None:
    @contextlib.asynccontextmanager
    async def opened() -> Any:
        try:
            yield 1
        finally:
            ENDS.append("closed")

    async with entered_on_asyncio(opened):
        AT_WORK.append(True)
        await trio.sleep_forever()


WORK = {call: ["call"], stream: ["call"], call_while_cleaning_up: ["call", "clean-up"]}


@each_loop
@pytest.mark.parametrize("work", WORK, ids=lambda work: work.__name__)
def test_a_loop_that_is_closed_under_it_ends_it_on_the_spot(new_loop, work):
    ENDS.clear()
    AT_WORK.clear()
    loop = new_loop()
    loop.set_exception_handler(lambda _, context: None)  # it reports the tasks that were never ended

    async def begin() -> Any:
        task = asyncio.ensure_future(cross(work))
        await until(lambda: AT_WORK)
        return task

    task = loop.run_until_complete(begin())
    with pytest.warns(ResourceWarning, match=r"^the asyncio loop was closed with 1 calls of MARSYS open"):
        loop.close()
    del task
    gc.collect()

    assert ENDS[: len(WORK[work])] == WORK[work]  # a generator can only be left to the interpreter


@each_loop
@pytest.mark.parametrize("work", [call, stream, pool], ids=lambda work: work.__name__)
def test_a_program_that_ends_meanwhile_lets_it_clean_up(new_loop, work):
    ENDS.clear()
    AT_WORK.clear()

    async def main() -> None:
        tasks.append(asyncio.ensure_future(cross(work)))
        await until(lambda: AT_WORK)

    tasks: list[Any] = []
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(main())

    assert tasks[0].cancelled()
    assert {call: ["call"], stream: ["call", "generator"], pool: ["closed"]}[work] == ENDS
