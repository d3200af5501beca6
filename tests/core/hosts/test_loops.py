"""The loop that the engine owns: when it is there, and what its end takes along."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import threading

import pytest
import trio

from marsys_core.hosts.bridge import on_asyncio
from marsys_core.hosts.library import asyncio_loop
from marsys_core.hosts.loops import Loops, LoopThread, loops
from tests.core.hosts.guests import as_guest


async def running_loop():
    return asyncio.get_running_loop()


def names() -> list[str]:
    return [thread.name for thread in threading.enumerate()]


@pytest.mark.trio_alone("a guest uses the loop of its host")
def test_it_starts_at_the_first_call_and_ends_with_the_last_who_holds_it():
    seen = []

    async def main():
        async with loops():
            seen.append("marsys asyncio" in names())
            async with loops():
                first = await on_asyncio(running_loop)
            seen.append("marsys asyncio" in names())
            again = await on_asyncio(running_loop)
        seen.append("marsys asyncio" in names())
        return first is again, first.is_closed()

    assert trio.run(main) == (True, True)
    assert seen == [False, True, False]


@pytest.mark.trio_alone("a guest uses the loop of its host")
def test_a_call_that_nobody_holds_it_for_has_one_for_its_own_duration():
    async def main():
        first = await on_asyncio(running_loop)
        second = await on_asyncio(running_loop)
        return first is second, names()

    same, left = trio.run(main)

    assert not same
    assert "marsys asyncio" not in left


def test_a_host_keeps_its_loop():
    async def main():
        async with loops() as held:
            assert isinstance(held, Loops)
            seen = held.own, await on_asyncio(running_loop) is asyncio_loop()
        return *seen, loops() is held

    own, is_the_hosts, same = as_guest(main)

    assert own is None
    assert is_the_hosts
    assert same


@pytest.mark.trio_alone("a guest uses the loop of its host")
def test_what_a_loop_has_open_is_closed_with_it(caplog):
    ended = []

    async def items():
        try:
            yield 1
        finally:
            ended.append("generator")

    async def left():
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            ended.append("task")

    async def failing():
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            raise ValueError("at the end")

    async def leave():
        kept.append(items())
        await kept[0].__anext__()
        kept.append(asyncio.create_task(left(), name="L"))
        kept.append(asyncio.create_task(failing(), name="F"))
        await asyncio.to_thread(ended.append, "thread")
        await asyncio.sleep(0)

    async def main():
        async with loops():
            await on_asyncio(leave)

    kept = []
    with caplog.at_level(logging.WARNING, "marsys.asyncio"):
        trio.run(main)

    assert ended[0] == "thread"
    assert sorted(ended) == ["generator", "task", "thread"]
    warning, error = [record.getMessage() for record in caplog.records]
    assert warning.startswith("asyncio tasks were left over when the engine closed, and are cancelled: F (")
    assert "L (" in warning
    assert error == "asyncio task F failed to end"
    assert [name for name in names() if name.startswith(("marsys", "asyncio"))] == []


@pytest.mark.trio_alone("a guest uses the loop of its host")
def test_an_exit_of_a_task_that_nobody_awaits_does_not_end_the_loop(caplog):
    async def leaves():
        raise SystemExit(5)

    async def spawn():
        task = asyncio.create_task(leaves())
        await asyncio.wait([task])
        return type(task.exception())

    async def main():
        async with loops():
            return await on_asyncio(spawn), await on_asyncio(running_loop)

    kind, loop = trio.run(main)

    assert kind is SystemExit
    assert loop.is_closed()
    assert [record.name for record in caplog.records] == ["marsys.asyncio"]


def test_calls_are_taken_while_an_earlier_loop_ends():
    async def main():
        async def short():
            return await on_asyncio(running_loop)

        found = []

        async def keep():
            for _ in range(20):
                found.append(await short())

        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(keep)
        return found

    found = trio.run(main)

    assert len(found) == 100
    assert all(loop.is_closed() for loop in found)


def test_ending_it_is_not_cancelled():
    async def main():
        own = LoopThread.start()
        with trio.CancelScope() as scope:
            scope.cancel()
            await own.stop()
        return own.loop.is_closed()

    assert trio.run(main) is True


@pytest.mark.slow
def test_nothing_of_asyncio_is_imported_where_nobody_uses_it():
    program = """
import sys, trio
import marsys_core.hosts
from marsys_core.agents import agent
from marsys_core.orchestra import Orchestra
@agent
async def one(prompt): return prompt
assert trio.run(Orchestra.run, "x", "one").final_response == "x"
print("asyncio" in sys.modules)
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert ran.stdout == "False\n"
