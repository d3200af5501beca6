"""Carrying out statements that a tool has written: on tables of the application's own, and nowhere else."""

from __future__ import annotations

import functools
import sqlite3
from collections.abc import Sequence

import attrs
import sqlite_utils

from marsys.storage._database import Database
from marsys.storage._schema import MIGRATIONS
from marsys.storage._waiter import Held
from marsys_core.errors import StoreError, ToolError
from marsys_core.protocols.transactions import Done, Statement

__all__ = ["RESERVED", "Bundle", "carried_out"]

RESERVED = "marsys_"
"""How names begin that are the store's own, also those that it does not have yet."""

_MOST_ROWS = 10_000
_SHOWN = 200
_ROWS_A_PAGE = 8

# What the disk or the file does is not the statement's fault, and is told as it is everywhere else.
_ITS_OWN_FAULT = frozenset(
    {
        sqlite3.SQLITE_ERROR,
        sqlite3.SQLITE_ABORT,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_SCHEMA,
        sqlite3.SQLITE_TOOBIG,
        sqlite3.SQLITE_CONSTRAINT,
        sqlite3.SQLITE_MISMATCH,
        sqlite3.SQLITE_MISUSE,
        sqlite3.SQLITE_AUTH,
        sqlite3.SQLITE_RANGE,
    }
)

_READS = frozenset(
    {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE}
)
_ON_FIRST = frozenset(  # the table or the view is the first argument
    {
        sqlite3.SQLITE_INSERT,
        sqlite3.SQLITE_UPDATE,
        sqlite3.SQLITE_DELETE,
        sqlite3.SQLITE_CREATE_TABLE,
        sqlite3.SQLITE_CREATE_VIEW,
        sqlite3.SQLITE_DROP_TABLE,
        sqlite3.SQLITE_DROP_VIEW,
        sqlite3.SQLITE_REINDEX,
    }
)
_ON_SECOND = frozenset(  # it is the second
    {
        sqlite3.SQLITE_ALTER_TABLE,
        sqlite3.SQLITE_CREATE_INDEX,
        sqlite3.SQLITE_CREATE_TRIGGER,
        sqlite3.SQLITE_DROP_INDEX,
        sqlite3.SQLITE_DROP_TRIGGER,
    }
)
_CHANGING_TABLES = frozenset({sqlite3.SQLITE_ALTER_TABLE, sqlite3.SQLITE_DROP_TABLE})
_PRAGMAS = frozenset(
    {"table_info", "table_xinfo", "table_list", "index_list", "index_info", "index_xinfo", "quick_check"}
)
_CATALOGUE = frozenset({"sqlite_master", "sqlite_schema", "sqlite_temp_master", "sqlite_temp_schema"})


@attrs.define(eq=False)
class Bundle:
    """What a call writes with its outcome.

    Args:
        statements: In order.
        seen: What the call was told of each.
        done: Whether it is in the transaction that is open.
        pages: About how many pages it writes.
    """

    statements: Sequence[Statement]
    seen: Sequence[Done]
    done: bool = False
    pages: int = 0

    def carry_out(self, database: Database) -> bool:
        """Write in the open transaction; return whether each statement came to what the call has seen."""
        if database.fault is not None:
            database.fault("statements")
        before = database.connection.total_changes
        found = carried_out(database.connection, self.statements)
        self.pages = (database.connection.total_changes - before) // _ROWS_A_PAGE
        return found == self.seen

    def carry_out_again(self, database: Database, held: Held) -> None:
        """Write what could not be written when `held` did; what has an outcome but no effect now is lost, both of it."""
        if self.done:
            return
        msg = (
            f"what run {held.run_id!r} has written could not be kept when it was, and others have written meanwhile; "
            "nothing more of it is kept here, and it can be gone on with from before that"
        )
        try:
            if not self.carry_out(database):
                held.lost = StoreError(msg, str(database.path))
        except ToolError:  # it has ended the transaction of everybody, which has to begin anew
            held.lost = StoreError(msg, str(database.path))
            raise


@functools.cache
def own_names() -> frozenset[str]:
    """Return the names of all that the store has in its file."""
    tables = sqlite_utils.Database(memory=True)
    try:
        for migrate in MIGRATIONS:
            migrate(tables)
        found = tables.execute("SELECT name FROM sqlite_master WHERE name NOT LIKE 'sqlite_%'").fetchall()
    finally:
        tables.close()
    return frozenset(name.lower() for (name,) in found)


