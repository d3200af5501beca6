"""Reading everything, and saying what is not as it was written."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterator
from typing import Any

from marsys.storage._reader import Reader, bytes_of
from marsys_core.errors import StoreDamaged
from marsys_core.protocols.store import Damage, Entry, StoreReport

__all__ = ["checked"]

_ENDED = "the file ends here for the reader: {}"


def checked(reader: Reader) -> StoreReport:
    """Return what of the file can be read."""
    damage = list(_of_the_file(reader))
    runs = entries = 0
    for found in _rows(reader, "SELECT run_id, id FROM runs ORDER BY id", damage):
        good: list[Entry] = []
        broken = reader.scan(found[0], found[1], good)
        entries += len(good)
        if broken is None:
            runs += 1
        else:
            damage.append(Damage(run_id=found[0], seq=broken[0], what=broken[1]))
    blobs = 0
    for sha256, data in _rows(reader, "SELECT sha256, data FROM blobs", damage):
        if hashlib.sha256(bytes_of(data)).hexdigest() == sha256:
            blobs += 1
        else:
            damage.append(Damage(what=f"the large value {sha256} has another hash"))
    missing = "SELECT r.run_id FROM blob_refs f JOIN runs r ON r.id = f.run WHERE f.blob NOT IN (SELECT id FROM blobs)"
    damage += [
        Damage(run_id=run_id, what="a large value of it is missing")
        for (run_id,) in _rows(reader, missing, damage)
    ]
    for found in _rows(reader, "SELECT session_id FROM sessions ORDER BY id", damage):
        try:
            reader.recall(found[0])
        except StoreDamaged as error:
            damage.append(Damage(what=str(error)))
    return StoreReport(runs=runs, entries=entries, blobs=blobs, damage=tuple(damage))


def _of_the_file(reader: Reader) -> Iterator[Damage]:
    try:
        for (text,) in reader.database.connection.execute("PRAGMA integrity_check(100)"):
            if text != "ok":
                yield Damage(what=text)
    except sqlite3.DatabaseError as error:
        yield Damage(what=str(error))


def _rows(reader: Reader, select: str, damage: list[Damage]) -> Iterator[tuple[Any, ...]]:
    """Yield rows as long as there are some that can be read; where that ends early, it is damage."""
    try:
        yield from reader.database.connection.execute(select)
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
        damage.append(Damage(what=_ENDED.format(error)))
