"""Rows of the application: tried while a call works, and written with its outcome."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence

import attrs
import trio

from marsys.storage._database import explained
from marsys.storage._reader import Reader
from marsys.storage._statements import Bundle, carried_out
from marsys.storage._waiter import Held
from marsys.storage._writer import Writer
from marsys_core.protocols.transactions import Done, Statement

__all__ = ["Transactions"]


@attrs.define(eq=False, kw_only=True)
class Transactions:
    """Tries and carries out statements of calls, one call at a time.

    A call that works holds nothing: no lock, no transaction. So calls cannot block each other for ever, however they
    wait for one another, and the runs that share the file only wait for single statements.

    Args:
        writer: Writes, and what it has written is undone.
        reader: Reads what is committed, where a call has written nothing yet.
    """

    writer: Writer
    reader: Reader
    # A thread each for those whose turn it is, besides the threads that may be waiting for them.
    _turn: trio.Lock = attrs.field(factory=trio.Lock, init=False)
    _thread: trio.CapacityLimiter = attrs.field(factory=lambda: trio.CapacityLimiter(1), init=False)

    async def attempt(self, statements: Sequence[Statement]) -> list[Done]:
        """Carry out statements, undo them, and return what each came to.

        Raises:
            ToolError: One that no call may make.
            StoreError: The file cannot be written or read.
        """
        if all(each.reads for each in statements):
            return await self.reader.ask(self._read, statements)
        async with self._turn:
            found: list[Done] = await self.writer.alone(lambda: self._tried(statements), self._thread)
            return found

    def _read(self, statements: Sequence[Statement]) -> list[Done]:
        with self.reader.at_one_moment():
            return carried_out(self.reader.database.connection, statements)

    def _tried(self, statements: Sequence[Statement]) -> list[Done]:
        database = self.writer.database
        try:
            database.begin(wait=True)
            return carried_out(database.connection, statements)
        except (sqlite3.Error, OSError) as error:
            raise explained(error, database.path, "write") from error
        finally:
            database.rollback()

    async def conclude(
        self, held: Held, statements: Sequence[Statement], seen: Sequence[Done], record: Callable[[], None]
    ) -> bool:
        """Carry out statements and what `record` queues, if they come to what was seen; return whether they did.

        From when it begins it cannot be cancelled.

        Raises:
            StoreError: It could not be written.
        """
        bundle = Bundle(list(statements), list(seen))
        async with self._turn:
            with trio.CancelScope(shield=True):
                done: bool = await self.writer.alone(
                    lambda: self.writer.conclude(held, bundle, record), self._thread
                )
        return done
