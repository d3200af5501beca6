"""The asyncio loop that the engine owns: in a thread of its own, from its first use until nobody holds it.

Whoever may need it holds it: an engine as long as it is open, a call as long as it lasts. The last to let go ends
it. Where Trio itself is a guest on an asyncio loop, that loop is used, and there is none of our own.
"""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Any

import attrs
import trio

from marsys_core.errors import LifecycleError
from marsys_core.hosts.library import asyncio_loop
from marsys_core.logs import get_logger

if TYPE_CHECKING:
    import asyncio

__all__ = ["LoopThread", "Loops", "loops"]

THREAD_NAME = "marsys asyncio"
_GRACE = 5.0  # seconds that tasks have to end once they are cancelled


@attrs.define(eq=False)
class LoopThread:
    """An asyncio loop that runs in a thread of its own; made by `Loops`."""

    loop: asyncio.AbstractEventLoop
    _token: trio.lowlevel.TrioToken
    _thread: threading.Thread = attrs.field(init=False)
    _ended: trio.Event = attrs.field(factory=trio.Event)
    _stopping: bool = False

    @classmethod
    def start(cls) -> LoopThread:
        """Make a loop and let it run; what is given to it before its thread has begun waits there."""
        import asyncio

        made = cls(asyncio.new_event_loop(), trio.lowlevel.current_trio_token())
        # A daemon: where Trio itself breaks down, the interpreter must still be able to end.
        made._thread = threading.Thread(target=made._main, name=THREAD_NAME, daemon=True)
        made._thread.start()
        return made

    async def stop(self) -> None:
        """End the loop and what is left on it; returns when its thread has ended."""
        self.loop.call_soon_threadsafe(self._stop)
        with trio.CancelScope(shield=True):
            await self._ended.wait()
        self._thread.join()  # it has done its last act

    def _stop(self) -> None:
        self._stopping = True
        self.loop.stop()

    def _main(self) -> None:
        import asyncio

        asyncio.set_event_loop(self.loop)
        try:
            while not (self._stopping or self.loop.is_closed()):
                self._outlasting(self.loop.run_forever)
            self._outlasting(lambda: self.loop.run_until_complete(_wind_up(self.loop)))
        finally:
            asyncio.set_event_loop(None)
            self.loop.close()
            with contextlib.suppress(trio.RunFinishedError):  # Trio has crashed, and nobody waits
                self._token.run_sync_soon(self._ended.set)

    @staticmethod
    def _outlasting(run: Any) -> None:
        """Run the loop; an exit that some task asks for does not end it: its task has it, and so has who awaits that."""
        try:
            run()
        except BaseException:
            get_logger("asyncio").exception(
                "a task or a callback asked for an exit, which does not end the loop of the engine"
            )


async def _wind_up(loop: asyncio.AbstractEventLoop) -> None:
    """Cancel the tasks that are left over, and close what the loop has open."""
    import asyncio

    log = get_logger("asyncio")
    this = asyncio.current_task(loop)
    left = [task for task in asyncio.all_tasks(loop) if task is not this]
    if left:
        names = ", ".join(
            sorted(f"{task.get_name()} ({_name_of(task)})" for task in left if task is not None)
        )
        log.warning("asyncio tasks were left over when the engine closed, and are cancelled: %s", names)
        for task in left:
            task.cancel()
        done, pending = await asyncio.wait(left, timeout=_GRACE)
        for task in done:
            if not task.cancelled() and (error := task.exception()) is not None:
                log.error("asyncio task %s failed to end", task.get_name(), exc_info=error)
        if pending:
            log.error("asyncio tasks did not end within %g s, and are given up: %s", _GRACE, pending)
    await loop.shutdown_asyncgens()
    await loop.shutdown_default_executor()


def _name_of(task: Any) -> str:
    coroutine = task.get_coro()
    return getattr(coroutine, "__qualname__", repr(coroutine))


@attrs.define(eq=False)
class Loops:
    """Where code written for asyncio runs, as seen from one Trio run.

    Invariant: `own` is there only while `users` is above 0, so no call meets a loop that ends.
    """

    host: asyncio.AbstractEventLoop | None
    users: int = 0
    own: LoopThread | None = None

    def loop(self) -> asyncio.AbstractEventLoop:
        """Return the host's loop, or else our own, started by the first who asks; the caller holds it.

        Raises:
            LifecycleError: The host's loop runs no more.
        """
        if self.host is not None:
            if asyncio_loop() is not self.host:
                msg = f"the asyncio loop {self.host!r} runs no more, and nothing can be awaited on it"
                raise LifecycleError(msg)
            return self.host
        if self.own is None:
            self.own = LoopThread.start()
        return self.own.loop

    async def __aenter__(self) -> Loops:
        self.users += 1
        return self

    async def __aexit__(self, *raised: object) -> None:
        self.users -= 1
        if not self.users and self.own is not None:
            own, self.own = self.own, None
            await own.stop()


_loops: trio.lowlevel.RunVar[Loops] = trio.lowlevel.RunVar("marsys asyncio loops")


def loops() -> Loops:
    """Return where code written for asyncio runs, for the Trio run in charge.

    Held in an ``async with``, by an engine while it is open and by a call, a loop once used stays as long as that.
    """
    try:
        return _loops.get()
    except LookupError:
        made = Loops(asyncio_loop() if _is_guest() else None)
        _loops.set(made)
        return made


def _is_guest() -> bool:
    """Whether Trio runs on the loop of this thread, and does not stand in its way, as `trio.run` inside a callback does."""
    from trio._core import _run

    runner: Any = getattr(_run.GLOBAL_RUN_CONTEXT, "runner", None)
    return bool(getattr(runner, "is_guest", True))
