"""How an entry lies in the table, and how it is known to be as it was written."""

from __future__ import annotations

from typing import Any
from zlib import crc32

from marsys_core.protocols.store import Entry

__all__ = ["INSERT", "SELECT", "Row", "entry_of", "row_of", "salt_of"]

Row = tuple[int, int, str, int, str, int, str, float, str, int]

# Where it is not known whether a commit went well, the same entries are written again. Only who holds the run
# writes to it, so that what is there already is the same.
INSERT = (
    "INSERT INTO entries (run, seq, branch, n, cause_branch, cause_n, kind, time, data, crc)"
    " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT (run, seq) DO NOTHING"
)
SELECT = (
    "SELECT run, seq, branch, n, cause_branch, cause_n, kind, time, data, crc FROM entries"
    " WHERE run = %s AND seq >= %s AND seq < %s ORDER BY seq"
)


def salt_of(run_id: str) -> int:
    """Return what the checksums of a run's entries begin with, so that an entry fits in no other run."""
    return crc32(run_id.encode())


def row_of(entry: Entry, key: int, salt: int) -> Row:
    """Return `entry` as it lies in the table."""
    (cause, cause_n), time = entry.cause, float(entry.time)
    head = f"{entry.seq} {entry.n} {cause_n} {time} {len(entry.branch)} {len(cause)} {len(entry.kind)} "
    text = f"{head}{entry.branch}{cause}{entry.kind}{entry.data}"
    crc = crc32(text.encode(), salt)
    return (key, entry.seq, entry.branch, entry.n, cause, cause_n, entry.kind, time, entry.data, crc)


def entry_of(row: tuple[Any, ...], salt: int) -> Entry | None:
    """Return the entry that a row is, or None where it is not as it was written."""
    key, seq, branch, n, cause, cause_n, kind, time, data, crc = row
    entry = Entry(seq, branch, n, (cause, cause_n), kind, time, data)
    return entry if row_of(entry, key, salt)[-1] == crc else None
