import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
import warnings

import pytest
import trio

from marsys_core.errors import LifecycleError
from marsys_core.hosts.crossing import hosted
from marsys_core.hosts.guest import Guest
from tests.core.hosts.loops import each_loop, our_threads, run_on, until


@hosted
async def token():
    return trio.lowlevel.current_trio_token()


@hosted
async def forever(log):
    log.append("began")
    try:
        await trio.sleep_forever()
    finally:
        log.append("ended")


@each_loop
def test_a_loop_has_one_guest_however_many_calls(new_loop):
    async def main():
        first = await token()
        others = await asyncio.gather(*[token() for _ in range(100)])
        return first, set(others)

    first, others = run_on(new_loop, main())

    assert others == {first}


def test_each_loop_has_its_own_and_one_after_another_goes_well():
    first, second = asyncio.run(token()), asyncio.run(token())

    assert first is not second


@each_loop
def test_a_call_that_comes_as_the_guest_ends_with_its_last_user_gets_a_new_one(new_loop):
    async def main():
        guest = await Guest.here()
        ending = asyncio.ensure_future(guest.end())
        await asyncio.sleep(0)
        found = await asyncio.gather(Guest.here(), Guest.here())
        await ending
        await token()
        return guest.over, found[0] is guest, found[0] is found[1], found[0].over

    assert run_on(new_loop, main()) == (True, False, True, False)


@each_loop
def test_it_ends_with_the_loop_and_leaves_no_thread(new_loop):
    before = our_threads()
    run_on(new_loop, token())

    assert our_threads() == before
    assert not trio.lowlevel.in_trio_run()


def test_it_ends_also_where_the_program_fails():
    log = []

    async def main():
        task = asyncio.create_task(forever(log))
        await until(lambda: log)
        assert not task.done()
        msg = "the program failed"
        raise ValueError(msg)

    with pytest.raises(ValueError, match="^the program failed$"):
        asyncio.run(main())

    assert log == ["began", "ended"]


@each_loop
def test_a_call_that_is_open_as_the_loop_shuts_down_says_so(new_loop):
    async def main():
        log = []
        task = asyncio.create_task(forever(log))
        await until(lambda: log)
        await asyncio.get_running_loop().shutdown_asyncgens()
        with pytest.raises(
            LifecycleError, match=r"^the asyncio loop .* shut down, and this call was cancelled$"
        ):
            await task
        return log

    assert run_on(new_loop, main()) == ["began", "ended"]


@each_loop
def test_a_loop_that_stops_and_runs_again_goes_on_where_it_was(new_loop):
    loop, log = new_loop(), []
    try:

        async def begin():
            task = asyncio.create_task(forever(log))
            await until(lambda: log)
            return task

        task = loop.run_until_complete(begin())
        again = loop.run_until_complete(token())
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            loop.run_until_complete(task)
        assert loop.run_until_complete(token()) is again
        loop.run_until_complete(loop.shutdown_asyncgens())
    finally:
        loop.close()
    assert log == ["began", "ended"]


@each_loop
def test_async_generators_of_trio_stay_trio_s_when_the_loop_has_stopped_in_between(new_loop):
    closed = []

    async def numbers():
        try:
            yield 1
        finally:
            closed.append(trio.lowlevel.in_trio_task())

    @hosted
    async def abandon():
        async for _ in numbers():
            break
        await trio.lowlevel.checkpoint()
        await trio.lowlevel.checkpoint()

    loop = new_loop()
    try:
        loop.run_until_complete(token())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)  # Trio's: the generator was left open
            loop.run_until_complete(abandon())
            loop.run_until_complete(loop.shutdown_asyncgens())
    finally:
        loop.close()

    assert closed == [True]
    assert sys.get_asyncgen_hooks() == (None, None)


@each_loop
def test_closing_the_loop_with_calls_open_ends_them_on_the_spot(new_loop):
    loop, log = new_loop(), []

    async def begin():
        task = asyncio.create_task(forever(log))
        await until(lambda: log)
        return task

    task = loop.run_until_complete(begin())
    with pytest.warns(ResourceWarning, match="^the asyncio loop was closed with 1 calls of MARSYS open"):
        loop.close()

    assert log == ["began", "ended"]
    assert not trio.lowlevel.in_trio_run()
    assert sys.get_asyncgen_hooks() == (None, None)
    task._log_destroy_pending = False  # asyncio's own complaint is as it should be


@each_loop
def test_closing_the_loop_with_nothing_open_is_quiet(new_loop):
    loop = new_loop()
    loop.run_until_complete(token())
    loop.close()

    assert not trio.lowlevel.in_trio_run()
    assert isinstance(asyncio.run(token()), trio.lowlevel.TrioToken)


def test_two_loops_of_one_thread_take_turns_as_long_as_one_is_idle():
    first, second = asyncio.new_event_loop(), asyncio.new_event_loop()
    try:
        assert first.run_until_complete(token()) is not second.run_until_complete(token())
        assert first.run_until_complete(token()) is not None
    finally:
        first.close()
        second.close()


def test_a_second_loop_beside_one_with_open_calls_is_refused_and_both_are_named():
    first, log = asyncio.new_event_loop(), []

    async def begin():
        task = asyncio.create_task(forever(log))
        await until(lambda: log)
        return task

    task = first.run_until_complete(begin())
    with pytest.raises(
        LifecycleError,
        match=r"^the asyncio loop <.*> of this thread has open runs .* and <.*> cannot have any",
    ):
        asyncio.run(token())
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        first.run_until_complete(task)
    first.close()


