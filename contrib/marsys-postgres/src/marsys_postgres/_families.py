"""Which runs in the tables are nested in which."""

from __future__ import annotations

from collections.abc import Sequence

import psycopg

from marsys_core.errors import StoreError
from marsys_postgres._tables import unknown

__all__ = ["expired", "family", "whole_families"]

_FINISHED = ["succeeded", "failed", "cancelled"]
_FAMILY = """
WITH RECURSIVE part AS (
  SELECT run_id, parent FROM runs WHERE run_id = %s
  UNION SELECT r.run_id, r.parent FROM part p JOIN runs r ON r.parent = p.run_id AND r.parent <> '')
SELECT run_id, parent FROM part"""
_ROUND_IT = """
WITH RECURSIVE part AS (
  SELECT run_id, parent FROM runs WHERE run_id = %s
  UNION SELECT r.run_id, r.parent FROM part p JOIN runs r ON r.run_id = p.parent AND p.parent <> '')
SELECT run_id, parent FROM part"""
_EXPIRED = """
SELECT r.run_id FROM runs r WHERE r.status = ANY(%s) AND r.updated < %s
AND (r.parent = '' OR NOT EXISTS (SELECT 1 FROM runs o WHERE o.run_id = r.parent)) ORDER BY r.id"""


def family(connection: psycopg.Connection, run_id: str) -> list[str]:
    """Return a run, and those that are nested in it, each after the one that it is part of."""
    inner: dict[str, list[str]] = {}
    for found, parent in connection.execute(_FAMILY, (run_id,)).fetchall():
        inner.setdefault(parent, []).append(found)
    ordered = {run_id: None}
    waiting = [run_id]
    while waiting:
        for each in sorted(inner.pop(waiting.pop(0), ())):
            if each not in ordered:
                ordered[each] = None
                waiting.append(each)
    return list(ordered)


def whole_families(connection: psycopg.Connection, run_ids: Sequence[str]) -> list[str]:
    """Return the runs that are to be removed, and those that are nested in them.

    Raises:
        UnknownName: There is no such run.
        StoreError: One is nested in a run that is to stay.
    """
    for run_id in run_ids:
        round_it: dict[str, str] = dict(connection.execute(_ROUND_IT, (run_id,)).fetchall())
        if not round_it:
            raise unknown(connection, run_id)
        outer = run_id
        while (parent := round_it.pop(outer)) in round_it:
            outer = parent
        if outer not in run_ids:
            msg = f"run {run_id!r} is nested in run {outer!r}, and is removed with it: remove {outer!r}"
            raise StoreError(msg)
    return list(dict.fromkeys(each for run_id in run_ids for each in family(connection, run_id)))


def expired(connection: psycopg.Connection, before: float) -> list[str]:
    """Return the runs that ended before a time and are nested in none."""
    return [run_id for (run_id,) in connection.execute(_EXPIRED, (_FINISHED, before)).fetchall()]
