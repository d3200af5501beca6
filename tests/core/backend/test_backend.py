"""Backends in use: where they are called, when they are initialized, what is closed."""

from __future__ import annotations

import asyncio
import threading

import pytest
import trio

from marsys_core.agents import FunctionAgent
from marsys_core.backend import BackendStore, DatabaseBackend
from marsys_core.errors import ConfigError, LifecycleError, StoreError
from marsys_core.orchestra import Orchestra
from marsys_core.protocols.store import RunInfo, Store
from tests.core.backend.backends import Kept, entry, opened
from tests.core.fakes import bare, virtually


class OnAsyncio(DatabaseBackend):
    """As an application writes it for asyncio: nothing of it works without that."""

    async def initialize(self):
        self.loops = [asyncio.get_running_loop()]
        self.threads = [threading.current_thread()]
        self.states = {}
        self.pool = Closing(self)

    async def save_state(self, session_id, state):
        self.here()
        await asyncio.sleep(0)
        self.states[session_id] = state

    async def load_state(self, session_id):
        self.here()
        return self.states.get(session_id)

    def here(self):
        self.loops.append(asyncio.get_running_loop())
        self.threads.append(threading.current_thread())


class Closing:
    def __init__(self, backend):
        self.backend, self.closed = backend, 0

    async def close(self):
        await asyncio.sleep(0)
        self.backend.here()
        self.closed += 1


def echo(prompt):
    return f"{prompt}!"


def team():
    return [FunctionAgent(echo, name="Echo")]


@pytest.mark.trio_alone(reason="with another loop round it, that is the one")
@pytest.mark.parametrize("host", ["trio", "asyncio"])
def test_all_methods_are_called_on_one_asyncio_loop(host):
    backend = OnAsyncio()

    async def main():
        async with bare(storage=backend, agents=team()) as orchestra:
            result = await orchestra.run("a", "Echo", session_id="s")
        return result.final_response, threading.current_thread()

    answer, thread = trio.run(main) if host == "trio" else asyncio.run(main())

    assert answer == "a!"
    assert len(set(backend.loops)) == len(set(backend.threads)) == 1
    assert (backend.threads[0] is thread) == (host == "asyncio")
    assert backend.pool.closed == 1
    assert backend.states["s"]["runs"][0]["status"] == "succeeded"


@pytest.mark.parametrize("turns", range(0, 60, 4))
def test_wherever_a_run_is_cancelled_the_backend_is_closed_and_nothing_is_left_on_the_loop(turns):
    backend = OnAsyncio()

    async def work():
        async with bare(storage=backend, agents=team()) as orchestra:
            await orchestra.run("a", "Echo", session_id="s")

    async def main():
        task = asyncio.create_task(work())
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        return asyncio.all_tasks() - {asyncio.current_task()}

    assert asyncio.run(main()) == set()
    if hasattr(backend, "pool"):
        assert backend.pool.closed == 1


def test_the_methods_are_plain_coroutines_for_asyncio():
    async def main():
        backend = OnAsyncio()
        await backend.initialize()
        await backend.save_state("s", {"mine": 1})
        return await backend.load_state("s")

    assert asyncio.run(main()) == {"mine": 1}


def test_a_backend_needs_its_two_methods():
    class Half(DatabaseBackend):
        async def save_state(self, session_id, state): ...

    with pytest.raises(TypeError, match="load_state"):
        Half()


def test_a_backend_is_initialized_once_however_many_use_it_and_closed_by_the_last():
    class Counting(Kept):
        async def initialize(self):
            await super().initialize()
            await trio.sleep(0.001)
            self.inner = Inner(self.asked)

    class Inner:
        def __init__(self, asked):
            self.asked = asked

        def close(self):
            self.asked.append("close")

    backend = Counting()

    async def main():
        async def use():
            async with BackendStore(backend) as store:
                assert isinstance(store, Store)
                await trio.sleep(0.005)
                assert backend.asked[-1] == "initialize"

        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(use)
        await use()

    virtually(main)
    virtually(main)
    assert backend.asked == ["initialize", "close"] * 4


