"""``marsys run``: a team at work."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import click

from marsys.cli.answer import save, written, written_json
from marsys.cli.ending import say, say_failed, say_interrupted, say_not_started, word
from marsys.cli.options import Work, channel_of, dumb_terminal, status_of, team_options
from marsys_core.errors import ConfigError

if TYPE_CHECKING:
    from marsys_core.options import RunOptions

__all__ = ["run"]


@click.command()
@team_options
@click.option("--task", metavar="TEXT", required=True, help="What to do; '-' reads it from standard input.")
@click.option("--json", "as_json", is_flag=True, help="Write all that is known of the run as JSON.")
@click.option(
    "--save",
    "file",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write what goes to standard output into FILE as well.",
)
def run(ctx: click.Context, work: Work, task: str, *, as_json: bool, file: Path | None) -> None:
    """Run the team in the file TEAM on a task.

    The answer goes to standard output, progress to standard error. The exit code is 0 for success, 1 where
    the run failed, 2 for a mistake in the call or in the file, 130 after Ctrl-C and 143 after SIGTERM.
    """
    from marsys.cli.signals import Interruption, Interruptions

    words = _task(ctx, task)
    if file is not None and not file.absolute().parent.is_dir():
        msg = f"--save {str(file)!r}: there is no folder {str(file.absolute().parent)!r}"
        raise click.UsageError(msg, ctx)
    if file is not None and file.is_dir():
        msg = f"--save {str(file)!r} is a folder; name a file"
        raise click.UsageError(msg, ctx)
    with Interruptions() as interruptions:
        try:
            code = _run(work, words, interruptions, as_json=as_json, file=file)
        except Interruption as interruption:
            say(f"interrupted by {word(interruptions)}; no run was going on")
            code = interruption.exit_code
    ctx.exit(code)


def _run(work: Work, task: str, interruptions: Any, *, as_json: bool, file: Path | None) -> int:
    import trio

    from marsys.cli.conduct import conduct
    from marsys.cli.notes import notes_on_stderr, prints_on_stderr
    from marsys.cli.team import load_team

    # What agents print must not get into the one JSON object on standard output.
    aside = prints_on_stderr() if as_json else nullcontext()
    with notes_on_stderr(verbose=work.verbose), dumb_terminal(dumb=work.plain), aside:
        team = load_team(work.team, work.knobs, input_folder=work.input_folder, models=work.models)
        config = attrs.evolve(team.config, status=status_of(team, work))
        options: RunOptions = {"variables": work.variables, "channel": channel_of(team, work)}
        conducted = trio.run(conduct, team, task, config, options, interruptions)
    result = conducted.result
    succeeded = result is not None and result.success
    saved = True
    if result is not None and (succeeded or as_json):
        saved = _tell(written_json(result) if as_json else written(result.final_response), file)
    if succeeded:
        return 0 if saved else 1
    if interruptions.first:
        say_interrupted(conducted, interruptions)
        return int(interruptions.exit_code)
    if result is not None and isinstance(result.error, ConfigError) and not result.total_steps:
        say_not_started(result.error)
        return 2
    say_failed(conducted, verbose=work.verbose)
    return 1


def _tell(text: str, file: Path | None) -> bool:
    """Write `text` to standard output first: what a run came to is not lost with a full disk."""
    click.echo(text)
    if file is None:
        return True
    try:
        save(f"{text}\n", file)
    except OSError as error:
        say(f"--save {str(file)!r} cannot be written: {error.strerror or error}")
        return False
    return True


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
