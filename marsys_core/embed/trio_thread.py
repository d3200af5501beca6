"""A Trio run in a thread of its own. Never in the main thread, where Trio would install a signal handler."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import trio

from marsys_core.embed.blocking import wait_through

__all__ = ["TrioThread", "call_alone"]


class TrioThread:
    """One call of an async function, in a Trio run in a daemon thread, in a copy of the caller's context.

    Args:
        work: What it calls.
        name: What the thread is called.
        at_end: Called in the thread, with what the run raised or None, when the run has ended.

    Attributes:
        result: What `work` returned.
        failure: What it raised.
        over: Set when all this has ended.
    """

    def __init__(
        self,
        work: Callable[[], Awaitable[Any]],
        name: str,
        at_end: Callable[[BaseException | None], None] | None = None,
    ) -> None:
        self.result: Any = None
        self.failure: BaseException | None = None
        self.over = threading.Event()
        self._work = work
        self._at_end = at_end
        self._token: trio.lowlevel.TrioToken | None = None
        self._scope = trio.CancelScope()
        self._cancelled = False
        self._claimed: dict[str, str] = {}
        context = contextvars.copy_context()
        self.thread = threading.Thread(target=context.run, args=(self._main,), name=name, daemon=True)

    def start(self) -> None:
        """Start the thread.

        Raises:
            RuntimeError: The system has no thread to give; it is over, then.
        """
        try:
            self.thread.start()
        except RuntimeError as error:
            self.forgo(error)
            raise

    def forgo(self, failure: BaseException | None = None) -> bool:
        """Have it never begin, unless it has begun, and say whether that is so; it is over, then.

        Where starting it was interrupted, nobody knows how far that came: so either the thread has the call or
        whoever forgoes it, and asking again changes nothing.
        """
        if self._claimed.setdefault("by", "nobody") != "nobody":
            return False
        self._end(failure)
        return True

    def cancel(self) -> None:
        """Cancel the call, from any thread, however far it is."""
        self._cancelled = True
        if not self.forgo():
            self.soon(self._scope.cancel)  # where it is just beginning, it looks at the flag when it has

    def soon(self, function: Callable[[], object]) -> None:
        """Have `function` called in the thread, if the Trio run is there: it has begun and not ended."""
        if self._token is not None:
            with suppress(trio.RunFinishedError):
                self._token.run_sync_soon(function)

    def _main(self) -> None:
        if self._claimed.setdefault("by", "the thread") != "the thread":
            return
        failure: BaseException | None = None
        try:
            trio.run(self._call)
        except BaseException as error:  # raised to whoever waits: this thread has nobody above it
            failure = error
        finally:
            self._end(failure)

    def _end(self, failure: BaseException | None) -> None:
        self.failure = failure
        try:
            if self._at_end is not None:
                self._at_end(failure)
        finally:
            self.over.set()

    async def _call(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        with self._scope:
            if self._cancelled:
                self._scope.cancel()
            self.result = await self._work()


def call_alone(work: Callable[[], Awaitable[Any]]) -> Any:
    """Return what `work` comes to, in a Trio run in a thread of its own that has ended when this returns.

    Raises:
        BaseException: What `work` raises; or what interrupted the wait, when all under it has ended.
    """
    thread = TrioThread(work, "marsys run_sync")
    try:
        wait_through(thread.over, thread.cancel, thread.start)
        thread.thread.join()
        if thread.failure is not None:
            raise thread.failure
        return thread.result
    finally:
        del thread  # its failure holds this frame
