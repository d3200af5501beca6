"""What is written into the tables, inside a transaction that somebody else has begun."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

import psycopg

from marsys_core.errors import StoreError, UnknownName
from marsys_core.protocols.store import RunInfo
from marsys_core.transfer import Run
from marsys_postgres import _rows, _said

__all__ = ["CHANNEL", "insert_run", "keep_blobs", "notify", "remove_runs", "unknown", "write_runs"]

CHANNEL = "SELECT 'marsys_' || 'runs'::regclass::oid"
"""What a notification goes to; every schema has one of its own."""

_NOTIFY = f"SELECT pg_notify(({CHANNEL}), key::text) FROM unnest(%s::bigint[]) AS key"  # noqa: S608
_INSERT_RUN = """
INSERT INTO runs (run_id, session_id, status, task, steps, error, created, updated, format, fingerprint, origin,
  parent, forked_from, forked_seq)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT (run_id) DO NOTHING RETURNING id"""
# Large values are removed when no run refers to them; nobody may begin to refer to one at that moment.
_REFERRING = "SELECT pg_advisory_xact_lock_shared('blobs'::regclass::oid::int4, 0)"
_REMOVING = "SELECT pg_advisory_xact_lock('blobs'::regclass::oid::int4, 0)"
_UNUSED = "DELETE FROM blobs b WHERE NOT EXISTS (SELECT 1 FROM blob_refs f WHERE f.sha256 = b.sha256)"


def notify(connection: psycopg.Connection, keys: Collection[int]) -> None:
    """Tell those who listen that something of these runs was written, once it is committed."""
    if keys:
        connection.execute(_NOTIFY, (sorted(keys),))


def insert_run(connection: psycopg.Connection, info: RunInfo, now: float) -> int:
    """Write what is known of a new run, and return its key.

    Raises:
        StoreError: There is a run with this id.
    """
    status = "running" if info.status == "interrupted" else info.status
    forked, seq = info.forked_from or (None, None)
    created = connection.execute(
        _INSERT_RUN,
        (
            *(info.run_id, info.session_id, status, info.task, info.steps, info.error),
            *(info.created or now, info.updated or now, info.format, info.fingerprint, info.origin),
            *(info.parent, forked, seq),
        ),
    ).fetchone()
    if created is None:
        msg = f"there is a run {info.run_id!r} already; take it to go on with it, or give the new one another id"
        raise StoreError(msg)
    key: int = created[0]
    return key


def keep_blobs(connection: psycopg.Connection, wanted: Collection[tuple[int, str, bytes]]) -> None:
    """Write large values, each once, and which runs refer to them.

    Args:
        connection: Where.
        wanted: The key of a run, the hash, the value.
    """
    if not wanted:
        return
    connection.execute(_REFERRING)
    # In one order everywhere, so that two who write the same ones do not wait for each other.
    data = dict(sorted((sha256, data) for _, sha256, data in wanted))
    found = connection.execute("SELECT sha256 FROM blobs WHERE sha256 = ANY(%s)", (list(data),)).fetchall()
    here = {sha256 for (sha256,) in found}
    with connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO blobs (sha256, data) VALUES (%s, %s) ON CONFLICT DO NOTHING",
            [each for each in data.items() if each[0] not in here],
        )
        cursor.executemany(
            "INSERT INTO blob_refs (run, sha256) VALUES (%s, %s) ON CONFLICT DO NOTHING",
            sorted({(key, sha256) for key, sha256, _ in wanted}),
        )


def write_runs(connection: psycopg.Connection, runs: Iterable[Run]) -> str:
    """Write runs that nobody holds, and return the id of the first.

    Raises:
        StoreError: One is there already.
    """
    ids = []
    for run in runs:
        _write_run(connection, run)
        ids.append(run.info.run_id)
    return ids[0]


def _write_run(connection: psycopg.Connection, run: Run) -> None:
    key, salt = insert_run(connection, run.info, run.info.created), _rows.salt_of(run.info.run_id)
    keep_blobs(connection, [(key, sha256, data) for sha256, data in run.blobs.items()])
    with connection.cursor() as cursor:
        cursor.executemany(_rows.INSERT, [_rows.row_of(entry, key, salt) for entry in run.entries])
    if run.said:
        session_id = run.session_id
        for run_id, said in run.additions(known=_said.is_known(connection, session_id)):
            _said.remember(connection, _said.Addition(session_id, run_id, said, run.info.updated))
    notify(connection, [key])


def remove_runs(connection: psycopg.Connection, keys: Sequence[int]) -> None:
    """Forget runs, and the large values that no other run has."""
    if keys:
        connection.execute(_REMOVING)
        for table, column in (("entries", "run"), ("blob_refs", "run"), ("runs", "id")):
            connection.execute(f"DELETE FROM {table} WHERE {column} = ANY(%s)", (list(keys),))  # noqa: S608
        connection.execute(_UNUSED)


def unknown(connection: psycopg.Connection, run_id: str) -> UnknownName:
    """Return the error that there is no such run."""
    select = "SELECT run_id, count(*) OVER () FROM runs ORDER BY id DESC LIMIT 10"
    newest = connection.execute(select).fetchall()
    more = newest and newest[0][1] > len(newest)
    hint = f"These are the newest of {newest[0][1]}." if more else ""
    return UnknownName("run", run_id, [name for name, _ in newest], hint)
