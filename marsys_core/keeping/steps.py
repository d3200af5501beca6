"""How many steps a run has taken, as its entries tell: while it goes on nobody writes that anywhere else."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable

import attrs

from marsys_core.protocols.store import RunInfo

__all__ = ["COUNTED", "steps_of", "with_steps"]

COUNTED = ("StepStarted", "TeamFinished", "TeamFailed", "RunResumed")
"""The kinds of entries that `steps_of` looks at."""

_ENDED = frozenset({"succeeded", "failed", "cancelled", "damaged"})


def with_steps(info: RunInfo, entries: Callable[[], Iterable[tuple[int, str, str]]]) -> RunInfo:
    """Return `info` with the steps that its run has taken by now.

    Use it in a store for what `Store.info` and `Store.runs` return: a run writes its steps when it ends, so that
    they cost nothing on the way.

    Args:
        info: What was written last.
        entries: Called for a run that has not ended; returns what `steps_of` takes.
    """
    if info.status in _ENDED:
        return info
    taken = steps_of(entries())
    return attrs.evolve(info, steps=taken) if taken > info.steps else info


def steps_of(entries: Iterable[tuple[int, str, str]]) -> int:
    """Return how many steps a run has taken, those of runs nested in it included. What is damaged counts nothing.

    Args:
        entries: The `seq`, the kind and the data of its entries, in order; those of kinds that are not `COUNTED` may
            be left out, and so may the data of a ``StepStarted``.
    """
    taken: list[tuple[int, int]] = []
    for seq, kind, data in entries:
        if kind == "StepStarted":
            taken.append((seq, 1))
        elif kind == "RunResumed":
            at = _number(data, "at")
            while at is not None and taken and taken[-1][0] >= at:  # they are void
                taken.pop()
        elif kind in COUNTED:
            taken.append((seq, _number(data, "steps") or 0))
    return sum(count for _, count in taken)


def _number(data: str, name: str) -> int | None:
    try:
        found = json.loads(data)[name]
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    return found if type(found) is int and found >= 0 else None
