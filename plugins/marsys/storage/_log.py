"""The log of one run that is held here."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from typing import Any

import attrs
import trio

from marsys.storage import _rows
from marsys.storage._said import Addition
from marsys.storage._waiter import Held
from marsys.storage._writer import Writer
from marsys_core.errors import LifecycleError
from marsys_core.protocols.store import STATUSES, Entry

__all__ = ["SQLiteLog"]

_MOST_ENTRIES = 1 << 32


@attrs.define(eq=False, kw_only=True)
class SQLiteLog:
    """One run under a lease; made by `SQLiteStore.create` and `SQLiteStore.take`.

    Args:
        held: The run.
        writer: The store's.
        next_seq: The `seq` of the next entry.
    """

    _held: Held
    _writer: Writer
    _next: int = attrs.field(alias="next_seq")
    _base: int = attrs.field(init=False)
    _salt: int = attrs.field(init=False)
    _queued: int = attrs.field(default=0, init=False)
    _written: int = attrs.field(default=0, init=False)
    _put: set[str] = attrs.field(factory=set, init=False)
    _open: bool = attrs.field(default=True, init=False)

    def __attrs_post_init__(self) -> None:
        self._base = _rows.base_of(self._held.key)
        self._salt = _rows.salt_of(self._held.run_id)

    @property
    def held(self) -> Held:
        """What the writer knows of the run."""
        return self._held

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
        if not self._open:
            raise self._released()
        if entry.seq != self._next or entry.seq >= _MOST_ENTRIES:
            msg = f"the next entry of run {self.run_id!r} has seq {self._next}, not {entry.seq!r}"
            raise ValueError(msg)
        item = (self._held.number, *_rows.row_of(entry, self._base, self._salt))
        # First of all: were it interrupted from the keyboard later, there would be a gap.
        self._writer.add(item, len(entry.data))
        self._next += 1
        self._queued += 1

    def put(self, sha256: str, data: bytes) -> None:
        """Queue a large value, once for this log however often it is put."""
        if not self._open:
            raise self._released()
        if sha256 in self._put:
            return
        self._put.add(sha256)
        self._queued += 1
        self._writer.add((self._held, (sha256, bytes(data))), len(data))

    def update(
        self, *, status: str | None = None, steps: int | None = None, error: str | None = None
    ) -> None:
        """Queue a change of what the store tells about the run.

        Raises:
            ValueError: There is no such status.
        """
        if not self._open:
            raise self._released()
        if status is not None and status not in STATUSES:
            msg = f"the status of a run is one of {', '.join(STATUSES)}, not {status!r}"
            raise ValueError(msg)
        given = (("status", status), ("steps", steps), ("error", error))
        changes: dict[str, Any] = {name: value for name, value in given if value is not None}
        changes["updated"] = self._writer.clock()
        self._queued += 1
        self._writer.add((self._held, changes), 0)

    def remember(self, session_id: str, said: Mapping[str, str]) -> None:
        """Queue what the run adds to a session.

        Raises:
            ValueError: It holds text that UTF-8 does not have.
            LifecycleError: The log was released.
        """
        if not self._open:
            raise self._released()
        for text in (session_id, *said, *said.values()):
            text.encode()
        self._queued += 1
        added = Addition(session_id, self.run_id, dict(said))
        self._writer.add((self._held, added), sum(map(len, said.values())))

    async def commit(self) -> None:
        """Wait until everything before is kept.

        Raises:
            StoreError: It could not be written; it stays queued.
            RunHeld: The run was taken over.
            LifecycleError: The log was released with something unwritten.
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
        key, token = self._held.key, self._writer.token

        def give_back(connection: sqlite3.Connection) -> None:
            connection.execute(
                "UPDATE runs SET holder = NULL, held_as = '', held_since = NULL WHERE id = ? AND holder = ?",
                (key, token),
            )

        try:
            await self._writer.call(give_back, quick=True, guarded=False)
        except BaseException:
            self._open = True
            raise
        self._written = self._queued
        self._writer.forget(self._held)
        if self._held.lost is not None:
            raise self._held.lost

    def end(self) -> None:
        """Take nothing more: the store is closing, and gives the run back itself."""
        self._open = False

    def _released(self) -> LifecycleError:
        msg = f"the log of run {self.run_id!r} was released; take the run again to go on with it"
        return LifecycleError(msg)
