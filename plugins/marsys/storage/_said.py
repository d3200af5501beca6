"""What is remembered of sessions, in the tables.

Nothing of it is changed once it is written: what a run has added stays when the run adds something else in its place,
and says from which version on it does not hold. So how a session was at any version can still be read.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from zlib import crc32

import attrs

from marsys.storage._rows import base_of
from marsys_core.errors import StoreDamaged
from marsys_core.protocols.store import Recalled, Said

__all__ = ["Addition", "forget", "forget_unused", "is_known", "recall", "remember"]

_READ = """
SELECT place, agent, run_id, data, crc FROM said
WHERE id > ? AND id <= ? AND (dropped IS NULL OR dropped > ?) ORDER BY id"""
_OF_A_RUN = "FROM said WHERE run_id = ? AND id >= ? AND id < ? AND dropped IS NULL"


@attrs.frozen
class Addition:
    """What a run adds to a session, on its way into the tables."""

    session_id: str
    run_id: str
    said: Mapping[str, str]


def remember(connection: sqlite3.Connection, added: Addition, now: float) -> None:
    """Write what a run adds to a session, in place of what it had added."""
    key, version = _session(connection, added.session_id) or (0, 0)
    ends = (base_of(key), base_of(key + 1))
    found = connection.execute(f"SELECT agent, data {_OF_A_RUN}", (added.run_id, *ends))
    before = dict(found.fetchall()) if key else {}
    if before == added.said:
        return
    if not key:
        cursor = connection.execute(
            "INSERT INTO sessions (session_id, version, used) VALUES (?, 0, ?)", (added.session_id, now)
        )
        assert cursor.lastrowid is not None
        key = cursor.lastrowid
    if before:
        dropping = f"UPDATE said SET dropped = ? WHERE id IN (SELECT id {_OF_A_RUN})"  # noqa: S608
        connection.execute(dropping, (version + 1, added.run_id, *ends))
    for place, (agent, data) in enumerate(added.said.items(), version + 1):
        crc = _crc(added.session_id, place, agent, added.run_id, data)
        connection.execute(
            "INSERT INTO said (id, run_id, agent, data, crc) VALUES (?, ?, ?, ?, ?)",
            (base_of(key) + place, added.run_id, agent, data, crc),
        )
    version += max(len(added.said), 1)
    connection.execute("UPDATE sessions SET version = ?, used = ? WHERE id = ?", (version, now, key))


def recall(connection: sqlite3.Connection, session_id: str, after: int, version: int | None) -> Recalled:
    """Return what is remembered of a session.

    Raises:
        StoreDamaged: Something is not as it was written.
    """
    found = _session(connection, session_id)
    if found is None:
        return Recalled()
    key, latest = found
    at = latest if version is None else min(version, latest)
    said, base = [], base_of(key)
    for place, agent, run_id, data, crc in connection.execute(_READ, (base + after, base + at, at)):
        if _crc(session_id, place, agent, run_id, data) != crc:
            msg = f"what agent {agent!r} remembers of session {session_id!r} is damaged: addition {place} is not what its checksum says"
            raise StoreDamaged(msg)
        said.append(Said(agent, run_id, data))
    return Recalled(at, said)


def is_known(connection: sqlite3.Connection, session_id: str) -> bool:
    """Return whether anything was ever added to a session, and not forgotten."""
    return _session(connection, session_id) is not None


def forget(connection: sqlite3.Connection, session_id: str) -> None:
    """Forget what was said in a session."""
    found = _session(connection, session_id)
    if found is not None:
        _forget(connection, found[0])


def forget_unused(connection: sqlite3.Connection, before: float) -> None:
    """Forget the sessions that were last added to before then, and that no run is left of."""
    unused = (
        "SELECT id FROM sessions s WHERE used < ?"
        " AND NOT EXISTS (SELECT 1 FROM runs r WHERE r.session_id = s.session_id AND r.session_id <> '')"
    )
    for (key,) in connection.execute(unused, (before,)).fetchall():
        _forget(connection, key)


def _forget(connection: sqlite3.Connection, key: int) -> None:
    connection.execute("DELETE FROM said WHERE id >= ? AND id < ?", (base_of(key), base_of(key + 1)))
    connection.execute("DELETE FROM sessions WHERE id = ?", (key,))


def _session(connection: sqlite3.Connection, session_id: str) -> tuple[int, int] | None:
    select = "SELECT id, version FROM sessions WHERE session_id = ?"
    found: tuple[int, int] | None = connection.execute(select, (session_id,)).fetchone()
    return found


def _crc(session_id: str, place: int, agent: str, run_id: str, data: str) -> int:
    head = f"{place} {len(agent)} {len(run_id)} {agent}{run_id}"
    return crc32(data.encode(), crc32(head.encode(), crc32(session_id.encode())))
