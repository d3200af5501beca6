"""Which runs of a session its state goes on to have when a new one begins."""

from __future__ import annotations

from collections.abc import Container, Sequence

from marsys_core.backend.document import KeptRun

__all__ = ["pruned"]

_ENDED = ("succeeded", "failed", "cancelled")


def pruned(runs: Sequence[KeptRun], keep: int, held: Container[str]) -> list[KeptRun]:
    """Return `runs` without those that ended, but for the last `keep` of them.

    Runs that somebody has, or that another was forked from, stay. Runs that are nested in one go with it.
    """
    infos = [run.info for run in runs]
    ids = {info.run_id for info in infos}
    sources = {info.forked_from[0] for info in infos if info.forked_from is not None}
    ended = [
        info.run_id
        for info in infos
        if info.status in _ENDED and info.run_id not in held and info.parent not in ids
    ]
    gone = {run_id for run_id in (ended[:-keep] if keep else ended) if run_id not in sources}
    while more := {
        info.run_id
        for info in infos
        if info.parent in gone and info.run_id not in gone and info.run_id not in held
    }:
        gone |= more
    return [run for run in runs if run.info.run_id not in gone]