def test_what_initialize_put_on_the_object_is_closed_the_last_first():
    told = []

    class Part:
        def __init__(self, name):
            self.name = name

    class Plain(Part):
        def close(self):
            told.append(self.name)

    class Awaited(Part):
        async def aclose(self):
            await trio.lowlevel.checkpoint()
            told.append(self.name)

        close = None

    class Several(Kept):
        def __init__(self):
            super().__init__()
            self.given = Plain("given")

        async def initialize(self):
            self.first, self.second, self.third = Plain("first"), Awaited("second"), Part("third")
            self.kind = Plain

    async def nothing(store): ...

    opened(Several(), nothing)
    assert told == ["second", "first"]


def test_a_close_of_its_own_is_called_instead():
    class Own(Kept):
        async def initialize(self):
            self.pool = self

        async def close(self):
            self.asked.append("close")

    async def nothing(store): ...

    backend = Own()
    opened(backend, nothing)
    assert backend.asked == ["close"]


def test_a_backend_that_cannot_be_initialized_is_named_and_may_be_tried_again():
    class Late(Kept):
        tries = 0

        async def initialize(self):
            self.pool = Broken()
            self.tries += 1
            if self.tries == 1:
                raise ConnectionRefusedError("nobody listens")

    class Broken:
        closed = 0

        def close(self):
            type(self).closed += 1

    backend = Late()

    async def nothing(store): ...

    with pytest.raises(
        StoreError, match="^Late could not be initialized: ConnectionRefusedError: nobody listens$"
    ):
        opened(backend, nothing)
    assert Broken.closed == 1
    opened(backend, nothing)
    assert Broken.closed == 2


def test_what_cannot_be_closed_is_told_and_the_rest_is_closed():
    closed = []

    class Part:
        def __init__(self, works):
            self.works = works

        def close(self):
            if not self.works:
                raise OSError("stuck")
            closed.append(self)

    class Stuck(Kept):
        async def initialize(self):
            self.a, self.b, self.c = Part(True), Part(False), Part(False)

    async def nothing(store): ...

    with pytest.raises(
        StoreError,
        match="^the store of Stuck was closed, and not all went well: Stuck could not close c: OSError: stuck$",
    ):
        opened(Stuck(), nothing)
    assert len(closed) == 1

    async def failing(store):
        raise ValueError("other")

    with pytest.raises(ValueError, match="^other") as told:
        opened(Stuck(), failing)
    assert "could not close c" in told.value.__notes__[0]


def test_a_backend_in_use_on_another_loop_is_refused():
    backend = Kept()

    def other():
        with pytest.raises(LifecycleError, match="is in use on another event loop; make one for each loop"):
            opened(backend, None)

    async def main(store):
        await trio.to_thread.run_sync(other)

    opened(backend, main)


def test_settings_that_cannot_be_honoured_are_told_all_at_once():
    class Wrong(Kept):
        async_library = "curio"
        save_every = 0
        keep_runs = True

    with pytest.raises(ConfigError) as told:
        BackendStore(Wrong())
    assert [problem[:40] for problem in told.value.problems] == [
        "Wrong says async_library='curio', which ",
        "Wrong.save_every is a whole number from ",
        "Wrong.keep_runs is a whole number from 0",
    ]


def test_a_store_is_used_while_it_is_open():
    store = BackendStore(Kept())

    async def main():
        with pytest.raises(
            LifecycleError, match="^the store of Kept is not open; use it inside 'async with'$"
        ):
            await store.info("r")
        async with store:
            with pytest.raises(LifecycleError, match="^the store of Kept is open already$"):
                await store.__aenter__()

    trio.run(main)


def test_something_else_is_no_storage():
    async def main():
        async with Orchestra(storage=7):
            pass

    with pytest.raises(ConfigError, match=r"^storage= takes a file, .* or a DatabaseBackend, not 7$"):
        trio.run(main)


def test_what_is_left_is_written_and_given_back_when_the_store_closes():
    backend = Kept()

    async def main(store):
        log = await store.create(RunInfo(run_id="r"))
        log.append(entry(0))
        return log

    log = opened(backend, main)
    with pytest.raises(LifecycleError):
        log.append(entry(1))

    async def again(store):
        assert len(await store.entries("r")) == 1
        await (await store.take("r")).release()

    opened(backend, again)


def test_what_could_not_be_written_at_the_end_is_named():
    backend = Kept()

    async def main(store):
        log = await store.create(RunInfo(run_id="r"))
        log.append(entry(0))
        backend.refusal = OSError("full")

    with pytest.raises(
        StoreError, match=r"not all went well: run 'r' \(Kept could not save session 'r': OSError: full\)$"
    ):
        opened(backend, main)
