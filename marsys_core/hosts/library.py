"""Which async library is in charge of the code that asks."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Literal

import trio

if TYPE_CHECKING:
    import asyncio

__all__ = ["asyncio_loop", "current_library"]


def current_library() -> Literal["trio", "asyncio"] | None:
    """Return who would resume the calling code if it waited now; None for plain code.

    A Trio task is a Trio task, also where Trio itself is a guest on an asyncio loop.
    """
    if trio.lowlevel.in_trio_task():
        return "trio"
    return None if asyncio_loop() is None else "asyncio"


def asyncio_loop() -> asyncio.AbstractEventLoop | None:
    """Return the asyncio loop that runs in this thread, also below a Trio guest; None where there is none."""
    asyncio = sys.modules.get("asyncio")  # a loop that runs has imported it
    if asyncio is None:
        return None
    loop: asyncio.AbstractEventLoop | None = asyncio._get_running_loop()
    return loop
