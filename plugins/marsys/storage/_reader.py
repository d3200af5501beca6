"""Reading: on a connection of its own, in worker threads, one at a time."""

from __future__ import annotations

import contextlib
import hashlib
import json
import sqlite3
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, TypeVar

import attrs
import trio

from marsys.storage import _rows, _said
from marsys.storage._database import Database, explained
from marsys.storage._lease import Holder, is_alive
from marsys_core.errors import StoreDamaged, UnknownName
from marsys_core.keeping.steps import COUNTED, with_steps
from marsys_core.protocols.store import Entry, Recalled, RunInfo

__all__ = ["SILENT_SECONDS", "Reader", "alive_tokens", "key_of"]

T = TypeVar("T")

SILENT_SECONDS = 30.0
"""After how long a holder that cannot be looked at, and that is not heard of, counts as gone."""

_INFO = """
SELECT r.*, CASE WHEN r.status = 'running' AND (r.holder IS NULL OR r.holder NOT IN
  (SELECT value FROM json_each(:alive))) THEN 'interrupted' ELSE r.status END AS shown,
  h.host AS host, h.pid AS pid, r.holder IN (SELECT value FROM json_each(:alive)) AS is_held
FROM runs r LEFT JOIN holders h ON h.token = r.holder"""
_COUNTED = (
    "SELECT id - ?, kind, CASE kind WHEN 'StepStarted' THEN '' ELSE data END FROM entries"
    " WHERE id >= ? AND id < ? AND kind IN (?, ?, ?, ?) ORDER BY id"
)


def alive_tokens(connection: sqlite3.Connection, here: Holder, open_here: set[str], now: float) -> list[str]:
    """Return the tokens of the holders that are still there.

    Args:
        connection: Where to look.
        here: The holder that asks.
        open_here: The tokens of all open stores of this process.
        now: Seconds since 1970.
    """
    found = connection.execute("SELECT token, host, place, pid, started, seen FROM holders").fetchall()
    alive = []
    for token, host, place, pid, started, seen in found:
        holder = Holder(token=token, host=host, place=place, pid=pid, started=started)
        ours = (host, place, pid, started) == (here.host, here.place, here.pid, here.started)
        if token in open_here if ours else is_alive(holder, here, now - seen, SILENT_SECONDS):
            alive.append(token)
    return alive


def key_of(connection: sqlite3.Connection, run_id: str) -> int:
    """Return the key of a run in the tables.

    Raises:
        UnknownName: There is no such run.
    """
    found = connection.execute("SELECT id FROM runs WHERE run_id = ?", (run_id,)).fetchone()
    if found is None:  # by the index; where that is damaged, the run itself may be whole
        found = connection.execute("SELECT id FROM runs NOT INDEXED WHERE run_id = ?", (run_id,)).fetchone()
    if found is None:
        newest = connection.execute("SELECT run_id FROM runs ORDER BY id DESC LIMIT 10").fetchall()
        count = connection.execute("SELECT count(*) FROM runs").fetchone()[0]
        hint = f"These are the newest of {count}." if count > len(newest) else ""
        raise UnknownName("run", run_id, [name for (name,) in newest], hint)
    key: int = found[0]
    return key


def info_of(row: dict[str, Any]) -> RunInfo:
    """Return what a row of `runs` says.

    Raises:
        ValueError: It is not what was written.
    """
    if _rows.crc_of(row[name] for name in _rows.FACTS) != row["crc"]:
        msg = "what is known of it is not what its checksum says"
        raise ValueError(msg)
    holder = ""
    if row["is_held"]:
        by = f"{row['held_as']}, " if row["held_as"] else ""
        holder = f"{by}process {row['pid']} on {row['host']}"
    return RunInfo(
        run_id=row["run_id"],
        session_id=row["session_id"],
        status=row["shown"],
        task=row["task"],
        fingerprint=row["fingerprint"],
        origin=row["origin"],
        created=row["created"],
        updated=row["updated"],
        steps=row["steps"],
        error=row["error"],
        parent=row["parent"],
        forked_from=None if row["forked_from"] is None else (row["forked_from"], row["forked_seq"]),
        format=row["format"],
        holder=holder,
    )


def _tolerantly(text: bytes) -> str:
    return text.decode("utf-8", "backslashreplace")


def _told(row: dict[str, Any]) -> RunInfo:
    """Return what a row of `runs` says, or that it is damaged: the others can be listed all the same."""
    try:
        return info_of(row)
    except ValueError as error:
        return RunInfo(run_id=str(row["run_id"]), status="damaged", error=str(error))


