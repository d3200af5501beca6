"""Writing: what many runs append goes through one queue, and what is queued is one transaction.

The rule of the queue: whoever waits for a commit is taken from `_waiting` before `_queue` is taken, so that all
it waits for is in this transaction or in one before. Both are taken only inside a transaction, under the lock,
so what is cancelled while others write to the file was never begun.

Who writes: the writer's thread; or, where a commit is not synchronised with the disk and is small, the loop's own
thread, since a switch of threads costs more than such a commit. It does so while that takes under 200 µs.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

import attrs
import trio

from marsys.storage import _rows
from marsys.storage._database import Database, explained
from marsys.storage._said import Addition, remember
from marsys.storage._statements import Bundle
from marsys.storage._waiter import Held, Waiter
from marsys_core.errors import LifecycleError, RunHeld, StoreError, ToolError

__all__ = ["Writer"]

_QUICK_SECONDS = 0.0002
_QUICK_ITEMS = 64
_QUICK_BYTES = 65_536
_LONGEST_PATIENCE = 128
_ITEMS_IN_MEMORY = 1_000
_BYTES_IN_MEMORY = 4_194_304
_PAGES_IN_THE_LOG = 1_000
_HEARTBEAT_SECONDS = 5.0


_Item = tuple[Held | None, Any]
"""A run and its row, its blob, its changes, what it adds to a session or what a call of it writes; or None and a waiter."""


@attrs.define(eq=False, kw_only=True)
class Writer:
    """Writes for all runs of one open store.

    Args:
        database: The connection that writes.
        token: The store's own, which is on the runs that it holds.
        clock: Seconds since 1970.
        inline: Whether small commits may be made on the loop's thread.
    """

    database: Database
    token: str
    clock: Callable[[], float] = time.time
    inline: bool = True
    _queue: deque[_Item] = attrs.field(factory=deque, init=False)
    _bytes: int = attrs.field(default=0, init=False)
    _waiting: deque[Waiter] = attrs.field(factory=deque, init=False)
    _failed: list[_Item] = attrs.field(factory=list, init=False)  # not written yet, and older than the queue
    _lock: threading.Lock = attrs.field(factory=threading.Lock, init=False)  # of the connection and `_failed`
    _bell: SimpleQueue[bool] = attrs.field(factory=SimpleQueue, init=False)
    _slow: bool = attrs.field(default=False, init=False)  # something queued is not for the loop's thread
    _rung: bool = attrs.field(default=False, init=False)
    _leading: bool = attrs.field(default=False, init=False)
    _patience: int = attrs.field(default=0, init=False)  # how many commits are left to the thread
    _penalty: int = attrs.field(default=1, init=False)
    _seen_version: int = attrs.field(default=-1, init=False)
    _seen_at: float = attrs.field(default=0.0, init=False)
    _pages: int = attrs.field(default=0, init=False)
    _synced_at: float = attrs.field(factory=time.monotonic, init=False)
    _thread: threading.Thread | None = attrs.field(default=None, init=False)
    _token: trio.lowlevel.TrioToken | None = attrs.field(default=None, init=False)
    _closed: bool = attrs.field(default=False, init=False)
    committed: int = attrs.field(default=0, init=False)
    """How many transactions were committed."""

    # -- from the loop ---------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to serve the running loop."""
        self._token = trio.lowlevel.current_trio_token()
        self._seen_at = self.clock()
        self._thread = threading.Thread(
            target=self._serve, name=f"marsys sqlite {self.database.path}", daemon=True
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
        await self._checkpoint_if_open()
        waiter = Waiter(held)
        self._waiting.append(waiter)
        await self._wait(waiter, quick=True)

    async def call(self, function: Callable[[sqlite3.Connection], Any], *, quick: bool = False) -> Any:
        """Run `function` inside a transaction, in its place in the queue, and return what it returns.

        What it raises is raised here, and undoes what it has written, and nothing else.

        Args:
            function: Takes the connection.
            quick: Whether it is short enough for the loop's thread.
        """
        await self._checkpoint_if_open()
        waiter = Waiter(call=function)
        self._queue.append((None, waiter))
        self._slow = self._slow or not quick
        return await self._wait(waiter, quick=quick)

    async def alone(self, function: Callable[[], Any], limiter: trio.CapacityLimiter | None = None) -> Any:
        """Run `function` on the writer's connection in another thread, outside of any transaction."""

        def locked() -> Any:
            with self._lock:
                return function()

        await self._checkpoint_if_open()
        return await trio.to_thread.run_sync(locked, limiter=limiter)

    async def close(self) -> list[str]:
        """Write what is queued, end the thread and the connection; return what could not be written."""
        with trio.CancelScope(shield=True):
            self._closed = True
            self._bell.put(False)
            if self._thread is not None:
                await trio.to_thread.run_sync(self._thread.join)
        counts: dict[str, int] = {}
        for held, _item in (*self._failed, *self._queue):
            if held is not None:
                counts[held.run_id] = counts.get(held.run_id, 0) + 1
        return [f"{count} of run {run_id!r}" for run_id, count in sorted(counts.items())]

    def _ring(self) -> None:
        if not self._rung:
            self._rung = True
            self._bell.put(True)

    async def _checkpoint_if_open(self) -> None:
        await trio.lowlevel.checkpoint_if_cancelled()
        if self._closed:
            msg = f"the store of {str(self.database.path)!r} is closed"
            raise LifecycleError(msg)

    async def _wait(self, waiter: Waiter, *, quick: bool) -> Any:
        if not quick or not self.inline:
            self._ring()
        elif self._patience > 0:
            self._patience -= 1
            self._ring()
        elif not self._leading:
            # Let everybody who is ready in this turn of the loop queue up, then write for all of them.
            self._leading = True
            try:
                await trio.lowlevel.cancel_shielded_checkpoint()
            finally:
                self._leading = False
            if not self._write_here():
                self._ring()
        if not waiter.done:
            await self._parked(waiter)
        return waiter.result()

    async def _parked(self, waiter: Waiter) -> None:
        def abort(_raise_cancel: Any) -> trio.lowlevel.Abort:
            if not waiter.claim():
                return trio.lowlevel.Abort.FAILED  # it is being carried out; that is soon over
            waiter.task = None
            return trio.lowlevel.Abort.SUCCEEDED

        waiter.task = trio.lowlevel.current_task()
        await trio.lowlevel.wait_task_rescheduled(abort)

    # An interrupt from the keyboard must not come between taking from the queue and writing.
    @trio.lowlevel.enable_ki_protection
    def _write_here(self) -> bool:
        """Write what is queued on the loop's thread, if it is little and nobody else writes; return whether."""
        much = len(self._queue) > _QUICK_ITEMS or self._bytes > _QUICK_BYTES
        if self._slow or much or not self._lock.acquire(False):
            return False
        try:
            if self._failed:
                return False
            began = time.perf_counter()
            finished = self._transact(wait=False)
            # One slow commit may be chance; the more there are in a row, the more are left to the thread.
            slow = time.perf_counter() - began > _QUICK_SECONDS
            self._penalty = min(self._penalty * 2, _LONGEST_PATIENCE) if slow else 1
            self._patience = self._penalty if slow else 0
        finally:
            self._lock.release()
        if finished is None:
            return False
        self._resume(finished)
        if self._pages > _PAGES_IN_THE_LOG:
            self._ring()
        return True

    @staticmethod
    def _resume(finished: list[Waiter]) -> None:
        for waiter in finished:
            waiter.done = True
            if waiter.task is not None:
                trio.lowlevel.reschedule(waiter.task)

    # -- from another thread, under the lock -----------------------------------------------------------------

    def conclude(self, held: Held, bundle: Bundle, record: Callable[[], None]) -> bool:
        """Carry out `bundle`, and what `record` queues on the loop, in one transaction; False where it does not hold.

        Called in a thread of Trio's that is not cancelled. Invariant: what `record` has queued is in no transaction
        without the bundle, which stays queued before it where it could not be written.

        Raises:
            StoreError: It could not be written.
        """
        database = self.database
        try:
            database.begin(wait=True)
            self._look_for_lost({held})
            holds = held.lost is None and bundle.carry_out(database)
        except ToolError:
            holds = False
        except Exception as error:
            database.rollback()
            if isinstance(error, StoreError):
                raise
            raise explained(error, database.path, "write") from error
        if not holds:
            database.rollback()
            if held.lost is not None:
                raise held.lost
            return False
        try:
            trio.from_thread.run_sync(record)
        except BaseException as error:
            database.rollback()
            # Nobody knows what of it is queued; all of it would be an outcome without its effect.
            held.lost = StoreError(f"run {held.run_id!r} could not record an outcome", str(database.path))
            held.lost.__cause__ = error
            raise
        waiter = Waiter(held)
        self._waiting.append(waiter)
        self._pages += bundle.pages
        bundle.done = True
        self._failed.insert(0, (held, bundle))
        finished = self._transact(wait=True, begun=True) or []
        self._tell([each for each in finished if each is not waiter])
        waiter.result()
        return True

    # -- from either thread, under the lock ------------------------------------------------------------------

    def _transact(self, *, wait: bool, begun: bool = False) -> list[Waiter] | None:
        """Write all that is queued; return who waited for it, or None where others write and `wait` is False.

        `begun` says that a transaction is open, with something in it already.
        """
        database = self.database
        waiters: list[Waiter] = []
        if not self._queue and not self._failed:
            # Who waits is taken first and the queue looked at again: what one of them waits for may just have
            # come. Where it is still empty, all of that was written before.
            waiters.extend(_claimed(self._waiting))
            if not self._queue:
                return _told_of_losses(waiters)
        items: list[_Item] = self._failed
        calls: list[Waiter] = []
        try:
            if not begun and not database.begin(wait=wait):
                return None
            waiters.extend(_claimed(self._waiting))
            self._take(items)
            self._write(items, calls)
            database.commit()
        except Exception as error:
            # Whatever it is: those who wait have to hear of it, and what was queued stays queued.
            database.rollback()
            waiters.extend(_claimed(self._waiting))
            self._take(items)
            failed = error if isinstance(error, StoreError) else explained(error, database.path, "write")
            return self._gave_up(items, waiters, calls, failed)
        self._failed = []
        self.committed += 1
        if database.fault is not None:
            database.fault("committed")
        return _told_of_losses(waiters) + calls

    def _take(self, items: list[_Item]) -> None:
        self._slow, queue = False, self._queue
        while queue:
            items.append(queue.popleft())
        self._pages += 3 + self._bytes // 4096
        self._bytes = 0

    def _gave_up(
        self, items: list[_Item], waiters: list[Waiter], calls: list[Waiter], error: StoreError
    ) -> list[Waiter]:
        """Keep what runs have queued for the next time, and tell everybody who waits."""
        for held, item in items:
            if held is None and isinstance(item, Waiter) and item.claim():
                calls.append(item)
            elif isinstance(item, Bundle):
                item.done = False
        self._failed = [item for item in items if item[0] is not None]
        for waiter in (*waiters, *calls):
            waiter.error = error
        return waiters + calls

    def _write(self, items: list[_Item], calls: list[Waiter]) -> None:
        connection = self.database.connection
        version: int = connection.execute("PRAGMA data_version").fetchone()[0]
        if version != self._seen_version:
            # Another connection has written; if it took over one of our runs, we must not go on with it.
            self._look_for_lost({held for held, _ in items if held is not None})
            self._seen_version = version
        rows: list[_rows.Row] = []
        updates: dict[Held, dict[str, Any]] = {}
        for held, item in items:
            if held is None:
                self._insert(rows)
                self._update(updates)
                self._carry_out(item, calls)
            elif held.lost is not None:
                continue
            elif type(item) is tuple and len(item) == 9:
                rows.append(item)
            elif type(item) is dict:
                updates.setdefault(held, {}).update(item)
            elif type(item) is Addition:
                self._remember(item)
            elif type(item) is Bundle:
                item.carry_out_again(self.database, held)
            else:
                self._keep(held.key, *item)
        self._insert(rows)
        self._update(updates)
        self._beat()

    def _insert(self, rows: list[_rows.Row]) -> None:
        if rows:
            if self.database.fault is not None:
                self.database.fault("entries")
            self.database.connection.executemany(_rows.INSERT, rows)
            rows.clear()

    def _update(self, updates: dict[Held, dict[str, Any]]) -> None:
        for held, changes in updates.items():
            if self.database.fault is not None:
                self.database.fault("run")
            names = ", ".join(f"{name} = ?" for name in changes)
            self.database.connection.execute(
                f"UPDATE runs SET {names} WHERE id = ?",  # noqa: S608, the names are those of `SQLiteLog.update`
                (*changes.values(), held.key),
            )
        updates.clear()

    def _keep(self, key: int, sha256: str, data: bytes) -> None:
        if self.database.fault is not None:
            self.database.fault("blob")
        keep_blob(self.database.connection, key, sha256, data)

    def _remember(self, added: Addition) -> None:
        if self.database.fault is not None:
            self.database.fault("said")
        remember(self.database.connection, added, self.clock())

    def _carry_out(self, waiter: Waiter, calls: list[Waiter]) -> None:
        assert waiter.call is not None
        if not waiter.claim():
            return
        calls.append(waiter)
        if self.database.fault is not None:
            self.database.fault("call")
        execute = self.database.connection.execute
        execute("SAVEPOINT one_call")
        try:
            waiter.value = waiter.call(self.database.connection)
        except sqlite3.Error:
            raise  # the disk's, most likely, and then everybody's
        except Exception as error:
            execute("ROLLBACK TO one_call")
            waiter.error = error
        execute("RELEASE one_call")

    def _look_for_lost(self, held: set[Held]) -> None:
        for each in held:
            found = self.database.connection.execute(
                "SELECT holder, held_as, held_since FROM runs WHERE id = ?", (each.key,)
            ).fetchone()
            if each.lost is None and (found is None or found[0] != self.token):
                each.lost = _taken_over(each.run_id, self.database.path, found)

    def _beat(self) -> None:
        """Say that this process is alive, to those who cannot look at it."""
        now = self.clock()
        if now - self._seen_at >= _HEARTBEAT_SECONDS:
            self._seen_at = now
            self.database.connection.execute("UPDATE holders SET seen = ? WHERE token = ?", (now, self.token))

    # -- the writer's thread ---------------------------------------------------------------------------------

    def _serve(self) -> None:
        going = True
        while going:
            try:
                going = self._bell.get(timeout=_HEARTBEAT_SECONDS)
            except Empty:
                self._beat_when_idle()
            else:
                self._rung = False
                with self._lock:
                    finished = self._transact(wait=True) or []
                self._tell(finished)
            if going and self._is_due():
                self._checkpoint()
        with contextlib.suppress(
            sqlite3.Error
        ):  # what it would have moved stays in the log, for the next one
            self.database.close()

    def _is_due(self) -> bool:
        """Whether the log is long, or there is something in it that has not been synchronised for some time."""
        if self._pages <= _PAGES_IN_THE_LOG and self.database.synchronous == "NORMAL":
            return self._pages > 0 and time.monotonic() - self._synced_at >= _HEARTBEAT_SECONDS
        return self._pages > _PAGES_IN_THE_LOG

    def _beat_when_idle(self) -> None:
        held = "SELECT 1 FROM runs WHERE holder = ?"
        with self._lock:
            try:
                if self.database.connection.execute(held, (self.token,)).fetchone() is not None:
                    self.database.begin(wait=True)
                    self._beat()
                    self.database.commit()
            except (sqlite3.Error, OSError, StoreError):
                self.database.rollback()  # the next write tells what is wrong, to somebody who can act on it

    def _tell(self, finished: list[Waiter]) -> None:
        if not finished or self._token is None:
            return
        try:
            self._token.run_sync_soon(self._resume, finished)
        except trio.RunFinishedError:
            return  # the loop is gone, and everybody who waited with it

    def _checkpoint(self) -> None:
        """Move the log into the file; where others are reading, as much of it as can be."""
        database = self.database
        with self._lock:
            self._pages, self._synced_at = 0, time.monotonic()
            try:
                if database.fault is not None:
                    database.fault("checkpoint")
                database.connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
                # The first transaction of a log that begins anew waits for the disk; let it be this one, so
                # that no commit on the loop's thread has to.
                database.begin(wait=True)
                database.connection.execute(
                    "UPDATE holders SET seen = ? WHERE token = ?", (self.clock(), self.token)
                )
                database.commit()
            except (sqlite3.Error, OSError, StoreError):
                # The log stays as it is, and grows. What is wrong with the file, the next write tells.
                database.rollback()


def keep_blob(connection: sqlite3.Connection, key: int, sha256: str, data: bytes) -> None:
    """Write a large value once, and that a run refers to it. Text is kept as text, for whoever looks."""
    found = connection.execute("SELECT id FROM blobs WHERE sha256 = ?", (sha256,)).fetchone()
    if found is None:
        try:
            content: str | bytes = data.decode()
        except UnicodeDecodeError:
            content = data
        cursor = connection.execute("INSERT INTO blobs (sha256, data) VALUES (?, ?)", (sha256, content))
        blob = cursor.lastrowid
    else:
        blob = found[0]
    connection.execute("INSERT OR IGNORE INTO blob_refs (run, blob) VALUES (?, ?)", (key, blob))


def _told_of_losses(waiters: list[Waiter]) -> list[Waiter]:
    for waiter in waiters:
        waiter.error = waiter.held.lost if waiter.held is not None else None
    return waiters


def _claimed(waiting: deque[Waiter]) -> Iterator[Waiter]:
    while waiting:
        waiter = waiting.popleft()
        if waiter.claim():
            yield waiter


def _taken_over(run_id: str, path: Path, found: tuple[Any, ...] | None) -> RunHeld:
    how = "was removed" if found is None else f"was taken over{f' by {found[1]!r}' if found[1] else ''}"
    msg = f"run {run_id!r} {how} while this process was not heard of; nothing more of it is written here"
    return RunHeld(
        msg,
        str(path),
        run_id=run_id,
        holder=found[1] if found else "",
        since=(found[2] or 0.0) if found else 0.0,
    )
