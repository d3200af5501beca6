"""The narrow places: an engine that ends while it opens, or while a run is handed over; a system without threads."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import trio

from marsys_core.agents import FunctionAgent
from marsys_core.embed import EngineThread
from marsys_core.embed.gate import Gate, asked
from marsys_core.embed.serving import Serving
from marsys_core.errors import LifecycleError
from marsys_core.orchestra import Orchestra
from marsys_core.plugins.knobs import PluginSettings
from tests.core.embed.plain import LONG, Waits, echo, engine, ours
from tests.core.embed.test_interrupts import SlowToOpen
from tests.core.fakes import bare

CLOSED_EARLY = r"^the EngineThread was closed while it was opening$"


def test_one_that_is_closed_while_it_opens_says_so() -> None:
    waits = Waits(lambda: closing.start())
    plugins = PluginSettings(plugins={"slow": SlowToOpen(waits)}, discover=False)
    made = EngineThread(plugins=plugins, sinks=["slow"])
    closing = threading.Thread(target=made.close)
    with pytest.raises(LifecycleError, match=CLOSED_EARLY):
        made.start()
    closing.join(LONG)

    assert (waits.ended, ours()) == (1, [])


def test_one_that_is_closed_before_its_thread_begins_never_opens() -> None:
    serving = Serving(bare(sinks=["nobody"]), "EngineThread", "with EngineThread(...) as engine:")
    serving.stop()
    with pytest.raises(LifecycleError, match=CLOSED_EARLY):
        serving.open()


def test_a_run_that_comes_too_late_is_refused() -> None:
    with engine(agents=[echo()]) as open_:
        assert open_._serving is not None
        gate = open_._serving.gate()
    for late in (gate.submit, gate.run):
        with pytest.raises(LifecycleError, match=r"^the EngineThread is closed; make a new one$"):
            late(asked("x", "Echo", None, {}))


def test_a_run_that_comes_when_its_orchestra_is_closed_and_the_loop_goes_on_is_refused() -> None:
    async def main() -> None:
        async with bare(agents=[echo()]) as orchestra:
            gate = Gate(orchestra, orchestra.engine, "Orchestra")
        with pytest.raises(
            LifecycleError, match=r"^the Orchestra was closed before the run began; make a new one$"
        ):
            await trio.to_thread.run_sync(gate.run, asked("x", "Echo", None, {}))

    trio.run(main)


def test_an_iterator_that_is_closed_in_the_engines_thread_does_not_wait_there() -> None:
    waits = Waits()

    async def close(prompt: Any) -> int:
        events.close()
        return waits.ended

    with engine(agents=[waits.agent, FunctionAgent(close, name="Closer")]) as open_:
        events = open_.stream("x", "Waits")
        next(events)
        waits.wait()
        assert open_.run("", "Closer").final_response == 0
    assert waits.ended == 1


def test_questions_may_be_looked_at_in_the_engines_own_thread() -> None:
    go = threading.Event()
    seen: list[Any] = []

    with engine(agents=[FunctionAgent(lambda prompt: go.wait(LONG), name="Gated")]) as open_:
        future = open_.submit("x", "Gated")
        future.add_done_callback(lambda done: seen.append(future.questions))
        go.set()
        future.result(timeout=LONG)
    assert seen == [()]


def test_a_system_that_has_no_thread_to_give_is_told_of(monkeypatch: Any) -> None:
    def start(self: threading.Thread) -> None:
        msg = "can't start new thread"
        raise RuntimeError(msg)

    monkeypatch.setattr(threading.Thread, "start", start)
    made = engine()
    with pytest.raises(RuntimeError, match="^can't start new thread$"):
        made.start()
    with pytest.raises(RuntimeError, match="^can't start new thread$"):
        Orchestra.run_sync("x", "Echo")

    assert (made.closed, made.running) == (True, False)
