"""Ctrl-C in a call that waits: the run is cancelled, and has ended when KeyboardInterrupt is raised."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from marsys_core import Provider, hookimpl
from marsys_core.agents import Team
from marsys_core.embed import EngineThread
from marsys_core.orchestra import Orchestra
from marsys_core.plugins.knobs import PluginSettings
from tests.core.embed.plain import LONG, Waits, echo, engine, ours
from tests.core.fakes import bare

MAIN = threading.main_thread().ident or 0


class Keys:
    """Presses Ctrl-C in the main thread, and waits until that has taken it."""

    def __init__(self) -> None:
        self._taken = threading.Event()
        self.pressed = 0

    def press(self) -> None:
        self._taken.clear()
        signal.pthread_kill(MAIN, signal.SIGINT)
        assert self._taken.wait(LONG)

    def handle(self, *_: object) -> None:
        self.pressed += 1
        self._taken.set()
        raise KeyboardInterrupt


@pytest.fixture(name="keys")
def _keys() -> Iterator[Keys]:
    keys = Keys()
    before = signal.signal(signal.SIGINT, keys.handle)
    yield keys
    signal.signal(signal.SIGINT, before)
    assert ours() == []


def interrupted(keys: Keys) -> Waits:
    """An agent that has Ctrl-C pressed when it starts, and twice more while it cleans up."""
    waits = Waits(keys.press)

    def clean_up() -> None:
        keys.press()
        keys.press()

    waits.clean_up = clean_up
    return waits


ALONE: list[Callable[[Any], Any]] = [
    lambda agent: Orchestra.run_sync("x", "Waits", agents=[agent]),
    lambda agent: agent.run_sync("x"),
    lambda agent: Team("Waits", [agent]).run_sync("x"),
]


@pytest.mark.parametrize("call", ALONE, ids=["Orchestra", "agent", "Team"])
def test_a_run_of_its_own_ends_before_the_interrupt_is_raised(call: Callable[[Any], Any], keys: Keys) -> None:
    waits = interrupted(keys)
    with pytest.raises(KeyboardInterrupt):
        call(waits.agent)

    assert (waits.ended, keys.pressed) == (1, 3)


def test_a_run_in_an_engine_thread_ends_and_the_engine_goes_on(keys: Keys) -> None:
    waits = interrupted(keys)
    with engine(agents=[waits.agent, echo()]) as open_:
        with pytest.raises(KeyboardInterrupt):
            open_.run("x", "Waits")
        assert (waits.ended, keys.pressed) == (1, 3)
        with pytest.raises(KeyboardInterrupt):
            list(open_.stream("x", "Waits"))
        assert (waits.ended, keys.pressed) == (2, 6)
        assert open_.run("y", "Echo").success


def test_a_run_in_an_orchestra_of_a_block_ends(keys: Keys) -> None:
    waits = interrupted(keys)
    with bare(agents=[waits.agent, echo()]) as orchestra:
        with pytest.raises(KeyboardInterrupt):
            orchestra.run_sync("x", "Waits")
        assert (waits.ended, keys.pressed) == (1, 3)
        assert orchestra.run_sync("y", "Echo").success


def test_a_future_that_is_waited_for_leaves_its_run_alone(keys: Keys) -> None:
    pressed, go = threading.Event(), threading.Event()

    def act(prompt: Any) -> str:
        keys.press()
        pressed.set()
        go.wait(LONG)
        return "done"

    from marsys_core.agents import FunctionAgent

    with engine(agents=[FunctionAgent(act, name="Slow")]) as open_:
        future = open_.submit("x", "Slow")
        with pytest.raises(KeyboardInterrupt):
            future.result(timeout=LONG)
        go.set()
        assert future.result(timeout=LONG).final_response == "done"


def test_closing_goes_on_to_its_end(keys: Keys) -> None:
    waits = Waits()
    waits.clean_up = keys.press
    open_ = engine(agents=[waits.agent]).start()
    open_.submit("x", "Waits")
    waits.wait()
    with pytest.raises(KeyboardInterrupt):
        open_.close()

    assert waits.ended == 1
    assert (open_.closed, ours()) == (True, [])


class SlowToOpen:
    """A plugin whose sink never finishes opening."""

    def __init__(self, waits: Waits) -> None:
        self.waits = waits

    @asynccontextmanager
    async def _open(self, context: Any, settings: Any) -> Any:
        await self.waits.agent._run("", None)
        yield None

    @hookimpl
    def marsys_event_sinks(self) -> list[Provider[Any]]:
        return [Provider("slow", self._open)]


def test_opening_is_cancelled(keys: Keys) -> None:
    waits = interrupted(keys)
    plugins = PluginSettings(plugins={"slow": SlowToOpen(waits)}, discover=False)
    made = EngineThread(plugins=plugins, sinks=["slow"])
    with pytest.raises(KeyboardInterrupt):
        made.start()

    assert (waits.ended, made.closed, made.running) == (1, True, False)


@pytest.mark.parametrize("begun", [False, True], ids=["before", "after"])
@pytest.mark.parametrize(
    "call", [lambda: Orchestra.run_sync("x", "Echo"), lambda: engine().start()], ids=["run_sync", "start"]
)
def test_a_thread_whose_start_is_interrupted_is_not_waited_for_in_vain(
    call: Callable[[], Any], begun: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    start, threads = threading.Thread.start, []

    def interrupted_start(thread: threading.Thread) -> None:
        if thread.name.startswith("marsys") and begun:
            start(thread)
            threads.append(thread)
        raise KeyboardInterrupt

    monkeypatch.setattr(threading.Thread, "start", interrupted_start)
    with pytest.raises(KeyboardInterrupt):
        call()
    for thread in threads:
        thread.join(LONG)

    assert ours() == []
