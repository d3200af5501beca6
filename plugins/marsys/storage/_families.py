"""Which runs in the tables are nested in which."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from marsys.storage._reader import key_of
from marsys_core.errors import StoreError

__all__ = ["expired", "family", "whole_families"]

_FINISHED = ("succeeded", "failed", "cancelled")
_FAMILY = """
WITH RECURSIVE part(id, run_id) AS (
  SELECT id, run_id FROM runs WHERE id = ?
  UNION SELECT r.id, r.run_id FROM part p JOIN runs r ON r.parent = p.run_id AND r.parent <> '')
SELECT id FROM part"""
_ROUND_IT = """
WITH RECURSIVE part(id, run_id, parent) AS (
  SELECT id, run_id, parent FROM runs WHERE id = ?
  UNION SELECT r.id, r.run_id, r.parent FROM part p JOIN runs r ON r.run_id = p.parent AND p.parent <> '')
SELECT id, run_id FROM part"""
_EXPIRED = """
SELECT r.id FROM runs r WHERE r.status IN (?, ?, ?) AND r.updated < ?
AND (r.parent = '' OR NOT EXISTS (SELECT 1 FROM runs o WHERE o.run_id = r.parent))"""


def family(connection: sqlite3.Connection, key: int) -> list[int]:
    """Return the key of a run, and those of the runs that are nested in it, each after the one that it is part of."""
    return [found for (found,) in connection.execute(_FAMILY, (key,))]


def whole_families(connection: sqlite3.Connection, run_ids: Sequence[str]) -> list[int]:
    """Return the keys of runs that are to be removed, and of those that are nested in them.

    Raises:
        UnknownName: There is no such run.
        StoreError: One is nested in a run that is to stay.
    """
    wanted = {key_of(connection, run_id): run_id for run_id in run_ids}
    for key, run_id in wanted.items():
        round_it = connection.execute(_ROUND_IT, (key,)).fetchall()
        outermost, its_id = round_it[-1]
        if outermost not in wanted:
            msg = f"run {run_id!r} is nested in run {its_id!r}, and is removed with it: remove {its_id!r}"
            raise StoreError(msg)
    return list(dict.fromkeys(each for key in wanted for each in family(connection, key)))


def expired(connection: sqlite3.Connection, before: float) -> list[list[int]]:
    """Return the runs that ended before a time and are nested in none, each with those that are nested in it."""
    keys = connection.execute(_EXPIRED, (*_FINISHED, before)).fetchall()
    return [family(connection, key) for (key,) in keys]
