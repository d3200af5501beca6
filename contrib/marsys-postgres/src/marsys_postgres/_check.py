"""Reading everything, and saying what is not as it was written."""

from __future__ import annotations

from typing import Any

import psycopg

from marsys_core.errors import StoreDamaged
from marsys_core.protocols.store import Damage, Entry, StoreReport
from marsys_postgres._reader import Reader
from marsys_postgres._server import is_gone

__all__ = ["checked"]

_MISSING = """
SELECT DISTINCT r.run_id FROM blob_refs f JOIN runs r ON r.id = f.run
WHERE NOT EXISTS (SELECT 1 FROM blobs b WHERE b.sha256 = f.sha256)"""


def checked(connection: psycopg.Connection, reader: Reader) -> StoreReport:
    """Return what of the store can be read."""
    damage: list[Damage] = []
    runs = entries = blobs = 0
    for (run_id,) in _rows(connection, "SELECT run_id FROM runs ORDER BY id", damage):
        good: list[Entry] = []
        found = _scanned(connection, reader, run_id, good)
        entries += len(good)
        if found is None:
            runs += 1
        else:
            damage.append(found)
    # The server computes the hashes: nothing large goes over the wire.
    hashes = "SELECT sha256, encode(sha256(data), 'hex') = sha256 FROM blobs"
    for sha256, good_hash in _rows(connection, hashes, damage):
        if good_hash:
            blobs += 1
        else:
            damage.append(Damage(what=f"the large value {sha256} has another hash"))
    for (run_id,) in _rows(connection, _MISSING, damage):
        damage.append(Damage(run_id=run_id, what="a large value of it is missing"))
    for (session_id,) in _rows(connection, "SELECT session_id FROM sessions ORDER BY session_id", damage):
        try:
            reader.recall(connection, session_id)
        except StoreDamaged as error:
            damage.append(Damage(what=str(error)))
    return StoreReport(runs=runs, entries=entries, blobs=blobs, damage=tuple(damage))


def _scanned(connection: psycopg.Connection, reader: Reader, run_id: str, good: list[Entry]) -> Damage | None:
    try:
        with connection.transaction():
            seq = reader.scan(connection, run_id, good)
    except psycopg.Error as error:
        if is_gone(connection, error):
            raise
        return Damage(run_id=run_id, seq=len(good), what=str(error))
    if seq is None:
        return None
    return Damage(run_id=run_id, seq=seq, what="it is missing, or is not what its checksum says")


def _rows(connection: psycopg.Connection, select: str, damage: list[Damage]) -> list[tuple[Any, ...]]:
    """Return rows, or none where the server cannot read them; that is damage."""
    try:
        with connection.transaction():
            return connection.execute(select).fetchall()
    except psycopg.Error as error:
        if is_gone(connection, error):
            raise
        damage.append(Damage(what=str(error)))
        return []
