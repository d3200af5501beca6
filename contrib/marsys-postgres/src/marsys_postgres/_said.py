"""What is remembered of sessions, in the tables.

Nothing of it is changed once it is written: what a run has added stays when the run adds something else in its place,
and says from which version on it does not hold. So how a session was at any version can still be read.
"""

from __future__ import annotations

from collections.abc import Mapping
from zlib import crc32

import attrs
import psycopg

from marsys_core.errors import StoreDamaged
from marsys_core.protocols.store import Recalled, Said

__all__ = ["Addition", "forget", "forget_unused", "is_known", "recall", "remember"]

# Whoever adds to a session locks its row: the next one sees what was added, and comes after it.
_NEW = (
    "INSERT INTO sessions (session_id, version, used) VALUES (%s, 0, %s) ON CONFLICT (session_id) DO NOTHING"
)
_LOCK = "SELECT version FROM sessions WHERE session_id = %s FOR UPDATE"
_OF_A_RUN = "session_id = %s AND run_id = %s AND dropped IS NULL"
_ADD = "INSERT INTO said (session_id, place, run_id, agent, data, crc) VALUES (%s, %s, %s, %s, %s, %s)"
_READ = """
SELECT place, agent, run_id, data, crc FROM said
WHERE session_id = %s AND place > %s AND place <= %s AND (dropped IS NULL OR dropped > %s) ORDER BY place"""
_UNUSED = """
SELECT session_id FROM sessions s WHERE used < %s
AND NOT EXISTS (SELECT 1 FROM runs r WHERE r.session_id = s.session_id AND r.session_id <> '')
ORDER BY session_id FOR UPDATE"""


@attrs.frozen
class Addition:
    """What a run adds to a session, on its way into the tables."""

    session_id: str
    run_id: str
    said: Mapping[str, str]
    now: float


def remember(connection: psycopg.Connection, added: Addition) -> None:
    """Write what a run adds to a session, in place of what it had added."""
    session_id, run_id, said = added.session_id, added.run_id, added.said
    version = _locked(connection, session_id)
    if version is None and said:
        connection.execute(_NEW, (session_id, added.now))
        version = _locked(connection, session_id)
    if version is None:
        return
    found = connection.execute(f"SELECT agent, data FROM said WHERE {_OF_A_RUN}", (session_id, run_id))  # noqa: S608
    before = dict(found.fetchall())
    if before == said:
        return
    if before:
        dropping = f"UPDATE said SET dropped = %s WHERE {_OF_A_RUN}"  # noqa: S608
        connection.execute(dropping, (version + 1, session_id, run_id))
    for place, (agent, data) in enumerate(said.items(), version + 1):
        crc = _crc(session_id, place, agent, run_id, data)
        connection.execute(_ADD, (session_id, place, run_id, agent, data, crc))
    connection.execute(
        "UPDATE sessions SET version = %s, used = %s WHERE session_id = %s",
        (version + max(len(said), 1), added.now, session_id),
    )


def recall(connection: psycopg.Connection, session_id: str, after: int, version: int | None) -> Recalled:
    """Return what is remembered of a session.

    Raises:
        StoreDamaged: Something is not as it was written.
    """
    found = connection.execute("SELECT version FROM sessions WHERE session_id = %s", (session_id,)).fetchone()
    if found is None:
        return Recalled()
    at = found[0] if version is None else min(version, found[0])
    said = []
    for place, agent, run_id, data, crc in connection.execute(_READ, (session_id, after, at, at)):
        if _crc(session_id, place, agent, run_id, data) != crc:
            msg = f"what agent {agent!r} remembers of session {session_id!r} is damaged: addition {place} is not what its checksum says"
            raise StoreDamaged(msg)
        said.append(Said(agent, run_id, data))
    return Recalled(at, said)


def is_known(connection: psycopg.Connection, session_id: str) -> bool:
    """Return whether anything was ever added to a session, and not forgotten; nobody adds to it meanwhile."""
    return _locked(connection, session_id) is not None


def forget(connection: psycopg.Connection, session_id: str) -> None:
    """Forget what was said in a session."""
    if _locked(connection, session_id) is not None:
        connection.execute("DELETE FROM said WHERE session_id = %s", (session_id,))
        connection.execute("DELETE FROM sessions WHERE session_id = %s", (session_id,))


def forget_unused(connection: psycopg.Connection, before: float) -> None:
    """Forget the sessions that were last added to before then, and that no run is left of."""
    for (session_id,) in connection.execute(_UNUSED, (before,)).fetchall():
        forget(connection, session_id)


def _locked(connection: psycopg.Connection, session_id: str) -> int | None:
    found = connection.execute(_LOCK, (session_id,)).fetchone()
    return None if found is None else int(found[0])


def _crc(session_id: str, place: int, agent: str, run_id: str, data: str) -> int:
    head = f"{place} {len(agent)} {len(run_id)} {agent}{run_id}"
    return crc32(data.encode(), crc32(head.encode(), crc32(session_id.encode())))
