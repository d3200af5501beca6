"""``marsys run``: a team at work."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from marsys.cli.carry import Answering, answer_options, carried, interruptible
from marsys.cli.options import Work, channel_of, team_options

if TYPE_CHECKING:
    from marsys.cli.account import Account
    from marsys.cli.conduct import Begin
    from marsys.cli.place import Place
    from marsys.cli.team import LoadedTeam
    from marsys_core.options import RunOptions
    from marsys_core.orchestra import Orchestra
    from marsys_core.run import Run

__all__ = ["run"]


@click.command()
@team_options
@click.option("--task", metavar="TEXT", required=True, help="What to do; '-' reads it from standard input.")
@click.option(
    "--storage",
    metavar="FILE",
    help="Keep the run here: a file, or the name of a store; .marsys/runs.db by default.",
)
@click.option("--no-storage", "forget", is_flag=True, help="Do not keep the run.")
@answer_options
def run(
    ctx: click.Context,
    work: Work,
    task: str,
    storage: str | None,
    *,
    forget: bool,
    as_json: bool,
    file: Path | None,
) -> None:
    """Run the team in the file TEAM on a task.

    The answer goes to standard output, progress to standard error. The run is kept in .marsys of the working
    directory, so that 'marsys resume' can go on with it. The exit code is 0 for success, 1 where the run
    failed, 2 for a mistake in the call or in the file, 3 where it waits for people, 130 after Ctrl-C and 143
    after SIGTERM.
    """
    words = _task(ctx, task)
    if forget and storage is not None:
        msg = "--storage and --no-storage contradict each other; leave one out"
        raise click.UsageError(msg, ctx)
    answering = Answering(as_json=as_json, file=file)
    answering.check(ctx)

    def place(team: LoadedTeam) -> Place | None:
        from marsys.cli.place import place_of

        return None if forget else place_of(storage, team.plugins.sections)

    def act(interruptions: Any) -> int:
        return carried(work, lambda team: _beginning(work, words, team), place, answering, interruptions)

    ctx.exit(interruptible(act))


def _beginning(work: Work, words: str, team: LoadedTeam) -> Begin:
    channel = channel_of(team, work)

    async def begin(orchestra: Orchestra, _account: Account) -> Run:
        options: RunOptions = {"variables": work.variables, "channel": channel}
        if orchestra.engine.store is not None:
            from marsys.cli.origin import origin_of

            options["origin"] = origin_of(work)
        return orchestra.start(words, team.topology, **options)

    return begin


def _task(ctx: click.Context, task: str) -> str:
    if task == "-":
        if sys.stdin is None:
            msg = "--task - reads standard input, and that is closed; give the task as --task TEXT"
            raise click.UsageError(msg, ctx)
        try:
            task = sys.stdin.buffer.read().decode("utf-8-sig")
        except UnicodeDecodeError as error:
            msg = f"the task on standard input is not UTF-8: byte {error.start + 1}"
            raise click.UsageError(msg, ctx) from error
    if not task.strip():
        msg = "the task is empty; say what to do with --task TEXT"
        raise click.UsageError(msg, ctx)
    return task.strip()
