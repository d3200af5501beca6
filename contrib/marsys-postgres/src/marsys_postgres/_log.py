"""The log of one run that is held here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import attrs
import psycopg
import trio

from marsys_core.errors import LifecycleError
from marsys_core.protocols.store import STATUSES, Entry
from marsys_postgres import _rows
from marsys_postgres._batch import Blob
from marsys_postgres._said import Addition
from marsys_postgres._tables import notify
from marsys_postgres._waiter import Held
from marsys_postgres._writer import Writer

__all__ = ["PostgresLog"]

_GIVE_BACK = "UPDATE runs SET holder = NULL, held_as = '', held_since = 0 WHERE id = %s AND holder = %s"


@attrs.define(eq=False, kw_only=True)
class PostgresLog:
    """One run under a lease; made by `PostgresStore.create` and `PostgresStore.take`.

    Args:
        held: The run.
        writer: The store's.
        next_seq: The `seq` of the next entry.
        clock: Seconds since 1970.
    """

    _held: Held
    _writer: Writer
    _next: int = attrs.field(alias="next_seq")
    _clock: Callable[[], float]
    _salt: int = attrs.field(init=False)
    _queued: int = attrs.field(default=0, init=False)
    _written: int = attrs.field(default=0, init=False)
    _put: set[str] = attrs.field(factory=set, init=False)
    _open: bool = attrs.field(default=True, init=False)

    def __attrs_post_init__(self) -> None:
        self._salt = _rows.salt_of(self._held.run_id)

    @property
    def run_id(self) -> str:
        """The run."""
        return self._held.run_id

    @property
    def next_seq(self) -> int:
        """The `seq` that the next entry has to have."""
        return self._next

    def append(self, entry: Entry) -> None:
        """Queue `entry`; it is written with the next commit of any run, or when much is queued.

        Raises:
            ValueError: Its `seq` is not the next one, or it holds text that UTF-8 does not have.
            LifecycleError: The log was released.
        """
        self._check_open()
        if entry.seq != self._next:
            msg = f"the next entry of run {self.run_id!r} has seq {self._next}, not {entry.seq!r}"
            raise ValueError(msg)
        row = _rows.row_of(entry, self._held.key, self._salt)
        self._add(row, len(entry.data))
        self._next += 1

    def put(self, sha256: str, data: bytes) -> None:
        """Queue a large value, once for this log however often it is put."""
        self._check_open()
        if sha256 not in self._put:
            self._put.add(sha256)
            self._add(Blob(sha256, bytes(data)), len(data))

    def update(
        self, *, status: str | None = None, steps: int | None = None, error: str | None = None
    ) -> None:
        """Queue a change of what the store tells about the run.

        Raises:
            ValueError: There is no such status, or the error holds text that UTF-8 does not have.
        """
        self._check_open()
        if status is not None and status not in STATUSES:
            msg = f"the status of a run is one of {', '.join(STATUSES)}, not {status!r}"
            raise ValueError(msg)
        given: dict[str, Any] = {"status": status, "steps": steps, "error": error}
        changes = {name: value for name, value in given.items() if value is not None}
        (error or "").encode()
        self._add({**changes, "updated": self._clock()}, 0)

    def remember(self, session_id: str, said: Mapping[str, str]) -> None:
        """Queue what the run adds to a session.

        Raises:
            ValueError: It holds text that UTF-8 does not have.
            LifecycleError: The log was released.
        """
        self._check_open()
        for text in (session_id, *said, *said.values()):
            text.encode()
        added = Addition(session_id, self.run_id, dict(said), self._clock())
        self._add(added, sum(map(len, said.values())))

    async def commit(self) -> None:
        """Wait until everything before is kept.

        Raises:
            StoreError: It could not be written; it stays queued.
            RunHeld: The run was taken over.
            LifecycleError: The store was closed with something unwritten.
        """
        queued = self._queued
        if queued == self._written:
            await trio.lowlevel.checkpoint()
            return
        await self._writer.commit(self._held)
        self._written = max(self._written, queued)

    async def release(self) -> None:
        """Commit, and give the run back.

        Raises:
            StoreError: Something could not be written; the run is still held.
            RunHeld: The run was taken over; then there is nothing to give back.
        """
        if not self._open:
            await trio.lowlevel.checkpoint()
            return
        self._open = False
        key, holder = self._held.key, self._writer.lease.holder

        def give_back(connection: psycopg.Connection) -> None:
            connection.execute(_GIVE_BACK, (key, holder))
            notify(connection, [key])

        try:
            await self._writer.call(give_back)
        except BaseException:
            self._open = True
            raise
        self._written = self._queued
        if self._held.lost is not None:
            raise self._held.lost

    def end(self) -> None:
        """Take nothing more: the store is closing, and gives the run back itself."""
        self._open = False

    def _add(self, item: Any, size: int) -> None:
        self._writer.add(self._held, item, size)
        self._queued += 1

    def _check_open(self) -> None:
        if not self._open:
            msg = f"the log of run {self.run_id!r} was released; take the run again to go on with it"
            raise LifecycleError(msg)
