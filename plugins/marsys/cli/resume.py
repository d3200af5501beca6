"""``marsys resume``: a run that was interrupted goes on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from marsys.cli.carry import Answering, answer_options, carried, interruptible
from marsys.cli.knobs import Knobs
from marsys.cli.options import SHOWING, Work, channel_of, refuse_both
from marsys.cli.place import Place, storage_option
from marsys_core.errors import ChangedRun

if TYPE_CHECKING:
    from marsys.cli.account import Account
    from marsys.cli.conduct import Begin
    from marsys.cli.team import LoadedTeam
    from marsys_core.options import RunOptions
    from marsys_core.orchestra import Orchestra
    from marsys_core.protocols.store import RunInfo, Store
    from marsys_core.run import Run

__all__ = ["going_on_options", "resume", "with_changes_named"]


def going_on_options(command: Any) -> Any:
    """Give `command` the options of whatever goes on with a run."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


_OPTIONS = (
    click.option(
        "--accept-changes",
        "accept",
        is_flag=True,
        help="Go on also where the team's agents, tools, topology or limits have changed.",
    ),
    click.option(
        "--team",
        metavar="FILE",
        type=click.Path(path_type=Path),
        default=Path(),
        help="The team file, where it has moved.",
    ),
    *SHOWING,
)


@contextmanager
def with_changes_named(run_id: str) -> Iterator[None]:
    """Say of a run that was begun with something else how the command line goes on all the same."""
    try:
        yield
    except ChangedRun as error:
        msg = f"run {run_id!r} was begun with something else than is there now; --accept-changes goes on all the same:"
        raise ChangedRun(msg, error.problems) from error


@click.command()
@click.argument("run_id", metavar="ID")
@going_on_options
@storage_option
@answer_options
@click.pass_context
def resume(
    ctx: click.Context,
    /,
    run_id: str,
    place: Place,
    *,
    accept: bool,
    as_json: bool,
    file: Path | None,
    **given: Any,
) -> None:
    """Go on with the run ID, which was interrupted: what it had done is not done again.

    Its team is loaded as it was for 'marsys run'. It shows and answers what that would have, and ends with
    the same exit codes. The answer of a run that has succeeded is read from the record. The beginning of an ID
    is enough.
    """
    now = Work(knobs=ctx.find_object(Knobs) or Knobs(), input_folder=None, models={}, variables={}, **given)
    refuse_both(ctx, now)
    answering = Answering(as_json=as_json, file=file)
    answering.check(ctx)

    def act(interruptions: Any) -> int:
        from marsys.cli.kept import find, in_store
        from marsys.cli.origin import work_again

        async def look(store: Store) -> RunInfo:
            return await find(store, run_id)

        info = in_store(ctx, place, look)
        work = work_again(info, now)
        with with_changes_named(info.run_id):
            return carried(
                work,
                lambda team: _taking_up(work, info, team, accept),
                lambda _: place,
                answering,
                interruptions,
            )

    ctx.exit(interruptible(act))


def _taking_up(work: Work, info: RunInfo, team: LoadedTeam, accept: bool) -> Begin:
    from marsys_core.engine.rebuild import parted

    channel = channel_of(team, work)

    async def begin(orchestra: Orchestra, account: Account) -> Run:
        options: RunOptions = {"variables": work.variables, "channel": channel}
        kept, _ = parted(await orchestra.history(info.run_id))
        account.catch_up(kept)
        return orchestra.take_up(info.run_id, team.topology, accept_changes=accept, **options)

    return begin
