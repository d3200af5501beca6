"""The way into an open engine from other threads."""

from __future__ import annotations

import contextvars
import math
import threading
from collections.abc import Callable, Generator
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, TypeVar

import attrs
import trio

from marsys_core.agents.registry import current_lease, inside_run
from marsys_core.embed.blocking import heed, patience, wait_through
from marsys_core.embed.future import RunFuture
from marsys_core.errors import LifecycleError
from marsys_core.orchestra import _request
from marsys_core.run import Run

if TYPE_CHECKING:
    from marsys_core.engine.engine import Engine
    from marsys_core.engine.opening import Request
    from marsys_core.events import Event
    from marsys_core.options import RunOptions
    from marsys_core.orchestra import Orchestra
    from marsys_core.results import RunResult

__all__ = ["Gate", "asked", "gates_above"]

T = TypeVar("T")

gates_above: contextvars.ContextVar[tuple[Gate, ...]] = contextvars.ContextVar("marsys_gates", default=())
"""The engines whose runs this code is part of, as far as they were handed over by another thread."""


def asked(
    task: Any, topology: Any, output_type: Any, options: RunOptions, *, attended: bool = False
) -> Request:
    """Return what a caller asks for, checked.

    Raises:
        ConfigError: A value of another kind, or an option that there is not.
    """
    request = _request(task, topology, options, output_type)
    request.attended = attended
    return request


def _next(events: SimpleQueue[T]) -> T:
    while True:
        with suppress(Empty):
            return events.get(timeout=patience())
        heed()


