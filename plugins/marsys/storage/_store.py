"""The store: runs in one SQLite file."""

from __future__ import annotations

import os
import sqlite3
import time
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import attrs
import trio

from marsys.storage import _rows, _said
from marsys.storage._check import checked
from marsys.storage._database import Database, Fault, explained
from marsys.storage._families import expired, family, whole_families
from marsys.storage._lease import Holder, myself
from marsys.storage._log import SQLiteLog
from marsys.storage._reader import Reader, alive_tokens, key_of
from marsys.storage._transactions import Transactions
from marsys.storage._transfer import exported, insert_run, write_runs
from marsys.storage._writer import Writer
from marsys_core.errors import LifecycleError, RunHeld, StoreError
from marsys_core.protocols.store import Entry, Recalled, RunInfo, RunLog, StoreReport
from marsys_core.protocols.transactions import Done, Statement
from marsys_core.transfer import read_file, write_file

__all__ = ["SQLiteStore"]

# The one thing here that belongs to the process: which stores are open in it. A lease of this process that is
# not of one of them is nobody's, and after a fork none of them may be used in the child.
_open_tokens: set[str] = set()
_open_stores: weakref.WeakSet[SQLiteStore] = weakref.WeakSet()


def _absolute(path: Path | str) -> Path:
    return Path(path).absolute()


def _forked() -> None:
    for store in _open_stores:
        store.forget()
    _open_tokens.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


