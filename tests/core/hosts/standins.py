"""Stand-ins for `trio.run` that have Trio as a guest of another loop, or in another thread."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import Any
from unittest import mock

import trio
import uvloop

from marsys_core.hosts.crossing import cross
from marsys_core.hosts.library import asyncio_loop

__all__ = ["STAND_INS", "standing_in"]

_run = trio.run
_start_guest_run = trio.lowlevel.start_guest_run


class _Given(threading.local):
    """What the next Trio of this thread is started with besides what it is asked for."""

    options: dict[str, Any] | None = None


_given = _Given()


def _start_with_given(*args: Any, **settings: Any) -> Any:
    return _start_guest_run(*args, **{**settings, **(_given.options or {})})


def as_guest(new_loop: Callable[[], asyncio.AbstractEventLoop]) -> Callable[..., Any]:
    """A `trio.run` that runs its function in the guest of a loop of that kind, in this thread."""

    @functools.wraps(_run)
    def run(function: Callable[..., Awaitable[Any]], *args: Any, **options: Any) -> Any:
        if trio.lowlevel.in_trio_run() or asyncio_loop() is not None:
            return _run(function, *args, **options)  # refuses, or is no guest of a loop that it blocks

        async def work() -> Any:
            return await function(*args)

        _given.options = options
        try:
            with asyncio.Runner(loop_factory=new_loop) as runner:
                return runner.run(cross(work))
        finally:
            _given.options = None

    return run


@functools.wraps(_run)
def in_a_thread(function: Callable[..., Awaitable[Any]], *args: Any, **options: Any) -> Any:
    """A `trio.run` that runs in another thread than the main one, which waits for it."""
    if trio.lowlevel.in_trio_run() or threading.current_thread() is not threading.main_thread():
        return _run(function, *args, **options)
    came: list[Any] = [None, None]

    def work() -> None:
        try:
            came[0] = _run(function, *args, **options)
        except BaseException as error:  # raised in the thread that waits
            came[1] = error

    thread = threading.Thread(target=contextvars.copy_context().run, args=(work,), name="host")
    thread.start()
    thread.join()
    try:
        if came[1] is not None:
            raise came[1]
        return came[0]
    finally:
        came.clear()


STAND_INS: dict[str, Callable[..., Any]] = {
    "asyncio": as_guest(asyncio.new_event_loop),
    "uvloop": as_guest(uvloop.new_event_loop),
    "thread": in_a_thread,
}


@contextlib.contextmanager
def standing_in(host: str) -> Iterator[None]:
    """Have every `trio.run` that is called meanwhile be one of `STAND_INS`."""
    with (
        mock.patch.object(trio, "run", STAND_INS[host]),
        mock.patch.object(trio.lowlevel, "start_guest_run", _start_with_given),
    ):
        yield
