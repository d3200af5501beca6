"""An open engine in a background thread."""

from __future__ import annotations

import contextlib
import contextvars
import inspect
import random
import re
import signal
import threading
from concurrent.futures import CancelledError
from typing import Any

import pytest
import trio

from marsys_core import events as e
from marsys_core.agents import FunctionAgent, agent
from marsys_core.config import ExecutionConfig
from marsys_core.embed import EngineThread, RunFuture
from marsys_core.embed.thread import Settings
from marsys_core.errors import (
    ConfigError,
    CriticalError,
    LifecycleError,
    TopologyError,
    UnknownName,
)
from marsys_core.orchestra import Orchestra
from tests.core.embed.plain import LONG, Fuse, Waits, echo, engine, ours
from tests.core.fakes import BARE, Heard

colour: contextvars.ContextVar[str] = contextvars.ContextVar("colour", default="none")


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Any:
    yield
    assert ours() == []


def test_a_run_is_submitted_run_and_streamed() -> None:
    with engine(agents=[echo()]) as open_:
        assert open_.submit("a", "Echo").result(timeout=LONG).final_response == "a"
        assert open_.run("b", "Echo").final_response == "b"
        events = list(open_.stream("c", "Echo"))

    assert [type(events[0]), type(events[-1])] == [e.RunStarted, e.RunFinished]


def test_its_settings_are_those_of_an_orchestra() -> None:
    wanted = set(inspect.signature(Orchestra).parameters)

    assert set(Settings.__annotations__) == wanted
    with pytest.raises(ConfigError, match=r"^max_threads is a whole number from 1, not 0$"):
        EngineThread(max_threads=0)


def test_its_states_follow_each_other() -> None:
    made = engine(agents=[echo()])
    assert (made.running, made.closed) == (False, False)
    assert made.start() is made
    assert (made.running, made.closed) == (True, False)
    assert ours() == ["marsys EngineThread"]
    assert all(thread.daemon for thread in threading.enumerate() if thread.name == "marsys EngineThread")
    made.close()
    made.close()
    assert (made.running, made.closed) == (False, True)


NOT_STARTED = (
    r"^the EngineThread is not started; write 'with EngineThread\(\.\.\.\) as engine:', or call start\(\)$"
)
CLOSED = r"^the EngineThread is closed; make a new one: with EngineThread\(\.\.\.\) as engine:$"


@pytest.mark.parametrize("use", ["submit", "run", "stream"])
def test_before_it_is_started_and_after_it_is_closed_it_takes_no_run(use: str) -> None:
    made = engine(agents=[echo()])
    with pytest.raises(LifecycleError, match=NOT_STARTED):
        getattr(made, use)("x", "Echo")
    with made:
        pass
    with pytest.raises(LifecycleError, match=CLOSED):
        getattr(made, use)("x", "Echo")


def test_one_that_is_not_started_cannot_be_closed_and_none_is_started_twice() -> None:
    made = engine()
    with pytest.raises(LifecycleError, match=NOT_STARTED):
        made.close()
    with (
        made,
        pytest.raises(
            LifecycleError,
            match=r"^an EngineThread is started once; make a new one: with EngineThread\(\.\.\.\) as engine:$",
        ),
    ):
        made.start()
    with pytest.raises(LifecycleError, match=r"^an EngineThread is started once; "):
        made.start()


def test_what_opening_raises_comes_out_of_start() -> None:
    made = EngineThread(plugins=BARE, sinks=["nobody"])
    with pytest.raises(UnknownName, match=r"^no event sink provider is called 'nobody'"):
        made.start()
    assert made.closed
    made.close()
    with pytest.raises(
        LifecycleError, match=r"^the EngineThread has failed: UnknownName: no event sink .*; make a"
    ):
        made.submit("x", "Echo")


# -- what a run is given and gives -----------------------------------------------------------------


def test_a_run_sees_the_context_variables_of_whoever_submits_it_and_changes_none() -> None:
    @agent
    async def Look(prompt: Any) -> str:
        seen = colour.get()
        colour.set("white")
        await trio.lowlevel.checkpoint()
        return seen

    with engine(agents=[Look]) as open_:
        colour.set("red")
        first = open_.submit("", "Look")
        colour.set("blue")
        second = open_.submit("", "Look")
        assert [first.result().final_response, second.result().final_response] == ["red", "blue"]
        assert open_.run("", "Look").final_response == "blue"
        assert colour.get() == "blue"


def test_an_answer_has_the_type_that_is_asked_for() -> None:
    @agent
    def Number(prompt: Any) -> str:
        return "7"

    with engine(agents=[Number]) as open_:
        assert open_.run("", "Number", int).final_response == 7
        assert open_.submit("", "Number", output_type=int).result().final_response == 7


