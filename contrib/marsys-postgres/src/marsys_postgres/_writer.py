"""Writing: one thread, one connection. What all runs have queued until it comes to it is one transaction.

The thread is never interrupted within a transaction: a task that is cancelled stops to wait, and the connection is
none the worse for it. While the server is gone, the thread tries again for a while; what could not be written
then stays queued.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any

import attrs
import psycopg
import trio

from marsys_core.errors import LifecycleError, StoreError
from marsys_postgres._batch import Item, write_items
from marsys_postgres._lease import Lease
from marsys_postgres._server import is_gone, is_passing
from marsys_postgres._waiter import Held, Waiter

__all__ = ["Writer"]

_ITEMS_IN_MEMORY = 1_000
_BYTES_IN_MEMORY = 4_194_304
_PAUSES = (0.0, 0.05, 0.1, 0.2, 0.5, 1.0)
_LAST_SECONDS = 0.5


@attrs.define(eq=False, kw_only=True)
class Writer:
    """Writes for all runs of one open store.

    Args:
        lease: The connection, and who we are.
        busy_seconds: For how long it is tried to reach a server that is gone.
    """

    lease: Lease
    busy_seconds: float
    _queue: deque[Item | Waiter] = attrs.field(factory=deque, init=False)
    _bytes: int = attrs.field(default=0, init=False)
    _left: list[Item] = attrs.field(factory=list, init=False)  # not written yet, and older than the queue
    _bell: SimpleQueue[bool] = attrs.field(factory=SimpleQueue, init=False)
    _rung: bool = attrs.field(default=False, init=False)
    _ending: threading.Event = attrs.field(factory=threading.Event, init=False)
    _thread: threading.Thread | None = attrs.field(default=None, init=False)
    _token: trio.lowlevel.TrioToken | None = attrs.field(default=None, init=False)
    _uncertain: bool = attrs.field(default=False, init=False)  # the commit was sent, and not answered yet
    committed: int = attrs.field(default=0, init=False)
    """How many transactions were committed."""

    # -- on the loop -----------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to serve the running loop."""
        self._token = trio.lowlevel.current_trio_token()
        self._thread = threading.Thread(
            target=self._serve, name=f"marsys postgres {self.lease.server.address}", daemon=True
        )
        self._thread.start()

    def add(self, held: Held, item: Any, size: int) -> None:
        """Queue something of a run; never waits."""
        self._queue.append((held, item))
        self._bytes += size
        if len(self._queue) > _ITEMS_IN_MEMORY or self._bytes > _BYTES_IN_MEMORY:
            self._ring()

    async def commit(self, held: Held) -> None:
        """Wait until all that was queued before is committed."""
        await self._wait(Waiter(held))

    async def call(self, function: Callable[[psycopg.Connection], Any]) -> Any:
        """Run `function` inside a transaction, in its place in the queue, and return what it returns.

        What it raises is raised here, and undoes what it has written, and nothing else. It may be run again
        where the transaction had to be.
        """
        return await self._wait(Waiter(call=function))

    async def close(self, last: Callable[[psycopg.Connection], Any]) -> list[str]:
        """Write what is queued, call `last`, end the thread and the connection; return what could not be done."""
        waiter = Waiter(call=last)
        self._queue.append(waiter)
        self._ending.set()
        self._bell.put(False)
        if self._thread is not None:
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(self._thread.join)
        counts: dict[str, int] = {}
        for held, _item in self._left:
            counts[held.run_id] = counts.get(held.run_id, 0) + 1
        lost = [f"{count} entries of run {run_id!r}" for run_id, count in sorted(counts.items())]
        return [*lost, f"its leases ({waiter.error})"] if waiter.error is not None else lost

    async def _wait(self, waiter: Waiter) -> Any:
        await trio.lowlevel.checkpoint_if_cancelled()
        if self._ending.is_set():
            msg = f"the store in {self.lease.server.address} is closed"
            raise LifecycleError(msg)
        self._queue.append(waiter)
        self._ring()
        return await waiter.result()

    def _ring(self) -> None:
        if not self._rung:
            self._rung = True
            self._bell.put(True)

    # -- on the writer's thread ------------------------------------------------------------------------------

    def _serve(self) -> None:
        going = True
        while going:
            try:
                going = self._bell.get(timeout=self.lease.beat_seconds)
            except Empty:
                self._beat()
                continue
            self._rung = False
            self._tell(self._transact())
        with contextlib.suppress(psycopg.Error):  # then the server ends the lease when it notices
            self.lease.close()

    def _beat(self) -> None:
        """Say that this process is there, when there was nothing to write for a while."""
        try:
            self.lease.renew(self.lease.connected())
        except (psycopg.Error, StoreError):
            self.lease.drop()  # the next beat connects again; the next commit tells somebody who can act on it

    def _transact(self) -> list[Waiter]:
        """Write all that is queued; return who is to go on."""
        work: list[Item | Waiter] = [*self._left, *self._taken()]
        self._left = []
        if not work:
            return []
        began, tries = time.monotonic(), 0
        while True:
            try:
                self._attempt(work)
            except (psycopg.Error, StoreError) as error:
                known = self._lost(error)
                pause = _PAUSES[min(tries, len(_PAUSES) - 1)]
                # Who closes the store does not wait for a server that is gone for long.
                limit = min(self.busy_seconds, _LAST_SECONDS) if self._ending.is_set() else self.busy_seconds
                late = time.monotonic() + pause - began >= limit
                if not known or late or self._is_unsure(work):
                    return self._gave_up(work, error)
                time.sleep(pause)
                tries += 1
            else:
                self.committed += 1
                return _finished(work)

    def _taken(self) -> list[Item | Waiter]:
        taken = []
        while self._queue:
            taken.append(self._queue.popleft())
        self._bytes = 0
        return taken

    def _attempt(self, work: list[Item | Waiter]) -> None:
        self._uncertain = False
        connection = self.lease.connected()
        with connection.transaction():
            items: list[Item] = []
            for each in work:
                if isinstance(each, tuple):
                    items.append(each)
                elif each.call is not None:
                    # A call comes after what was queued before it.
                    self._write(connection, items)
                    items = []
                    self._carry_out(connection, each)
            self._write(connection, items)
            self.lease.renew(connection)
            self._uncertain = True
        self._uncertain = False

    def _write(self, connection: psycopg.Connection, items: list[Item]) -> None:
        if items:
            write_items(connection, items, self.lease.holder, self.lease.server.address)

    def _carry_out(self, connection: psycopg.Connection, waiter: Waiter) -> None:
        if not waiter.begun and not waiter.claim():
            return
        assert waiter.call is not None
        waiter.begun, waiter.value, waiter.error = True, None, None
        try:
            with connection.transaction():
                waiter.value = waiter.call(connection)
        except psycopg.Error as error:
            if is_gone(connection, error) or is_passing(error):
                raise
            waiter.error = self.lease.server.explained(error, "write")
        except Exception as error:
            waiter.error = error  # its own affair, and undone

    def _lost(self, error: psycopg.Error | StoreError) -> bool:
        """Return whether it is worth trying again; forget a connection that is of no use any more."""
        connection = self.lease.current
        if connection is None:
            return True  # there was none to be had
        if isinstance(error, StoreError):
            return False
        if is_gone(connection, error):
            self.lease.drop()
            return True
        return is_passing(error)

    def _is_unsure(self, work: list[Item | Waiter]) -> bool:
        """Return whether a call may have been carried out for good; then it must not be done again."""
        return self._uncertain and any(isinstance(each, Waiter) and each.begun for each in work)

    def _gave_up(self, work: list[Item | Waiter], error: psycopg.Error | StoreError) -> list[Waiter]:
        """Keep what runs have queued for the next time, and tell everybody who waits."""
        told = error
        if isinstance(error, psycopg.Error):
            told = self.lease.server.explained(error, "write", gone=self.lease.current is None)
            if self._uncertain:
                told.add_note("the server was told to commit, and it is not known whether it did")
        self._left = [each for each in work if isinstance(each, tuple)]
        waiters = [each for each in work if isinstance(each, Waiter) and (each.begun or each.claim())]
        for waiter in waiters:
            waiter.error = told
        return waiters

    def _tell(self, waiters: list[Waiter]) -> None:
        if waiters and self._token is not None:
            with contextlib.suppress(trio.RunFinishedError):  # then nobody waits any more
                self._token.run_sync_soon(_go_on, waiters)


def _finished(work: list[Item | Waiter]) -> list[Waiter]:
    waiters = [each for each in work if isinstance(each, Waiter) and (each.begun or each.claim())]
    for waiter in waiters:
        if waiter.held is not None:
            waiter.error = waiter.held.lost
    return waiters


def _go_on(waiters: list[Waiter]) -> None:
    for waiter in waiters:
        waiter.finish()
