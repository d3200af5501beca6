"""Who has a run: a process that can be told from every other, and whether it is still there."""

from __future__ import annotations

import os
import platform
import secrets
from pathlib import Path

import attrs

__all__ = ["Holder", "is_alive", "myself"]

_NO_SUCH_PROCESS = "gone"


@attrs.frozen(kw_only=True)
class Holder:
    """One open store.

    Args:
        token: Unlike any other store's, ever.
        host: The name of the machine.
        place: Where process ids mean the same as here: one boot of one machine, one container. ``""`` where
            that cannot be told.
        pid: The process.
        started: When the process started, in the machine's own count; a process id alone is used again.
    """

    token: str
    host: str
    place: str
    pid: int
    started: str


def myself() -> Holder:
    """Return a holder for a store of this process."""
    pid = os.getpid()
    return Holder(
        token=secrets.token_hex(8), host=platform.node(), place=_place(), pid=pid, started=_started(pid)
    )


def is_alive(holder: Holder, here: Holder, silent: float, limit: float) -> bool:
    """Return whether `holder` still has what it took.

    Args:
        holder: Who took it.
        here: A holder of this process.
        silent: For how many seconds it has not been heard of.
        limit: How many are too many, where its process cannot be looked at from here.
    """
    if not here.place or (holder.host, holder.place) != (here.host, here.place):
        return silent <= limit
    return _started(holder.pid) == holder.started


def _place() -> str:
    """Return the boot and the process namespace, or ``""`` where the system does not show them."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def _started(pid: int) -> str:
    """Return when a process started; one that has ended, and that nobody has waited for yet, is gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return _NO_SUCH_PROCESS
    # The second field is the program's name in brackets, which may hold spaces and brackets.
    fields = stat.rpartition(")")[2].split()
    return _NO_SUCH_PROCESS if fields[0] in "ZX" else fields[19]