@attrs.define(eq=False)
class Gate:
    """An open engine, seen from other threads: its thread, and the Trio run in it.

    Args:
        orchestra: Whose engine it is.
        engine: The engine.
        what: What the caller knows it by, for messages.
        keeps: Whether somebody ends the futures in `futures` when the engine has ended.
        futures: The runs that were handed over and have not ended; touched in the engine's thread only.
        waits_for: The engine that its thread stands still for; set in that thread only.
    """

    orchestra: Orchestra
    engine: Engine
    what: str
    keeps: bool = False
    futures: dict[RunFuture[Any], None] = attrs.field(factory=dict)
    waits_for: Gate | None = None

    @property
    def token(self) -> trio.lowlevel.TrioToken:
        """The way into its Trio run."""
        return self.engine.token

    def refuse_here(self, what: str) -> None:
        """Refuse to wait in the engine's own thread, for what happens in that thread.

        Raises:
            LifecycleError: This is that thread.
        """
        if threading.get_ident() == self.engine.thread:
            msg = (
                f"{what} waits, and this is the thread of the engine it would wait for; in an agent or a tool "
                "write 'await Orchestra.run(...)', in a callback 'future.add_done_callback(...)'"
            )
            raise LifecycleError(msg)

    def cross(self, function: Callable[[], T]) -> T:
        """Call `function` in the engine's thread and return what it returns.

        Raises:
            trio.RunFinishedError: The engine's Trio run has ended.
            LifecycleError: This is the thread of another engine, and this one's waits for it already.
            BaseException: What `function` raises.
        """
        here = threading.get_ident()
        if here == self.engine.thread:
            return function()
        caller = next((gate for gate in gates_above.get() if gate.engine.thread == here), None)
        if caller is None:
            return self._crossed(function)
        caller.waits_for = self
        try:
            self._refuse_circle(caller)
            return self._crossed(function)
        finally:
            caller.waits_for = None

    def _refuse_circle(self, caller: Gate) -> None:
        """Refuse to let engines' threads wait for each other, which would be for ever."""
        gate, seen = self.waits_for, {self}
        while gate is not None and gate not in seen:
            if gate is caller:
                msg = (
                    f"the threads of two engines (this {caller.what}, and that {self.what}) would wait for each other; in "
                    "an async agent or tool look at the run of another engine from a thread: "
                    "'await trio.to_thread.run_sync(lambda: future.questions)'"
                )
                raise LifecycleError(msg)
            seen.add(gate)
            gate = gate.waits_for

    def _crossed(self, function: Callable[[], T]) -> T:
        crossing: Future[T] = Future()

        def call() -> None:
            try:
                crossing.set_result(function())
            except BaseException as error:  # it belongs to the caller, not to the engine
                crossing.set_exception(error)

        self.token.run_sync_soon(call)
        return crossing.result()

    # -- for callers -----------------------------------------------------------------------------

    def submit(self, request: Request) -> RunFuture[Any]:
        """Hand a run over, and return at once."""
        future: RunFuture[Any] = RunFuture(self, self._new_run(), request)
        self._hand_over(future)
        return future

    def run(self, request: Request) -> RunResult:
        """Hand a run over and wait for its end; what interrupts that is raised then, and cancels the run."""
        future: RunFuture[Any] = RunFuture(self, self._new_run(), request, waited_for=True)
        try:
            wait_through(future._over, partial(self._call_off, future), partial(self._hand_over, future))
            return future.result()
        finally:
            del future  # its error holds this frame

    def stream(self, request: Request) -> Generator[Event, None, None]:
        """Hand a run over and yield its events; leaving cancels the run, and waits for its end."""
        events: SimpleQueue[Event | None] = SimpleQueue()
        future: RunFuture[Any] = RunFuture(self, self._new_run(), request, events=events, waited_for=True)
        future.add_done_callback(lambda _: events.put(None))
        try:
            self._hand_over(future)
            while (event := _next(events)) is not None:
                yield event
            future.result()
        except BaseException:
            self._settle(future)
            raise
        finally:
            del future

    def _new_run(self) -> Run:
        return Run(self.orchestra.new_id())

    def _hand_over(self, future: RunFuture[Any]) -> None:
        """Have `future` begun in the engine's thread; a second time does nothing."""
        try:
            self.token.run_sync_soon(self._begin, future)
        except trio.RunFinishedError:
            msg = f"the {self.what} is closed; make a new one"
            future._end(error=LifecycleError(msg))
            raise LifecycleError(msg) from None

    def _settle(self, future: RunFuture[Any]) -> None:
        """Cancel what has not ended, and wait for the end, whatever else interrupts that."""
        if (
            threading.get_ident() == self.engine.thread
        ):  # a forgotten iterator, found by the garbage collector
            future.cancel()
        else:
            call_off = partial(self._call_off, future)
            wait_through(future._over, call_off, call_off)

    def _call_off(self, future: RunFuture[Any]) -> None:
        if not future.done():
            future.cancel()
            self._hand_over(future)  # handing it over may have been interrupted

    # -- in the engine's thread ------------------------------------------------------------------

    def _begin(self, future: RunFuture[Any]) -> None:
        if future._begun:
            return
        future._begun = True
        if future._cancelling:
            future._end()
        elif self.orchestra._engine is not self.engine:
            msg = f"the {self.what} was closed before the run began; make a new one"
            future._end(error=LifecycleError(msg))
        else:
            self.futures[future] = None
            future._context.run(self.engine.start_soon, self._carry, future)

    async def _carry(self, future: RunFuture[Any]) -> None:
        """Carry out one run; it has ended, with all under it, when the future is told."""
        error: BaseException | None = None
        gates_above.set((*gates_above.get(), self))
        try:
            if future._events is None:
                await self._work(future)
            else:
                await self._work_watched(future, future._events)
        except trio.Cancelled as raised:
            if trio.current_effective_deadline() == -math.inf:
                if not self.keeps:  # otherwise somebody will know why, when the engine has ended
                    await self._end(future)
                raise
            error = raised  # nobody has cancelled it: its own code kept one, and raised it here
        except BaseException as raised:  # an exit, say: it belongs to the run, not to the engine of others
            error = raised
        del self.futures[future]
        if error is None:
            await self._end(future)
        else:
            future._end(error=error)

    async def _work(self, future: RunFuture[Any]) -> None:
        work = future._run._work(self.orchestra, self.engine, future._request)
        if not (future._waited_for and inside_run.get()):
            await work
            return
        # A step of a run waits for this one: in a thread that does nothing meanwhile and so does not count,
        # and maybe with the very instance that this run needs.
        threads, lease = self.engine.threads, current_lease.get()
        threads.total_tokens += 1
        try:
            await (work if lease is None else lease.without(work))
        finally:
            threads.total_tokens -= 1

    async def _work_watched(self, future: RunFuture[Any], events: SimpleQueue[Event | None]) -> None:
        told = future._run.events()  # from before the run begins

        async def watch() -> None:
            async for event in told:
                events.put(event)

        failure: BaseException | None = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch)
            try:
                await self._work(future)
            except trio.Cancelled:
                raise
            except BaseException as error:  # past the nursery, which would wrap it
                failure = error
        if failure is not None:
            raise failure

    async def _end(self, future: RunFuture[Any]) -> None:
        try:
            with trio.CancelScope(shield=True):
                result = await future._run.result()
        except Exception as error:
            future._end(error=error)
        else:
            future._end(result)
