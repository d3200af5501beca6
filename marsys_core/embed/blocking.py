"""Refusing to wait where waiting would stop an event loop, and waiting through interrupts."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from contextlib import suppress

import trio

from marsys_core.errors import LifecycleError
from marsys_core.hosts.library import current_library

__all__ = ["heed", "in_notebook", "patience", "refuse_in_loop", "wait_through"]

_NAMES = {"trio": "Trio", "asyncio": "asyncio"}


def in_notebook() -> bool:
    """Say whether this program is a notebook's kernel: its loop runs while a cell does, and waits for the cell."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return getattr(shell, "kernel", None) is not None


def refuse_in_loop(what: str, instead: dict[str, str] | str) -> None:
    """Refuse to wait in a thread in which Trio or asyncio runs; a cell of a notebook may.

    Args:
        what: What was called.
        instead: What to write there, or what to write under each library.

    Raises:
        LifecycleError: An event loop runs here.
    """
    library = current_library()
    if library is None or (library == "asyncio" and in_notebook()):
        return
    write = instead if isinstance(instead, str) else instead[library]
    msg = f"{what} waits, and would stop {_NAMES[library]}, which runs in this thread; write '{write}'"
    raise LifecycleError(msg)


def patience() -> float | None:
    """Return for how many seconds a wait in this thread may be deaf to what ends it; None where nothing does.

    A signal at the very moment at which the main thread begins to wait for a lock does not end that wait, and on
    Windows none ever does. So the main thread looks up from its waits. A worker thread of Trio's does, too: the
    step that it works for may be cancelled.
    """
    deaf = threading.current_thread() is not threading.main_thread() and not _works_for_trio()
    return None if deaf else 0.2


def heed() -> None:
    """Look up from a wait: in a worker thread of Trio's, raise `trio.Cancelled` where what it works for is cancelled."""
    with suppress(RuntimeError):  # it is none of Trio's
        trio.from_thread.check_cancelled()


def _works_for_trio() -> bool:
    try:
        trio.from_thread.check_cancelled()
    except RuntimeError:
        return False
    except trio.Cancelled:
        return True
    return True


def wait_through(
    over: threading.Event, interrupted: Callable[[], object], begin: Callable[[], object] | None = None
) -> None:
    """Call `begin` and wait for `over`. Where that is interrupted, call `interrupted`, wait all the same, and raise it then.

    Nothing that interrupts again, such as a second Ctrl-C, keeps it from waiting for the end.
    """
    try:
        if begin is not None:
            begin()
        _wait(over)
    except BaseException:
        # The interpreter looks for signals at every call and at the end of every loop, so also between the two
        # `try`. What comes there is caught by the outer one.
        while True:
            try:
                while not over.is_set():
                    try:
                        interrupted()
                        _wait(over)
                    except BaseException:  # noqa: S110 - the first is raised; the later ones say the same
                        pass
                break
            except BaseException:  # noqa: S110
                pass
        raise


def _wait(over: threading.Event) -> None:
    while not over.wait(patience()):
        heed()
