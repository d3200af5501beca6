"""An `Orchestra` held open in a thread of its own, from which plain code uses it."""

from __future__ import annotations

import atexit
import os
import threading
import warnings
from typing import TYPE_CHECKING

import trio

from marsys_core.agents.registry import current_lease
from marsys_core.embed.blocking import refuse_in_loop, wait_through
from marsys_core.embed.gate import Gate, gates_above
from marsys_core.embed.trio_thread import TrioThread
from marsys_core.errors import LifecycleError

if TYPE_CHECKING:
    from marsys_core.orchestra import Orchestra

__all__ = ["Serving"]

_AT_EXIT = 10.0  # seconds that an interpreter waits for what was left open


class Serving:
    """Opens an `Orchestra` in a daemon thread, and closes it there.

    What uses it may be forgotten: this holds the orchestra and the thread, and nothing of the user's.

    Args:
        orchestra: What to open.
        what: What the caller knows it by, for messages.
        opened_by: How it is opened, for messages.
    """

    def __init__(self, orchestra: Orchestra, what: str, opened_by: str) -> None:
        self._orchestra, self._what, self._opened_by = orchestra, what, opened_by
        self._pid = os.getpid()
        self._gate: Gate | None = None
        self._closing = False
        self._told = False
        self._opened = threading.Event()
        self._close_now = trio.Event()
        self._thread = TrioThread(self._serve, f"marsys {what}", self._after)

    @property
    def is_mine(self) -> bool:
        """Whether the thread is one of this process: a forked child has none of its parent's."""
        return self._pid == os.getpid()

    @property
    def is_open(self) -> bool:
        """Whether it takes runs."""
        return self._gate is not None and not self.is_over

    @property
    def is_over(self) -> bool:
        """Whether it takes no runs any more."""
        return self._closing or self._thread.over.is_set() or not self.is_mine

    def open(self) -> None:
        """Start the thread, and return when the orchestra is open.

        Raises:
            BaseException: What opening raised, or what interrupted it; the thread has ended then.
        """
        try:
            wait_through(self._opened, self.stop, self._start)
        except BaseException:
            wait_through(self._thread.over, self.stop, self.stop)
            raise
        if self._gate is None:
            wait_through(self._thread.over, self.stop)
            self._told = True
            if self._thread.failure is not None:
                raise self._thread.failure
            msg = f"the {self._what} was closed while it was opening"
            raise LifecycleError(msg)

    def _start(self) -> None:
        atexit.register(self._at_exit)
        self._thread.start()

    def gate(self) -> Gate:
        """Return the way into its engine.

        Raises:
            LifecycleError: It is closed, has failed, or belongs to the process that this one was forked from.
        """
        if not self.is_mine:
            msg = (
                f"the {self._what} was opened before this process was forked, and its thread is not here; open one "
                "in the worker process: in the post_fork hook of gunicorn, with uwsgidecorators.postfork, on "
                "Celery's worker_process_init"
            )
            raise LifecycleError(msg)
        if self.is_open:
            assert self._gate is not None  # it is open
            return self._gate
        failure = self._thread.failure
        if failure is None:
            msg = f"the {self._what} is closed; make a new one: {self._opened_by}"
            raise LifecycleError(msg)
        msg = f"the {self._what} has failed: {type(failure).__name__}: {failure}; make a new one: {self._opened_by}"
        raise LifecycleError(msg) from failure

    def stop(self) -> None:
        """Have it end: cancel what still runs, and close the orchestra. It never waits."""
        self._closing = True
        if not self._thread.forgo():
            self._thread.soon(self._stop)

    def close(self) -> None:
        """End it, and return when the thread has ended. Again, or in a forked child, this does nothing.

        Raises:
            BaseException: What failed in the engine, once; or what interrupted the wait.
            LifecycleError: This would wait for itself, or stop an event loop.
        """
        if not self.is_mine:
            return
        if not self._thread.over.is_set():
            self._refuse_to_close()
            wait_through(self._thread.over, self.stop, self.stop)
            self._thread.thread.join()
        if not self._told:
            self._told = True
            if self._thread.failure is not None:
                raise self._thread.failure

    def close_after(self, error: BaseException | None) -> None:
        """Close it at the end of a block that raised `error`; what failed besides is a note to that."""
        try:
            self.close()
        except Exception as failure:
            if error is None:
                raise
            if failure is not error and failure is not error.__cause__:
                error.add_note(f"the {self._what} failed besides: {type(failure).__name__}: {failure}")

    def dropped(self) -> None:
        """Somebody forgot it: say so, and have it end."""
        if not self.is_mine or self._thread.over.is_set() or self._closing:
            return
        self.stop()
        self._warn("was dropped and not closed")

    # -- elsewhere -------------------------------------------------------------------------------

    def _refuse_to_close(self) -> None:
        gate = self._gate
        if gate is not None and (threading.get_ident() == gate.engine.thread or gate in gates_above.get()):
            msg = f"a run of the {self._what} closes it, and would wait for its own end; close it outside of its runs"
            raise LifecycleError(msg)
        refuse_in_loop(
            "closing",
            {
                "trio": "await trio.to_thread.run_sync(engine.close)",
                "asyncio": "await asyncio.to_thread(engine.close)",
            },
        )

    def _warn(self, what: str) -> None:
        msg = f"the {self._what} {what}; open it with '{self._opened_by}', or call close()"
        warnings.warn(msg, ResourceWarning, stacklevel=2, source=self)

    def _at_exit(self) -> None:
        if not self.is_mine or self._thread.over.is_set():
            return
        try:
            if not self._closing:
                self._warn("was still open when the program ended")
        finally:
            self.stop()
            self._thread.over.wait(_AT_EXIT)

    # -- in the thread ---------------------------------------------------------------------------

    async def _serve(self) -> None:
        current_lease.set(None)
        if self._closing:
            return
        async with self._orchestra as orchestra:
            self._gate = Gate(orchestra, orchestra.engine, self._what, keeps=True)
            self._opened.set()
            await self._close_now.wait()

    def _stop(self) -> None:
        if self._gate is None:
            self._thread.cancel()
            return
        for future in list(self._gate.futures):
            future.cancel()
        self._close_now.set()

    def _after(self, failure: BaseException | None) -> None:
        """The Trio run has ended: so has every run in it."""
        self._closing = True
        for future in () if self._gate is None else list(self._gate.futures):
            if failure is None:
                future.cancel()
            future._end(error=failure)
        self._opened.set()
        atexit.unregister(self._at_exit)
