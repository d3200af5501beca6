"""Reading everything, and saying what is not as it was written."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterator
from typing import Any

from marsys.storage._reader import Reader
from marsys_core.errors import StoreDamaged
from marsys_core.protocols.store import Damage, Entry, StoreReport

__all__ = ["checked"]

_ENDED = "the file ends here for the reader: {}"


def checked(reader: Reader) -> StoreReport:
    """Return what of the file can be read."""
    damage = list(_of_the_file(reader))
    names, entries = [], 0
    for name, key in _rows(reader, "SELECT CAST(run_id AS BLOB), id FROM runs ORDER BY id", damage):
        names.append(name.decode("utf-8", "backslashreplace"))
        found, count = _of_a_run(reader, names[-1], key)
        damage += found
        entries += count
    blobs = 0
    for key, sha256, data in _rows(
        reader, "SELECT id, CAST(sha256 AS BLOB), CAST(data AS BLOB) FROM blobs", damage
    ):
        if hashlib.sha256(data).hexdigest().encode() == sha256:
            blobs += 1
        else:
            damage += _of_a_value(reader, key, sha256.decode("utf-8", "backslashreplace"))
    missing = "SELECT r.run_id FROM blob_refs f JOIN runs r ON r.id = f.run WHERE f.blob NOT IN (SELECT id FROM blobs)"
    damage += [
        Damage(run_id=run_id, what="a large value of it is missing")
        for (run_id,) in _rows(reader, missing, damage)
    ]
    for (session_id,) in _rows(reader, "SELECT session_id FROM sessions ORDER BY id", damage):
        try:
            reader.recall(session_id)
        except StoreDamaged as error:
            damage.append(Damage(what=str(error)))
    broken = {each.run_id for each in damage}
    runs = sum(name not in broken for name in names)
    return StoreReport(runs=runs, entries=entries, blobs=blobs, damage=tuple(damage))


def _of_a_run(reader: Reader, run_id: str, key: int) -> tuple[list[Damage], int]:
    """Return what is wrong with a run, and how many entries of it can be read."""
    good: list[Entry] = []
    damage = []
    try:
        info = reader.known(key)
        if info.status == "damaged":
            damage.append(Damage(run_id=run_id, what=info.error))
    except sqlite3.DatabaseError as error:
        damage.append(Damage(run_id=run_id, what=f"what is known of it cannot be read: {error}"))
    broken = reader.scan(run_id, key, good)
    if broken is not None:
        damage.append(Damage(run_id=run_id, seq=broken[0], what=broken[1]))
    return damage, len(good)


def _of_a_value(reader: Reader, key: int, sha256: str) -> Iterator[Damage]:
    """Yield that a large value is damaged, for each run that refers to it."""
    what = f"the large value {sha256} has another hash"
    damage: list[Damage] = []
    select = "SELECT r.run_id FROM blob_refs f JOIN runs r ON r.id = f.run WHERE f.blob = ?"
    names = [name for (name,) in _rows(reader, select, damage, key)]
    yield from damage
    yield from [Damage(run_id=name, what=what) for name in names or [""]]


def _of_the_file(reader: Reader) -> Iterator[Damage]:
    try:
        for (text,) in reader.database.connection.execute("PRAGMA integrity_check(100)"):
            if text != "ok":
                yield Damage(what=text)
    except sqlite3.DatabaseError as error:
        yield Damage(what=str(error))


def _rows(reader: Reader, select: str, damage: list[Damage], *values: Any) -> Iterator[tuple[Any, ...]]:
    """Yield rows as long as there are some that can be read; where that ends early, it is damage."""
    try:
        yield from reader.database.connection.execute(select, values)
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
        damage.append(Damage(what=_ENDED.format(error)))
