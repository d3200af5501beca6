"""How an entry lies in the table, and how it is known to be as it was written."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any
from zlib import crc32

from marsys_core.protocols.store import Entry

__all__ = ["FACTS", "INSERT", "SELECT", "Row", "base_of", "crc_of", "entry_of", "row_of", "salt_of"]

Row = tuple[int, str, int, str, float, str | None, int, str, int]

INSERT = (
    "INSERT INTO entries (id, branch, n, kind, time, cause_branch, cause_n, data, crc)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
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


def row_of(entry: Entry, base: int, salt: int) -> Row:
    """Return `entry` as it lies in the table. A cause in the same branch is written without the branch."""
    seq, branch, kind, data = entry.seq, entry.branch, entry.kind, entry.data
    cause_branch, cause_n = entry.cause
    n, time = entry.n, float(entry.time)
    head = f"{seq} {branch} {n} {cause_branch} {cause_n} {kind} {time}"
    crc = crc32(data.encode(), crc32(head.encode(), salt))
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
