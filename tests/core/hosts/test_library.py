import asyncio

import trio

from marsys_core.hosts.library import asyncio_loop, current_library


def test_plain_code_has_no_library_in_charge():
    assert current_library() is None
    assert asyncio_loop() is None


def test_a_trio_task_is_told_apart_from_an_asyncio_one():
    async def asked():
        return current_library()

    assert trio.run(asked) == "trio"
    assert asyncio.run(asked()) == "asyncio"


def test_a_worker_thread_of_a_loop_is_plain_code():
    async def main():
        return await asyncio.to_thread(current_library)

    assert asyncio.run(main()) is None


def test_a_trio_task_on_an_asyncio_loop_is_a_trio_task_and_sees_the_loop():
    async def main():
        loop, done = asyncio.get_running_loop(), asyncio.Event()
        seen = []

        async def guest():
            seen.append((current_library(), asyncio_loop()))

        trio.lowlevel.start_guest_run(
            guest,
            run_sync_soon_threadsafe=loop.call_soon_threadsafe,
            done_callback=lambda _: done.set(),
            host_uses_signal_set_wakeup_fd=True,
        )
        beside = current_library()
        await done.wait()
        return loop, beside, seen

    loop, beside, seen = asyncio.run(main())

    assert beside == "asyncio"
    assert seen == [("trio", loop)]
