"""Which async library is in charge of the code that asks."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Literal

import trio

from marsys_core.errors import LifecycleError

if TYPE_CHECKING:
    import asyncio

__all__ = ["asyncio_loop", "current_library", "required_loop"]


def current_library() -> Literal["trio", "asyncio"] | None:
    """Return who would resume the calling code if it waited now; None for plain code.

    A Trio task is a Trio task, also where Trio itself is a guest on an asyncio loop.
    """
    if trio.lowlevel.in_trio_task():
        return "trio"
    return None if asyncio_loop() is None else "asyncio"


def asyncio_loop() -> asyncio.AbstractEventLoop | None:
    """Return the asyncio loop that runs in this thread, also below a Trio guest; None where there is none."""
    library = sys.modules.get("asyncio")  # a loop that runs has imported it
    if library is None:
        return None
    loop: asyncio.AbstractEventLoop | None = library._get_running_loop()
    return loop


def required_loop() -> asyncio.AbstractEventLoop:
    """Return the asyncio loop that runs in this thread.

    Raises:
        LifecycleError: There is none.
    """
    loop = asyncio_loop()
    if loop is None:
        msg = (
            "no event loop is running here: start the program with asyncio.run(main()) or trio.run(main), "
            "or write Orchestra.run_sync(...) in plain code"
        )
        raise LifecycleError(msg)
    return loop
