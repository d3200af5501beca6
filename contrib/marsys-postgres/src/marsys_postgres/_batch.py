"""What is written in one transaction."""

from __future__ import annotations

from typing import Any

import attrs
import psycopg
from psycopg import sql

from marsys_core.errors import RunHeld
from marsys_postgres import _rows
from marsys_postgres._said import Addition, remember
from marsys_postgres._tables import keep_blobs, notify
from marsys_postgres._waiter import Held

__all__ = ["Blob", "Changes", "Item", "write_items"]


@attrs.frozen
class Blob:
    """A large value that a run puts."""

    sha256: str
    data: bytes


Changes = dict[str, Any]
"""Columns of `runs`, and what they are set to."""

Item = tuple[Held, "_rows.Row | Blob | Addition | Changes"]

# The rows stay locked until the end of the transaction: whoever takes a run over has to wait for it.
_FENCE = "SELECT id, holder, held_as, held_since FROM runs WHERE id = ANY(%s) ORDER BY id FOR NO KEY UPDATE"


def write_items(connection: psycopg.Connection, items: list[Item], holder: int, address: str) -> None:
    """Write what runs have queued; what is of a run that is not ours any more is left out.

    Args:
        connection: In a transaction.
        items: The runs, and what is to be written, in order.
        holder: Who we are.
        address: The database, for errors.
    """
    _look_for_lost(connection, {held for held, _ in items if held.lost is None}, holder, address)
    rows: list[_rows.Row] = []
    blobs: list[tuple[int, str, bytes]] = []
    changes: dict[int, Changes] = {}
    added: list[Addition] = []
    for held, item in items:
        if held.lost is not None:
            continue
        if isinstance(item, tuple):
            rows.append(item)
        elif isinstance(item, Blob):
            blobs.append((held.key, item.sha256, item.data))
        elif isinstance(item, Addition):
            added.append(item)
        else:
            changes.setdefault(held.key, {}).update(item)
    keep_blobs(connection, blobs)
    if rows:
        with connection.cursor() as cursor:
            cursor.executemany(_rows.INSERT, rows)
    for key, each in changes.items():
        _update(connection, key, each)
    for addition in sorted(
        added, key=lambda each: each.session_id
    ):  # in one order everywhere, as they are locked
        remember(connection, addition)
    notify(connection, {row[0] for row in rows} | changes.keys())


def _update(connection: psycopg.Connection, key: int, changes: Changes) -> None:
    names = sql.SQL(", ").join(
        sql.SQL("{} = {}").format(sql.Identifier(name), sql.Placeholder()) for name in changes
    )
    connection.execute(
        sql.SQL("UPDATE runs SET {} WHERE id = {}").format(names, sql.Placeholder()), (*changes.values(), key)
    )


def _look_for_lost(connection: psycopg.Connection, held: set[Held], holder: int, address: str) -> None:
    if not held:
        return
    keys = [each.key for each in held]
    found = {row[0]: row[1:] for row in connection.execute(_FENCE, (keys,)).fetchall()}
    for each in held:
        row = found.get(each.key)
        if row is None or row[0] != holder:
            each.lost = _taken_over(each.run_id, address, row)


def _taken_over(run_id: str, address: str, row: tuple[Any, ...] | None) -> RunHeld:
    _, held_as, since = row or (None, "", 0.0)
    how = "was removed" if row is None else f"was taken over{f' by {held_as!r}' if held_as else ''}"
    msg = f"run {run_id!r} {how} while this process was not heard of; nothing more of it is written here"
    return RunHeld(msg, address, run_id=run_id, holder=held_as, since=since)