def test_options_are_checked_at_once_and_the_rest_comes_through_the_future() -> None:
    with engine() as open_:
        with pytest.raises(UnknownName, match=r"^no option of a run is called 'max_stpes'; "):
            open_.submit("x", "Echo", max_stpes=3)  # type: ignore[call-overload]
        with pytest.raises(ConfigError, match=r"^context= takes a mapping, not 3$"):
            open_.run("x", "Echo", context=3)  # type: ignore[call-overload]
        future = open_.submit("x", "Nobody")
        assert isinstance(future.exception(timeout=LONG), TopologyError)
        with pytest.raises(TopologyError):
            open_.run("x", "Nobody")
        calm = open_.run("x", "Nobody", execution_config=ExecutionConfig(raise_errors=False))
        assert isinstance(calm.error, TopologyError)


def test_critical_errors_are_raised_to_whoever_waits() -> None:
    @agent
    def Broken(prompt: Any) -> str:
        msg = "no key"
        raise CriticalError(msg)

    with engine(agents=[Broken, echo()]) as open_:
        with pytest.raises(CriticalError, match="^no key"):
            open_.run("x", "Broken")
        with pytest.raises(CriticalError, match="^no key"):
            list(open_.stream("x", "Broken"))
        assert open_.run("y", "Echo").success


def test_an_exit_in_an_agent_belongs_to_its_run() -> None:
    @agent
    async def Leave(prompt: Any) -> str:
        raise SystemExit(3)

    with engine(agents=[Leave, echo()]) as open_:
        with pytest.raises(SystemExit):
            open_.run("x", "Leave")
        with pytest.raises(SystemExit):
            list(open_.stream("x", "Leave"))
        assert open_.run("y", "Echo").success


# -- streams ---------------------------------------------------------------------------------------


def test_a_cancellation_that_an_agent_has_kept_and_raises_again_belongs_to_its_run() -> None:
    kept: list[trio.Cancelled] = []

    async def act(prompt: Any) -> Any:
        if kept:
            raise kept[0]
        with trio.CancelScope() as scope:
            scope.cancel()
            try:
                await trio.lowlevel.checkpoint()
            except trio.Cancelled as error:
                kept.append(error)
        return "kept"

    with engine(agents=[FunctionAgent(act, name="Keeps"), echo()]) as open_:
        assert open_.run("x", "Keeps").final_response == "kept"
        with pytest.raises(trio.Cancelled):
            open_.run("x", "Keeps")
        assert open_.run("x", "Echo").final_response == "x"


def test_closing_a_stream_cancels_the_run_and_waits_for_its_end() -> None:
    waits = Waits()
    with engine(agents=[waits.agent]) as open_:
        events = open_.stream("x", "Waits")
        assert type(next(events)) is e.RunStarted
        waits.wait()
        events.close()
        assert waits.ended == 1


def test_a_stream_that_is_never_looked_at_runs_nothing() -> None:
    heard = Heard()
    with engine(agents=[echo()], sinks=[heard]) as open_:
        open_.stream("x", "Echo")
    assert heard.events == []


def test_a_stream_ends_when_the_engine_is_closed() -> None:
    waits = Waits()
    open_ = engine(agents=[waits.agent]).start()
    events = open_.stream("x", "Waits")
    next(events)
    waits.wait()
    open_.close()
    with pytest.raises(CancelledError):
        list(events)


# -- the end ---------------------------------------------------------------------------------------


def test_closing_cancels_what_runs_and_waits_for_it() -> None:
    waits = Waits()
    with engine(agents=[waits.agent]) as open_:
        futures = [open_.submit("x", "Waits") for _ in range(3)]
        waits.wait(3)
    assert waits.ended == 3
    assert all(future.cancelled() for future in futures)


def test_a_run_that_waits_in_another_thread_hears_that_the_engine_was_closed() -> None:
    waits, raised = Waits(), []

    def work() -> None:
        try:
            open_.run("x", "Waits")
        except CancelledError as error:
            raised.append(error)

    with engine(agents=[waits.agent]) as open_:
        thread = threading.Thread(target=work)
        thread.start()
        waits.wait()
    thread.join(LONG)
    assert len(raised) == 1


def test_a_failure_of_the_engine_reaches_every_future_and_the_end_of_the_block() -> None:
    fuse, waits = Fuse(), Waits()
    open_ = EngineThread(agents=[waits.agent], **fuse.settings).start()
    futures = [open_.submit("x", "Waits") for _ in range(3)]
    waits.wait(3)
    fuse.burn()
    failures = [future.exception(timeout=LONG) for future in futures]
    with pytest.raises(OSError, match="^the fuse burns") as caught:
        open_.close()

    assert all(failure is caught.value for failure in failures)
    assert (waits.ended, fuse.closed) == (3, 1)
    open_.close()
    with pytest.raises(
        LifecycleError, match=r"^the EngineThread has failed: OSError: the fuse burns; make a new one"
    ):
        open_.submit("x", "Waits")


