"""A connection to the file: how it is set up, what a transaction is, and what errors are in plain words."""

from __future__ import annotations

import contextlib
import errno
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs
import sqlite_utils

from marsys.storage._schema import APPLICATION, MIGRATIONS, VERSION
from marsys_core.errors import StoreDamaged, StoreError

__all__ = ["Database", "Fault", "explained"]

Fault = Callable[[str], None]
"""Called at each boundary of writing with its name; tests end the process there, or raise, but not after a commit."""

_WAITS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05)
_BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_MAGIC = b"SQLite format 3\0"
_SMALLEST_PAGE = 512
_REMEDIES = {
    sqlite3.SQLITE_FULL: "the disk is full; make room there",
    sqlite3.SQLITE_READONLY: "it is read-only for this user; allow writing to the file and its folder",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened; its folder has to be there, and be writable for this user",
    sqlite3.SQLITE_IOERR: "the disk refused to read or write; look at its room, its limits and its health",
    sqlite3.SQLITE_PERM: "this user may not use it",
}
_OF_THE_SYSTEM = {
    errno.EACCES: sqlite3.SQLITE_PERM,
    errno.EPERM: sqlite3.SQLITE_PERM,
    errno.ENOSPC: sqlite3.SQLITE_FULL,
    errno.EDQUOT: sqlite3.SQLITE_FULL,
    errno.EROFS: sqlite3.SQLITE_READONLY,
}


def explained(error: Exception, path: Path, doing: str) -> StoreError:
    """Return what an error of SQLite or of the system means, with the file and what to do."""
    code = getattr(error, "sqlite_errorcode", None)
    if isinstance(error, OSError):
        code = _OF_THE_SYSTEM.get(error.errno or 0, sqlite3.SQLITE_IOERR)
    elif code is None and "decode to UTF-8" in str(error):  # Python's own words, of text that is none
        code = sqlite3.SQLITE_CORRUPT
    primary = None if code is None else code & 0xFF
    head = f"could not {doing} in {str(path)!r}"
    if primary in _DAMAGED:
        found: StoreError = StoreDamaged(
            f"{head}: it is damaged, or no SQLite file ({error}); `check()` says what of it can be read",
            str(path),
        )
    else:
        remedy = _REMEDIES.get(primary, "") if primary is not None else ""
        found = StoreError(f"{head}: {f'{remedy} ({error})' if remedy else error}", str(path))
    found.__cause__ = error
    return found


