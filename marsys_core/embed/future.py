"""`RunFuture`: a run that goes on in another thread."""

from __future__ import annotations

import contextvars
import os
import threading
import time
from concurrent.futures import Future, wait
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar, cast

import trio

from marsys_core.embed.blocking import heed, patience, refuse_in_loop
from marsys_core.errors import LifecycleError, UnknownName
from marsys_core.logs import get_logger
from marsys_core.results import RunResult

if TYPE_CHECKING:
    from collections.abc import Callable
    from queue import SimpleQueue

    from marsys_core.embed.gate import Gate
    from marsys_core.engine.opening import Request
    from marsys_core.events import Event
    from marsys_core.questions import Question
    from marsys_core.run import Run

__all__ = ["RunFuture"]

T = TypeVar("T")
_WRAP = {
    "trio": "await trio.to_thread.run_sync(future.result)",
    "asyncio": "await asyncio.wrap_future(future)",
}


class RunFuture(Future[RunResult[T]]):
    """A run in the thread of an engine; made by `EngineThread.submit`.

    A `concurrent.futures.Future` of its `RunResult`: `concurrent.futures.wait`, `as_completed` and
    `asyncio.wrap_future` work with it.

    Attributes:
        run_id: The run's id.
    """

    def __init__(
        self,
        gate: Gate,
        run: Run,
        request: Request,
        *,
        events: SimpleQueue[Event | None] | None = None,
        waited_for: bool = False,
    ) -> None:
        super().__init__()
        self.run_id = run.id
        self._gate = gate
        self._run = run
        self._request = request
        self._context = contextvars.copy_context()
        self._events = events
        self._waited_for = waited_for
        self._pid = os.getpid()
        self._deciding = threading.RLock()  # reentrant: a signal handler may cancel, too
        self._begun = False
        self._cancelling = False
        self._ended = False
        self._over = threading.Event()

    def cancel(self) -> bool:
        """Cancel the run, also when it is running. It never waits.

        The future is cancelled when everything under the run has ended; `result` then raises
        ``concurrent.futures.CancelledError``.

        Returns:
            Whether the run had not ended.
        """
        with self._deciding:
            if self._ended:
                return self._cancelling
            self._cancelling = True
        with suppress(trio.RunFinishedError):  # then it is just being ended with its engine
            self._gate.token.run_sync_soon(self._run.cancel)
        return True

    def add_done_callback(self, fn: Callable[[RunFuture[T]], object]) -> None:
        """Call `fn` with this future when it is done, in the engine's thread, which stands still meanwhile.

        Where the future is done already, it is called at once, in this thread. What it raises is logged.
        """
        super().add_done_callback(cast("Callable[[Future[RunResult[T]]], object]", fn))

    def running(self) -> bool:
        """Say whether the run has not ended."""
        return not self.done()

    def result(self, timeout: float | None = None) -> RunResult[T]:
        """Wait for the end and return what the run came to.

        What interrupts the wait, such as Ctrl-C, leaves the run alone.

        Args:
            timeout: How many seconds to wait at most.

        Raises:
            CriticalError: A cause that no agent can mend; bad configuration is one.
            RecoverableError: A passing cause that was still there after the retries.
            concurrent.futures.CancelledError: The run was cancelled, or its engine was closed.
            TimeoutError: The run has not ended; it goes on.
            LifecycleError: Waiting here would stop the engine or another event loop.
        """
        return super().result(self._wait("RunFuture.result", timeout))

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Wait for the end and return what `result` would raise, or None.

        Raises:
            concurrent.futures.CancelledError: The run was cancelled, or its engine was closed.
            TimeoutError: The run has not ended; it goes on.
            LifecycleError: Waiting here would stop the engine or another event loop.
        """
        return super().exception(self._wait("RunFuture.exception", timeout))

    @property
    def questions(self) -> tuple[Question, ...]:
        """What the run waits for people to answer, as it was at one moment.

        Raises:
            LifecycleError: Asked by an async agent of another engine, for whose thread this run's engine waits.
        """
        with suppress(trio.RunFinishedError):
            found: tuple[Question, ...] = self._gate.cross(lambda: self._run.questions)
            return found
        return ()

    def answer(self, question: Question | str, value: Any, *, run_id: str | None = None) -> None:
        """Answer an open question, from any thread; the arguments are those of `Run.answer`.

        Raises:
            UnknownName: No question with this id is open; those that are, are listed.
            ConfigError: Several are, of different runs.
            AnswerRefused: The question does not allow this answer; it stays open.
            LifecycleError: As for `questions`.
        """
        try:
            self._gate.cross(lambda: self._run.answer(question, value, run_id=run_id))
        except trio.RunFinishedError:
            request_id = question if isinstance(question, str) else question.request_id
            raise UnknownName("open question", str(request_id)) from None

    def pause(self, *, immediate: bool = False) -> None:
        """Let the run rest, with work left, from any thread; the argument is that of `Run.pause`. It never waits.

        Raises:
            LifecycleError: The run is kept nowhere, so that nothing could go on with it.
        """
        with suppress(trio.RunFinishedError):  # then it is just being ended with its engine
            self._gate.cross(lambda: self._run.pause(immediate=immediate))

    def _wait(self, what: str, timeout: float | None) -> float | None:
        """Wait as long as has to be done here, and return for how long the base class may wait."""
        self._refuse_to_wait(what, timeout)
        slice_ = patience()
        if slice_ is None or self.done():
            return timeout
        end = None if timeout is None else time.monotonic() + timeout
        while not self.done():
            left = slice_ if end is None else min(slice_, end - time.monotonic())
            if left <= 0:
                break
            wait([self], left)
            heed()
        return timeout and 0.0

    def _refuse_to_wait(self, what: str, timeout: float | None) -> None:
        if self.done() or (timeout is not None and timeout <= 0):
            return
        if self._pid != os.getpid():
            msg = f"{what} would wait for a run of the process that this one was forked from; submit the run here"
            raise LifecycleError(msg)
        self._gate.refuse_here(what)
        refuse_in_loop(what, _WRAP)

    def _end(self, result: Any = None, error: BaseException | None = None) -> None:
        """Say what it came to; called once, by whoever knows that everything under the run has ended."""
        with self._deciding:
            if self._ended:
                return
            self._ended = True
        try:
            if self._cancelling:
                self._end_cancelled()
            elif error is not None:
                self.set_exception(error)
            else:
                self.set_result(result)
        except BaseException:  # of a callback; the base class logs what is an Exception, and this is the same
            get_logger("embed").exception("a callback of run %s raised", self.run_id)
        finally:
            self._over.set()

    def _end_cancelled(self) -> None:
        try:
            super().cancel()
        finally:
            self.set_running_or_notify_cancel()
