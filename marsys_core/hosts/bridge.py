"""From Trio to asyncio and back: a coroutine function runs as an asyncio task, and its Trio caller waits for its end.

One task on each side stands for the call. While the asyncio task works, the Trio task is parked. It is woken by
the end of the asyncio task, or when that asks for something in Trio (`Call.back`), which then runs in a nursery
of the parked task: in the task tree of the call, cancelled with it.

A cancellation is handed on once, and waited out: whatever the asyncio task then comes to, its value or its error,
comes through. So nothing of a call is left when it returns.
"""

from __future__ import annotations

import contextvars
import inspect
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import attrs
import trio

from marsys_core.errors import AsyncioError, LifecycleError
from marsys_core.hosts.library import asyncio_loop, current_library
from marsys_core.hosts.loops import loops

if TYPE_CHECKING:
    import asyncio

__all__ = ["Abroad", "Call", "give_up", "on_asyncio", "soon_on", "translated"]

T = TypeVar("T")


async def on_asyncio(function: Callable[..., Awaitable[T]], /, *args: Any, **kwargs: Any) -> T:
    """Run an async function that is written for asyncio, and return what it returns.

    Called from a Trio task, the function runs as an asyncio task on the loop of the host, where that is asyncio,
    or on the one that the engine owns, with a copy of the caller's context variables. Cancelling the caller
    cancels that task; this returns when the task has ended. Called where asyncio is in charge, it just awaits.

    Args:
        function: The function.
        args: What it is called with; the `context` of a step or a tool comes as one that works there.
        kwargs: The same by name.

    Raises:
        AsyncioError: The asyncio task was cancelled, and not by the caller.
        Exception: What the function raised, the same object.
    """
    if current_library() != "trio":
        return await function(*args, **kwargs)
    await trio.lowlevel.checkpoint_if_cancelled()
    async with loops() as held:
        result: T = await Call(held.loop(), function, args, kwargs).result()
        return result


def soon_on(loop: asyncio.AbstractEventLoop) -> Callable[..., Any]:
    """Return the way in which this thread, where Trio runs, gives `loop` something to call."""
    return loop.call_soon if asyncio_loop() is loop else loop.call_soon_threadsafe


def give_up(task: asyncio.Task[None] | None) -> None:
    """End a task whose loop has stopped for good, as far as that goes: what its code does not wait for is done."""
    if task is not None and not task.done():
        try:
            task.get_coro().close()
        except RuntimeError as error:  # it waits for something all the same, cleaning up
            from marsys_core.logs import get_logger

            get_logger("asyncio").warning(
                "an asyncio task could not end, as its loop runs no more: %s", error
            )


@attrs.define(eq=False, kw_only=True)
class _Request:
    """Something that an asyncio task asks for in Trio.

    `ended` is set on the asyncio side, when the work has ended on the other; then it has a value or an error,
    or neither, where it was cancelled.
    """

    work: Callable[[], Awaitable[Any]]
    loop: asyncio.AbstractEventLoop
    context: contextvars.Context = attrs.field(factory=contextvars.copy_context)
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    future: asyncio.Future[None] | None = None
    ended: bool = False
    value: Any = None
    error: BaseException | None = None
    cancelled: bool = False

    def settle(self) -> None:
        """Wake whoever waits for it, on the asyncio side."""
        self.ended = True
        if self.future is not None and not self.future.done():
            self.future.set_result(None)

    def settle_soon(self) -> None:
        self.loop.call_soon_threadsafe(self.settle)