def is_busy(error: sqlite3.Error) -> bool:
    """Return whether it is only that somebody else is writing."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in _BUSY


@attrs.define(eq=False)
class Database:
    """One connection, used by one thread at a time.

    Args:
        path: The file.
        synchronous: What SQLite's setting of that name says.
        busy_seconds: How long a write waits for others that write.
        fault: Called at each boundary of writing, or None.
    """

    path: Path
    synchronous: str = "NORMAL"
    busy_seconds: float = 30.0
    fault: Fault | None = None
    connection: sqlite3.Connection = attrs.field(init=False)
    tables: sqlite_utils.Database = attrs.field(init=False)

    def open(self) -> None:
        """Connect, and bring the tables up to date.

        Raises:
            StoreError: The file cannot be used, is not ours, or is newer than this code.
        """
        with self._explaining("open the store"):
            self._refuse_a_stump()
            # SQLite's own waiting would hold the thread in C where nothing can end it; `retried` waits instead.
            self.connection = sqlite3.connect(
                self.path, timeout=0, isolation_level=None, check_same_thread=False, cached_statements=128
            )
        try:
            with self._explaining("open the store"):
                self.tables = sqlite_utils.Database(self.connection, execute_plugins=False)
                self.retried(self._set_up)
        except BaseException:
            self.connection.close()
            raise

    def open_to_read(self) -> None:
        """Connect to a file that is set up, for a thread that only reads."""
        with self._explaining("open the store"):
            self.connection = sqlite3.connect(
                self.path, timeout=self.busy_seconds, isolation_level=None, check_same_thread=False
            )
            self.tables = sqlite_utils.Database(self.connection, execute_plugins=False)
            self.connection.execute("PRAGMA query_only = 1")

    def open_read_only(self) -> None:
        """Connect to a file without writing anything, for want of room or of permission to, or of need.

        Raises:
            StoreError: The file cannot be read, is not ours, or is not of this version.
        """
        with self._explaining("open the store"):
            self._refuse_a_stump()
            try:
                self._read_only("mode=ro")
            except sqlite3.OperationalError:
                # SQLite keeps two files beside this one, and cannot make them here. Where there is no log, nobody
                # has the file open, and it can be read as one that does not change.
                log = Path(f"{self.path}-wal")
                if log.exists() and log.stat().st_size:
                    raise
                self._read_only("mode=ro&immutable=1")

    def _read_only(self, how: str) -> None:
        self.connection = sqlite3.connect(
            f"{self.path.as_uri()}?{how}",
            uri=True,
            timeout=self.busy_seconds,
            isolation_level=None,
            check_same_thread=False,
        )
        try:
            self.tables = sqlite_utils.Database(self.connection, execute_plugins=False)
            self._refuse_older()
        except BaseException:
            self.connection.close()
            raise

    def close(self) -> None:
        """Disconnect. The last connection of all processes moves the log into the file and removes it."""
        self.connection.close()

    def begin(self, *, wait: bool) -> bool:
        """Begin to write; return False where somebody else is writing and `wait` is False.

        Raises:
            StoreError: Others were writing for `busy_seconds`.
        """
        if self.fault is not None:
            self.fault("begin")
        try:
            self.connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if not is_busy(error):
                raise
            if not wait:
                return False
            self.retried(lambda: self.connection.execute("BEGIN IMMEDIATE"))
        if self.fault is not None:
            self.fault("begun")
        return True

    def commit(self) -> None:
        """Make what was written since `begin` hold."""
        if self.fault is not None:
            self.fault("commit")
        self.connection.execute("COMMIT")

    def rollback(self) -> None:
        """Undo what was written since `begin`; SQLite may have done so itself."""
        if self.connection.in_transaction:
            self.connection.execute("ROLLBACK")

    def retried(self, action: Callable[[], object]) -> None:
        """Do `action`, again and again while others write.

        Raises:
            StoreError: They did so for `busy_seconds`.
        """
        deadline = time.monotonic() + self.busy_seconds
        tries = 0
        while True:
            try:
                action()
            except sqlite3.OperationalError as error:
                if not is_busy(error):
                    raise
                self.rollback()
                if time.monotonic() >= deadline:
                    raise self._too_long() from error
                time.sleep(_WAITS[min(tries, len(_WAITS) - 1)])
                tries += 1
            else:
                return

    def _too_long(self) -> StoreError:
        users = []
        with contextlib.suppress(sqlite3.Error):  # who they are only helps; that it is busy is the error
            users = [
                f"process {pid} on {host}"
                for pid, host in self.connection.execute("SELECT pid, host FROM holders ORDER BY pid")
            ]
        who = f"; it is used by {', '.join(users)}" if users else ""
        msg = f"another program has been writing to {str(self.path)!r} for {self.busy_seconds:g} seconds{who}"
        return StoreError(msg, str(self.path))

    def _refuse_a_stump(self) -> None:
        """Refuse a file that is less than one page: SQLite takes it for an empty one, and writes over it."""
        if not self.path.is_file() or not (size := self.path.stat().st_size):
            return
        with self.path.open("rb") as file:
            head = file.read(len(_MAGIC))
        if size < _SMALLEST_PAGE or head != _MAGIC:
            error = sqlite3.DatabaseError("file is not a database")
            error.sqlite_errorcode = sqlite3.SQLITE_NOTADB
            raise error

    def _set_up(self) -> None:
        connection = self.connection
        version = self._version()
        if connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
            mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
            if mode != "wal":
                msg = f"{str(self.path)!r} lies where SQLite can keep no log beside it; use a disk of this machine"
                raise StoreError(msg, str(self.path))
        connection.execute(f"PRAGMA synchronous = {self.synchronous}")
        # The writer's thread moves the log into the file; a commit on the loop's thread must never do so.
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        if version < VERSION:
            self._migrate()

    def _refuse_older(self) -> None:
        if self._version() < VERSION:
            msg = f"{str(self.path)!r} has no tables of this version yet; open it to write first"
            raise StoreError(msg, str(self.path))

    def _version(self) -> int:
        """Return the version of the file's tables; 0 is an empty file."""
        version: int = self.connection.execute("PRAGMA user_version").fetchone()[0]
        application = self.connection.execute("PRAGMA application_id").fetchone()[0]
        tables = self.connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if tables and application != APPLICATION:
            msg = f"{str(self.path)!r} is an SQLite file of another program; give the store a file of its own"
            raise StoreError(msg, str(self.path))
        if version > VERSION:
            msg = (
                f"{str(self.path)!r} was written by a newer MARSYS: its tables are version {version},"
                f" and this one knows versions up to {VERSION}; update MARSYS"
            )
            raise StoreError(msg, str(self.path))
        return version

    def _migrate(self) -> None:
        self.connection.execute("BEGIN IMMEDIATE")
        try:
            for migrate in MIGRATIONS[self._version() :]:  # again: another process may have been faster
                migrate(self.tables)
            self.connection.execute(f"PRAGMA user_version = {VERSION}")
            self.commit()
        except BaseException:
            self.rollback()
            raise

    @contextlib.contextmanager
    def _explaining(self, doing: str) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise explained(error, self.path, doing) from error
