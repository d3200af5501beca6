"""The options that commands have in common which set a team to work."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import attrs
import click

from marsys.cli.knobs import Knobs
from marsys_core.errors import ConfigError

__all__ = ["SHOWING", "Work", "channel_of", "dumb_terminal", "refuse_both", "status_of", "team_options"]

F = TypeVar("F", bound=Callable[..., Any])


@attrs.frozen(kw_only=True)
class Work:
    """What the command line says of a team at work.

    Args:
        knobs: Which plugins.
        team: The team file.
        input_folder: The texts to search.
        models: The model of each agent, by name; of all that have one under an empty name.
        variables: What stands in the place of ``{name}`` in instructions.
        channel: How people are reached; None for the terminal, where there is one.
        verbose: Show also what models, tools and agents say.
        quiet: Show only the end.
        plain: Write lines also where a terminal could show a live tree.
    """

    knobs: Knobs
    team: Path
    input_folder: Path | None
    models: Mapping[str, str]
    variables: Mapping[str, str]
    channel: str | None
    verbose: bool
    quiet: bool
    plain: bool


def team_options(command: F) -> F:
    """Give `command` the argument TEAM and the options of a team at work; it takes them as one `Work`."""

    @functools.wraps(command)  # it has the command's own options on it
    def called(
        ctx: click.Context, /, team: Path, models: tuple[str, ...], variables: tuple[str, ...], **given: Any
    ) -> Any:
        own = {name: given.pop(name) for name in list(given) if name not in _FIELDS}
        work = Work(
            knobs=ctx.find_object(Knobs) or Knobs(),
            team=team,
            models=_models(ctx, models),
            variables=_variables(ctx, variables),
            **given,
        )
        refuse_both(ctx, work)
        return command(ctx, work, **own)

    wrapped: Any = click.pass_context(called)
    for option in reversed(_OPTIONS):
        wrapped = option(wrapped)
    return wrapped  # type: ignore[no-any-return]


_FIELDS = frozenset(field.name for field in attrs.fields(Work))
SHOWING = (
    click.option(
        "--channel", metavar="NAME",
        help="Reach people through this channel; the terminal by default, where there is one.",
    ),
    click.option("-v", "--verbose", is_flag=True, help="Show also what models, tools and agents say."),
    click.option("-q", "--quiet", is_flag=True, help="Show only the end."),
    click.option("--plain", is_flag=True, help="Write lines also where a terminal could show a live tree."),
)  # fmt: skip
"""The options of whatever shows a team at work."""
_OPTIONS = (
    click.argument("team", type=click.Path(path_type=Path)),
    click.option(
        "--input", "input_folder", metavar="FOLDER", type=click.Path(path_type=Path),
        help="The texts to search.",
    ),
    click.option(
        "--model", "models", metavar="[AGENT=]NAME", multiple=True,
        help="Use this model for every agent that has one, or for AGENT alone.",
    ),
    click.option(
        "--var", "variables", metavar="NAME=TEXT", multiple=True,
        help="Put TEXT in the place of {NAME} in instructions.",
    ),
    *SHOWING,
)  # fmt: skip


def refuse_both(ctx: click.Context, work: Work) -> None:
    """Refuse to show more and less at once.

    Raises:
        UsageError: It is asked for.
    """
    if work.verbose and work.quiet:
        msg = "-v and -q contradict each other; leave one out"
        raise click.UsageError(msg, ctx)


def _models(ctx: click.Context, given: tuple[str, ...]) -> Mapping[str, str]:
    models: dict[str, str] = {}
    for each in given:
        agent, equals, name = each.partition("=")
        agent, name = (agent, name) if equals else ("", agent)
        if not name or (equals and not agent):
            msg = f"--model takes NAME or AGENT=NAME, not {each!r}"
            raise click.UsageError(msg, ctx)
        if models.get(agent, name) != name:
            msg = f"--model names two models for {agent or 'all agents'}: {models[agent]!r} and {name!r}"
            raise click.UsageError(msg, ctx)
        models[agent] = name
    return models


def channel_of(team: Any, work: Work) -> str | None:
    """Return how people are reached: as the command line says, else the terminal, where a plugin offers it.

    The terminal says at once that nobody is there where standard input is something else.

    Raises:
        ConfigError: No plugin offers the channel.
    """
    from marsys_core.plugins import compose

    composition = compose(team.plugins)
    if work.channel is not None:
        declared = composition.item("channel", work.channel)  # refuses what is not there, with the nearest
        if "application" in getattr(declared, "features", ()):
            msg = f"--channel {work.channel}: that is for an application, which answers; here nobody would"
            raise ConfigError(msg)
        return work.channel
    typed = sys.stdin is not None and sys.stdin.isatty()
    return "terminal" if typed and "terminal" in composition.names("channel") else None


def _variables(ctx: click.Context, given: tuple[str, ...]) -> Mapping[str, str]:
    variables: dict[str, str] = {}
    for each in given:
        name, equals, text = each.partition("=")
        if not equals or not name.isidentifier():
            msg = f"--var takes NAME=TEXT, with a name of letters, digits and '_', not {each!r}"
            raise click.UsageError(msg, ctx)
        if variables.get(name, text) != text:
            msg = f"--var gives {name!r} twice: {variables[name]!r} and {text!r}"
            raise click.UsageError(msg, ctx)
        variables[name] = text
    return variables


def status_of(team: Any, work: Work) -> Any:
    """Return what is shown: what the file says, as the command line changes it; None where nobody shows it."""
    from marsys_core.config import StatusConfig
    from marsys_core.plugins import Provider, compose

    status = team.config.status or StatusConfig()
    if work.verbose or work.quiet:
        status = attrs.evolve(status, verbosity=2 if work.verbose else 0)
    sinks = compose(team.plugins).items("event sink")
    if any(isinstance(sink, Provider) and "status" in sink.features for sink in sinks):
        return status
    if not work.quiet:
        click.echo("marsys: progress is not shown: no plugin offers to show it", err=True)
    return None


@contextmanager
def dumb_terminal(*, dumb: bool) -> Iterator[None]:
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
