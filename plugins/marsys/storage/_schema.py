"""The tables and views of the file, and how an older file is brought up to date."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlite_utils import Database

__all__ = ["APPLICATION", "MIGRATIONS", "VERSION"]

APPLICATION = 0x4D525359
"""What SQLite's `application_id` says in a file of ours."""

# Columns that hold often nothing come last. The key of an entry is its run and its place there in one number:
# the table needs no other index, the entries of a run lie together, and a row of a few kilobytes still fits
# into one page, which it would not in a table WITHOUT ROWID. So is the key of what was said its session and place.
_TABLES = (
    """
CREATE TABLE runs (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  run_id TEXT NOT NULL UNIQUE,
  session_id TEXT NOT NULL,
  status TEXT NOT NULL,
  task TEXT NOT NULL,
  steps INTEGER NOT NULL,
  error TEXT NOT NULL,
  created REAL NOT NULL,
  updated REAL NOT NULL,
  format INTEGER NOT NULL,
  fingerprint TEXT NOT NULL,
  origin TEXT NOT NULL,
  parent TEXT NOT NULL,
  forked_from TEXT,
  forked_seq INTEGER,
  crc INTEGER NOT NULL,
  holder TEXT,
  held_as TEXT NOT NULL DEFAULT '',
  held_since REAL
)""",
    "CREATE INDEX runs_of_a_session ON runs (session_id) WHERE session_id <> ''",
    "CREATE INDEX held_runs ON runs (holder) WHERE holder IS NOT NULL",
    "CREATE INDEX nested_runs ON runs (parent) WHERE parent <> ''",
    """
CREATE TABLE holders (
  token TEXT PRIMARY KEY,
  host TEXT NOT NULL,
  place TEXT NOT NULL,
  pid INTEGER NOT NULL,
  started TEXT NOT NULL,
  seen REAL NOT NULL
) WITHOUT ROWID""",
    """
CREATE TABLE entries (
  id INTEGER PRIMARY KEY,
  run INTEGER AS (id >> 32),
  seq INTEGER AS (id & 4294967295),
  branch TEXT NOT NULL,
  n INTEGER NOT NULL,
  kind TEXT NOT NULL,
  time REAL NOT NULL,
  cause_branch TEXT,
  cause_n INTEGER NOT NULL,
  data TEXT NOT NULL,
  crc INTEGER NOT NULL
)""",
    "CREATE TABLE blobs (id INTEGER PRIMARY KEY, sha256 TEXT NOT NULL UNIQUE, data NOT NULL)",
    """
CREATE TABLE blob_refs (
  run INTEGER NOT NULL,
  blob INTEGER NOT NULL,
  PRIMARY KEY (run, blob)
) WITHOUT ROWID""",
    """
CREATE TABLE sessions (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  session_id TEXT NOT NULL UNIQUE,
  version INTEGER NOT NULL,
  used REAL NOT NULL
)""",
    """
CREATE TABLE said (
  id INTEGER PRIMARY KEY,
  session INTEGER AS (id >> 32),
  place INTEGER AS (id & 4294967295),
  run_id TEXT NOT NULL,
  agent TEXT NOT NULL,
  data TEXT NOT NULL,
  crc INTEGER NOT NULL,
  dropped INTEGER
)""",
    "CREATE INDEX said_in_a_run ON said (run_id)",
)


def _text(json: str, path: str) -> str:
    """What stands at a path; of a long text that an entry before has, the text itself."""
    return f"""coalesce((SELECT json_extract(o.data, json_extract({json}, '{path}.at')) FROM entries o
    WHERE json_extract({json}, '{path}."$type"') = 'again' AND o.id = (e.run << 32) + json_extract({json}, '{path}.seq')),
    json_extract({json}, '{path}'))"""  # noqa: S608, the paths are those of the views