@attrs.define(eq=False, kw_only=True)
class Reader:
    """Answers questions about what is committed.

    Args:
        database: A connection of its own.
        here: Who asks.
        open_here: The tokens of all open stores of this process.
        clock: Seconds since 1970.
    """

    database: Database
    here: Holder
    open_here: set[str]
    clock: Callable[[], float]
    _limiter: trio.CapacityLimiter = attrs.field(factory=lambda: trio.CapacityLimiter(1), init=False)

    async def ask(self, question: Callable[..., T], *args: Any) -> T:
        """Ask in a worker thread, with errors in plain words. It is waited for also when cancelled."""

        def asked() -> T:
            try:
                return question(*args)
            except sqlite3.Error as error:
                raise explained(error, self.database.path, "read") from error

        return await trio.to_thread.run_sync(asked, limiter=self._limiter)

    @contextlib.contextmanager
    def at_one_moment(self) -> Iterator[None]:
        """Let everything asked inside be as it was at one moment, whatever is written meanwhile."""
        self.database.connection.execute("BEGIN")
        try:
            yield
        finally:
            self.database.rollback()

    def info(self, run_id: str) -> RunInfo:
        """Return what is known about one run."""
        found = self.known(key_of(self.database.connection, run_id))
        if found.status == "damaged":
            msg = f"run {run_id!r} in {str(self.database.path)!r} is damaged: {found.error}"
            raise StoreDamaged(msg, str(self.database.path), run_id=run_id)
        return found

    def known(self, key: int) -> RunInfo:
        """Return what is known about the run with this key; its status may be ``damaged``."""
        return self._infos(" WHERE r.id = :key", key=key)[0]

    def runs(
        self, status: tuple[str, ...], session_id: str | None, limit: int, before: str | None
    ) -> list[RunInfo]:
        """Return runs, the newest first. Which are damaged is only known when they are read."""
        wanted, values = [], {"limit": limit, "status": json.dumps(status), "session_id": session_id}
        if "damaged" in status:
            values["limit"], values["status"] = -1, "[]"
        if before is not None:
            values["before"] = key_of(self.database.connection, before)
            wanted.append("r.id < :before")
        if session_id is not None:
            wanted.append(
                "r.session_id = :session_id AND r.session_id <> ''" if session_id else "r.session_id = ''"
            )
        if status and "damaged" not in status:
            wanted.append("shown IN (SELECT value FROM json_each(:status))")
        where = f" WHERE {' AND '.join(wanted)}" if wanted else ""
        found = self._infos(f"{where} ORDER BY r.id DESC LIMIT :limit", **values)
        return found if "damaged" not in status else [info for info in found if info.status in status][:limit]

    def _infos(self, rest: str, **values: Any) -> list[RunInfo]:
        alive = alive_tokens(self.database.connection, self.here, self.open_here, self.clock())
        connection = self.database.connection
        connection.text_factory = _tolerantly
        try:
            found = list(self.database.tables.query(_INFO + rest, {**values, "alive": json.dumps(alive)}))
        finally:
            connection.text_factory = str
        return [with_steps(_told(row), partial(self._counted, row["id"])) for row in found]

    def _counted(self, key: int) -> Iterator[tuple[int, str, str]]:
        """Yield what tells how many steps a run has taken, as far as it can be read."""
        base = _rows.base_of(key)
        try:
            yield from self.database.connection.execute(
                _COUNTED, (base, base, _rows.base_of(key + 1), *COUNTED)
            )
        except (sqlite3.DatabaseError, UnicodeDecodeError):
            return  # whoever reads the entries is told

    def entries(self, run_id: str, start: int = 0, stop: int | None = None) -> list[Entry]:
        """Return a part of a run's log, each entry compared with its checksum."""
        connection = self.database.connection
        key = key_of(connection, run_id)
        good: list[Entry] = []
        damaged = self.scan(run_id, key, good, max(start, 0), stop)
        if damaged is not None:
            seq, why = damaged
            msg = (
                f"entry {seq} of run {run_id!r} in {str(self.database.path)!r} is damaged ({why});"
                f" the {len(good)} asked for before it can be read"
            )
            raise StoreDamaged(msg, str(self.database.path), run_id=run_id, seq=seq, entries=good)
        return good

    def scan(
        self, run_id: str, key: int, good: list[Entry], start: int = 0, stop: int | None = None
    ) -> tuple[int, str] | None:
        """Read entries into `good` up to the first that is damaged; return its place and what is wrong."""
        base, salt = _rows.base_of(key), _rows.salt_of(run_id)
        end = _rows.base_of(key + 1) if stop is None else base + max(stop, start)
        try:
            rows = self.database.connection.execute(_rows.SELECT, (base + start, end))
            for found in _rows.entries_of(rows, base, salt, start):
                if isinstance(found, int):
                    return found, "it is missing, or is not what its checksum says"
                good.append(found)
        except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
            return start + len(good), str(error)
        return None

    def blobs(self, run_id: str) -> dict[str, bytes]:
        """Return the large values of a run."""
        key = key_of(self.database.connection, run_id)
        select = "SELECT b.sha256, CAST(b.data AS BLOB) FROM blob_refs f JOIN blobs b ON b.id = f.blob WHERE f.run = ?"
        found = self.database.connection.execute(select, (key,))
        return {sha256: self._whole(sha256, data, run_id) for sha256, data in found}

    def blob(self, sha256: str) -> bytes:
        """Return one large value."""
        select = "SELECT CAST(data AS BLOB) FROM blobs WHERE sha256 = ?"
        found = self.database.connection.execute(select, (sha256,)).fetchone()
        if found is None:
            raise KeyError(sha256)
        return self._whole(sha256, found[0])

    def recall(self, session_id: str, after: int = 0, version: int | None = None) -> Recalled:
        """Return what is remembered of a session."""
        return _said.recall(self.database.connection, session_id, after, version)

    def _whole(self, sha256: str, content: bytes, run_id: str = "") -> bytes:
        if hashlib.sha256(content).hexdigest() != sha256:
            of = f" of run {run_id!r}" if run_id else ""
            msg = (
                f"the large value {sha256}{of} in {str(self.database.path)!r} is damaged: its hash is another"
            )
            raise StoreDamaged(msg, str(self.database.path), run_id=run_id)
        return content
