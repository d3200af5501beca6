"""Which runs are nested in which: a run's own log names those nested in it, and each has a state of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

from marsys_core.backend.document import KeptRun, entries_of
from marsys_core.errors import StoreDamaged, StoreError, UnknownName
from marsys_core.transfer import teams_in

__all__ = ["family", "whole_families"]

Find = Callable[[str], Awaitable[KeptRun]]


async def family(find: Find, run: KeptRun) -> AsyncIterator[KeptRun]:
    """Yield a run, and those that are nested in it, each after the one that it is part of.

    Args:
        find: Returns a run by its id, or raises `UnknownName`.
        run: The outermost one.
    """
    seen, waiting = {run.info.run_id}, [run.info.run_id]
    named = _named(run)
    yield run
    while waiting:
        outer = waiting.pop(0)
        for inner in named:
            try:
                found = await find(inner)
            except UnknownName:
                continue  # it was cut off before it was kept, or is not kept any more
            if found.info.parent == outer and inner not in seen:
                seen.add(inner)
                waiting.append(inner)
                yield found
        named = _named(await find(waiting[0])) if waiting else []


def _named(run: KeptRun) -> list[str]:
    try:
        return teams_in(entries_of(run))
    except StoreDamaged as error:
        return teams_in(error.entries)  # whoever reads all of it is told


async def whole_families(find: Find, run_ids: Sequence[str]) -> list[str]:
    """Return the runs that are to be removed, and those that are nested in them.

    Raises:
        UnknownName: There is no such run.
        StoreError: One is nested in a run that is to stay.
    """
    wanted = [await find(run_id) for run_id in run_ids]
    for run in wanted:
        outer, seen = run, {run.info.run_id}
        while outer.info.parent and outer.info.parent not in seen:
            try:
                outer = await find(outer.info.parent)
            except UnknownName:
                break  # what it was part of is gone
            seen.add(outer.info.run_id)
        its_id, run_id = outer.info.run_id, run.info.run_id
        if its_id not in run_ids:
            msg = f"run {run_id!r} is nested in run {its_id!r}, and is removed with it: remove {its_id!r}"
            raise StoreError(msg)
    return list(dict.fromkeys([each.info.run_id for run in wanted async for each in family(find, run)]))
