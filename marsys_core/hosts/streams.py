"""Async generators and async context managers that are written for asyncio, used from Trio.

One asyncio task iterates the whole generator, so that what it enters and leaves stays in one task. It does one
piece of work for each demand, and waits between two: nothing runs ahead.
"""

from __future__ import annotations

import contextvars
import functools
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, nullcontext, suppress
from operator import methodcaller
from typing import TYPE_CHECKING, Any, TypeVar

import attrs
import trio

from marsys_core.errors import AsyncioError
from marsys_core.hosts.bridge import give_up, soon_on, translated
from marsys_core.hosts.library import asyncio_loop, current_library
from marsys_core.hosts.loops import loops

if TYPE_CHECKING:
    import asyncio

__all__ = ["entered_on_asyncio", "generator_on_asyncio"]

T = TypeVar("T")
_Demand = Callable[[Any], Awaitable[Any]]


@attrs.define(eq=False)
class _Stream:
    """A generator and the asyncio task that iterates it; one Trio task at a time demands something of it.

    `_number` counts the demands: a cancellation is meant for the one that it was asked for in, and touches
    no other.
    """

    _loop: asyncio.AbstractEventLoop
    _make: Callable[[], Any]
    _soon: Callable[..., Any]
    _here: bool
    _token: trio.lowlevel.TrioToken = attrs.field(factory=trio.lowlevel.current_trio_token)
    _context: contextvars.Context = attrs.field(factory=contextvars.copy_context)
    _number: int = 0
    _working: int = 0
    _demand: _Demand | None = None
    _task: asyncio.Task[None] | None = None
    _wanted: asyncio.Future[None] | None = None
    _interrupted: bool = False
    _waiting: trio.lowlevel.Task | None = None
    _raise_cancel: Callable[[], Any] | None = None
    _value: Any = None
    _error: BaseException | None = None
    over: bool = False
    left: bool = False

    # -- in Trio -------------------------------------------------------------------------------

    async def ask(self, demand: _Demand) -> Any:
        """Have `demand` done with the generator, and return what comes of it.

        Raises:
            StopAsyncIteration: The generator has ended.
        """
        if self.over:
            if self.left and demand is not _close:
                raise translated(_cancelled(), None, self._make)
            raise StopAsyncIteration
        self._number += 1
        self._raise_cancel = None
        self._waiting = trio.lowlevel.current_task()
        self._soon(self._take, demand, self._number)
        await trio.lowlevel.wait_task_rescheduled(functools.partial(self._abort, self._number))
        value, self._value = self._value, None
        error, self._error = self._error, None
        if error is not None:
            try:
                raise translated(error, self._raise_cancel, self._make)
            finally:
                del error  # its traceback holds this frame
        if self.over:
            raise StopAsyncIteration
        return value

    def _abort(self, number: int, raise_cancel: Callable[[], Any]) -> trio.lowlevel.Abort:
        self._raise_cancel = raise_cancel
        if self._here and asyncio_loop() is not self._loop:
            self._waiting, self.over = None, True
            give_up(self._task)
            return trio.lowlevel.Abort.SUCCEEDED
        self._soon(self._interrupt, number)
        return trio.lowlevel.Abort.FAILED

    def _answer(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            trio.lowlevel.reschedule(waiting)

    def _end(self) -> None:
        self.over = True
        self._answer()

    # -- in asyncio ----------------------------------------------------------------------------

    def _take(self, demand: _Demand, number: int) -> None:
        self._demand, self._working = demand, number
        if self._task is None:
            work = self._drive()
            try:
                self._task = self._context.run(self._loop.create_task, work)
            except BaseException as error:
                work.close()
                self._error = error
                self._token.run_sync_soon(self._end)
            else:
                self._task.add_done_callback(self._ended)
        elif self._wanted is not None and not self._wanted.done():
            self._wanted.set_result(None)

    def _interrupt(self, number: int) -> None:
        if self._working == number and self._task is not None:
            self._interrupted = True
            self._task.cancel()

    async def _drive(self) -> None:
        try:
            generator = self._make()
            while True:
                assert self._demand is not None  # it is there before it is wanted
                value = await self._demand(generator)
                await self._hand_over(generator, value)
        except StopAsyncIteration:
            pass
        except BaseException as error:  # an exit, too: it belongs to the caller, and must not end the loop
            self._error = error

    async def _hand_over(self, generator: Any, value: Any) -> None:
        """Give the Trio side its value, and wait for the next demand."""
        import asyncio

        if self._interrupted:  # the generator went on all the same
            self._interrupted = False
            asyncio.current_task().uncancel()  # type: ignore[union-attr]
        self._working = 0
        self._wanted = self._loop.create_future()
        self._value = value
        self._token.run_sync_soon(self._answer)
        try:
            await self._wanted
        except BaseException:  # the host cancels all its tasks when it ends
            self.left = True
            if hasattr(generator, "aclose"):
                await generator.aclose()
            raise

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._working = 0
        if task.cancelled():  # before its first step
            self._error = _cancelled()
        self._token.run_sync_soon(self._end)


def _cancelled() -> BaseException:
    import asyncio

    return asyncio.CancelledError()


@attrs.define(eq=False)
class _Here:
    """A generator that is used where it belongs: the same face as `_Stream`."""

    _generator: Any
    over: bool = False
    left: bool = False

    async def ask(self, demand: _Demand) -> Any:
        try:
            return await demand(self._generator)
        except BaseException:
            self.over = True
            raise


@asynccontextmanager
async def _opened(make: Callable[..., Any], args: Any, kwargs: Any) -> AsyncIterator[_Stream | _Here]:
    """Hold what iterates the generator that `make` returns, and close it at the end of the block."""
    stream: _Stream | _Here
    async with AsyncExitStack() as stack:
        if current_library() == "trio":
            await trio.lowlevel.checkpoint_if_cancelled()
            loop = (await stack.enter_async_context(loops())).loop()
            stream = _Stream(
                loop, functools.partial(make, *args, **kwargs), soon_on(loop), asyncio_loop() is loop
            )
        else:
            stream = _Here(make(*args, **kwargs))
        try:
            yield stream
        finally:
            if not stream.over:
                with suppress(StopAsyncIteration):
                    await stream.ask(_close)


async def _next(generator: Any) -> Any:
    return await generator.__anext__()


async def _close(generator: Any) -> None:
    if hasattr(generator, "aclose"):
        await generator.aclose()
    raise StopAsyncIteration


def _throw(error: BaseException) -> _Demand:
    """Raise `error` where the generator stands; a cancellation is raised as what asyncio has for it."""

    async def throw(generator: Any) -> Any:
        if not isinstance(error, trio.Cancelled) or current_library() == "trio":
            return await generator.athrow(error)
        import asyncio

        try:
            return await generator.athrow(asyncio.CancelledError())
        except asyncio.CancelledError:
            raise error from None

    return throw


def generator_on_asyncio(make: Callable[..., AsyncIterator[T]]) -> Callable[..., AsyncGenerator[T, Any]]:
    """Return an async generator function that does what `make` does, on an asyncio loop, from Trio.

    Each item is made when it is asked for. Closing the generator closes the one behind it, and waits for that.

    Args:
        make: An async generator function that is written for asyncio.
    """

    @functools.wraps(make)
    async def generator(*args: Any, **kwargs: Any) -> AsyncGenerator[T, Any]:
        async with _opened(make, args, kwargs) as stream:
            demand: _Demand = _next
            thrown: BaseException | None = None
            while True:
                try:
                    # A cancellation that the generator is told of by `throw` is not handed on a second time.
                    told = isinstance(thrown, trio.Cancelled)
                    with trio.CancelScope(shield=True) if told else nullcontext():
                        item = await stream.ask(demand)
                except StopAsyncIteration:
                    return
                except AsyncioError:
                    if stream.left and thrown is not None:  # it has ended before it could be told
                        raise thrown from None
                    raise
                try:
                    sent = yield item
                except GeneratorExit:
                    raise
                except BaseException as error:
                    demand, thrown = _throw(error), error
                else:
                    demand, thrown = _next if sent is None else methodcaller("asend", sent), None

    return generator


@asynccontextmanager
async def entered_on_asyncio(make: Callable[[], AbstractAsyncContextManager[T]]) -> AsyncIterator[T]:
    """Enter an async context manager that is written for asyncio, and leave it at the end of the block.

    It is made, entered and left in one asyncio task. What the block raises reaches it as in asyncio; a
    cancellation as a `asyncio.CancelledError`. Where its task is cancelled meanwhile, as an asyncio program does
    when it ends, it has left by then, and leaving the block is no error.
    """
    gone = False

    async def whole() -> AsyncIterator[T]:
        nonlocal gone
        async with make() as live:
            try:
                yield live
            except GeneratorExit:
                gone = True
                raise

    whole.__qualname__ = f"what {getattr(make, '__qualname__', repr(make))} opened"
    try:
        async with asynccontextmanager(generator_on_asyncio(whole))() as live:
            yield live
    except AsyncioError:
        if not gone:
            raise
