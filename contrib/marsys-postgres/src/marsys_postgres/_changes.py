"""Hearing of what is committed, wherever that was done."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import attrs
import psycopg
import trio
from psycopg import sql

from marsys_postgres._reader import Reader
from marsys_postgres._tables import CHANNEL

__all__ = ["Changes", "listening"]

_NAMES = "SELECT run_id FROM runs WHERE id = ANY(%s) ORDER BY id"


@attrs.define(eq=False)
class Changes:
    """The ids of runs of which something was committed, as `async for` gives them; used by one task.

    A run that changed several times since it was asked for last comes once.
    """

    _connection: psycopg.Connection
    _reader: Reader
    _keys: set[int] = attrs.field(factory=set, init=False)
    _names: list[str] = attrs.field(factory=list, init=False)

    def __aiter__(self) -> Changes:
        return self

    async def __anext__(self) -> str:
        await trio.lowlevel.checkpoint_if_cancelled()
        while not self._names:
            self._keys.update(self._heard())
            if self._keys:
                # Should this be cancelled, they are asked for the next time.
                self._names = await self._reader.ask(_names_of, sorted(self._keys))
                self._keys.clear()
            else:
                await trio.lowlevel.wait_readable(self._connection.fileno())
        await trio.lowlevel.cancel_shielded_checkpoint()
        return self._names.pop(0)

    def _heard(self) -> Iterator[int]:
        """Take what has come, without waiting."""
        try:
            for notification in self._connection.notifies(timeout=0):
                yield int(notification.payload)
        except psycopg.Error as error:
            raise self._reader.server.explained(error, "listen", gone=True) from error


@asynccontextmanager
async def listening(reader: Reader) -> AsyncIterator[Changes]:
    """Listen on a connection of its own."""
    connection = await trio.to_thread.run_sync(_connected, reader)
    try:
        yield Changes(connection, reader)
    finally:
        connection.close()


def _connected(reader: Reader) -> psycopg.Connection:
    connection = reader.server.connect()
    try:
        found = connection.execute(CHANNEL).fetchone()
        assert found is not None
        connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(found[0])))
    except psycopg.Error as error:
        connection.close()
        raise reader.server.explained(error, "listen") from error
    return connection


def _names_of(connection: psycopg.Connection, keys: list[int]) -> list[str]:
    return [run_id for (run_id,) in connection.execute(_NAMES, (keys,))]
