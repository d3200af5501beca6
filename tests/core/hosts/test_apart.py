from contextvars import ContextVar

import pytest
import trio

from marsys_core.hosts.apart import apart

colour: ContextVar[str] = ContextVar("colour", default="none")


def test_what_it_sets_is_its_own_and_what_the_caller_set_is_seen():
    async def work():
        seen = colour.get()
        colour.set("green")
        await trio.lowlevel.checkpoint()
        return seen, colour.get()

    async def main():
        colour.set("red")
        found = await apart(work())
        return found, colour.get()

    assert trio.run(main) == (("red", "green"), "red")


def test_tasks_and_threads_that_it_starts_see_what_it_has_set():
    seen = []

    async def child():
        seen.append(colour.get())

    async def work():
        colour.set("green")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(child)
        seen.append(await trio.to_thread.run_sync(colour.get))

    trio.run(apart_of, work)

    assert seen == ["green", "green"]


async def apart_of(work):
    return await apart(work())


def test_an_error_comes_out_as_it_is():
    async def work():
        await trio.lowlevel.checkpoint()
        msg = "broken"
        raise KeyError(msg)

    with pytest.raises(KeyError, match=r"^'broken'$"):
        trio.run(apart_of, work)


def test_a_cancellation_reaches_it_and_its_cleanup_is_waited_for():
    done = []

    async def work():
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await trio.lowlevel.checkpoint()
                done.append(colour.get())

    async def main():
        with trio.CancelScope() as scope:
            scope.cancel()
            colour.set("red")
            await apart(work())
        return scope.cancelled_caught

    assert trio.run(main)
    assert done == ["red"]


def test_work_that_is_thrown_away_is_closed():
    closed = []

    async def work():
        try:
            await trio.sleep_forever()
        finally:
            closed.append(colour.get())

    waiting = apart_of(work)
    waiting.send(None)
    waiting.close()

    assert closed == ["none"]
