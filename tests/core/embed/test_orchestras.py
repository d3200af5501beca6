"""Runs of their own from plain code, and an `Orchestra` opened by `with`."""

from __future__ import annotations

import asyncio
import contextvars
import re
import sys
import threading
from concurrent.futures import CancelledError
from typing import Any

import attrs
import pytest
import trio

from marsys_core import events as e
from marsys_core.agents import BaseAgent, FunctionAgent, Team, agent
from marsys_core.agents.pool import AgentPool
from marsys_core.config import ExecutionConfig
from marsys_core.errors import ConfigError, CriticalError, LifecycleError, TopologyError, UnknownName
from marsys_core.orchestra import Orchestra
from tests.core.embed.plain import Waits, echo, engine, ours
from tests.core.fakes import bare

colour: contextvars.ContextVar[str] = contextvars.ContextVar("colour", default="none")


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Any:
    yield
    assert ours() == []


# -- a run of its own ------------------------------------------------------------------------------


def test_a_run_of_its_own_needs_nothing_open_and_leaves_nothing() -> None:
    Echo = echo()
    assert Orchestra.run_sync("x", "Echo").final_response == "x"
    assert Echo.run_sync("y").final_response == "y"
    assert Team("Echo", [Echo]).run_sync("z").final_response == "z"


def test_an_answer_has_the_type_that_is_asked_for() -> None:
    number = FunctionAgent(lambda prompt: "7", name="Number")
    assert Orchestra.run_sync("", "Number", output_type=int).final_response == 7
    assert number.run_sync("", output_type=int).final_response == 7


def test_errors_are_raised_as_run_raises_them() -> None:
    @agent
    def Broken(prompt: Any) -> str:
        msg = "no key"
        raise CriticalError(msg)

    with pytest.raises(CriticalError, match="^no key"):
        Orchestra.run_sync("x", "Broken")
    with pytest.raises(TopologyError):
        Orchestra.run_sync("x", "Nobody")
    with pytest.raises(ConfigError, match=r"^context= takes a mapping, not 3$"):
        Orchestra.run_sync("x", "Broken", context=3)  # type: ignore[call-overload]
    assert isinstance(Broken.run_sync("x").error, CriticalError)


def test_it_sees_the_callers_context_variables_and_changes_none() -> None:
    @agent
    async def Look(prompt: Any) -> str:
        seen = colour.get()
        colour.set("white")
        return seen

    colour.set("red")
    assert Orchestra.run_sync("", "Look").final_response == "red"
    assert colour.get() == "red"


def test_a_subclass_runs_as_itself() -> None:
    class Strict(Orchestra):
        def __init__(self) -> None:
            super().__init__(execution_config=ExecutionConfig(raise_errors=False))

    assert isinstance(Strict.run_sync("x", "Nobody").error, TopologyError)


def test_a_plain_agent_inside_a_run_has_a_run_of_its_own() -> None:
    @agent
    def Outer(prompt: Any) -> Any:
        return Orchestra.run_sync(prompt, "Echo").final_response

    echo()
    assert Orchestra.run_sync("deep", "Outer").final_response == "deep"


def test_a_plain_step_lends_its_instance_to_the_run_that_it_waits_for() -> None:
    class Deep(BaseAgent):
        def _run(self, prompt: Any, context: Any, **kwargs: Any) -> Any:
            if not prompt:
                return "bottom"
            return inner(prompt - 1, "Deep", agents=[pool]).final_response

    pool = AgentPool(Deep, num_instances=1)
    inner: Any = Orchestra.run_sync
    assert pool.run_sync(3).final_response == "bottom"
    with bare(agents=[pool]) as orchestra:
        inner = orchestra.run_sync
        assert orchestra.run_sync(3, "Deep").final_response == "bottom"
    pool.close()


@pytest.mark.slow
@pytest.mark.parametrize("call", ["run_sync", "stream", "result"])
def test_cancelling_a_plain_step_ends_the_run_that_it_waits_for(call: str) -> None:
    waits = Waits()

    @agent
    def Outer(prompt: Any) -> Any:
        if call == "run_sync":
            return Orchestra.run_sync(prompt, "Waits", agents=[waits.agent])
        with engine(agents=[waits.agent]) as open_:
            if call == "stream":
                return len(list(open_.stream(prompt, "Waits")))
            return open_.submit(prompt, "Waits").result()

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(Orchestra.run, "x", "Outer")
            await trio.to_thread.run_sync(waits.wait)
            nursery.cancel_scope.cancel()

    trio.run(main)
    assert waits.ended == 1