def test_trio_of_somebody_else_on_the_loop_is_told_of():
    async def main():
        loop, done = asyncio.get_running_loop(), asyncio.Event()
        stop = trio.Event()
        trio.lowlevel.start_guest_run(
            stop.wait,
            run_sync_soon_threadsafe=loop.call_soon_threadsafe,
            done_callback=lambda _: done.set(),
            host_uses_signal_set_wakeup_fd=True,
        )
        try:
            with pytest.raises(
                LifecycleError, match="^Trio is a guest on this loop already, and it is not ours"
            ):
                await token()
        finally:
            stop.set()
            await done.wait()

    asyncio.run(main())


def test_loops_in_several_threads_have_guests_of_their_own():
    found, start = [], threading.Barrier(4)

    def work():
        start.wait()
        found.append(asyncio.run(token()))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()

    assert len(set(found)) == 4


def test_signal_handlers_and_the_wakeup_descriptor_stay_the_host_s():
    seen = []

    async def main():
        await token()
        seen.append(signal.getsignal(signal.SIGINT))

    loop = asyncio.new_event_loop()
    before = signal.getsignal(signal.SIGINT)
    loop.run_until_complete(main())
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()
    mine = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(mine)

    assert seen == [before]
    assert signal.getsignal(signal.SIGINT) is before
    assert mine == -1


EXIT = """
import asyncio, sys, trio
from marsys_core.hosts.crossing import hosted

@hosted
async def work():
    try:
        await trio.sleep_forever()
    finally:
        with trio.CancelScope(shield=True):
            await trio.sleep(0.01)
        print("ended", flush=True)

loop = asyncio.new_event_loop()
task = loop.create_task(work())
loop.run_until_complete(asyncio.sleep(0.01))
print("exits", flush=True)
"""


@pytest.mark.slow
def test_an_interpreter_that_ends_with_calls_open_ends_them():
    ran = subprocess.run(
        [sys.executable, "-W", "always::ResourceWarning", "-c", EXIT],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env={**os.environ},
    )

    assert ran.stdout.split() == ["exits", "ended"]
    assert "ResourceWarning: the interpreter ended with 1 calls of MARSYS open" in ran.stderr


def test_trio_breaking_down_reaches_the_calls_and_the_loop_which_gets_a_new_guest():
    told, log = [], []

    async def crash():
        raise ValueError("in a system task")

    async def main():
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: told.append(context))
        task = asyncio.create_task(forever(log))
        await until(lambda: log)
        before = await token()
        trio.lowlevel.spawn_system_task(crash)
        with pytest.raises(
            LifecycleError, match="goes on, but Trio on it broke down, and this call was cancelled$"
        ):
            await task
        await until(lambda: told)
        return before is await token()

    assert asyncio.run(main()) is False
    assert told[0]["message"] == "Trio, a guest on this loop, broke down"
    assert isinstance(told[0]["exception"], trio.TrioInternalError)
    assert log == ["began", "ended"]


def test_ctrl_c_between_two_steps_of_trio_ends_its_calls_and_the_loop_gets_a_new_guest():
    told, log = [], []

    def interrupted():
        raise KeyboardInterrupt

    async def main():
        asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context["message"]))
        task = asyncio.create_task(forever(log))
        await until(lambda: log)
        guest = await Guest.here()
        guest._ticks.put(interrupted)
        with pytest.raises(KeyboardInterrupt):
            guest._drain()
        with pytest.raises(trio.TrioInternalError):
            await task
        await token()
        return guest is await Guest.here()

    assert asyncio.run(main()) is False
    assert told == ["Trio, a guest on this loop, broke down"]


FORKS = """
import asyncio, atexit, os, trio
from marsys_core.hosts.crossing import hosted

@hosted
async def hello():
    await trio.sleep(0)
    return "hello"

def in_a_child(work):
    child = os.fork()
    if child == 0:
        print(work(), flush=True)
        atexit._run_exitfuncs()
        os._exit(7)  # its parent's loop is not to be closed here: the two share what it waits with
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)

with asyncio.Runner() as runner:
    runner.run(hello())
    in_a_child(lambda: "nothing")
    in_a_child(lambda: asyncio.run(hello()))
    in_a_child(lambda: trio.run(hello))
    print(runner.run(hello()))
"""


@pytest.mark.slow
def test_a_forked_child_begins_anew_and_leaves_the_guest_of_its_parent_alone():
    ran = subprocess.run(
        [sys.executable, "-W", "always::ResourceWarning", "-c", FORKS],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env={**os.environ},
    )

    assert ran.stdout.split() == ["nothing", "7", "hello", "7", "hello", "7", "hello"]
    assert "MARSYS" not in ran.stderr


@pytest.mark.slow
def test_the_host_s_other_callbacks_have_their_turn_while_the_guest_is_busy():
    @hosted
    async def busy(until):
        while time.monotonic() < until:
            await trio.lowlevel.checkpoint()

    async def main():
        turns = 0
        task = asyncio.create_task(busy(time.monotonic() + 0.2))
        while not task.done():
            turns += 1
            await asyncio.sleep(0)
        return turns

    assert asyncio.run(main()) > 20
