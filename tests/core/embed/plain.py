"""What tests of plain code share: agents that wait for a thread, and a look at the threads of MARSYS."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio

from marsys_core import Provider, hookimpl
from marsys_core.agents import FunctionAgent
from marsys_core.embed import EngineThread
from marsys_core.plugins.knobs import PluginSettings
from tests.core.fakes import BARE

ROOT = Path(__file__).resolve().parents[3]
LONG = 20  # seconds: a test that waits so long has failed


def engine(**settings: Any) -> EngineThread:
    """An engine thread without installed plugins."""
    return EngineThread(plugins=BARE, **settings)


def ours() -> list[str]:
    """The names of MARSYS' own threads that there are."""
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("marsys")]


def echo(name: str = "Echo") -> FunctionAgent:
    async def act(prompt: Any) -> Any:
        await trio.lowlevel.checkpoint()
        return prompt

    return FunctionAgent(act, name=name)


class Waits:
    """An agent that waits until it is cancelled; `started` and `ended` say how far its steps have come."""

    def __init__(self, on_start: Callable[[], object] = lambda: None, name: str = "Waits") -> None:
        self.started = threading.Semaphore(0)
        self.ended = 0
        self.on_start = on_start
        self.clean_up: Callable[[], object] | None = None  # in a worker thread
        self.at_end: Callable[[], object] = lambda: None
        self.agent = FunctionAgent(self._act, name=name)

    async def _act(self, prompt: Any) -> Any:
        self.started.release()
        try:
            self.on_start()
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                if self.clean_up is not None:
                    await trio.to_thread.run_sync(self.clean_up)
            self.ended += 1
            self.at_end()

    def wait(self, times: int = 1) -> None:
        """Wait until that many steps have started."""
        for _ in range(times):
            assert self.started.acquire(timeout=LONG)


class Fuse:
    """A plugin with a model that fails in the background when it is told to."""

    def __init__(self) -> None:
        self.closed = 0
        self.burning: Any = None
        self.token: Any = None

    def burn(self) -> None:
        """Let it fail, from any thread."""
        self.token.run_sync_soon(self.burning.set)

    @asynccontextmanager
    async def _open(self, context: Any, settings: Any) -> Any:
        self.burning, self.token = trio.Event(), trio.lowlevel.current_trio_token()
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._watch)
                try:
                    yield self
                finally:
                    self.closed += 1
                    nursery.cancel_scope.cancel()
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from None

    async def _watch(self) -> None:
        await self.burning.wait()
        msg = "the fuse burns"
        raise OSError(msg)

    def on_event(self, event: Any) -> None:
        """Nothing."""

    @hookimpl
    def marsys_event_sinks(self) -> list[Provider[Any]]:
        return [Provider("fuse", self._open)]

    @property
    def settings(self) -> dict[str, Any]:
        """What an engine needs to have it open."""
        plugins = PluginSettings(plugins={"fuse": self}, discover=False)
        return {"plugins": plugins, "sinks": ["fuse"]}


def program(text: str) -> subprocess.CompletedProcess[str]:
    """Run a program that may use what is here."""
    paths = os.pathsep.join([str(ROOT), *([os.environ["PYTHONPATH"]] if "PYTHONPATH" in os.environ else [])])
    command = [sys.executable, "-W", "always::ResourceWarning", "-c", text]
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=LONG,
        check=False,
        env={**os.environ, "PYTHONPATH": paths},
    )