def test_a_block_that_fails_with_the_engine_raises_one_error() -> None:
    fuse, waits = Fuse(), Waits(lambda: fuse.burn())

    def wait() -> None:
        with EngineThread(agents=[waits.agent], **fuse.settings) as open_:
            open_.run("x", "Waits")

    def miss() -> None:
        with EngineThread(agents=[waits.agent], **fuse.settings) as open_:
            open_.submit("x", "Waits").exception(timeout=LONG)
            raise KeyError

    with pytest.raises(OSError, match="^the fuse burns") as caught:
        wait()
    assert not [note for note in caught.value.__notes__ if "besides" in note]

    fuse = Fuse()
    with pytest.raises(KeyError) as other:
        miss()
    assert other.value.__notes__ == ["the EngineThread failed besides: OSError: the fuse burns"]


@pytest.mark.slow
def test_a_thousand_runs_from_twenty_threads_with_cancels_leave_nothing() -> None:
    waits, futures = Waits(), list[RunFuture[Any]]()

    def work(seed: int) -> None:
        chance = random.Random(seed)
        for number in range(50):
            waiting = chance.random() < 0.5
            future = open_.submit(number, "Waits" if waiting else "Echo")
            futures.append(future)
            if waiting or chance.random() < 0.2:
                future.cancel()
            if chance.random() < 0.3:
                chance.choice(futures).cancel()

    with engine(agents=[echo(), waits.agent]) as open_:
        threads = [threading.Thread(target=work, args=(seed,)) for seed in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for future in futures:
            with contextlib.suppress(CancelledError):
                assert future.result(timeout=LONG).success
        assert open_._serving is not None
        assert open_._serving.gate().futures == {}
    assert len(futures) == 1000
    ended = sum(future.cancelled() for future in futures)
    assert 0 < ended < 1000


# -- where it must not wait --------------------------------------------------------------------------


def test_the_engines_own_thread_never_waits_for_the_engine() -> None:
    other = echo("Other")

    async def ask(prompt: Any) -> str:
        calls: list[Any] = [
            lambda: open_.run("x", "Other"),
            lambda: open_.stream("x", "Other"),
            lambda: open_.submit("x", "Other").result(),
            lambda: open_.close(),
        ]
        told = []
        for call in calls:
            with pytest.raises(LifecycleError) as caught:
                call()
            told.append(str(caught.value))
        return "\n".join(told)

    with engine(agents=[FunctionAgent(ask, name="Ask"), other]) as open_:
        told = open_.run("x", "Ask").unwrap().splitlines()

    write = (
        " waits, and this is the thread of the engine it would wait for; in an agent or a tool write "
        "'await Orchestra.run(...)', in a callback 'future.add_done_callback(...)'"
    )
    assert told[:3] == [f"EngineThread.run{write}", f"EngineThread.stream{write}", f"RunFuture.result{write}"]
    assert told[3] == (
        "a run of the EngineThread closes it, and would wait for its own end; close it outside of its runs"
    )


def test_a_plain_agent_may_run_in_its_own_engine_and_not_close_it() -> None:
    @agent
    def Ask(prompt: Any) -> Any:
        with pytest.raises(LifecycleError, match=r"^a run of the EngineThread closes it, "):
            open_.close()
        return open_.run(prompt, "Echo").final_response

    with engine(agents=[Ask, echo()]) as open_:
        assert open_.run("deep", "Ask").final_response == "deep"


TRIO = [
    ("start", "EngineThread.start waits, and would stop Trio, which runs in this thread; write 'async with Orchestra(...) as orchestra:'"),
    ("run", "EngineThread.run waits, and would stop Trio, which runs in this thread; write 'future = engine.submit(...), and await trio.to_thread.run_sync(future.result)'"),
    ("result", "RunFuture.result waits, and would stop Trio, which runs in this thread; write 'await trio.to_thread.run_sync(future.result)'"),
    ("close", "closing waits, and would stop Trio, which runs in this thread; write 'await trio.to_thread.run_sync(engine.close)'"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "text"), TRIO)
def test_in_a_trio_task_nothing_waits(call: str, text: str) -> None:
    waits = Waits()

    async def main() -> None:
        calls = {
            "start": lambda: engine().start(),
            "run": lambda: open_.run("x", "Waits"),
            "result": lambda: future.result(),
            "close": lambda: open_.close(),
        }
        with pytest.raises(LifecycleError, match=f"^{re.escape(text)}$"):
            calls[call]()

    with engine(agents=[waits.agent]) as open_:
        future = open_.submit("x", "Waits")
        trio.run(main)


def test_no_signal_handler_is_installed() -> None:
    before = [signal.getsignal(number) for number in signal.valid_signals()]

    @agent
    def Look(prompt: Any) -> bool:
        return [signal.getsignal(number) for number in signal.valid_signals()] == before

    with engine(agents=[Look]) as open_:
        assert open_.run("", "Look").final_response is True
