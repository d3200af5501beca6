"""``marsys fork``: a new run that shares the past of another one."""

from __future__ import annotations

from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import attrs
import click

from marsys.cli.carry import Answering, answer_options, carried, interruptible
from marsys.cli.ending import say
from marsys.cli.knobs import Knobs
from marsys.cli.options import Work, channel_of, refuse_both
from marsys.cli.place import Place, storage_option
from marsys.cli.resume import going_on_options, with_changes_named

if TYPE_CHECKING:
    from marsys.cli.account import Account
    from marsys.cli.conduct import Begin
    from marsys.cli.team import LoadedTeam
    from marsys_core.orchestra import Orchestra
    from marsys_core.protocols.store import RunInfo, Store
    from marsys_core.run import Run

__all__ = ["fork"]


@attrs.frozen
class _Edit:
    """What the step is given instead."""

    value: Any


def _edit(ctx: click.Context, _parameter: click.Parameter, text: str | None) -> _Edit | None:
    """Read the value of ``--edit``."""
    import json

    if text is None:
        return None
    try:
        return _Edit(json.loads(_read(ctx, text), parse_constant=_no_number))
    except (ValueError, RecursionError) as error:
        hint = "" if text.startswith("@") else f"; a text is written {json.dumps(text, ensure_ascii=False)}"
        msg = f"--edit takes JSON, or @FILE with JSON in it, and this is none: {error}{hint}"
        raise click.UsageError(msg, ctx) from error


def _read(ctx: click.Context, text: str) -> str:
    if not text.startswith("@"):
        return text
    try:
        return Path(text[1:]).read_text("utf-8-sig")
    except OSError as error:
        msg = f"--edit {text!r}: the file cannot be read: {error.strerror or error}"
        raise click.UsageError(msg, ctx) from error


def _no_number(name: str) -> NoReturn:
    msg = f"{name} is no number in JSON"
    raise ValueError(msg)


@click.command()
@click.argument("run_id", metavar="ID")
@click.option(
    "--at",
    metavar="STEP",
    type=click.IntRange(min=1),
    required=True,
    help="The step before which they part, as 'marsys show' counts them.",
)
@click.option(
    "--edit",
    metavar="JSON",
    callback=_edit,
    help="What the step is given in place of what it was given; @FILE reads it from a file.",
)
@going_on_options
@storage_option
@answer_options
@click.pass_context
def fork(
    ctx: click.Context,
    /,
    run_id: str,
    at: int,
    edit: _Edit | None,
    place: Place,
    *,
    accept: bool,
    as_json: bool,
    file: Path | None,
    **given: Any,
) -> None:
    """Begin a new run that shares the past of the run ID, up to a step.

    What does not depend on the edit is answered from the record: no model is asked for it. The run ID stays as it
    is. The team is loaded as it was for 'marsys run', and the new run shows and answers what that would have; its id
    goes to standard error.
    """
    now = Work(knobs=ctx.find_object(Knobs) or Knobs(), input_folder=None, models={}, variables={}, **given)
    refuse_both(ctx, now)
    answering = Answering(as_json=as_json, file=file)
    answering.check(ctx)
    changes = {} if edit is None else {"edit": edit.value}

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
                lambda team: _parting(work, info, team, accept, at, changes),
                lambda _: place,
                answering,
                interruptions,
            )

    ctx.exit(interruptible(act))


def _parting(
    work: Work, info: RunInfo, team: LoadedTeam, accept: bool, at: int, changes: dict[str, Any]
) -> Begin:
    from marsys_core.engine.rebuild import parted
    from marsys_core.engine.resuming import place_of_step

    channel = channel_of(team, work)

    async def begin(orchestra: Orchestra, account: Account) -> Run:
        kept, _ = parted(await orchestra.history(info.run_id))
        account.catch_up(kept[: place_of_step(kept, at, info.run_id)])
        run = orchestra.start_fork(
            info.run_id, at, accept_changes=accept,
            topology=team.topology, variables=work.variables, channel=channel, **changes,
        )  # fmt: skip
        async with aclosing(run.events()) as events:
            async for _ in events:  # it has begun
                say(f"run {run.id} parts from run {info.run_id} before its step {at}")
                break
        return run

    return begin