class Call:
    """One asyncio task that a Trio task waits for, and what it asks of Trio meanwhile. Made in that Trio task."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        function: Callable[..., Awaitable[Any]],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
    ) -> None:
        self.loop = loop
        self._function = function
        self._args = [_abroad(each, self) for each in args]
        self._kwargs = {name: _abroad(each, self) for name, each in kwargs.items()}
        self._soon, self._here = soon_on(loop), asyncio_loop() is loop
        self._token = trio.lowlevel.current_trio_token()
        self._waiting = trio.lowlevel.current_task()
        self._context = contextvars.copy_context()
        self._task: asyncio.Task[None] | None = None
        self._parked = self._done = self._stopping = False
        self._raise_cancel: Callable[[], Any] | None = None
        self._asked: deque[_Request] = deque()
        self._value: Any = None
        self._error: BaseException | None = None

    # -- in Trio -------------------------------------------------------------------------------

    async def result(self) -> Any:
        """Let the asyncio task run to its end, and return or raise what it came to."""
        self._soon(self._begin)
        await self._park()
        if not self._done:
            await self._serve()
        return self._outcome()

    async def _park(self) -> None:
        self._parked = True
        await trio.lowlevel.wait_task_rescheduled(self._abort)

    def _abort(self, raise_cancel: Callable[[], Any]) -> trio.lowlevel.Abort:
        self._raise_cancel = raise_cancel
        if self._here and asyncio_loop() is not self.loop:
            self._parked = False
            give_up(self._task)
            return trio.lowlevel.Abort.SUCCEEDED
        self._stop()
        return trio.lowlevel.Abort.FAILED

    def _stop(self) -> None:
        if not self._stopping:
            self._stopping = True
            self._soon(self._cancel)

    def _wake(self) -> None:
        if self._parked:
            self._parked = False
            trio.lowlevel.reschedule(self._waiting)

    def _finish(self) -> None:
        self._done = True
        self._wake()

    def _outcome(self) -> Any:
        error, self._error = self._error, None
        if error is None:
            return self._value
        try:
            raise translated(error, self._raise_cancel, self._function)
        finally:
            del error  # its traceback holds this frame

    async def _serve(self) -> None:
        """Do what the asyncio task asks for until it has ended; what it has left running is cancelled then."""
        crash: BaseException | None = None
        try:
            async with trio.open_nursery() as nursery:
                while not self._done:
                    while self._asked:
                        request = self._asked.popleft()
                        request.context.run(nursery.start_soon, self._answer, request)
                    await self._park()
                nursery.cancel_scope.cancel()
        except BaseExceptionGroup as group:  # an exit or Ctrl-C in what was asked for
            crash = group.exceptions[0] if len(group.exceptions) == 1 else group
        finally:
            while self._asked:
                self._refuse(self._asked.popleft())
        if crash is not None:
            raise crash

    def _post(self, request: _Request) -> None:
        if self._done:
            self._refuse(request)
        else:
            self._asked.append(request)
            self._wake()

    def _refuse(self, request: _Request) -> None:
        msg = f"what {_called(self._function)} was handed is used after its end: it lives as long as the call"
        request.error = LifecycleError(msg)
        request.settle_soon()

    async def _answer(self, request: _Request) -> None:
        try:
            with request.scope:
                request.value = await request.work()
            request.cancelled = request.scope.cancelled_caught
        except trio.Cancelled:
            # With the call: its task is told before the request is, so that it is cancelled once.
            self._stop()
            request.cancelled = True
        except Exception as error:
            request.error = error
        except BaseException as error:
            request.cancelled = True
            if not self._keeps(request, error):
                raise
        finally:
            request.settle_soon()

    def _keeps(self, request: _Request, error: BaseException) -> bool:
        """Whether `error` is a cancellation with errors beside it, which the asyncio side is told."""
        if not isinstance(error, BaseExceptionGroup):
            return False
        rest = error.split(trio.Cancelled)[1]
        if rest is not None and not isinstance(rest, Exception):
            return False
        self._stop()
        request.error = rest
        return True

    # -- in asyncio ----------------------------------------------------------------------------

    def _begin(self) -> None:
        work = self._drive()
        try:
            # The task takes a copy of the context that it is made in; not every loop takes one as an argument.
            self._task = self._context.run(self.loop.create_task, work)
        except BaseException as error:
            work.close()
            self._error = error
            self._token.run_sync_soon(self._finish)
            return
        self._task.add_done_callback(self._ended)

    async def _drive(self) -> None:
        try:
            self._value = await self._function(*self._args, **self._kwargs)
        except BaseException as error:  # an exit, too: it belongs to the caller, and must not end the loop
            self._error = error

    def _ended(self, task: asyncio.Task[None]) -> None:
        if task.cancelled():  # before its first step
            import asyncio

            self._error = asyncio.CancelledError()
        self._token.run_sync_soon(self._finish)

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def back(self, function: Callable[..., Awaitable[Any]], /, *args: Any, **kwargs: Any) -> Any:
        """Run an async function that is written for Trio, from an asyncio task, as part of this call.

        It runs in the task tree of the Trio caller. Cancelling the asyncio task cancels it there; this returns
        when it has ended.

        Raises:
            LifecycleError: The call is over.
            Exception: What the function raised, the same object.
        """
        if current_library() == "trio":
            return await function(*args, **kwargs)
        import asyncio

        request = _Request(work=lambda: function(*args, **kwargs), loop=asyncio.get_running_loop())
        self._ask(self._post, request)
        cancelled: asyncio.CancelledError | None = None
        while not request.ended:
            request.future = request.loop.create_future()
            try:
                await request.future
            except asyncio.CancelledError as error:
                if cancelled is None:
                    cancelled = error
                    self._ask(request.scope.cancel)
        if request.error is not None:
            raise request.error
        if cancelled is not None:
            raise cancelled
        if request.cancelled:
            raise asyncio.CancelledError
        return request.value

    def _ask(self, function: Callable[..., object], *args: Any) -> None:
        try:
            self._token.run_sync_soon(function, *args)
        except trio.RunFinishedError:
            msg = f"what {_called(self._function)} was handed is used after its end: Trio has ended, too"
            raise LifecycleError(msg) from None


class Abroad:
    """An object of the Trio side as asyncio code sees it: its async methods run where they belong, the rest is its own."""

    __slots__ = ("_call", "_object")

    def __init__(self, obj: Any, call: Call) -> None:
        object.__setattr__(self, "_object", obj)
        object.__setattr__(self, "_call", call)

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._object, name)
        if not inspect.iscoroutinefunction(value):
            return value

        async def back(*args: Any, **kwargs: Any) -> Any:
            return await self._call.back(value, *args, **kwargs)

        return back

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._object, name, value)

    def __getitem__(self, key: Any) -> Any:
        return self._object[key]

    async def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Await the object itself, a function."""
        return await self._call.back(self._object, *args, **kwargs)

    def __repr__(self) -> str:
        return repr(self._object)


