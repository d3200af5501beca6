"""How an entry lies in the table, and how it is known to be as it was written."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Sequence
from sqlite3 import Connection
from typing import Any
from zlib import crc32

from marsys_core.protocols.store import Entry

__all__ = [
    "FACTS",
    "SELECT",
    "Row",
    "base_of",
    "crc_of",
    "entry_of",
    "insert",
    "keep_blob",
    "row_of",
    "salt_of",
]

Row = tuple[int, str, int, str, float, str | None, int, str, int]

_INSERT = "INSERT INTO entries (id, branch, n, kind, time, cause_branch, cause_n, data, crc) VALUES "
_VALUES = "(?, ?, ?, ?, ?, ?, ?, ?, ?)"
_AT_ONCE = 32
SELECT = (
    "SELECT id, branch, n, kind, time, cause_branch, cause_n, data, crc FROM entries"
    " WHERE id >= ? AND id < ? ORDER BY id"
)
FACTS = (
    "run_id", "session_id", "task", "created", "format", "fingerprint", "origin", "parent", "forked_from", "forked_seq",
)  # fmt: skip
"""What of a run's row never changes, and has a checksum."""


def crc_of(facts: Iterable[str | float | None]) -> int:
    """Return the checksum of a run's `FACTS`."""
    return crc32("\0".join(map(str, facts)).encode("utf-8", "backslashreplace"))


def base_of(key: int) -> int:
    """Return the id of a run's first entry. A run and a place in it are one number, which is the table's key."""
    return key << 32


def salt_of(run_id: str) -> int:
    """Return what the checksums of a run's entries begin with, so that an entry fits in no other run."""
    return crc32(run_id.encode())


@functools.cache
def _statement(count: int) -> str:
    return _INSERT + ", ".join([_VALUES] * count)


def insert(connection: Connection, rows: Sequence[Sequence[Any]], skip: int = 0) -> None:
    """Write rows, of each but its first `skip` values.

    Many go into one statement: between two statements the interpreter goes on with another thread, and waits to have
    it back, which takes longer than a row.
    """
    for start in range(0, len(rows), _AT_ONCE):
        part = rows[start : start + _AT_ONCE]
        values: list[Any] = []
        for row in part:
            values += row[skip:] if skip else row
        connection.execute(_statement(len(part)), values)


def keep_blob(connection: Connection, key: int, sha256: str, data: bytes) -> None:
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


def row_of(entry: Entry, base: int, salt: int) -> Row:
    """Return `entry` as it lies in the table. A cause in the same branch is written without the branch."""
    seq, branch, kind, data = entry.seq, entry.branch, entry.kind, entry.data
    cause_branch, cause_n = entry.cause
    n, time = entry.n, float(entry.time)
    crc = crc32(f"{seq} {branch} {n} {cause_branch} {cause_n} {kind} {time}{data}".encode(), salt)
    return (
        base + seq,
        branch,
        n,
        kind,
        time,
        None if cause_branch == branch else cause_branch,
        cause_n,
        data,
        crc,
    )


def entry_of(row: tuple[Any, ...], base: int, salt: int) -> Entry | None:
    """Return the entry that a row is, or None where it is not as it was written."""
    id, branch, n, kind, time, cause_branch, cause_n, data, crc = row
    if type(branch) is not str or type(kind) is not str or type(data) is not str or type(time) is not float:
        return None
    cause = (branch if cause_branch is None else cause_branch, cause_n)
    entry = Entry(id - base, branch, n, cause, kind, time, data)
    return entry if row_of(entry, base, salt)[8] == crc else None


def entries_of(rows: Iterator[tuple[Any, ...]], base: int, salt: int, start: int) -> Iterator[Entry | int]:
    """Yield the entries of consecutive rows, and last the place of the first that is missing or damaged."""
    expected = start
    for row in rows:
        entry = entry_of(row, base, salt) if row[0] == base + expected else None
        if entry is None:
            yield expected
            return
        yield entry
        expected += 1
