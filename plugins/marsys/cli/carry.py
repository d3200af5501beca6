"""A run of the command line from its team to its exit code: what it shows, what it answers, how it ends."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import attrs
import click

from marsys.cli.ending import (
    say,
    say_failed,
    say_how_to_go_on,
    say_interrupted,
    say_not_started,
    say_resting,
    word,
)
from marsys.cli.options import Work, dumb_terminal, status_of
from marsys.cli.response import save, written, written_json
from marsys_core.errors import ConfigError

if TYPE_CHECKING:
    from marsys.cli.conduct import Begin, Conducted
    from marsys.cli.place import Place
    from marsys.cli.team import LoadedTeam

__all__ = ["Answering", "answer_options", "carried", "interruptible"]

F = TypeVar("F", bound=Callable[..., Any])
_RESTING = 3


@attrs.frozen(kw_only=True)
class Answering:
    """How a run's answer is written.

    Args:
        as_json: As one JSON object, with all that is known of the run.
        file: Into this file as well.
    """

    as_json: bool
    file: Path | None

    def check(self, ctx: click.Context) -> None:
        """Refuse a file that cannot be written.

        Raises:
            UsageError: It lies in no folder, or is one.
        """
        file = self.file
        if file is not None and not file.absolute().parent.is_dir():
            msg = f"--save {str(file)!r}: there is no folder {str(file.absolute().parent)!r}"
            raise click.UsageError(msg, ctx)
        if file is not None and file.is_dir():
            msg = f"--save {str(file)!r} is a folder; name a file"
            raise click.UsageError(msg, ctx)

    def tell(self, text: str) -> bool:
        """Write `text` to standard output first: what a run came to is not lost with a full disk."""
        click.echo(text)
        if self.file is None:
            return True
        try:
            save(f"{text}\n", self.file)
        except OSError as error:
            say(f"--save {str(self.file)!r} cannot be written: {error.strerror or error}")
            return False
        return True


def answer_options(command: F) -> F:
    """Give `command` the options ``--json`` and ``--save``."""
    for option in (
        click.option(
            "--save", "file", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False),
            help="Write what goes to standard output into FILE as well.",
        ),
        click.option("--json", "as_json", is_flag=True, help="Write all that is known of the run as JSON."),
    ):  # fmt: skip
        command = option(command)
    return command


def interruptible(act: Callable[[Any], int]) -> int:
    """Return the exit code of `act`, which is handed what hears Ctrl-C and SIGTERM."""
    from marsys.cli.signals import Interruption, Interruptions

    with Interruptions() as interruptions:
        try:
            return act(interruptions)
        except Interruption as interruption:
            say(f"interrupted by {word(interruptions)}; no run was going on")
            return interruption.exit_code


def carried(
    work: Work,
    begin: Callable[[LoadedTeam], Begin],
    place: Callable[[LoadedTeam], Place | None],
    answering: Answering,
    interruptions: Any,
) -> int:
    """Load a team, have it run, tell what came of it, and return the exit code.

    Args:
        work: Which team, and how it is shown.
        begin: Returns what starts the run.
        place: Returns where it is kept, if at all.
        answering: How the answer is written.
        interruptions: Where signals arrive.
    """
    import trio

    from marsys.cli.conduct import conduct
    from marsys.cli.notes import notes_on_stderr, prints_on_stderr
    from marsys.cli.team import load_team

    # What agents print must not get into the one JSON object on standard output.
    aside = prints_on_stderr() if answering.as_json else nullcontext()
    with notes_on_stderr(verbose=work.verbose), dumb_terminal(dumb=work.plain), aside:
        team = load_team(work.team, work.knobs, input_folder=work.input_folder, models=work.models)
        config = attrs.evolve(team.config, status=status_of(team, work))
        conducted = trio.run(conduct, team, begin(team), config, place(team), interruptions)
    return _ended(conducted, work, answering, interruptions)


def _ended(conducted: Conducted, work: Work, answering: Answering, interruptions: Any) -> int:
    """Tell what came of a run, and return the exit code."""
    result = conducted.result
    succeeded = result is not None and result.success
    saved = True
    if result is not None and (succeeded or answering.as_json):
        saved = answering.tell(written_json(result) if answering.as_json else written(result.final_response))
    if succeeded:
        return 0 if saved else 1
    code = 1
    if result is not None and result.status in ("paused", "waiting"):
        say_resting(conducted)
        return _RESTING
    if interruptions.first:
        say_interrupted(conducted, interruptions)
        code = int(interruptions.exit_code)
    elif result is not None and isinstance(result.error, ConfigError) and not result.total_steps:
        say_not_started(result.error)
        code = 2
    else:
        say_failed(conducted, verbose=work.verbose)
    say_how_to_go_on(conducted)
    return code