def test_steps_that_wait_for_runs_use_up_no_threads() -> None:
    @agent
    def Deep(prompt: Any) -> Any:
        return "bottom" if not prompt else inner(prompt - 1, "Deep", agents=[Deep]).final_response

    async def main() -> Any:
        nonlocal inner
        async with bare(max_threads=1) as orchestra:
            inner = orchestra.run_sync
            return (await orchestra.execute(5, "Deep")).final_response

    inner: Any = Orchestra.run_sync
    assert trio.run(main) == "bottom"
    with bare(max_threads=1) as orchestra:
        inner = orchestra.run_sync
        assert inner(5, "Deep").final_response == "bottom"
        assert orchestra._engine is not None
        assert orchestra._engine.threads.total_tokens == 1


def test_any_number_of_threads_run_at_once() -> None:
    found: dict[int, Any] = {}
    together = threading.Barrier(20)

    def work(number: int) -> None:
        together.wait()
        for turn in range(5):
            found[number * 5 + turn] = Orchestra.run_sync(
                number * 5 + turn, "Echo", agents=[Echo]
            ).final_response

    Echo = echo()
    threads = [threading.Thread(target=work, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert found == {number: number for number in range(100)}


# -- an orchestra of a block -----------------------------------------------------------------------


def test_a_block_holds_an_orchestra_open_for_its_runs() -> None:
    with bare(agents=[echo()]) as orchestra:
        assert ours() == ["marsys Orchestra"]
        assert orchestra.run_sync("x", "Echo").final_response == "x"
        events = list(orchestra.stream_sync("y", "Echo"))
        with pytest.raises(UnknownName, match=r"'ring'"):
            orchestra.patterns.ring("A")

    assert [type(events[0]), type(events[-1])] == [e.RunStarted, e.RunFinished]


def test_threads_share_an_orchestra_of_a_block() -> None:
    found: dict[int, Any] = {}

    def work(number: int) -> None:
        found[number] = orchestra.run_sync(number, "Echo").final_response

    with bare(agents=[echo()]) as orchestra:
        threads = [threading.Thread(target=work, args=(number,)) for number in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert found == {number: number for number in range(20)}


def test_leaving_the_block_cancels_what_runs_in_it() -> None:
    waits = Waits()
    with bare(agents=[waits.agent]) as orchestra:
        events = orchestra.stream_sync("x", "Waits")
        next(events)
        waits.wait()
    assert waits.ended == 1
    with pytest.raises(CancelledError):
        list(events)


def test_what_opening_raises_comes_out_of_the_block() -> None:
    with (
        pytest.raises(ConfigError, match=r"^no event sink provider is called 'nobody'"),
        bare(sinks=["nobody"]),
    ):
        """Never reached."""


OPENED_ONCE = r"^an Orchestra is opened once"


def test_an_orchestra_is_opened_once_by_either_block() -> None:
    async def after(orchestra: Orchestra) -> None:
        with pytest.raises(LifecycleError, match=OPENED_ONCE):
            async with orchestra:
                """Never reached."""

    with bare() as orchestra:
        trio.run(after, orchestra)
        with pytest.raises(
            LifecycleError,
            match=(
                r"^an Orchestra is opened once, by 'with' or by 'async with'; make a new one: "
                r"with Orchestra\(\.\.\.\) as orchestra:$"
            ),
        ):
            orchestra.__enter__()
    trio.run(after, orchestra)

    async def before() -> Orchestra:
        async with bare() as orchestra:
            await trio.to_thread.run_sync(refused, orchestra)
        return orchestra

    def refused(orchestra: Orchestra) -> None:
        with pytest.raises(LifecycleError, match=OPENED_ONCE):
            orchestra.__enter__()

    refused(trio.run(before))


@pytest.mark.parametrize("use", ["run_sync", "stream_sync"])
def test_one_that_is_not_open_takes_no_run(use: str) -> None:
    made = bare(agents=[echo()])
    with pytest.raises(
        LifecycleError,
        match=r"^the Orchestra is not open; use it inside 'with Orchestra\(\.\.\.\) as orchestra:'$",
    ):
        getattr(made, use)("x", "Echo")
    with made:
        """Nothing."""
    with pytest.raises(
        LifecycleError,
        match=r"^the Orchestra is closed; make a new one: with Orchestra\(\.\.\.\) as orchestra:$",
    ):
        getattr(made, use)("x", "Echo")

    async def main() -> Orchestra:
        async with bare(agents=[echo()]) as orchestra:
            return orchestra

    closed = trio.run(main)
    with pytest.raises(
        LifecycleError,
        match=r"^the Orchestra is closed; use it inside 'with Orchestra\(\.\.\.\) as orchestra:'$",
    ):
        getattr(closed, use)("x", "Echo")


# -- crossing to an event loop -----------------------------------------------------------------------


def test_a_worker_thread_runs_in_the_orchestra_that_its_loop_opened() -> None:
    @agent
    def Outer(prompt: Any) -> Any:
        events = list(orchestra.stream_sync(prompt, "Echo"))
        return [orchestra.run_sync(prompt, "Echo").final_response, len(events)]

    async def main() -> Any:
        nonlocal orchestra
        async with bare(agents=[Outer, echo()]) as orchestra:
            alone = await trio.to_thread.run_sync(lambda: orchestra.run_sync("y", "Echo"))
            return alone.final_response, (await orchestra.execute("x", "Outer")).final_response

    orchestra: Orchestra = bare()
    assert trio.run(main) == ("y", ["x", 6])


def test_a_worker_thread_runs_in_the_orchestra_that_an_asyncio_loop_opened(monkeypatch: Any) -> None:
    monkeypatch.setitem(sys.modules, "IPython", Kernel)

    async def main() -> Any:
        async with bare(agents=[echo()]) as orchestra:
            crossed = await asyncio.to_thread(lambda: orchestra.run_sync("x", "Echo"))
            with pytest.raises(
                LifecycleError,
                match=r"^orchestra\.run_sync waits, and this is the thread of the engine it would wait for; ",
            ):
                orchestra.run_sync("y", "Echo")
            return crossed.final_response

    assert asyncio.run(main()) == "x"


@pytest.mark.trio_alone("what is refused names Trio runs")
def test_an_orchestra_of_a_block_is_not_awaited_elsewhere() -> None:
    async def main() -> None:
        await orchestra.execute("x", "Echo")

    with (
        bare(agents=[echo()]) as orchestra,
        pytest.raises(
            LifecycleError, match=r"^the Orchestra belongs to the Trio run of thread 'marsys Orchestra', "
        ),
    ):
        trio.run(main)


def test_a_run_from_another_thread_ends_with_the_orchestra() -> None:
    waits, ended = Waits(), []

    async def main() -> None:
        async with trio.open_nursery() as nursery, bare(agents=[waits.agent]) as orchestra:
            nursery.start_soon(wait, orchestra)
            await trio.to_thread.run_sync(waits.wait)

    async def wait(orchestra: Orchestra) -> None:
        ended.append(await trio.to_thread.run_sync(lambda: orchestra.run_sync("x", "Waits")))

    trio.run(main)
    assert waits.ended == 1
    assert not ended[0].success
    assert str(ended[0].error).startswith("the run was cancelled")


# -- where it must not wait --------------------------------------------------------------------------


@attrs.frozen
class Call:
    what: str
    write: str


CALLS = {
    "class": Call("Orchestra.run_sync", "await Orchestra.run(...)"),
    "agent": Call("agent.run_sync", "await agent.run(...)"),
    "team": Call("team.run_sync", "await team.run(...)"),
    "block": Call("'with Orchestra(...)'", "async with Orchestra(...) as orchestra:"),
    "run": Call("orchestra.run_sync", "await orchestra.run(...)"),
    "stream": Call("orchestra.stream_sync", "async for event in orchestra.stream(...)"),
}


def attempt(call: str) -> None:
    one = echo()
    attempts: dict[str, Any] = {
        "class": lambda: Orchestra.run_sync("x", "Echo"),
        "agent": lambda: one.run_sync("x"),
        "team": lambda: Team("Echo", [one]).run_sync("x"),
        "block": lambda: bare().__enter__(),
        "run": lambda: bare().run_sync("x", "Echo"),
        "stream": lambda: bare().stream_sync("x", "Echo"),
    }
    attempts[call]()


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    ("library", "run"), [("Trio", trio.run), ("asyncio", lambda main: asyncio.run(main()))]
)
def test_where_a_loop_runs_the_error_says_what_to_await(library: str, run: Any, call: str) -> None:
    async def main() -> None:
        attempt(call)

    told = f"{CALLS[call].what} waits, and would stop {library}, which runs in this thread; write '{CALLS[call].write}'"
    with pytest.raises(LifecycleError, match=f"^{re.escape(told)}$"):
        run(main)


class Shell:
    """What IPython has for a session; a kernel's has a `kernel`."""

    @staticmethod
    def get_ipython() -> Any:
        return Shell()


class Kernel(Shell):
    @staticmethod
    def get_ipython() -> Any:
        shell = Shell()
        shell.kernel = object()  # type: ignore[attr-defined]
        return shell


def test_a_cell_of_a_notebook_may_wait(monkeypatch: Any) -> None:
    echo()

    async def cell() -> Any:
        with bare() as orchestra:
            return Orchestra.run_sync("x", "Echo").final_response, orchestra.run_sync(
                "y", "Echo"
            ).final_response

    monkeypatch.setitem(sys.modules, "IPython", Kernel)
    assert asyncio.run(cell()) == ("x", "y")
    with pytest.raises(LifecycleError, match="would stop Trio"):
        trio.run(cell)
    monkeypatch.setitem(sys.modules, "IPython", Shell)
    with pytest.raises(LifecycleError, match="would stop asyncio"):
        asyncio.run(cell())
