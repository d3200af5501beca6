"""The store: runs in a PostgreSQL database."""

from __future__ import annotations

import os
import time
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import attrs
import psycopg
import trio

from marsys_core.errors import LifecycleError, RunHeld, StoreError
from marsys_core.protocols.store import Entry, Recalled, RunInfo, Said, StoreReport
from marsys_core.transfer import Run, began_in, of_run, read_file, write_file
from marsys_postgres import _said
from marsys_postgres._changes import Changes, listening
from marsys_postgres._check import checked
from marsys_postgres._families import expired, family, whole_families
from marsys_postgres._lease import Lease
from marsys_postgres._log import PostgresLog
from marsys_postgres._reader import Reader
from marsys_postgres._server import Server
from marsys_postgres._tables import insert_run, notify, remove_runs, unknown, write_runs
from marsys_postgres._waiter import Held
from marsys_postgres._writer import Writer

__all__ = ["PostgresStore"]

_HOLD = "UPDATE runs SET holder = %s, held_as = %s, held_since = %s WHERE id = %s"
_GIVE_BACK = "UPDATE runs SET holder = NULL, held_as = '', held_since = 0 WHERE holder = %s"
_LOCK_RUNS = "SELECT run_id, id FROM runs WHERE run_id = ANY(%s) ORDER BY id FOR UPDATE"
_WHO_HAS = """
SELECT r.run_id, r.held_as, r.held_since, a.host, a.pid FROM runs r JOIN alive_holders a ON a.id = r.holder
WHERE r.id = ANY(%s) ORDER BY r.id LIMIT 1"""
_HELD = "SELECT r.id FROM runs r JOIN alive_holders a ON a.id = r.holder WHERE r.id = ANY(%s)"

# After a fork the connections are the parent's; none of these may be used in the child.
_open_stores: weakref.WeakSet[PostgresStore] = weakref.WeakSet()


def _forked() -> None:
    for store in _open_stores:
        store.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


