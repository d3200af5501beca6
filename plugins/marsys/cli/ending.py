"""How a run that came to no answer is told on standard error."""

from __future__ import annotations

import re
from typing import Any

import click

from marsys.cli.response import written

__all__ = [
    "say",
    "say_failed",
    "say_how_to_go_on",
    "say_interrupted",
    "say_not_started",
    "say_resting",
    "told",
    "word",
]

_VARIABLE = re.compile(r"variables=\{'(?P<name>\w+)': \.\.\.\}")
_GOING_ON = ("cancelled", "failed", "interrupted", "paused", "waiting")
_WORDS = {2: "Ctrl-C", 15: "SIGTERM"}


def say_interrupted(conducted: Any, interruptions: Any) -> None:
    """Say what was going on when a signal came."""
    going_on = f" At work then: {conducted.interrupted}." if conducted.interrupted else ""
    say(
        f"interrupted by {word(interruptions)}; {conducted.account.taken()}.{going_on} Nothing is running any more."
    )


def say_failed(conducted: Any, *, verbose: bool) -> None:
    """Say why a run failed, and what it had come to."""
    result = conducted.result
    error = result.error
    if error is None:
        say("the run failed: it came to no answer")
    else:
        say(f"the run failed: {type(error).__name__}: {error}")
        for failure in getattr(error, "failures", ()):
            click.echo(f"  - {type(failure).__name__}: {failure}", err=True)
    say(f"{conducted.account.taken()}, in {result.total_duration:.1f} s")
    if result.final_response is not None:
        click.echo(f"What it had come to:\n{written(result.final_response)}", err=True)
    if verbose and error is not None and error.__cause__ is not None:
        import traceback

        click.echo("".join(traceback.format_exception(error.__cause__)), err=True, nl=False)


def say_how_to_go_on(conducted: Any) -> None:
    """Say what can be done with a run that is kept; nothing of one that is not."""
    if conducted.standing in _GOING_ON:
        say(f"to go on with it: marsys resume {conducted.run_id}{conducted.option}")


def say_resting(conducted: Any) -> None:
    """Say what a run waits for that has work left, and how it goes on."""
    result = conducted.result
    say(f"the run is {result.status}; {conducted.account.taken()}")
    for asked in result.questions:
        click.echo(told(asked), err=True)
    if not result.questions:
        say_how_to_go_on(conducted)
        return
    which = "" if len(result.questions) == 1 else " --question QUESTION"
    say(f"to answer: marsys answer {conducted.run_id} ANSWER{which}{conducted.option}")


def told(asked: Any) -> str:
    """Return a question as a person reads it, with what it is answered under."""
    from marsys.people import shown

    lines = shown(asked).splitlines()
    return "\n".join([f"  {asked.request_id}  {lines[0]}", *(f"      {line}" for line in lines[1:])])


def say_not_started(error: Exception) -> None:
    """Say what kept a run from starting, in the words of the command line."""
    say(f"the run cannot start: {_VARIABLE.sub(_as_option, str(error))}")


def _as_option(found: re.Match[str]) -> str:
    return f"--var {found['name']}=TEXT"


def word(interruptions: Any) -> str:
    """Return what people call the signal that came."""
    return _WORDS[interruptions.first]


def say(text: str) -> None:
    """Write a line of the command's own to standard error."""
    click.echo(f"marsys: {text}", err=True)
