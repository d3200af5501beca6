"""The session that writes, and by which others know that this process is there.

Whoever opens the store is a holder, with a number that nobody else ever has. Its session keeps an advisory lock
of that number, which the server releases when the session ends; and its row in `holders` says until when the lease
lasts, by the server's clock, and when the server was started that gave the lock. A holder is gone when the lease
has run out (its machine was cut off, or it is stalled), or when the same server has no such lock any more (it has
ended). A server that was started anew has no locks, which says nothing of who is there: then only the time counts.

That somebody is not gone decides who may take a run. Who may write is decided apart from it, in each transaction:
only who is in the run's row, which is locked meanwhile.
"""

from __future__ import annotations

import os
import platform
import time

import attrs
import psycopg

from marsys_postgres._schema import migrate
from marsys_postgres._server import Server

__all__ = ["Lease"]

_BEATS = 6
"""How often a lease is renewed before it would run out."""

_NUMBER = "SELECT nextval(pg_get_serial_sequence('holders', 'id'))"
# The server may not have noticed yet that an earlier session of ours is gone.
_END = """
SELECT pg_terminate_backend(l.pid) FROM pg_locks l WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 2
AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
AND l.classid = 'holders'::regclass::oid AND l.objid = %s::oid AND l.pid <> pg_backend_pid()"""
_LOCK = "SELECT pg_advisory_lock('holders'::regclass::oid::int4, %s::int4)"
_SIGN = """
INSERT INTO holders (id, host, pid, server, expires)
VALUES (%s, %s, %s, pg_postmaster_start_time(), clock_timestamp() + make_interval(secs => %s))
ON CONFLICT (id) DO UPDATE SET server = excluded.server, expires = excluded.expires"""
_FORGET = "DELETE FROM holders WHERE expires < clock_timestamp() - interval '1 day'"


@attrs.define(eq=False, kw_only=True)
class Lease:
    """The writing connection of one open store; used by one thread at a time.

    Args:
        server: Where to.
        seconds: How long the lease lasts when nothing is heard of this process.
    """

    server: Server
    seconds: float
    host: str = attrs.field(factory=platform.node)
    pid: int = attrs.field(factory=os.getpid)
    holder: int = attrs.field(default=0, init=False)
    """The number; 0 before the first connection."""
    _connection: psycopg.Connection | None = attrs.field(default=None, init=False)
    _signed_at: float = attrs.field(default=0.0, init=False)

    @property
    def beat_seconds(self) -> float:
        """How often the lease is renewed."""
        return self.seconds / _BEATS

    def connected(self) -> psycopg.Connection:
        """Return the connection, a new one where the last was lost.

        Raises:
            StoreError: There is no server, or it does not let us in.
        """
        if self._connection is not None and not self._connection.closed:
            return self._connection
        self._connection = None
        connection = self.server.connect()
        try:
            migrate(connection, self.server)
            self._hold(connection)
        except psycopg.Error as error:
            connection.close()
            raise self.server.explained(error, "open the store") from error
        except BaseException:
            connection.close()
            raise
        self._connection = connection
        return connection

    @property
    def current(self) -> psycopg.Connection | None:
        """The connection that there is, or None where the last was lost."""
        return self._connection

    def drop(self) -> None:
        """Forget the connection: it is of no use any more."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def renew(self, connection: psycopg.Connection) -> None:
        """Say that this process is there, if that is due; in a transaction that may be going on."""
        if time.monotonic() - self._signed_at >= self.beat_seconds:
            self._sign(connection)

    def close(self) -> None:
        """Give the lease back, and disconnect."""
        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                if not connection.closed:
                    connection.execute("DELETE FROM holders WHERE id = %s", (self.holder,))
            finally:
                connection.close()

    def _hold(self, connection: psycopg.Connection) -> None:
        if not self.holder:
            found = connection.execute(_NUMBER).fetchone()
            assert found is not None
            self.holder = found[0]
            connection.execute(_FORGET)
        connection.execute(_END, (self.holder,))
        connection.execute(_LOCK, (self.holder,))
        self._sign(connection)

    def _sign(self, connection: psycopg.Connection) -> None:
        now = time.monotonic()
        connection.execute(_SIGN, (self.holder, self.host, self.pid, self.seconds))
        self._signed_at = now