@attrs.define(eq=False, slots=False)
class PostgresStore:
    """Runs in a PostgreSQL database, which several processes and machines may share.

    It is an async context manager: open it with ``async with``. One thread writes; it ends with the store. It has
    two connections to the server, and one more for each use of `changes`.

    Args:
        dsn: Where the database is: a URL or ``key=value`` pairs, as libpq takes them. What is not in it comes from
            the environment (``PGHOST``, ``PGPASSWORD`` and so on) and the password file.
        schema: The schema that is the store's own; it is made if it is not there.
        lease_seconds: After how long a process that is not heard of any more has lost its runs.
        busy_seconds: How long a write waits for others that write, and for a server that is gone.
        clock: Seconds since 1970, for what is told about runs. Leases go by the server's clock.

    Raises:
        SettingsError: The dsn is no connection string.
        StoreError: On entering: the server cannot be reached or used, or the tables are newer than this code. On
            leaving: something could not be written.
    """

    dsn: str = attrs.field(default="", repr=False)
    schema: str = attrs.field(default="marsys", kw_only=True, validator=attrs.validators.min_len(1))
    lease_seconds: float = attrs.field(default=30.0, kw_only=True, validator=attrs.validators.gt(0))
    busy_seconds: float = attrs.field(default=30.0, kw_only=True, validator=attrs.validators.gt(0))
    clock: Callable[[], float] = attrs.field(default=time.time, kw_only=True)
    _server: Server = attrs.field(init=False, repr=False)
    _writer: Writer | None = attrs.field(default=None, init=False, repr=False)
    _reader: Reader = attrs.field(init=False, repr=False)
    _logs: weakref.WeakSet[PostgresLog] = attrs.field(factory=weakref.WeakSet, init=False, repr=False)
    _state: str = attrs.field(default="not open", init=False)

    def __attrs_post_init__(self) -> None:
        self._server = Server.of(self.dsn, self.schema, self.busy_seconds)
        self._reader = Reader(self._server)

    @property
    def address(self) -> str:
        """Where the database is, for messages; never with the password."""
        return self._server.address

    async def __aenter__(self) -> Self:
        if self._state != "not open":
            msg = f"the store in {self.address} is {self._state}; make a new one to open it again"
            raise LifecycleError(msg)
        lease = Lease(server=self._server, seconds=self.lease_seconds)
        await trio.to_thread.run_sync(lease.connected)
        self._writer = Writer(lease=lease, busy_seconds=self.busy_seconds)
        _open_stores.add(self)
        self._state = "open"
        self._writer.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._state == "open":
            lost = await self._close()
            if lost:
                msg = f"the store in {self.address} was closed and could not write: {', '.join(lost)}"
                if error is None:
                    raise StoreError(msg, self.address)
                error.add_note(msg)

    async def _close(self) -> list[str]:
        """Write what is queued, give back what is held, and end the thread; return what could not be written."""
        writer = self._open()
        self._state = "closed"
        for log in self._logs:
            log.end()
        holder = writer.lease.holder
        with trio.CancelScope(shield=True):
            await self._reader.close()
            lost = await writer.close(lambda connection: connection.execute(_GIVE_BACK, (holder,)).rowcount)
        _open_stores.discard(self)
        return lost

    def forget(self) -> None:
        """Refuse every use from now on: this is the child of a fork, and the connections are its parent's.

        They are left as they are; to close them here would end the parent's sessions.
        """
        self._state = "its parent's: it was open when this process was forked; open one of its own"
        for log in self._logs:
            log.end()

    def _open(self) -> Writer:
        if self._state != "open" or self._writer is None:
            msg = f"the store in {self.address} is {self._state}"
            raise LifecycleError(msg)
        return self._writer

    def _reading(self) -> Reader:
        self._open()
        return self._reader

    # -- holding ---------------------------------------------------------------------------------------------

    async def create(self, info: RunInfo, holder: str = "") -> PostgresLog:
        """Begin a run and hold it.

        Raises:
            StoreError: There is a run with this id.
        """
        writer = self._open()

        def begin(connection: psycopg.Connection) -> int:
            now = self.clock()
            key = insert_run(connection, info, now)
            connection.execute(_HOLD, (writer.lease.holder, holder, now, key))
            notify(connection, [key])
            return key

        return self._log(info.run_id, await writer.call(begin), 0)

    async def take(self, run_id: str, holder: str = "") -> PostgresLog:
        """Hold a run that is there, to go on with it. One whose holder has died can be taken at once.

        Raises:
            UnknownName: There is no such run.
            RunHeld: Somebody has it.
        """
        writer = self._open()

        def begin(connection: psycopg.Connection) -> tuple[int, int]:
            # Whoever writes to the run has its row locked: from here on, nobody else does.
            (key,) = self._locked(connection, [run_id])
            connection.execute(_HOLD, (writer.lease.holder, holder, self.clock(), key))
            notify(connection, [key])
            last = connection.execute("SELECT max(seq) FROM entries WHERE run = %s", (key,)).fetchone()
            return key, 0 if last is None or last[0] is None else last[0] + 1

        key, next_seq = await writer.call(begin)
        return self._log(run_id, key, next_seq)

    def _log(self, run_id: str, key: int, next_seq: int) -> PostgresLog:
        log = PostgresLog(held=Held(run_id, key), writer=self._open(), next_seq=next_seq, clock=self.clock)
        self._logs.add(log)
        return log

    def _locked(self, connection: psycopg.Connection, run_ids: Sequence[str]) -> list[int]:
        """Return the keys of runs, and lock them; nobody may have one of them."""
        found: dict[str, int] = dict(connection.execute(_LOCK_RUNS, (list(run_ids),)).fetchall())
        for run_id in run_ids:
            if run_id not in found:
                raise unknown(connection, run_id)
        keys = [found[run_id] for run_id in run_ids]
        held = connection.execute(_WHO_HAS, (keys,)).fetchone()
        if held is not None:
            raise self._held_error(*held)
        return keys

    def _held_error(self, run_id: str, held_as: str, since: float, host: str, pid: int) -> RunHeld:
        moment = datetime.fromtimestamp(since, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        where = f"process {pid} on {host}"
        by = where if held_as in ("", where) else f"{held_as!r}, {where}"
        msg = f"run {run_id!r} is held by {by}, since {moment}; end it there first"
        return RunHeld(msg, self.address, run_id=run_id, holder=held_as, host=host, pid=pid, since=since)

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

    def changes(self) -> AbstractAsyncContextManager[Changes]:
        """Hear of every run of which something is committed from now on, by whatever process.

        An async context manager, which gives an async iterator over ids of runs. A run comes once, however often
        it has changed since it came last; one that was removed meanwhile does not. Read its log from where you
        stopped.

        Raises:
            StoreError: The server cannot be reached; while iterating: the connection was lost, and something may
                have been missed. Look at what you need to know anew, and use `changes` again.
        """
        return listening(self._reading())

    # -- removing, moving ------------------------------------------------------------------------------------

    async def forget_session(self, session_id: str) -> None:
        """Forget what was said in a session."""
        await self._open().call(lambda connection: _said.forget(connection, session_id))

    async def remove(self, run_ids: Iterable[str]) -> None:
        """Forget runs and those nested in them, all of them or none."""
        wanted = (run_ids,) if isinstance(run_ids, str) else tuple(run_ids)

        def remove(connection: psycopg.Connection) -> None:
            remove_runs(connection, self._locked(connection, whole_families(connection, wanted)))

        await self._open().call(remove)

    async def expire(self, older_than_seconds: float) -> int:
        """Remove the runs that ended longer ago, and return how many; forget sessions that were not used for as long."""

        def expire(connection: psycopg.Connection) -> int:
            before = self.clock() - older_than_seconds
            families = {run_id: family(connection, run_id) for run_id in expired(connection, before)}
            every = [run_id for ids in families.values() for run_id in ids]
            keys: dict[str, int] = dict(connection.execute(_LOCK_RUNS, (every,)).fetchall())
            held = {key for (key,) in connection.execute(_HELD, (list(keys.values()),)).fetchall()}
            still = set(expired(connection, before))  # now that nobody else writes to them
            gone = [
                [keys[each] for each in ids if each in keys]
                for run_id, ids in families.items()
                if run_id in still and not any(keys.get(each) in held for each in ids)
            ]
            remove_runs(connection, [key for ids in gone for key in ids])
            _said.forget_unused(connection, before)
            return len(gone)

        removed: int = await self._open().call(expire)
        return removed

    async def vacuum(self) -> None:
        """Let the room that removed runs took be used again. Nobody has to wait meanwhile."""
        self._open()

        def vacuum() -> None:
            with self._server.connect() as connection:
                try:
                    connection.execute(
                        "VACUUM (ANALYZE) runs, entries, blobs, blob_refs, sessions, said, holders"
                    )
                except psycopg.Error as error:
                    raise self._server.explained(error, "vacuum") from error

        await trio.to_thread.run_sync(vacuum)

    async def export(self, run_id: str, path: Path | str) -> None:
        """Write a run and those nested in it, with all they refer to, into one file of JSON Lines."""
        reader = self._reading()

        def whole(connection: psycopg.Connection, run_id: str) -> Run:
            of: tuple[Any, ...] = (connection, run_id)
            info, blobs, entries = reader.info(*of), reader.blobs(*of), reader.entries(*of)
            said: Sequence[Said] = ()
            if (began := began_in(entries)) is not None:
                session_id, version = began
                before = reader.recall(connection, session_id, version=version)
                said = of_run(run_id, before, reader.recall(connection, session_id))
            return Run(info=info, blobs=blobs, entries=entries, said=said)

        def export(connection: psycopg.Connection) -> None:
            run = whole(connection, run_id)
            nested = (whole(connection, inner) for inner in family(connection, run_id)[1:])
            write_file(run, Path(path), nested)

        await reader.ask(export)

    async def import_(self, path: Path | str) -> str:
        """Take a run and those nested in it from a file that `export` wrote, and return its id."""
        # Read while it is written: only one of the runs is held in memory.
        call = self._open().call
        run_id: str = await call(lambda connection: write_runs(connection, read_file(Path(path))))
        return run_id
