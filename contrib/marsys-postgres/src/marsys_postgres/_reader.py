"""Reading: on a connection of its own, in worker threads, one at a time."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import attrs
import psycopg
import trio
from psycopg.rows import dict_row

from marsys_core.errors import StoreDamaged
from marsys_core.keeping.steps import COUNTED, with_steps
from marsys_core.protocols.store import Entry, Recalled, RunInfo
from marsys_postgres import _rows, _said
from marsys_postgres._server import Server, is_gone
from marsys_postgres._tables import unknown

__all__ = ["Reader", "key_of"]

T = TypeVar("T")

_MOST = 2**63 - 1
_COUNTED = (
    "SELECT seq, kind, CASE kind WHEN 'StepStarted' THEN '' ELSE data END FROM entries"
    " WHERE run = %s AND kind = ANY(%s) ORDER BY seq"
)


def key_of(connection: psycopg.Connection, run_id: str) -> int:
    """Return the key of a run in the tables.

    Raises:
        UnknownName: There is no such run.
    """
    found = connection.execute("SELECT id FROM runs WHERE run_id = %s", (run_id,)).fetchone()
    if found is None:
        raise unknown(connection, run_id)
    key: int = found[0]
    return key


def _info_of(row: dict[str, Any]) -> RunInfo:
    holder = ""
    if row["held_on"] is not None:
        by = f"{row['held_as']}, " if row["held_as"] else ""
        holder = f"{by}process {row['held_by_process']} on {row['held_on']}"
    names = ("run_id", "session_id", "status", "task", "fingerprint", "created", "updated", "steps", "error")
    forked = None if row["forked_from"] is None else (row["forked_from"], row["forked_seq"])
    known = {name: row[name] for name in (*names, "origin", "parent", "format")}
    return RunInfo(**known, forked_from=forked, holder=holder)


@attrs.define(eq=False)
class Reader:
    """Answers questions about what is committed.

    Args:
        server: Where to.
    """

    server: Server
    _connection: psycopg.Connection | None = attrs.field(default=None, init=False)
    _limiter: trio.CapacityLimiter = attrs.field(factory=lambda: trio.CapacityLimiter(1), init=False)

    async def ask(self, question: Callable[..., T], *args: Any) -> T:
        """Ask in a worker thread, with errors in plain words. It is waited for also when cancelled.

        Args:
            question: Takes a connection, and `args`; it sees everything as it was at one moment.
            args: What else it takes.
        """
        return await trio.to_thread.run_sync(self._asked, question, args, limiter=self._limiter)

    async def close(self) -> None:
        """Disconnect."""

        def close() -> None:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

        await trio.to_thread.run_sync(close, limiter=self._limiter)

    def _asked(self, question: Callable[..., T], args: tuple[Any, ...]) -> T:
        fresh = False
        while True:
            if self._connection is None or self._connection.closed:
                self._connection, fresh = self.server.connect(reading=True), True
            connection = self._connection
            try:
                with connection.transaction():
                    return question(connection, *args)
            except psycopg.Error as error:
                gone = is_gone(connection, error)
                if gone:
                    connection.close()
                if not gone or fresh:  # an old connection may have been lost long ago; a new one was not
                    raise self.server.explained(error, "read", gone=gone) from error

    def info(self, connection: psycopg.Connection, run_id: str) -> RunInfo:
        """Return what is known about one run."""
        key_of(connection, run_id)
        return _infos(connection, "run_id = %s", (run_id,))[0]

    def runs(
        self,
        connection: psycopg.Connection,
        status: tuple[str, ...],
        session_id: str | None,
        limit: int,
        before: str | None,
    ) -> list[RunInfo]:
        """Return runs, the newest first."""
        wanted: list[tuple[str, Any]] = []
        if before is not None:
            wanted.append(("id < %s", key_of(connection, before)))
        if session_id is not None:
            empty = "session_id <> '' AND " if session_id else ""  # so that the index is used
            wanted.append((f"{empty}session_id = %s", session_id))
        if status:
            wanted.append(("status = ANY(%s)", list(status)))
        where = " AND ".join(["true", *(condition for condition, _ in wanted)])
        return _infos(
            connection, f"{where} ORDER BY id DESC LIMIT %s", (*(value for _, value in wanted), limit)
        )

    def entries(
        self, connection: psycopg.Connection, run_id: str, start: int = 0, stop: int | None = None
    ) -> list[Entry]:
        """Return a part of a run's log, each entry compared with its checksum."""
        good: list[Entry] = []
        damaged = self.scan(connection, run_id, good, max(start, 0), stop)
        if damaged is not None:
            msg = (
                f"entry {damaged} of run {run_id!r} in {self.server.address} is damaged: it is missing, or is not"
                f" what its checksum says; the {len(good)} asked for before it can be read"
            )
            raise StoreDamaged(msg, self.server.address, run_id=run_id, seq=damaged, entries=good)
        return good

    def scan(
        self,
        connection: psycopg.Connection,
        run_id: str,
        good: list[Entry],
        start: int = 0,
        stop: int | None = None,
    ) -> int | None:
        """Read entries into `good` up to the first that is damaged, and return its place."""
        key, salt = key_of(connection, run_id), _rows.salt_of(run_id)
        found = connection.execute(_rows.SELECT, (key, start, _MOST if stop is None else stop))
        for expected, row in enumerate(found, start):
            entry = _rows.entry_of(row, salt) if row[1] == expected else None
            if entry is None:
                return expected
            good.append(entry)
        return None

    def blobs(self, connection: psycopg.Connection, run_id: str) -> dict[str, bytes]:
        """Return the large values of a run."""
        select = "SELECT f.sha256, b.data FROM blob_refs f LEFT JOIN blobs b ON b.sha256 = f.sha256 WHERE f.run = %s"
        found = connection.execute(select, (key_of(connection, run_id),))
        return {sha256: self._whole(sha256, data, run_id) for sha256, data in found}

    def blob(self, connection: psycopg.Connection, sha256: str) -> bytes:
        """Return one large value."""
        found = connection.execute("SELECT data FROM blobs WHERE sha256 = %s", (sha256,)).fetchone()
        if found is None:
            raise KeyError(sha256)
        return self._whole(sha256, found[0])

    def recall(
        self, connection: psycopg.Connection, session_id: str, after: int = 0, version: int | None = None
    ) -> Recalled:
        """Return what is remembered of a session."""
        return _said.recall(connection, session_id, after, version)

    def _whole(self, sha256: str, data: bytes | None, run_id: str = "") -> bytes:
        if data is None or hashlib.sha256(data).hexdigest() != sha256:
            what = "is missing" if data is None else "is damaged: its hash is another"
            msg = f"the large value {sha256} in {self.server.address} {what}"
            raise StoreDamaged(msg, self.server.address, run_id=run_id)
        return data


def _infos(connection: psycopg.Connection, where: str, values: tuple[Any, ...]) -> list[RunInfo]:
    with connection.cursor(row_factory=dict_row) as cursor:
        cursor.execute(f"SELECT * FROM run_list WHERE {where}", values)  # noqa: S608
        rows = cursor.fetchall()
    return [with_steps(_info_of(row), partial(_counted, connection, row["id"])) for row in rows]


def _counted(connection: psycopg.Connection, key: int) -> list[tuple[int, str, str]]:
    """Return what tells how many steps a run has taken."""
    return connection.execute(_COUNTED, (key, list(COUNTED))).fetchall()