def _abroad(given: Any, call: Call) -> Any:
    """Return an argument as the asyncio side sees it: the class of one that is not for that side says how."""
    view = getattr(type(given), "_for_asyncio", None)
    return given if view is None else view(given, call)


def translated(
    error: BaseException, raise_cancel: Callable[[], Any] | None, function: Callable[..., Any]
) -> BaseException:
    """Return what the Trio side raises for `error`; a cancellation that it asked for is raised at once."""
    import asyncio

    if isinstance(error, asyncio.CancelledError):
        if raise_cancel is not None:
            raise_cancel()
        return _from_inside(error, function)
    if isinstance(error, BaseExceptionGroup) and not isinstance(error, Exception):
        cancelled, rest = error.split(asyncio.CancelledError)
        if cancelled is not None:
            if rest is None and raise_cancel is not None:
                raise_cancel()
            others = list(rest.exceptions) if rest is not None else []
            return error.derive([*others, _from_inside(cancelled, function)])
    return error


def _from_inside(error: BaseException, function: Callable[..., Any]) -> AsyncioError:
    msg = (
        f"the asyncio task of {_called(function)} was cancelled from inside, and not by the run: "
        "by its own code, or by another task on its loop"
    )
    found = AsyncioError(msg)
    found.__cause__ = error
    return found


def _called(function: Callable[..., Any]) -> str:
    function = getattr(function, "func", function)  # of a partial
    return getattr(function, "__qualname__", None) or repr(function)
