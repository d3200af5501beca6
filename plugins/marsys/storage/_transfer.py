"""Runs between the tables and a file."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

from marsys.storage import _rows, _said
from marsys.storage._reader import Reader
from marsys_core.errors import StoreError
from marsys_core.protocols.store import RunInfo
from marsys_core.transfer import Run, began_in, of_run

__all__ = ["exported", "insert_run", "write_runs"]


def exported(reader: Reader, run_id: str) -> Run:
    """Return all of one run, for a file.

    Raises:
        UnknownName: There is no such run.
        StoreDamaged: It cannot be read in full.
    """
    info, blobs, entries = reader.info(run_id), reader.blobs(run_id), reader.entries(run_id)
    began = began_in(entries)
    if began is None:
        return Run(info=info, blobs=blobs, entries=entries)
    said = of_run(run_id, reader.recall(began[0], version=began[1]), reader.recall(began[0]))
    return Run(info=info, blobs=blobs, entries=entries, said=said)


def write_runs(connection: sqlite3.Connection, runs: Iterable[Run]) -> str:
    """Write runs that nobody holds into the tables, and return the id of the first; where it raises, undo it.

    Raises:
        StoreError: One is there already.
    """
    ids = []
    for run in runs:
        _write_run(connection, run)
        ids.append(run.info.run_id)
    return ids[0]


def _write_run(connection: sqlite3.Connection, run: Run) -> None:
    key = insert_run(connection, run.info, run.info.created)
    for sha256, data in run.blobs.items():
        _rows.keep_blob(connection, key, sha256, data)
    base, salt = _rows.base_of(key), _rows.salt_of(run.info.run_id)
    _rows.insert(connection, [_rows.row_of(entry, base, salt) for entry in run.entries])
    if run.said:
        _write_said(connection, run)


def _write_said(connection: sqlite3.Connection, run: Run) -> None:
    session_id = run.session_id
    for run_id, said in run.additions(known=_said.is_known(connection, session_id)):
        _said.remember(connection, _said.Addition(session_id, run_id, said), run.info.updated)


def insert_run(
    connection: sqlite3.Connection,
    info: RunInfo,
    now: float,
    held: tuple[str | None, str, float | None] = (None, "", None),
) -> int:
    """Write what is known of a new run, and return its key; where it raises, nothing is written.

    Args:
        connection: Where to.
        info: What is known.
        now: Seconds since 1970.
        held: Who has it: the token, the words, and since when.

    Raises:
        StoreError: There is a run with this id.
    """
    status = "running" if info.status == "interrupted" else info.status
    facts: tuple[str | float | None, ...] = (
        *(info.run_id, info.session_id, info.task, float(info.created or now), info.format, info.fingerprint),
        *(info.origin, info.parent, *(info.forked_from or (None, None))),
    )
    row = (*facts, _rows.crc_of(facts), status, info.steps, info.error, info.updated or now, *held)
    cursor = connection.execute(
        f"INSERT INTO runs ({', '.join(_rows.FACTS)}, crc, status, steps, error, updated, holder, held_as, held_since)"  # noqa: S608, names of ours
        f" VALUES ({', '.join('?' * len(row))}) ON CONFLICT (run_id) DO NOTHING",
        row,
    )
    if not cursor.rowcount:
        msg = f"there is a run {info.run_id!r} already; take it to go on with it, or give the new one another id"
        raise StoreError(msg)
    assert cursor.lastrowid is not None
    return cursor.lastrowid