@attrs.define(eq=False)
class _Guard:
    """Says of each thing that a statement does whether it may: what is not listed, it may not.

    Attributes:
        reads: Whether it may only read.
        refusal: Why it may not.
    """

    reads: bool
    refusal: str = ""
    _changing: bool = False

    def __call__(
        self, action: int, first: str | None, second: str | None, _database: str | None, _trigger: str | None
    ) -> int:
        # SQLite asks about the parts of a table's definition, too, in its catalogue, and refuses by itself
        # statements that write there.
        if action in _READS or (action == sqlite3.SQLITE_PRAGMA and (first or "").lower() in _PRAGMAS):
            return self._unless(second == "load_extension", "it may not load extensions")
        name = (second if action in _ON_SECOND else first or "") or ""
        if action in _ON_FIRST and name in _CATALOGUE:
            return sqlite3.SQLITE_OK
        if action not in _ON_FIRST and action not in _ON_SECOND:
            return self._unless(True, _OTHER)
        if self.reads:
            return self._unless(True, "query only reads; write with execute")
        self._changing = self._changing or action in _CHANGING_TABLES
        kept_by_sqlite = name.lower().startswith("sqlite_") and not self._changing
        return self._unless(
            kept_by_sqlite or _is_own(name) or (action in _ON_SECOND and _is_own(first or "")),
            f"{name!r} is the store's own; write to tables of your own"
            if not kept_by_sqlite
            else f"{name!r} is SQLite's own",
        )

    def _unless(self, refused: bool, why: str) -> int:
        if not refused:
            return sqlite3.SQLITE_OK
        self.refusal = self.refusal or why
        return sqlite3.SQLITE_DENY


_OTHER = (
    "it may select, insert, update, delete, and create, alter and drop tables, indexes, views and triggers; "
    "transactions, PRAGMA, ATTACH, temporary and virtual tables are not for a tool"
)


def _is_own(name: str) -> bool:
    name = name.lower()
    return name.startswith(RESERVED) or name in own_names()


def carried_out(connection: sqlite3.Connection, statements: Sequence[Statement]) -> list[Done]:
    """Carry out statements in the open transaction, each whole or not at all, and return what each came to.

    Raises:
        ToolError: One has ended the transaction, and with it what others have written; nothing of it is left.
        sqlite3.Error: The disk or the file is at fault.
    """
    return [_carried_out(connection, each) for each in statements]


def _carried_out(connection: sqlite3.Connection, statement: Statement) -> Done:
    guard = _Guard(statement.reads)
    connection.execute("SAVEPOINT one_statement")
    try:
        # Setting it makes SQLite prepare anew what it has prepared before, so that none is used unasked.
        connection.set_authorizer(guard)
        try:
            done = _executed(connection, statement)
        finally:
            connection.set_authorizer(None)
    except (sqlite3.Error, sqlite3.Warning, ValueError, TypeError, OverflowError) as error:
        code = getattr(error, "sqlite_errorcode", None)
        if code is not None and code & 0xFF not in _ITS_OWN_FAULT:
            raise
        done = Done(error=f"the database refused {statement.sql!r:.{_SHOWN}}: {guard.refusal or error}")
    if not connection.in_transaction:
        msg = (
            f"{statement.sql!r:.{_SHOWN}} undoes what others write, too; write OR ABORT, or RAISE(ABORT, ...)"
        )
        raise ToolError(msg)
    if done.error:
        connection.execute("ROLLBACK TO one_statement")
    connection.execute("RELEASE one_statement")
    return done


def _executed(connection: sqlite3.Connection, statement: Statement) -> Done:
    cursor = connection.cursor()
    try:
        if statement.many:
            cursor.executemany(statement.sql, statement.parameters)
            return Done(rowcount=cursor.rowcount)
        cursor.execute(statement.sql, statement.parameters)
        rows = cursor.fetchmany(_MOST_ROWS + 1)
        if len(rows) > _MOST_ROWS:
            msg = f"it returns more than {_MOST_ROWS:,} rows; select fewer, with LIMIT"
            raise ValueError(msg)
        columns = tuple(column[0] for column in cursor.description or ())
        return Done(columns=columns, rows=tuple(rows), rowcount=cursor.rowcount)
    finally:
        cursor.close()
