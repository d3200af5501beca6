"""Ways to run a Trio program: by itself, and as a guest on the loop of an asyncio program."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import trio

__all__ = ["HOSTS", "as_guest", "on_uvloop"]

Main = Callable[[], Awaitable[Any]]


def as_guest(main: Main, run: Callable[[Any], Any] = asyncio.run) -> Any:
    """Run `main` in Trio as a guest on the loop that `run` makes; return what it returns."""

    async def host() -> Any:
        loop = asyncio.get_running_loop()
        done = loop.create_future()
        trio.lowlevel.start_guest_run(
            main,
            run_sync_soon_threadsafe=loop.call_soon_threadsafe,
            done_callback=done.set_result,
            host_uses_signal_set_wakeup_fd=True,
        )
        return (await done).unwrap()

    return run(host())


def on_uvloop(main: Main) -> Any:
    """Run `main` in Trio as a guest on uvloop."""
    import uvloop

    return as_guest(main, uvloop.run)


HOSTS: dict[str, Callable[[Main], Any]] = {"trio": trio.run, "asyncio": as_guest, "uvloop": on_uvloop}
