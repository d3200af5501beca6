"""Trio as a guest on an asyncio loop: in the loop's thread, one for each loop.

The host runs the guest's ticks, one after another, in slices of its own time, so that its other callbacks are
never kept waiting for long. A guest that waits has one thread, which watches its sockets and deadlines.

How it ends:

* With the last thing that is held open on it, where nothing but such things has used it.
* When the loop shuts its async generators down, as `asyncio.run` does: calls are cancelled, and waited for.
* When the loop is closed without that, or the interpreter ends: the same, at once and on the spot, in the
  loop's thread. Nothing of a run is left half done.
"""

from __future__ import annotations

import asyncio
import atexit
import contextvars
import functools
import os
import queue
import signal
import sys
import threading
import warnings
import weakref
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from types import FrameType
from typing import Any, Protocol

import attrs
import trio

from marsys_core.errors import LifecycleError

__all__ = ["Crossing", "Guest"]

_SLICE = 0.001  # seconds of the host's time that ticks take before its other callbacks have their turn
_LONG = 0.008  # seconds; a tick that takes longer is followed by one with less in it
_ADMITTED = (
    64  # starts and cancellations between two ticks, at most: a thousand at once would be one long tick
)
_FOREVER = 1e8  # seconds; a timer that nobody waits for


def _nothing() -> None:
    """Wake the guest."""


class Crossing(Protocol):
    """A call that is under way in a guest."""

    def end(self, error: BaseException | None) -> None:
        """Nothing more comes of it: let whoever waits know."""


class _Here(threading.local):
    guest: Guest | None = None


_here = _Here()


class _Sentinel:
    """Lies among the loop's timers, and is dropped with them when the loop is closed."""

    def __init__(self, guest: Guest) -> None:
        self.guest: Guest | None = guest

    def __call__(self) -> None:
        """Do nothing: the timer never fires."""

    def __del__(self) -> None:
        if self.guest is not None and self.guest.loop.is_closed():
            self.guest.end_now("the asyncio loop was closed")