def _with_text(json: str, at: str, path: str) -> str:
    """The object at `at` in JSON data, with such a text at the path in it."""
    return f"""CASE WHEN json_extract({json}, '{at}.{path}."$type"') = 'again'
    THEN json_set(json_extract({json}, '{at}'), '$.{path}', {_text(json, f"{at}.{path}")})
    ELSE json_extract({json}, '{at}') END"""


# Views are for people: what is in the data is looked up by name, and is NULL where the data has no such name.
_OF_A_RUN = "FROM entries e JOIN runs r ON r.id = e.run WHERE e.kind"
_VIEWS = {
    "run_list": """
SELECT r.run_id, r.session_id, r.status, r.task, r.steps, r.error,
  datetime(r.created, 'unixepoch') AS created, datetime(r.updated, 'unixepoch') AS updated,
  (SELECT count(*) FROM entries e WHERE e.id >= r.id << 32 AND e.id < (r.id + 1) << 32) AS entries,
  r.parent, r.forked_from, r.held_as, h.host AS held_on, h.pid AS held_by_process
FROM runs r LEFT JOIN holders h ON h.token = r.holder ORDER BY r.id DESC""",
    "steps": f"""
SELECT r.run_id, e.seq, e.time, e.branch, json_extract(e.data, '$.node') AS node, e.kind,
  json_extract(e.data, '$.step') AS step, {_with_text("e.data", "$.action", "value")} AS action,
  json_extract(e.data, '$.duration') AS duration, json_extract(e.data, '$.error') AS error
{_OF_A_RUN} IN ('StepStarted', 'StepFinished', 'StepFailed', 'StepRetried', 'StepSteered')""",
    "messages": f"""
SELECT r.run_id, e.seq, e.branch, json_extract(e.data, '$.node') AS node,
  json_extract(m.value, '$.role') AS role, {_text("m.value", "$.content")} AS content,
  json_extract(m.value, '$.tool_calls') AS tool_calls, {_with_text("m.value", "$", "content")} AS message
FROM entries e JOIN runs r ON r.id = e.run, json_each(e.data, '$.messages') m WHERE e.kind = 'StepFinished'""",  # noqa: S608
    "remembered": """
SELECT s.session_id, x.agent, x.run_id, json_extract(m.value, '$.role') AS role,
  json_extract(m.value, '$.content') AS content, m.value AS message
FROM said x JOIN sessions s ON s.id = x.session, json_each(x.data) m WHERE x.dropped IS NULL ORDER BY x.id, m.key""",
    "model_calls": f"""
SELECT r.run_id, e.seq, e.time, e.branch, json_extract(e.data, '$.node') AS node, e.kind,
  json_extract(e.data, '$.model') AS model, {_text("e.data", "$.content")} AS content,
  json_extract(e.data, '$.tool_calls') AS tool_calls, json_extract(e.data, '$.usage') AS usage,
  json_extract(e.data, '$.duration') AS duration, json_extract(e.data, '$.error') AS error
{_OF_A_RUN} IN ('ModelCalled', 'ModelReplied', 'ModelFailed')""",
    "tool_calls": f"""
SELECT r.run_id, e.seq, e.time, e.branch, json_extract(e.data, '$.node') AS node, e.kind,
  json_extract(e.data, '$.tool') AS tool, json_extract(e.data, '$.call_id') AS call_id,
  {_text("e.data", "$.arguments")} AS arguments, {_text("e.data", "$.result")} AS result,
  json_extract(e.data, '$.duration') AS duration, json_extract(e.data, '$.error') AS error
{_OF_A_RUN} IN ('ToolStarted', 'ToolFinished', 'ToolFailed')""",
}


def _first(database: Database) -> None:
    for statement in _TABLES:
        database.execute(statement)
    for name, select in _VIEWS.items():
        database.create_view(name, select.strip())
    database.execute(f"PRAGMA application_id = {APPLICATION}")


MIGRATIONS: tuple[Callable[[Database], None], ...] = (_first,)
"""What brings a file from each version to the next, from the empty one on; never changed once released."""

VERSION = len(MIGRATIONS)
"""The version of the tables that this code reads and writes."""
