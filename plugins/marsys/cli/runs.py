"""``marsys runs``: which runs are kept."""

from __future__ import annotations

import json
from contextlib import aclosing
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import click

from marsys.cli.ending import say
from marsys.cli.kept import all_runs, in_store
from marsys.cli.origin import team_of
from marsys.cli.place import Place, storage_option
from marsys.cli.tables import aligned
from marsys_core.protocols.store import SHOWN

if TYPE_CHECKING:
    from marsys_core.protocols.store import RunInfo, Store

__all__ = ["facts", "moment", "runs"]

_TASK = 60
_HEAD = ("id", "status", "steps", "when", "session", "task")
_HIDDEN = ("fingerprint", "origin")


@click.command()
@click.option(
    "--status",
    "wanted",
    metavar="STATUS",
    multiple=True,
    type=click.Choice(sorted(SHOWN)),
    help="Only runs that stand so; again for another status.",
)
@click.option("--session", metavar="ID", help="Only runs of this session.")
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    default=50,
    show_default=True,
    help="How many at most, the newest first.",
)
@click.option("--json", "as_json", is_flag=True, help="Write JSON, with everything that is known.")
@storage_option
@click.pass_context
def runs(
    ctx: click.Context,
    /,
    wanted: tuple[str, ...],
    session: str | None,
    limit: int,
    place: Place,
    *,
    as_json: bool,
) -> None:
    """List the runs that are kept, the newest first."""

    async def look(store: Store) -> tuple[list[RunInfo], bool]:
        whole: list[RunInfo] = []
        async with aclosing(all_runs(store, status=wanted, session_id=session)) as infos:
            async for info in infos:
                if info.parent:  # it is part of another one
                    continue
                if len(whole) == limit:
                    return whole, True
                whole.append(info)
        return whole, False

    found: list[RunInfo] = []
    if isinstance(place.storage, Path) and not place.storage.exists() and not place.option:
        more = False  # nothing has been kept here yet, and that is no mistake
    else:
        found, more = in_store(ctx, place, look)
    if as_json:
        click.echo(json.dumps([facts(info) for info in found], indent=2, ensure_ascii=False))
    elif found:
        for line in aligned(_table(found)):
            click.echo(line)
    else:
        say(f"no {'such ' if wanted or session is not None else ''}run is kept in {place}")
    if more and not as_json:
        say(f"there are more than these {limit}; --limit shows them")


def _table(found: list[RunInfo]) -> list[list[str]]:
    rows = [list(_HEAD)]
    for info in found:
        task = " ".join(info.task.split())
        task = task if len(task) <= _TASK else f"{task[: _TASK - 3]}..."
        rows.append(
            [info.run_id, info.status, str(info.steps), moment(info.created), info.session_id or "-", task]
        )
    if all(info.session_id == "" for info in found):
        return [[*row[:4], *row[5:]] for row in rows]
    return rows


def moment(seconds: float) -> str:
    """Return a time in seconds since 1970 as the clock on the wall shows it."""
    return datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def facts(info: RunInfo) -> dict[str, Any]:
    """Return what is known of a run without its record, for a program to read."""
    data = attrs.asdict(info, filter=lambda field, _: field.name not in _HIDDEN)
    return {**data, "team": team_of(info) or None}