@attrs.define(eq=False, repr=False)
class Guest:
    """Trio on one asyncio loop. `Guest.here` starts it, or finds the one there is.

    Args:
        loop: The host.
    """

    loop: asyncio.AbstractEventLoop
    thread: str = attrs.field(factory=lambda: threading.current_thread().name)
    held: int = 0
    calls: dict[Crossing, None] = attrs.field(factory=dict)
    stays: bool = False
    over: bool = False
    _pid: int = attrs.field(factory=os.getpid)
    _nursery: trio.Nursery | None = None
    _token: trio.lowlevel.TrioToken | None = None
    _trio: Any = None
    _ticks: queue.SimpleQueue[Callable[[], object]] = attrs.field(factory=queue.SimpleQueue)
    _draining: bool = False
    _driven: bool = False
    _acts: deque[Callable[[], object]] = attrs.field(factory=deque)
    _admitted: int = 8
    _room: int = 8
    _early: list[Callable[[trio.Nursery], object]] = attrs.field(factory=list)
    _closing: bool = False
    _closed: bool = False
    _leaving: trio.Event = attrs.field(factory=trio.Event)
    _idle: trio.Event | None = None
    _waiters: list[asyncio.Future[None]] = attrs.field(factory=list)
    _hooks: Any = None
    _shutdown: AsyncGenerator[None, None] | None = None
    _timer: Callable[[], asyncio.TimerHandle | None] = _nothing

    # -- beginning -----------------------------------------------------------------------------

    @classmethod
    async def here(cls) -> Guest:
        """Return the guest of the running loop; start it if there is none.

        Raises:
            LifecycleError: Another loop of this thread has one with work in it, or Trio runs here already.
        """
        loop = asyncio.get_running_loop()
        while (found := _here.guest) is not None:
            if found.loop is not loop:
                found.make_room(loop)
            elif found._closed or not found._closing:
                return found
            else:  # it ends, as nobody needed it any more; the next one begins then
                await found._end_of_it()
        guest = cls(loop)
        guest._start()
        # Nothing but an async generator is told that the loop shuts down.
        guest._shutdown = guest._until_shutdown()
        await guest._shutdown.asend(None)
        return guest

    def make_room(self, other: asyncio.AbstractEventLoop) -> None:
        """End this guest, which nobody uses, for one on another loop of the thread."""
        if (self.calls or self.held) and not self.loop.is_closed():
            msg = (
                f"the asyncio loop {self.loop!r} of this thread has open runs or an open Orchestra, and {other!r} "
                "cannot have any beside them; a thread has one loop with runs at a time: close that Orchestra first, "
                "use its loop, or another thread"
            )
            raise LifecycleError(msg)
        self.end_now("another loop of its thread was used")

    def _start(self) -> None:
        if trio.lowlevel.in_trio_run():
            msg = (
                "Trio is a guest on this loop already, and it is not ours: call MARSYS from one of its Trio tasks, "
                "or do not start it"
            )
            raise LifecycleError(msg)
        # The guest outlives whoever starts it, so nothing of the caller's context stays with it.
        with _as_it_is(signal.SIGINT):
            contextvars.Context().run(
                trio.lowlevel.start_guest_run,
                self._main,
                run_sync_soon_threadsafe=self._post,
                run_sync_soon_not_threadsafe=self._post_here,
                done_callback=self._done,
                host_uses_signal_set_wakeup_fd=True,
            )
        self._token = trio.lowlevel.current_trio_token()
        self._hooks = sys.get_asyncgen_hooks()
        timer = self.loop.call_later(_FOREVER, _Sentinel(self))
        try:  # the loop alone holds the timer, so that closing the loop drops the sentinel
            self._timer = weakref.ref(timer)
        except TypeError:  # uvloop's timers drop it themselves
            self._timer = functools.partial(_same, timer)
        _here.guest = self
        atexit.register(self._at_exit)

    async def _until_shutdown(self) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            self._closed = True
            await self.end()

    async def _main(self) -> None:
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            for start in self._early:
                start(nursery)
            self._early.clear()
            try:
                await self._leaving.wait()
            finally:
                nursery.cancel_scope.cancel()
                # What the last ones still ask for, cleaning up, finds the guest here.
                with trio.CancelScope(shield=True):
                    while self.calls:
                        self._idle = trio.Event()
                        await self._idle.wait()

    # -- ticks ---------------------------------------------------------------------------------

    def _post(self, tick: Callable[[], object]) -> None:
        """Take a tick from the thread that watches."""
        self._ticks.put(tick)
        try:
            self.loop.call_soon_threadsafe(self._drain)
        except RuntimeError:
            if not self.loop.is_closed():
                raise
            # Whoever closes the loop runs the ticks to the end, in the loop's thread.

    def _post_here(self, tick: Callable[[], object]) -> None:
        self._trio = getattr(tick, "__self__", None)
        self._ticks.put(tick)
        if not self._draining and not self._driven:
            self.loop.call_soon(self._drain)

    def _drain(self) -> None:
        """Run ticks until there are no more, or the slice is used up."""
        if self._draining or self._driven:
            return
        if sys.get_asyncgen_hooks() != self._hooks:
            sys.set_asyncgen_hooks(*self._hooks)  # a loop that stopped and runs again has put in its own
        self._draining, now = True, monotonic()
        end = now + _SLICE
        try:
            while not self._ticks.empty():
                before = now
                self._tick(self._ticks.get_nowait)
                now = monotonic()
                self._admit(now - before)
                if now >= end:
                    if not self._ticks.empty():
                        self.loop.call_soon(self._drain)
                    break
        finally:
            self._draining = False

    def _tick(self, take: Callable[[], Callable[[], object]]) -> None:
        try:
            tick = take()
            if not self.over:  # it breaks down with one still to come from the thread that watches
                tick()
        except BaseException as error:
            self._cut_short(error)
            raise

    def _cut_short(self, error: BaseException) -> None:
        """Ctrl-C hit Trio between two of its steps: where no tick follows, end it as a crash of its own does."""
        if not self._ticks.empty():
            if not self._driven:
                self.loop.call_soon(self._drain)
        elif not self.over:
            try:
                self._trio.unrolled_run_gen.throw(error)
            except BaseException as crash:
                self._finish(crash)

    def _admit(self, took: float = 0.0) -> None:
        """After a tick that took so many seconds: let in what waits, less where the tick was long, more where not."""
        self._admitted = max(1, self._admitted // 2) if took > _LONG else min(_ADMITTED, self._admitted + 4)
        self._room = self._admitted
        while self._acts and self._room:
            self._act(self._acts.popleft())

    def act(self, act: Callable[[], object]) -> None:
        """Do something to the guest's tasks, now or after the next tick: what starts or cancels one."""
        if self._room:
            self._act(act)
        else:
            self._acts.append(act)

    def _act(self, act: Callable[[], object]) -> None:
        act()
        self._room -= 1
        if not self._room and self._token is not None and not self.over:
            self._token.run_sync_soon(_nothing)  # a tick comes, also where what was done wakes nobody

    def start_soon(self, work: Callable[..., Any], *args: Any) -> None:
        """Start a task of the guest's, with a copy of the context that this is called in.

        Raises:
            LifecycleError: The guest has ended.
        """
        if self._nursery is None:  # its first tick is still to come
            context = contextvars.copy_context()
            self._early.append(lambda nursery: context.run(nursery.start_soon, work, *args))
            return
        try:
            self._nursery.start_soon(work, *args)
        except RuntimeError:  # its nursery has closed
            msg = f"the asyncio loop {self.loop!r} is shutting down, and takes no more work"
            raise LifecycleError(msg) from None

    def came_back(self, call: Crossing) -> None:
        """A call has ended."""
        self.calls.pop(call, None)
        if not self.calls and self._idle is not None:
            self._idle.set()

    def parting(self) -> str:
        """Say why calls that are open are cancelled, which nobody has cancelled."""
        why = "shut down" if self._closing else "goes on, but Trio on it broke down"
        return f"the asyncio loop {self.loop!r} {why}, and this call was cancelled"

    # -- ending --------------------------------------------------------------------------------

    @property
    def is_free(self) -> bool:
        """Whether nobody needs it any more, and nobody is going to."""
        return not (self.held or self.calls or self.stays)

    async def end(self) -> None:
        """Cancel what goes on in it and return when all of that, and the guest, has ended."""
        self._leave()
        cancelled: asyncio.CancelledError | None = None
        while not self.over:
            try:
                await self._end_of_it()
            except asyncio.CancelledError as error:
                cancelled = cancelled or error
        if not self._closed and self._shutdown is not None:
            self._closed = True
            await self._shutdown.aclose()
        if cancelled is not None:
            raise cancelled

    async def _end_of_it(self) -> None:
        self._waiters.append(waiter := self.loop.create_future())
        await waiter

    def _leave(self) -> None:
        if not (self._closing or self.over):
            self._closing = True
            self._leaving.set()

    def end_now(self, why: str) -> None:
        """The loop runs no more: cancel what goes on and run it to its end here, blocking; in the loop's thread."""
        if self._is_over() or self._pid != os.getpid():
            return
        if _here.guest is not self:
            warnings.warn(
                f"{why} from a thread that is not its own, with {len(self.calls)} calls of MARSYS open; they never end",
                ResourceWarning,
                stacklevel=2,
            )
            return
        unfinished, self._driven = len(self.calls), True
        hooks = sys.get_asyncgen_hooks()
        self._leave()
        while not self._is_over():
            tick = self._ticks.get()
            self._tick(lambda: tick)  # noqa: B023 - it is called at once
            self._admit()
        sys.set_asyncgen_hooks(*hooks)  # Trio has put back those of the loop
        if unfinished:
            warnings.warn(
                f"{why} with {unfinished} calls of MARSYS open; they were cancelled. End a loop as asyncio.run does: "
                "wait for its tasks, then loop.run_until_complete(loop.shutdown_asyncgens()), then loop.close()",
                ResourceWarning,
                stacklevel=2,
            )

    def _is_over(self) -> bool:
        return self.over

    def _at_exit(self) -> None:
        if not (self.loop.is_running() or self._driven):  # an end that Ctrl-C broke off is not begun again
            self.end_now("the interpreter ended")

    def _done(self, outcome: Any) -> None:
        self._finish(getattr(outcome, "error", None))

    def _finish(self, failure: BaseException | None) -> None:
        """The guest has run to its end."""
        self.over = True
        for call in list(self.calls):
            call.end(failure or LifecycleError(self.parting()))
        if _here.guest is self:
            _here.guest = None
        atexit.unregister(self._at_exit)
        timer = self._timer()
        if timer is not None:
            timer.cancel()
        if failure is not None:
            self.loop.call_exception_handler(
                {"message": "Trio, a guest on this loop, broke down", "exception": failure}
            )
        if not self.loop.is_closed():
            for waiter in self._waiters:
                if not waiter.done():
                    waiter.set_result(None)


_parents: list[Guest] = []


def _forget_parent() -> None:
    """Begin anew in a forked child: the guest here is the parent's, and nobody watches for it any more."""
    guest, _here.guest = _here.guest, None
    if guest is not None:
        # Kept for good: letting go of it would run here what its runs do to clean up, which the parent does.
        _parents.append(guest)
        guest.over = True
        from trio._core import _run

        vars(_run.GLOBAL_RUN_CONTEXT).clear()  # Trio runs no more in this thread


if hasattr(os, "register_at_fork"):  # not on Windows, which cannot fork
    os.register_at_fork(after_in_child=_forget_parent)


def _same(timer: asyncio.TimerHandle) -> asyncio.TimerHandle:
    return timer


def _interrupt(number: int, frame: FrameType | None) -> None:
    signal.default_int_handler(number, frame)


@contextmanager
def _as_it_is(number: signal.Signals) -> Iterator[None]:
    """Keep Trio from taking over a signal of the host's, as it does where Python's own handler is in place."""
    mine = threading.current_thread() is threading.main_thread()
    if not mine or signal.getsignal(number) is not signal.default_int_handler:
        yield
        return
    signal.signal(number, _interrupt)
    try:
        yield
    finally:
        signal.signal(number, signal.default_int_handler)
