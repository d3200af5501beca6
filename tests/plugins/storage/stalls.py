"""A detector of what a store makes the event loop wait for, by a clock that only its statements move."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from typing import Any

import attrs

from marsys.storage import SQLiteStore

__all__ = ["Stalls"]


@attrs.define(eq=False)
class _Watched:
    """A connection whose statements take the time that the detector says, and are noted on the loop's thread."""

    connection: sqlite3.Connection
    stalls: Stalls

    def __getattr__(self, name: str) -> Any:
        return getattr(self.connection, name)

    def execute(self, statement: str, *values: Any) -> sqlite3.Cursor:
        self.stalls.pass_(statement)
        return self.connection.execute(statement, *values)

    def executemany(self, statement: str, *values: Any) -> sqlite3.Cursor:
        self.stalls.pass_(statement)
        return self.connection.executemany(statement, *values)


@attrs.define(eq=False)
class Stalls:
    """Counts what the writer of a store does on the thread of the loop.

    Args:
        seconds: How long a statement takes, by the detector's clock, from `begin` on; none before.

    Attributes:
        here: The statements on the loop's thread.
        commits: ``L`` for each commit there, ``t`` for each on the writer's thread.
        stalled: The seconds that the loop's thread spent in statements.
        longest: The most of them between a beginning and its end.
    """

    seconds: Callable[[str], float] = lambda statement: 0.0
    loop: threading.Thread = attrs.field(factory=threading.current_thread)
    here: list[str] = attrs.field(factory=list)
    commits: str = ""
    stalled: float = 0.0
    longest: float = 0.0
    _begun: bool = False
    _now: threading.local = attrs.field(factory=threading.local)
    _began: float = 0.0

    def watch(self, store: SQLiteStore, monkeypatch: Any) -> None:
        """Watch an open store from here on, and give its writer the detector's clock."""
        database: Any = store._open().database
        database.connection = _Watched(database.connection, self)
        monkeypatch.setattr("marsys.storage._writer.time.perf_counter", self.now)

    def begin(self) -> None:
        """Begin to count, and let statements take time."""
        self._begun = True

    def now(self) -> float:
        """Return the time of the thread that asks."""
        return getattr(self._now, "seconds", 0.0)

    def pass_(self, statement: str) -> None:
        """A statement is carried out."""
        if not self._begun:
            return
        took = self.seconds(statement)
        self._now.seconds = self.now() + took
        is_here = threading.current_thread() is self.loop
        if statement == "COMMIT":
            self.commits += "L" if is_here else "t"
        if is_here:
            self.here.append(statement)
            self.stalled += took
            self._began = self.now() - took if statement == "BEGIN IMMEDIATE" else self._began
            self.longest = max(self.longest, self.now() - self._began)
