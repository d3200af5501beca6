"""Writing: what many runs append goes through one queue, and what is queued is one transaction.

The rule of the queue: whoever waits for a commit is taken from `_waiting` before `_queue` is taken, so that all
it waits for is in this transaction or in one before. Both are taken only inside a transaction, under the lock,
so what is cancelled while others write to the file was never begun.

Who writes: the writer's thread; or, where a commit is not synchronised with the disk and is small, the loop's own
thread, since a switch of threads costs more than such a commit. It does so while that takes under 200 µs.
"""

from __future__ import annotations

import contextlib
import itertools
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

import attrs
import trio

from marsys.storage import _rows
from marsys.storage._database import Database, explained
from marsys.storage._said import Addition, remember
from marsys.storage._statements import Bundle
from marsys.storage._waiter import Held, Waiter, claimed, told_of_losses
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


_Item = tuple[Any, ...]
"""The number of a run and the nine values of a row; or a run and its blob, its changes, what it adds to a session or what
a call of it writes; or None and a waiter."""


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
    _held: dict[int, Held] = attrs.field(factory=dict, init=False)
    _numbers: Iterator[int] = attrs.field(factory=itertools.count, init=False)
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

    def hold(self, run_id: str, key: int) -> Held:
        """Return what stands for a run whose entries will come."""
        held = Held(run_id, key)
        held.number = next(self._numbers)
        self._held[held.number] = held
        return held

    def forget(self, held: Held) -> None:
        """Take nothing more of a run; what was queued of it is written."""
        self._held.pop(held.number, None)

    def add(self, item: _Item, size: int) -> None:
        """Queue something of a run; never waits."""
        self._queue.append(item)
        self._bytes += size
        if len(self._queue) > _ITEMS_IN_MEMORY or self._bytes > _BYTES_IN_MEMORY:
            self._ring()

    def commit(self, held: Held) -> Coroutine[Any, Any, Any]:
        """Wait until all that was queued before is committed."""
        return self._wait(Waiter(held), quick=True)

    def call(
        self, function: Callable[[sqlite3.Connection], Any], *, quick: bool = False, guarded: bool = True
    ) -> Coroutine[Any, Any, Any]:
        """Run `function` inside a transaction, in its place in the queue, and return what it returns.

        What it raises is raised here, and undoes what it has written, and nothing else.

        Args:
            function: Takes the connection.
            quick: Whether it is short enough for the loop's thread.
            guarded: Whether something may have to be undone: False where it has written nothing when it raises.
        """
        return self._wait(Waiter(call=function, guarded=guarded), quick=quick)

    async def alone(self, function: Callable[[], Any], limiter: trio.CapacityLimiter | None = None) -> Any:
        """Run `function` on the writer's connection in another thread, outside of any transaction."""

        def locked() -> Any:
            with self._lock:
                return function()

        await trio.lowlevel.checkpoint_if_cancelled()
        self._refuse_closed()
        return await trio.to_thread.run_sync(locked, limiter=limiter)

    async def close(self) -> list[str]:
        """Write what is queued, end the thread and the connection; return what could not be written."""
        with trio.CancelScope(shield=True):
            self._closed = True
            self._bell.put(False)
            if self._thread is not None:
                await trio.to_thread.run_sync(self._thread.join)
        counts: dict[str, int] = {}
        for item in (*self._failed, *self._queue):
            if (held := self._of(item)) is not None:
                counts[held.run_id] = counts.get(held.run_id, 0) + 1
        return [f"{count} of run {run_id!r}" for run_id, count in sorted(counts.items())]

    def _ring(self) -> None:
        if not self._rung:
            self._rung = True
            self._bell.put(True)

    def _refuse_closed(self) -> None:
        if self._closed:
            msg = f"the store of {str(self.database.path)!r} is closed"
            raise LifecycleError(msg)

    # Thousands may wait here at once; so it is one coroutine, and not one for each thing to do.
    async def _wait(self, waiter: Waiter, *, quick: bool) -> Any:
        await trio.lowlevel.checkpoint_if_cancelled()
        self._refuse_closed()
        if waiter.call is None:
            self._waiting.append(waiter)
        else:
            self._queue.append((None, waiter))
            self._slow = self._slow or not quick
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
            waiter.task = trio.lowlevel.current_task()
            await trio.lowlevel.wait_task_rescheduled(waiter.abort)
        return waiter.result()

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
            waiters.extend(claimed(self._waiting))
            if not self._queue:
                return told_of_losses(waiters)
        items: list[_Item] = self._failed
        calls: list[Waiter] = []
        try:
            if not begun and not database.begin(wait=wait):
                return None
            waiters.extend(claimed(self._waiting))
            self._take(items)
            self._write(items, calls)
            database.commit()
        except Exception as error:
            # Whatever it is: those who wait have to hear of it, and what was queued stays queued.
            database.rollback()
            waiters.extend(claimed(self._waiting))
            self._take(items)
            failed = error if isinstance(error, StoreError) else explained(error, database.path, "write")
            return self._gave_up(items, waiters, calls, failed)
        self._failed = []
        self.committed += 1
        if database.fault is not None:
            database.fault("committed")
        return told_of_losses(waiters) + calls

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
        for held, item, *_ in items:
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
            self._look_for_lost({held for item in items if (held := self._of(item)) is not None})
            self._seen_version = version
        rows: list[_Item] = []
        updates: dict[Held, dict[str, Any]] = {}
        helds = self._held
        for item in items:
            held, what = item[0], item[1]
            if type(held) is int:
                if helds[held].lost is None:
                    rows.append(item)
            elif held is None:
                self._insert(rows)
                self._update(updates)
                self._carry_out(what, calls)
            elif held.lost is not None:
                continue
            elif type(what) is dict:
                updates.setdefault(held, {}).update(what)
            elif type(what) is Addition:
                self._remember(what)
            elif type(what) is Bundle:
                what.carry_out_again(self.database, held)
            else:
                self._keep(held.key, *what)
        self._insert(rows)
        self._update(updates)
        self._beat()

    def _of(self, item: _Item) -> Held | None:
        """Return the run that an item of the queue is of; None where it is nobody's."""
        return self._held[item[0]] if type(item[0]) is int else item[0]

    def _insert(self, rows: list[_Item]) -> None:
        if rows:
            if self.database.fault is not None:
                self.database.fault("entries")
            _rows.insert(self.database.connection, rows, skip=1)
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
        _rows.keep_blob(self.database.connection, key, sha256, data)

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
        if waiter.guarded:
            execute("SAVEPOINT one_call")
        try:
            waiter.value = waiter.call(self.database.connection)
        except sqlite3.Error:
            raise  # the disk's, most likely, and then everybody's
        except Exception as error:
            if waiter.guarded:
                execute("ROLLBACK TO one_call")
            waiter.error = error
        if waiter.guarded:
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
