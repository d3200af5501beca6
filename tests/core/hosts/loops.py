"""The event loops that an application may bring, and what is left on one after a test."""

from __future__ import annotations

import asyncio
import selectors
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import uvloop

Runner = Callable[[Coroutine[Any, Any, Any]], Any]


class _Hasty(selectors.DefaultSelector):
    def select(self, timeout: float | None = None) -> Any:
        return super().select(timeout if timeout is None else timeout / 1000)


class QuickLoop(asyncio.SelectorEventLoop):
    """A loop whose seconds are milliseconds: programs that sleep run as they are, and nobody waits."""

    def __init__(self) -> None:
        super().__init__(_Hasty())
        self.slept: list[float] = []

    def call_later(self, delay: float, *args: Any, **kwargs: Any) -> asyncio.TimerHandle:
        """Schedule, and keep for how many seconds."""
        self.slept.append(delay)
        return super().call_later(delay, *args, **kwargs)

    def time(self) -> float:
        """Seconds, a thousand for each real one."""
        return super().time() * 1000


LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}

each_loop = pytest.mark.parametrize("new_loop", LOOPS.values(), ids=LOOPS)


def run_on(new_loop: Callable[[], asyncio.AbstractEventLoop], main: Coroutine[Any, Any, Any]) -> Any:
    """As `asyncio.run`, on a loop of that kind; fails where the loop was told of an error nobody saw."""
    unseen: list[dict[str, Any]] = []

    async def watched() -> Any:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: unseen.append(context))
        return await main

    try:
        with asyncio.Runner(loop_factory=new_loop) as runner:
            return runner.run(watched())
    finally:
        assert unseen == []


async def turns(count: int = 5) -> None:
    """Let the loop go round."""
    for _ in range(count):
        await asyncio.sleep(0)


async def until(condition: Callable[[], Any]) -> None:
    """Let the loop go round until `condition` holds."""
    while not condition():
        await asyncio.sleep(0)


def our_threads() -> list[str]:
    """The threads that are not the main one, nor Trio's idle ones, which end by themselves."""
    return sorted(
        thread.name
        for thread in threading.enumerate()
        if thread is not threading.main_thread() and not thread.name.startswith("Trio thread")
    )
