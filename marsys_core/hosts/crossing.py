"""Calls that cross from asyncio code to the Trio guest on its loop, and come back with what they came to."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import trio

from marsys_core.errors import AsyncioError, LifecycleError
from marsys_core.hosts.library import required_loop

if TYPE_CHECKING:
    import asyncio

    from marsys_core.hosts.guest import Guest

__all__ = ["cross", "hosted", "uncancelled"]

P = ParamSpec("P")
T = TypeVar("T")


def hosted(function: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, Coroutine[Any, Any, T]]:
    """Let asyncio code await `function`, which is written for Trio; under Trio it is called as it is.

    Raises:
        LifecycleError: Neither library is in charge.
    """

    @functools.wraps(function)
    async def call(*args: P.args, **kwargs: P.kwargs) -> T:
        if trio.lowlevel.in_trio_task():
            return await function(*args, **kwargs)
        return await cross(functools.partial(function, *args, **kwargs))

    return call


async def cross(
    work: Callable[[], Coroutine[Any, Any, T]], undo: Callable[[T], Coroutine[Any, Any, object]] | None = None
) -> T:
    """Run `work` as a task of the guest, in a copy of the caller's context, and return what it comes to.

    Cancelling the caller cancels it; the call returns when it has ended, however often it is cancelled.

    Args:
        work: An async function for Trio.
        undo: Called with what `work` came to where a caller who was cancelled meanwhile never gets it.

    Raises:
        LifecycleError: No asyncio loop is running, or it shut down meanwhile.
    """
    loop = required_loop()
    import asyncio

    from marsys_core.hosts.guest import Guest

    guest = await Guest.here()
    if not guest.held:
        guest.stays = True
    call = _Call(guest, work)
    try:
        result: T = await call.ended(loop)
    except asyncio.CancelledError:
        if undo is not None and call.value is not None:
            await cross(functools.partial(undo, call.value))
        raise
    return result


def uncancelled(error: BaseException) -> BaseException | None:
    """Return what is left of an error without Trio's cancellations; several come in a group."""
    if isinstance(error, trio.Cancelled):
        return None
    if isinstance(error, BaseExceptionGroup) and error.subgroup(trio.Cancelled) is not None:
        return error.split(trio.Cancelled)[1]
    return error


def _from_nowhere(error: BaseException) -> AsyncioError:
    msg = "code that runs on Trio raised asyncio.CancelledError, and nobody had cancelled it"
    found = AsyncioError(msg)
    found.__cause__ = error
    return found


class _Call:
    """One call on its way: begun by an asyncio task, carried out by a Trio task of the same thread."""

    __slots__ = ("error", "guest", "over", "scope", "value", "waiter", "work")

    def __init__(self, guest: Guest, work: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        import contextvars

        self.guest, self.work = guest, work
        self.scope = trio.CancelScope()
        self.over = False
        self.value: Any = None
        self.error: BaseException | None = None
        self.waiter: asyncio.Future[None] | None = None
        guest.calls[self] = None
        context = contextvars.copy_context()
        guest.act(lambda: context.run(self._start))

    def _start(self) -> None:
        try:
            self.guest.start_soon(self._carry_out)
        except LifecycleError as error:
            self.end(error)

    async def _carry_out(self) -> None:
        # An error is kept in no variable of this frame, which its traceback holds: the two would be garbage.
        try:
            with self.scope:
                self.value = await self.work()
        except BaseException as error:
            # A cancellation that came from nowhere was kept by the code, and raised again: it is an error of its own.
            stray = not self.scope.cancel_called and trio.current_effective_deadline() > -math.inf
            self._fail(error if stray else uncancelled(error))
        else:
            self.end(None)

    def _fail(self, error: BaseException | None) -> None:
        """It has failed, or was cancelled: by whoever called, or with the guest."""
        import asyncio

        if isinstance(
            error, asyncio.CancelledError
        ):  # its own code raised it: nobody has cancelled the caller
            error = _from_nowhere(error)
        if error is None and not self.scope.cancel_called:
            error = LifecycleError(self.guest.parting())
        self.end(error)

    def end(self, error: BaseException | None) -> None:
        """It has ended, in `error` or, without one, in its value."""
        self.over, self.error = True, error
        self.guest.came_back(self)
        waiter = self.waiter
        if waiter is not None and not waiter.done() and not self.guest.loop.is_closed():
            waiter.set_result(None)

    async def ended(self, loop: asyncio.AbstractEventLoop) -> Any:
        """Wait for the end, in the asyncio task, and return or raise what it came to."""
        import asyncio

        cancelled: asyncio.CancelledError | None = None
        while not self.over:
            self.waiter = loop.create_future()
            try:
                await self.waiter
            except asyncio.CancelledError as error:
                if cancelled is None:
                    cancelled = error
                    self.guest.act(self.scope.cancel)
        try:
            if self.error is not None:
                raise self.error
            if cancelled is not None:
                raise cancelled
            return self.value
        finally:
            self.error = cancelled = None  # they hold this frame, which holds them
