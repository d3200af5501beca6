"""Where something lives: the Trio run, and the loop and thread round it, that opened it."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import attrs
import trio

from marsys_core.errors import LifecycleError
from marsys_core.hosts.library import asyncio_loop

if TYPE_CHECKING:
    import asyncio

__all__ = ["Home"]


@attrs.frozen(eq=False)
class Home:
    """A Trio run, as it is told of in errors."""

    token: trio.lowlevel.TrioToken
    loop: asyncio.AbstractEventLoop | None
    thread: str

    @classmethod
    def here(cls) -> Home:
        """Return where the calling code runs: a Trio task, or asyncio code beside a guest."""
        return cls(trio.lowlevel.current_trio_token(), asyncio_loop(), threading.current_thread().name)

    def check(self, what: str) -> None:
        """Refuse use from anywhere else.

        Raises:
            LifecycleError: The calling code belongs to another loop, another thread or none.
        """
        try:
            if trio.lowlevel.current_trio_token() is self.token:
                return
        except RuntimeError:
            here = _told(asyncio_loop())
        else:
            here = _told(Home.here().loop, "the Trio run")
        msg = (
            f"{what} belongs to {self}, which opened it, and was used from {here}; open one there, "
            "or use an EngineThread, which takes work from any thread"
        )
        raise LifecycleError(msg)

    def __str__(self) -> str:
        return _told(self.loop, "the Trio run", self.thread)


def _told(loop: asyncio.AbstractEventLoop | None, otherwise: str = "", thread: str = "") -> str:
    thread = f"thread {thread or threading.current_thread().name!r}"
    if loop is not None:
        return f"the asyncio loop {loop!r} of {thread}"
    return f"{otherwise} of {thread}" if otherwise else f"{thread}, where no loop of it runs"
