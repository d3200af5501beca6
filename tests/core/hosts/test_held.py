import asyncio
from contextlib import asynccontextmanager

import pytest
import trio

from marsys_core.hosts.guest import Guest
from marsys_core.hosts.held import Held
from tests.core.hosts.loops import each_loop, run_on, turns, until


@asynccontextmanager
async def opened(log, *, broken=None):
    """As engines are: with a nursery, in which something may fail."""
    async with trio.open_nursery() as nursery:
        log.append("open")
        try:
            yield nursery
        finally:
            log.append("close")
            nursery.cancel_scope.cancel()


async def fail():
    raise ValueError("in the background")


class Block:
    """`async with` round a `Held`, as an orchestra is."""

    def __init__(self, held):
        self.held = held

    async def __aenter__(self):
        return await self.held.enter()

    async def __aexit__(self, kind, error, traceback):
        return await self.held.exit(error)


@each_loop
def test_it_is_open_between_two_calls_and_the_guest_ends_with_the_last(new_loop):
    log = []

    async def main():
        async with Block(Held(opened(log))):
            inside = list(log)
            async with Block(Held(opened(log))):
                guest = await Guest.here()
            still = guest.over
        return inside, still, guest.over

    assert run_on(new_loop, main()) == (["open"], False, True)
    assert log == ["open", "open", "close", "close"]


@each_loop
def test_what_opening_raises_is_raised(new_loop):
    @asynccontextmanager
    async def broken():
        raise ValueError("cannot be opened")
        yield

    async def main():
        with pytest.raises(ValueError, match="^cannot be opened$"):
            async with Block(Held(broken())):
                pass
        return trio.lowlevel.in_trio_run()

    assert run_on(new_loop, main()) is False


@each_loop
def test_an_error_of_the_block_goes_on_and_it_is_closed(new_loop):
    log = []

    async def main():
        with pytest.raises(KeyError):
            async with Block(Held(opened(log))):
                raise KeyError("x")

    run_on(new_loop, main())

    assert log == ["open", "close"]


@each_loop
def test_a_failure_in_the_background_cancels_the_block_and_is_raised(new_loop):
    log = []

    async def main():
        with pytest.raises(ExceptionGroup) as caught:
            async with Block(Held(opened(log))) as nursery:
                nursery.start_soon(fail)
                await asyncio.sleep(3600)
        assert asyncio.current_task().cancelling() == 0
        await asyncio.sleep(0)  # nothing of the cancellation is left
        return caught.value.exceptions

    (error,) = run_on(new_loop, main())

    assert str(error) == "in the background"
    assert log == ["open", "close"]


@each_loop
def test_both_errors_are_raised_where_the_block_fails_as_well(new_loop):
    async def main():
        with pytest.raises(
            BaseExceptionGroup, match="^the block failed, and so did what it held open"
        ) as caught:
            async with Block(Held(opened([]))) as nursery:
                nursery.start_soon(fail)
                try:
                    await asyncio.sleep(3600)
                except asyncio.CancelledError:
                    raise KeyError("x") from None
        return [type(each) for each in caught.value.exceptions]

    assert run_on(new_loop, main()) == [KeyError, ExceptionGroup]


@each_loop
def test_opening_that_is_cancelled_opens_nothing(new_loop):
    log, closed = [], []

    @asynccontextmanager
    async def slow():
        log.append("opening")
        try:
            await trio.sleep_forever()
            yield
        finally:
            closed.append(True)

    async def main():
        async def use():
            async with Block(Held(slow())):
                log.append("never")

        task = asyncio.create_task(use())
        await until(lambda: log)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return trio.lowlevel.in_trio_run()

    assert run_on(new_loop, main()) is False
    assert (log, closed) == (["opening"], [True])


@each_loop
def test_opened_as_its_caller_is_cancelled_it_is_closed_again(new_loop):
    log = []

    async def main():
        for rounds in range(40):
            task = asyncio.create_task(Held(opened(log)).enter())
            for _ in range(rounds):
                await asyncio.sleep(0)
            if not task.cancel():
                break
            with pytest.raises(asyncio.CancelledError):
                await task
            assert log.count("open") == log.count("close")

    run_on(new_loop, main())


@each_loop
def test_closing_goes_on_to_its_end_when_it_is_cancelled(new_loop):
    log = []

    async def main():
        held = Held(opened(log))
        await held.enter()
        task = asyncio.create_task(held.exit(None))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return list(log)

    assert run_on(new_loop, main()) == ["open", "close"]


@each_loop
def test_what_is_open_as_the_loop_shuts_down_is_closed(new_loop):
    log = []

    async def main():
        await Held(opened(log)).enter()

    run_on(new_loop, main())

    assert log == ["open", "close"]


@each_loop
def test_cancelling_twice_while_it_opens_or_closes_lets_go_of_the_guest(new_loop):
    async def cancelled(first, second):
        log = []
        task = asyncio.create_task(block(log))
        for count in (first, second):
            await turns(count)
            task.cancel()
        await asyncio.wait([task])
        await turns()
        assert log in ([], ["open", "close"])
        guest = await Guest.here()
        assert (guest.held, guest.calls) == (0, {})

    async def block(log):
        async with Block(Held(opened(log))):
            pass

    for first in range(12):
        for second in range(6):
            run_on(new_loop, cancelled(first, second))


@each_loop
def test_what_goes_wrong_closing_for_a_caller_who_never_heard_that_it_opened_is_raised(new_loop):
    @asynccontextmanager
    async def sticky():
        yield
        raise ValueError("while closing")

    async def main(count):
        task = asyncio.create_task(Held(sticky()).enter())
        await turns(count)
        task.cancel()
        await asyncio.wait([task])
        return "cancelled" if task.cancelled() else repr(task.exception())

    seen = {run_on(new_loop, main(count)) for count in range(1, 5)}

    assert "ValueError('while closing')" in seen


@each_loop
def test_leaving_what_the_loop_has_closed_as_it_shut_down_starts_nothing_new(new_loop):
    log = []
    loop, held = new_loop(), Held(opened(log))
    loop.run_until_complete(held.enter())
    loop.run_until_complete(loop.shutdown_asyncgens())

    assert loop.run_until_complete(held.exit(None)) is False
    assert log == ["open", "close"]
    assert not trio.lowlevel.in_trio_run()
    loop.close()
