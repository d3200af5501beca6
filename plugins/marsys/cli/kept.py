"""Looking into a store of runs: opening it, and finding the run that is meant."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from marsys.cli.knobs import Knobs
from marsys.cli.place import Place
from marsys_core.errors import ConfigError, UnknownName, nearest

if TYPE_CHECKING:
    from marsys_core.protocols.store import RunInfo, Store

__all__ = ["all_runs", "find", "in_store", "opened"]

T = TypeVar("T")
_PAGE = 500
_LISTED = 10


def in_store(
    ctx: click.Context, place: Place, look: Callable[[Store], Awaitable[T]], *, writes: bool = False
) -> T:
    """Return what `look` finds in the store at `place`; where it `writes` nothing, the file may be read-only.

    Raises:
        ConfigError: There is no such store.
        StoreError: It cannot be used.
    """
    import trio

    async def main() -> T:
        async with opened(place, ctx.find_object(Knobs) or Knobs(), writes=writes) as store:
            return await look(store)

    return trio.run(main)


@asynccontextmanager
async def opened(
    place: Place, knobs: Knobs, *, make: bool = False, writes: bool = False
) -> AsyncIterator[Store]:
    """Open the store at `place`. That of a file works whatever the plugins do.

    Args:
        place: Where it is.
        knobs: Which plugins; one of them provides a store that is named.
        make: Whether a file is made that is not there; it is written then.
        writes: Whether it is written; a file that is not may be read-only, and on a full disk.

    Raises:
        ConfigError: There is no such store.
        StoreError: It cannot be used.
    """
    if isinstance(place.storage, Path):
        from marsys.storage import SQLiteStore

        if make:
            _make(place)
        elif not place.storage.exists():
            msg = f"no runs are kept in {place}: there is no such file; name another with --storage FILE"
            raise ConfigError(msg)
        async with SQLiteStore(place.storage, read_only=not (make or writes)) as store:
            yield store
        return
    from marsys_core import __version__
    from marsys_core.hosts.loops import loops
    from marsys_core.plugins import EngineInfo, compose, open_services

    info = EngineInfo(name="marsys", version=__version__)
    async with loops(), open_services(compose(knobs.over()), engine=info) as services:
        yield await services.get("journal", place.storage)


def _make(place: Place) -> None:
    try:
        place.make_folder()
    except OSError as error:
        msg = f"{str(place.directory)!r} cannot be made: {error.strerror or error}"
        raise ConfigError(msg) from error


async def all_runs(store: Store, **wanted: Any) -> AsyncGenerator[RunInfo, None]:
    """Yield the runs of a store, the newest first."""
    before = None
    while page := await store.runs(limit=_PAGE, before=before, **wanted):
        for info in page:
            yield info
        if len(page) < _PAGE:
            return
        before = page[-1].run_id


async def find(store: Store, given: str) -> RunInfo:
    """Return the run with the id `given`, or the only one whose id begins so.

    Raises:
        UnknownName: There is none; the nearest are named.
        ConfigError: There are several, or nothing is given.
    """
    known: list[RunInfo] = [info async for info in all_runs(store)]
    for info in known:
        if info.run_id == given:
            return info
    found = [info for info in known if given and info.run_id.startswith(given)]
    if len(found) == 1:
        return found[0]
    if found:
        msg = f"{len(found)} runs have an id that begins with {given!r}: {_names(found)}; write more of it"
        raise ConfigError(msg)
    raise _unknown(given, [info.run_id for info in known])


def _names(found: Sequence[RunInfo]) -> str:
    names = ", ".join(info.run_id for info in found[:_LISTED])
    return names if len(found) <= _LISTED else f"{names} and {len(found) - _LISTED} more"


def _unknown(given: str, known: Sequence[str]) -> ConfigError:
    """Return the error for an id that no run has: with the newest runs, and those whose ids begin most alike."""
    import difflib

    if not given:
        return ConfigError("the id of a run is empty; 'marsys runs' lists them")
    beginnings = difflib.get_close_matches(given, {each[: len(given)] for each in known}, n=2, cutoff=0.6)
    near = [each for each in known if each[: len(given)] in beginnings][:2]
    listed = dict.fromkeys([*near, *known[:_LISTED]])
    hints = []
    if near and not nearest(given, listed):  # an abbreviation is not near to any whole id
        hints.append(f"Did you mean {' or '.join(map(repr, near))}?")
    if len(known) > len(listed):
        hints.append(f"There are {len(known)} in all: 'marsys runs' lists them.")
    return UnknownName("run", given, listed, " ".join(hints))
