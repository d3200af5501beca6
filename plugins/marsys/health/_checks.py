"""Checks of this installation: what the engine and the standard plugins need of Python and the machine."""

from __future__ import annotations

from collections.abc import Callable

import trio

__all__ = ["check_clock", "check_fts5", "check_threads"]

_EARLIEST = 1_735_689_600.0  # the first of January 2025, before this software existed


async def _in_a_thread(ask: Callable[[], None]) -> None:
    # A limiter of its own: however busy the application's threads are, the question is whether one can start.
    # A thread that hangs is left behind, so that the check keeps to its limit.
    await trio.to_thread.run_sync(ask, limiter=trio.CapacityLimiter(1), abandon_on_cancel=True)


async def check_fts5() -> None:
    """Check that SQLite can index text, which searching a folder needs.

    Raises:
        RuntimeError: It cannot; the text says which SQLite it is.
    """
    await _in_a_thread(_index_something)


def _index_something() -> None:
    import sqlite3
    from contextlib import closing

    try:
        with closing(sqlite3.connect(":memory:")) as database:
            database.execute("create virtual table passage using fts5(body)")
    except sqlite3.Error as error:
        msg = f"SQLite {sqlite3.sqlite_version} of this Python has no full-text search: {error}"
        raise RuntimeError(msg) from error


async def check_threads() -> None:
    """Check that a worker thread can be started, which plain functions as agents and tools need.

    Raises:
        RuntimeError: No thread can be started.
    """
    await _in_a_thread(_nothing)


def _nothing() -> None:
    """Return; that it is called is all that is asked."""


async def check_clock() -> None:
    """Check that the machine knows the date, which certificates and the times in journals depend on.

    Raises:
        RuntimeError: It is before this software was written.
    """
    import time

    now = time.time()
    await trio.lowlevel.checkpoint()
    if now < _EARLIEST:
        date = time.strftime("%Y-%m-%d", time.gmtime(now))
        msg = f"the machine's clock says {date}, which is wrong; certificates will not verify"
        raise RuntimeError(msg)
