"""``marsys run``: a team at work."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
import click

from marsys.cli.knobs import Knobs

__all__ = ["run", "written"]

_WORDS = {2: "Ctrl-C", 15: "SIGTERM"}


@click.command()
@click.argument("team", type=click.Path(path_type=Path))
@click.option("--task", metavar="TEXT", required=True, help="What to do; '-' reads it from standard input.")
@click.option(
    "--input", "input_folder", metavar="FOLDER", type=click.Path(path_type=Path), help="The texts to search."
)
@click.option("-v", "--verbose", is_flag=True, help="Show also what models, tools and agents say.")
@click.option("-q", "--quiet", is_flag=True, help="Show only the end.")
@click.option("--plain", is_flag=True, help="Write lines also where a terminal could show a live tree.")
@click.pass_context
def run(ctx: click.Context, /, team: Path, task: str, input_folder: Path | None, **shown: bool) -> None:
    """Run the team in the file TEAM on a task.

    The answer goes to standard output, progress to standard error. The exit code is 0 for success, 1 where
    the run failed, 2 for a mistake in the call or in the file, 130 after Ctrl-C and 143 after SIGTERM.
    """
    from marsys.cli.signals import Interruption, Interruptions

    if shown["verbose"] and shown["quiet"]:
        msg = "-v and -q contradict each other; leave one out"
        raise click.UsageError(msg, ctx)
    words = _task(ctx, task)
    with Interruptions() as interruptions:
        try:
            code = _run(ctx.find_object(Knobs) or Knobs(), team, words, input_folder, interruptions, shown)
        except Interruption as interruption:
            _say(f"interrupted by {_word(interruptions)}; no run was going on")
            code = interruption.exit_code
    ctx.exit(code)


def _run(
    knobs: Knobs,
    path: Path,
    task: str,
    input_folder: Path | None,
    interruptions: Any,
    shown: dict[str, bool],
) -> int:
    import trio

    from marsys.cli.conduct import conduct
    from marsys.cli.notes import notes_on_stderr
    from marsys.cli.team import load_team

    with notes_on_stderr(verbose=shown["verbose"]), _terminal(dumb=shown["plain"]):
        team = load_team(path, knobs, input_folder=input_folder)
        config = attrs.evolve(team.config, status=_status(team, shown))
        conducted = trio.run(conduct, team, task, config, interruptions)
    result = conducted.result
    if result is not None and result.success:
        click.echo(written(result.final_response))
        return 0
    if interruptions.first:
        _say_interrupted(conducted, interruptions)
        return int(interruptions.exit_code)
    _say_failed(conducted, verbose=shown["verbose"])
    return 1


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


def _status(team: Any, shown: dict[str, bool]) -> Any:
    """Return what is shown: what the file says, as the command line changes it; None where nobody shows it."""
    from marsys_core.config import StatusConfig
    from marsys_core.plugins import Provider, compose

    status = team.config.status or StatusConfig()
    if shown["verbose"] or shown["quiet"]:
        status = attrs.evolve(status, verbosity=2 if shown["verbose"] else 0)
    sinks = compose(team.plugins).items("event sink")
    if any(isinstance(sink, Provider) and "status" in sink.features for sink in sinks):
        return status
    if not shown["quiet"]:
        click.echo("marsys: progress is not shown: no plugin offers to show it", err=True)
    return None


@contextmanager
def _terminal(*, dumb: bool) -> Iterator[None]:
    """Where it is to be dumb, let whatever draws take the terminal for one that can only write lines."""
    before = os.environ.get("TERM")
    if dumb:
        os.environ["TERM"] = "dumb"
    try:
        yield
    finally:
        if before is not None:
            os.environ["TERM"] = before
        elif dumb:
            del os.environ["TERM"]


def written(answer: Any) -> str:
    """Return an answer for a person: text as it is, several one after another, data as JSON."""
    from marsys_core.values import render

    if isinstance(answer, list) and all(isinstance(each, str) for each in answer):
        return "\n\n".join(answer)
    return render(answer)


def _say_interrupted(conducted: Any, interruptions: Any) -> None:
    going_on = f" At work then: {conducted.interrupted}." if conducted.interrupted else ""
    _say(
        f"interrupted by {_word(interruptions)}; {conducted.account.taken()}.{going_on} Nothing is running any more."
    )


def _say_failed(conducted: Any, *, verbose: bool) -> None:
    result = conducted.result
    error = result.error
    if error is None:
        _say("the run failed: it came to no answer")
    else:
        _say(f"the run failed: {type(error).__name__}: {error}")
        for failure in getattr(error, "failures", ()):
            click.echo(f"  - {type(failure).__name__}: {failure}", err=True)
    _say(f"{conducted.account.taken()}, in {result.total_duration:.1f} s")
    if result.final_response is not None:
        click.echo(f"What it had come to:\n{written(result.final_response)}", err=True)
    if verbose and error is not None and error.__cause__ is not None:
        import traceback

        click.echo("".join(traceback.format_exception(error.__cause__)), err=True, nl=False)


def _word(interruptions: Any) -> str:
    return _WORDS[interruptions.first]


def _say(text: str) -> None:
    click.echo(f"marsys: {text}", err=True)