@attrs.define(eq=False, slots=False)
class SQLiteStore:
    """Runs in one SQLite file, which several processes may share.

    It is an async context manager: open it with ``async with``. One thread writes; it ends with the store.
    The file can be looked at with any tool for SQLite, also while it is in use.

    Args:
        path: The file; it is made if it is not there. Its folder has to be there, on a disk of this machine.
        synchronous: ``"NORMAL"``: what is committed outlives the process. ``"FULL"``: it outlives a loss of
            power, too, and a commit waits for the disk.
        busy_seconds: How long a write waits for other processes that write.
        clock: Seconds since 1970.
        fault: Called with a name at each boundary of writing, for tests that break something there.
        inline: Whether small commits may be made on the loop's own thread, as long as they take under 200 µs.
        read_only: Whether to write nothing at all. Then the file may be read-only, and its disk full; it has to be
            there, and whatever would write is refused with `StoreError`.

    Raises:
        StoreError: On entering: the file cannot be used, is not ours, or is newer than this code. On leaving:
            something could not be written.
    """

    path: Path = attrs.field(converter=_absolute)
    synchronous: str = attrs.field(
        default="NORMAL", kw_only=True, validator=attrs.validators.in_(("NORMAL", "FULL"))
    )
    busy_seconds: float = attrs.field(default=30.0, kw_only=True, validator=attrs.validators.gt(0))
    clock: Callable[[], float] = attrs.field(default=time.time, kw_only=True)
    fault: Fault | None = attrs.field(default=None, kw_only=True)
    inline: bool = attrs.field(default=True, kw_only=True)
    read_only: bool = attrs.field(default=False, kw_only=True)
    _here: Holder = attrs.field(factory=myself, init=False)
    _writer: Writer | None = attrs.field(default=None, init=False)
    _reader: Reader | None = attrs.field(default=None, init=False)
    _transactions: Transactions | None = attrs.field(default=None, init=False)
    _logs: weakref.WeakSet[SQLiteLog] = attrs.field(factory=weakref.WeakSet, init=False)
    _state: str = attrs.field(default="not open", init=False)

    async def __aenter__(self) -> Self:
        if self._state != "not open":
            msg = f"the store of {str(self.path)!r} is {self._state}; make a new one to open it again"
            raise LifecycleError(msg)
        reading = Database(self.path, self.synchronous, self.busy_seconds)
        if self.read_only:
            await trio.to_thread.run_sync(reading.open_read_only)
        else:
            await self._open_to_write(reading)
        self._reader = Reader(database=reading, here=self._here, open_here=_open_tokens, clock=self.clock)
        _open_stores.add(self)
        self._state = "open"
        return self

    async def _open_to_write(self, reading: Database) -> None:
        writing = Database(self.path, self.synchronous, self.busy_seconds, self.fault)

        def connect() -> None:
            writing.open()
            try:
                self._sign(writing)
                reading.open_to_read()
            except BaseException:
                writing.close()
                raise

        await trio.to_thread.run_sync(connect)
        # Commits that wait for the disk are never made on the loop's thread.
        inline = self.inline and self.synchronous == "NORMAL"
        self._writer = Writer(database=writing, token=self._here.token, clock=self.clock, inline=inline)
        _open_tokens.add(self._here.token)
        self._writer.start()

    def _sign(self, database: Database) -> None:
        """Write who has opened the file. That it can be written is found out here, and not by the first run."""
        try:
            database.begin(wait=True)
            _sign(database.connection, self._here, self.clock())
            database.commit()
        except (sqlite3.Error, OSError) as error:
            database.rollback()
            raise explained(error, self.path, "open the store") from error

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._state == "open":
            lost = await self._close()
            if lost:
                msg = f"the store of {str(self.path)!r} was closed and could not write: {', '.join(lost)}"
                if error is None:
                    raise StoreError(msg, str(self.path))
                error.add_note(msg)

    async def _close(self) -> list[str]:
        """Write what is queued, give back what is held, and end the thread; return what could not be written."""
        writer, reader = self._writer, self._reading()
        self._state = "closed"
        _open_stores.discard(self)
        if writer is None:  # it was opened to read only
            with trio.CancelScope(shield=True):
                await reader.ask(reader.database.close)
            return []
        token = self._here.token
        for log in self._logs:
            log.end()

        with trio.CancelScope(shield=True):
            try:
                await writer.call(lambda connection: _give_back(connection, token))
            except StoreError as failed:
                told = [f"its leases ({failed})"]
            else:
                told = []
            await reader.ask(reader.database.close)
            lost = await writer.close()
        _open_tokens.discard(token)
        return [f"{each} entries" for each in lost] + told if lost else told

    def forget(self) -> None:
        """Refuse every use from now on: this is the child of a fork, and the file is its parent's.

        The connections are left as they are; to close them here would disturb the parent's.
        """
        self._state = "its parent's: it was open when this process was forked; open one of its own"
        for log in self._logs:
            log.end()

    def _open(self) -> Writer:
        self._reading()
        if self._writer is None:
            msg = f"the store of {str(self.path)!r} was opened with read_only=True, and nothing is written there"
            raise StoreError(msg, str(self.path))
        return self._writer

    def _reading(self) -> Reader:
        if self._state != "open" or self._reader is None:
            msg = f"the store of {str(self.path)!r} is {self._state}"
            raise LifecycleError(msg)
        return self._reader

    # -- holding ---------------------------------------------------------------------------------------------

    async def create(self, info: RunInfo, holder: str = "") -> SQLiteLog:
        """Begin a run and hold it.

        Raises:
            StoreError: There is a run with this id.
        """

        def begin(connection: sqlite3.Connection) -> int:
            now = self.clock()
            key = insert_run(connection, info, now, (self._here.token, holder, now))
            _sign(connection, self._here, now)
            return key

        key = await self._open().call(begin, quick=True, guarded=False)
        return self._log(info.run_id, key, 0)

    async def take(self, run_id: str, holder: str = "") -> SQLiteLog:
        """Hold a run that is there, to go on with it. One whose holder has died can be taken at once.

        Raises:
            UnknownName: There is no such run.
            RunHeld: Somebody has it.
        """

        def begin(connection: sqlite3.Connection) -> tuple[int, int]:
            key, now = key_of(connection, run_id), self.clock()
            self._refuse_held(connection, [key], now)
            self._hold(connection, key, holder, now)
            self._tidy(connection, now)
            last = connection.execute(
                "SELECT max(id) FROM entries WHERE id >= ? AND id < ?",
                (_rows.base_of(key), _rows.base_of(key + 1)),
            ).fetchone()[0]
            return key, 0 if last is None else last - _rows.base_of(key) + 1

        key, next_seq = await self._open().call(begin, quick=True)
        return self._log(run_id, key, next_seq)

    def _log(self, run_id: str, key: int, next_seq: int) -> SQLiteLog:
        writer = self._open()
        log = SQLiteLog(held=writer.hold(run_id, key), writer=writer, next_seq=next_seq)
        self._logs.add(log)
        return log

    def _hold(self, connection: sqlite3.Connection, key: int, holder: str, now: float) -> None:
        here = self._here
        _sign(connection, here, now)
        connection.execute(
            "UPDATE runs SET holder = ?, held_as = ?, held_since = ? WHERE id = ?",
            (here.token, holder, now, key),
        )

    def _refuse_held(self, connection: sqlite3.Connection, keys: Sequence[int], now: float) -> None:
        """Raise `RunHeld` where somebody who is alive has one of these runs."""
        alive = alive_tokens(connection, self._here, _open_tokens, now)
        for key in keys:
            run_id, token, held_as, since, host, pid = connection.execute(
                "SELECT r.run_id, r.holder, r.held_as, r.held_since, h.host, h.pid"
                " FROM runs r LEFT JOIN holders h ON h.token = r.holder WHERE r.id = ?",
                (key,),
            ).fetchone()
            if token in alive:
                raise self._held_error(run_id, held_as, host, pid, since)

    def _tidy(self, connection: sqlite3.Connection, now: float) -> None:
        """Forget the holders who are gone."""
        alive = alive_tokens(connection, self._here, _open_tokens, now)
        for (token,) in connection.execute("SELECT token FROM holders").fetchall():
            if token not in alive:
                _give_back(connection, token)

    def _held_error(self, run_id: str, held_as: str, host: str, pid: int, since: float) -> RunHeld:
        moment = datetime.fromtimestamp(since, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        where = f"process {pid} on {host}"
        by = where if held_as in ("", where) else f"{held_as!r}, {where}"
        msg = f"run {run_id!r} is held by {by}, since {moment}; end it there first"
        return RunHeld(msg, str(self.path), run_id=run_id, holder=held_as, host=host, pid=pid, since=since)

    # -- reading ---------------------------------------------------------------------------------------------

    async def info(self, run_id: str) -> RunInfo:
        """Return what is known about a run."""
        reader = self._reading()
        return await reader.ask(reader.info, run_id)

    async def runs(
        self,
        *,
        status: Iterable[str] = (),
        session_id: str | None = None,
        limit: int = 100,
        before: str | None = None,
    ) -> Sequence[RunInfo]:
        """Return runs, the one that came into the store last first."""
        reader = self._reading()
        if limit < 0:
            msg = f"limit is how many runs are listed at most, and not {limit!r}"
            raise ValueError(msg)
        wanted = (status,) if isinstance(status, str) else tuple(status)
        return await reader.ask(reader.runs, wanted, session_id, limit, before)

    async def entries(self, run_id: str, start: int = 0, stop: int | None = None) -> Sequence[Entry]:
        """Return what is committed of a run's log."""
        reader = self._reading()
        return await reader.ask(reader.entries, run_id, start, stop)

    async def blobs(self, run_id: str) -> Mapping[str, bytes]:
        """Return all large values of a run."""
        reader = self._reading()
        return await reader.ask(reader.blobs, run_id)

    async def blob(self, sha256: str) -> bytes:
        """Return a large value."""
        reader = self._reading()
        return await reader.ask(reader.blob, sha256)

    async def recall(self, session_id: str, *, after: int = 0, version: int | None = None) -> Recalled:
        """Return what is remembered of a session."""
        reader = self._reading()
        return await reader.ask(reader.recall, session_id, after, version)

    async def check(self) -> StoreReport:
        """Read everything and say what is not as it was written."""
        reader = self._reading()
        return await reader.ask(checked, reader)

    # -- rows of the application -----------------------------------------------------------------------------

    async def attempt(self, statements: Sequence[Statement]) -> Sequence[Done]:
        """Carry out statements on the application's own tables, undo them, and return what each came to."""
        return await self._transacting().attempt(statements)

    async def conclude(
        self, log: RunLog, statements: Sequence[Statement], seen: Sequence[Done], record: Callable[[], None]
    ) -> bool:
        """Carry out statements together with what `record` appends to `log`, if they come to what was seen."""
        assert isinstance(log, SQLiteLog)  # of a run that is held here
        return await self._transacting().conclude(log.held, statements, seen, record)

    def _transacting(self) -> Transactions:
        writer, reader = self._open(), self._reading()
        if self._transactions is None:
            self._transactions = Transactions(writer=writer, reader=reader)
        return self._transactions

    # -- removing, moving ------------------------------------------------------------------------------------

    async def forget_session(self, session_id: str) -> None:
        """Forget what was said in a session."""
        await self._open().call(lambda connection: _said.forget(connection, session_id))

    async def remove(self, run_ids: Iterable[str]) -> None:
        """Forget runs and those nested in them, all of them or none."""
        wanted = (run_ids,) if isinstance(run_ids, str) else tuple(run_ids)

        def remove(connection: sqlite3.Connection) -> None:
            keys = whole_families(connection, wanted)
            self._refuse_held(connection, keys, self.clock())
            _remove(connection, keys)

        await self._open().call(remove)

    async def expire(self, older_than_seconds: float) -> int:
        """Remove the runs that ended longer ago, and return how many; forget sessions that were not used for as long."""

        def expire(connection: sqlite3.Connection) -> int:
            now = self.clock()
            alive = alive_tokens(connection, self._here, _open_tokens, now)
            before = now - older_than_seconds
            gone = [
                keys
                for keys in expired(connection, before)
                if not any(_token_of(connection, key) in alive for key in keys)
            ]
            _remove(connection, [key for keys in gone for key in keys])
            _said.forget_unused(connection, before)
            return len(gone)

        removed: int = await self._open().call(expire)
        return removed

    async def vacuum(self) -> None:
        """Give back the room that removed runs took. Others wait while it is going on."""
        writer = self._open()
        database = writer.database

        def vacuum() -> None:
            try:
                database.retried(lambda: database.connection.execute("VACUUM"))
                database.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            except sqlite3.Error as error:
                raise explained(error, self.path, "vacuum") from error

        await writer.alone(vacuum)

    async def export(self, run_id: str, path: Path | str) -> None:
        """Write a run and those nested in it, with all they refer to, into one file of JSON Lines."""
        reader = self._reading()

        def export() -> None:
            connection = reader.database.connection
            with reader.at_one_moment():
                run = exported(reader, run_id)
                inner = family(connection, key_of(connection, run_id))[1:]
                nested = (exported(reader, reader.known(key).run_id) for key in inner)
                write_file(run, Path(path), nested)

        await reader.ask(export)

    async def import_(self, path: Path | str) -> str:
        """Take a run and those nested in it from a file that `export` wrote, and return its id."""
        # Read while it is written: only one of the runs is held in memory.
        call = self._open().call
        run_id: str = await call(lambda connection: write_runs(connection, read_file(Path(path))))
        return run_id


def _sign(connection: sqlite3.Connection, here: Holder, now: float) -> None:
    connection.execute(
        "INSERT OR IGNORE INTO holders (token, host, place, pid, started, seen) VALUES (?, ?, ?, ?, ?, ?)",
        (here.token, here.host, here.place, here.pid, here.started, now),
    )


def _give_back(connection: sqlite3.Connection, token: str) -> None:
    """Let go of all runs of a holder, and of the holder."""
    if connection.execute("DELETE FROM holders WHERE token = ?", (token,)).rowcount:
        connection.execute(
            "UPDATE runs SET holder = NULL, held_as = '', held_since = NULL WHERE holder = ?", (token,)
        )


def _token_of(connection: sqlite3.Connection, key: int) -> str | None:
    """Return who has a run."""
    token: str | None = connection.execute("SELECT holder FROM runs WHERE id = ?", (key,)).fetchone()[0]
    return token


def _remove(connection: sqlite3.Connection, keys: Sequence[int]) -> None:
    for key in keys:
        ends: tuple[Any, ...] = (_rows.base_of(key), _rows.base_of(key + 1))
        connection.execute("DELETE FROM entries WHERE id >= ? AND id < ?", ends)
        connection.execute("DELETE FROM blob_refs WHERE run = ?", (key,))
        connection.execute("DELETE FROM runs WHERE id = ?", (key,))
    if keys:
        connection.execute("DELETE FROM blobs WHERE id NOT IN (SELECT blob FROM blob_refs)")
