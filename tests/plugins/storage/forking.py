"""Children of a process that has started neither Trio nor a thread: what is imported there, they have."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

__all__ = ["begun", "ended", "forked"]


def begun(work: Callable[..., object], *args: Any) -> int:
    """Begin `work` in a child, and return its process id. It ends without what a Python process does at its end."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            work(*args)
            status = 0
        except BaseException as error:
            sys.stderr.write(f"{error!r}\n")
        finally:
            os._exit(status)
    return pid


def ended(pid: int) -> int:
    """Wait for a child, and return how it ended: its exit status, or minus the signal."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def forked(work: Callable[..., object], *args: Any) -> int:
    """Run `work` in a child, and return how it ended."""
    return ended(begun(work, *args))
