"""``marsys store``: looking after the runs that are kept."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from marsys.cli.commands import NamedCommands
from marsys.cli.kept import find, in_store, opened
from marsys.cli.knobs import Knobs
from marsys.cli.place import Place, storage_option

if TYPE_CHECKING:
    from marsys_core.protocols.store import Store

__all__ = ["check", "expire", "export", "forget", "import_", "store", "vacuum"]

_AGE = re.compile(r"(?P<count>\d+(?:\.\d+)?)(?P<unit>[smhdw])", re.ASCII)
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


def _age(ctx: click.Context, parameter: click.Parameter, text: str) -> float:
    """Return a span of time, written as ``30d``, in seconds."""
    found = _AGE.fullmatch(text.strip())
    if found is None:
        msg = f"{text!r} is no age; write a number and s, m, h, d or w, as in 30d"
        raise click.BadParameter(msg, ctx, parameter)
    return float(found["count"]) * _SECONDS[found["unit"]]


@click.group(cls=NamedCommands)
def store() -> None:
    """Look after the runs that are kept: check them, remove old ones, move one elsewhere."""


@store.command()
@click.option(
    "--older-than",
    "seconds",
    metavar="AGE",
    callback=_age,
    required=True,
    help="Runs that ended longer ago than this, as in 30d: a number, and s, m, h, d or w.",
)
@storage_option
@click.pass_context
def expire(ctx: click.Context, seconds: float, place: Place) -> None:
    """Remove runs that ended long ago, and forget sessions not used for as long. A run that can still be gone on with because it was interrupted stays."""

    async def look(store: Store) -> int:
        return await store.expire(seconds)

    count = in_store(ctx, place, look, writes=True)
    click.echo(f"{count} run{' was' if count == 1 else 's were'} removed")


@store.command()
@click.argument("session_id", metavar="SESSION")
@storage_option
@click.pass_context
def forget(ctx: click.Context, session_id: str, place: Place) -> None:
    """Forget what agents remember of SESSION: its next run begins anew. Its runs stay."""

    async def look(store: Store) -> bool:
        known = bool((await store.recall(session_id)).said)
        await store.forget_session(session_id)
        return known

    known = in_store(ctx, place, look, writes=True)
    click.echo(f"session {session_id!r} {'is forgotten' if known else 'was not remembered'}")


@store.command()
@click.argument("run_id", metavar="ID")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@storage_option
@click.pass_context
def export(ctx: click.Context, run_id: str, file: Path, place: Place) -> None:
    """Write the run ID and those nested in it, with all they refer to, into FILE, as JSON Lines."""

    async def look(store: Store) -> str:
        info = await find(store, run_id)
        await store.export(info.run_id, file)
        return info.run_id

    click.echo(f"{in_store(ctx, place, look)} was written to {str(file)!r}")


@store.command("import")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@storage_option
@click.pass_context
def import_(ctx: click.Context, file: Path, place: Place) -> None:
    """Take a run from FILE, which 'marsys store export' wrote."""
    import trio

    async def main() -> str:
        async with opened(place, ctx.find_object(Knobs) or Knobs(), make=True) as store:
            return await store.import_(file)

    click.echo(f"{trio.run(main)} was taken from {str(file)!r}")


@store.command()
@storage_option
@click.pass_context
def vacuum(ctx: click.Context, place: Place) -> None:
    """Give back the room that removed runs took."""

    async def look(store: Store) -> None:
        await store.vacuum()

    in_store(ctx, place, look, writes=True)


@store.command()
@storage_option
@click.pass_context
def check(ctx: click.Context, place: Place) -> None:
    """Read everything and say what is not as it was written; the exit code is 1 where something is not."""

    async def look(store: Store) -> Any:
        return await store.check()

    report = in_store(ctx, place, look)
    click.echo(f"{report.runs} runs, {report.entries} entries and {report.blobs} large values can be read")
    for damage in report.damage:
        place_ = f"run {damage.run_id}" if damage.run_id else "the store"
        click.echo(
            f"{place_}{'' if damage.seq is None else f', entry {damage.seq}'}: {damage.what}", err=True
        )
    if not report.ok:
        ctx.exit(1)
