"""What is entered by one call from asyncio and left by another, and lives in a Trio task of its own meanwhile."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any

import attrs
import trio

from marsys_core.hosts.crossing import cross, uncancelled
from marsys_core.hosts.library import asyncio_loop, required_loop

if TYPE_CHECKING:
    import asyncio

    from marsys_core.hosts.guest import Guest

__all__ = ["Held"]


@attrs.define(eq=False)
class Held:
    """A Trio context manager that asyncio code holds open.

    Where it fails while it is open, the asyncio task that opened it is cancelled, and leaving the block raises
    what went wrong: as a task group does.

    Args:
        manager: What is entered and left.
    """

    manager: AbstractAsyncContextManager[Any]
    value: Any = None
    _guest: Guest | None = None
    _owner: asyncio.Task[Any] | None = None
    _scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    _ready: trio.Event = attrs.field(factory=trio.Event)
    _leave: trio.Event = attrs.field(factory=trio.Event)
    _closed: trio.Event = attrs.field(factory=trio.Event)
    _failure: BaseException | None = None
    _cancelled_owner: bool = False

    async def enter(self) -> Any:
        """Open it and return what it opens to; called by asyncio code.

        Raises:
            BaseException: What opening raised.
        """
        required_loop()
        import asyncio

        from marsys_core.hosts.guest import Guest

        self._owner = asyncio.current_task()
        self._guest = guest = await Guest.here()
        guest.held += 1
        try:
            await cross(self._open)
        except BaseException:
            try:
                await self._leave_again()
            finally:
                await self._release(guest)
            raise
        return self.value

    async def _leave_again(self) -> None:
        """Close it where it opened as the caller was cancelled, who never heard of it."""
        if not self._closed.is_set():
            await cross(self._close)
            if self._failure is not None:
                raise self._failure

    async def exit(self, error: BaseException | None) -> bool:
        """Close it, and say whether `error`, which ends the block, goes no further.

        Raises:
            BaseException: What went wrong in it while it was open, or as it closed.
        """
        import asyncio

        assert self._guest is not None  # it was entered
        assert self._owner is not None
        if self._guest.over and asyncio_loop() is not self._guest.loop:
            return False  # the loop was closed round the block, and the task dropped: there is nothing to wait for
        cancelled: asyncio.CancelledError | None = None
        try:
            if not self._guest.over:  # the loop has shut down before, and closed it
                await cross(self._close)
        except asyncio.CancelledError as caught:
            cancelled = caught
        finally:
            await self._release(self._guest)
        failure, self._failure = self._failure, None
        if failure is None and cancelled is not None:
            raise cancelled
        if failure is None:
            return False
        if self._cancelled_owner:
            self._owner.uncancel()
        if error is not None and not isinstance(error, asyncio.CancelledError):
            raise BaseExceptionGroup("the block failed, and so did what it held open", [error, failure])
        raise failure

    async def _release(self, guest: Guest) -> None:
        guest.held -= 1
        if guest.is_free and not guest.over:
            await guest.end()

    # -- in Trio -------------------------------------------------------------------------------

    async def _open(self) -> None:
        assert self._guest is not None  # entering has set it
        self._guest.start_soon(self._hold)
        try:
            await self._ready.wait()
        except trio.Cancelled:
            self._scope.cancel()
            with trio.CancelScope(shield=True):
                await self._closed.wait()
            raise
        if self._failure is not None:
            raise self._failure

    async def _close(self) -> None:
        self._leave.set()
        with trio.CancelScope(shield=True):
            await self._closed.wait()

    async def _hold(self) -> None:
        try:
            with self._scope:
                async with self.manager as self.value:
                    self._ready.set()
                    await self._leave.wait()
        except BaseException as error:  # raised to whoever opened it, or leaves it
            self._failure = uncancelled(error)
            if self._failure is None:
                raise
            self._tell_owner()
        finally:
            self._ready.set()
            self._closed.set()

    def _tell_owner(self) -> None:
        assert self._guest is not None  # entering has set it
        assert self._owner is not None
        inside = self._ready.is_set() and not self._leave.is_set()
        if inside and not self._guest.loop.is_closed():
            self._cancelled_owner = self._owner.cancel()
