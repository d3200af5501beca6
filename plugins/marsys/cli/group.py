"""The group of all commands, each of which is imported when it is used."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import click

from marsys.cli.clashes import with_toml
from marsys.cli.commands import NamedCommands
from marsys.cli.knobs import Knobs
from marsys.cli.notes import prints_on_stderr
from marsys_core import __version__
from marsys_core.errors import ConfigError
from marsys_core.protocols.command import Command

__all__ = ["CommandTable", "marsys"]


class CommandTable(NamedCommands):
    """The commands of all plugins. Listing them imports none; the standard ones are always there.

    They stand by themselves, whatever the plugins do: they are what shows why a plugin is not loaded.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands, sorted."""
        return sorted(_commands(ctx))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command."""
        # The standard commands do without the plugins, which may be what is wrong.
        declared = _own().get(cmd_name) or _commands(ctx).get(cmd_name)
        if declared is None:
            return None
        loaded = declared.load()
        if isinstance(loaded, click.Command):
            return loaded
        if not callable(loaded) or isinstance(loaded, type):
            msg = f"command {cmd_name!r} is {declared.target!r}, which is no function and no click command: {loaded!r}"
            raise ConfigError(msg)
        return _of_function(declared, loaded)

    def knows(self, ctx: click.Context, name: str) -> bool:
        """Whether there is a command of that name; for a standard one no plugin is loaded."""
        return name in _own() or name in _commands(ctx)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands."""
        commands = _commands(ctx)
        with formatter.section("Commands"):
            formatter.write_dl([(name, commands[name].help) for name in sorted(commands)])


def _commands(ctx: click.Context) -> Mapping[str, Command]:
    found: Mapping[str, Command] | None = ctx.meta.get("marsys.commands")
    if found is None:
        found = ctx.meta["marsys.commands"] = _found(ctx.find_object(Knobs) or Knobs())
    return found


def _own() -> Mapping[str, Command]:
    from marsys.cli.plugin import marsys_commands

    return {command.name: command for command in marsys_commands()}


def _found(knobs: Knobs) -> Mapping[str, Command]:
    from marsys_core.plugins import load_commands

    own = _own()
    try:
        with prints_on_stderr():
            declared = load_commands(knobs.over())
    except ConfigError as error:
        # The environment cannot be read, which the command will say too, if it depends on it.
        click.echo(f"marsys: {with_toml(str(error))}", err=True)
        return own
    return {**{each.name: each.value for each in declared}, **own}


@click.group(cls=CommandTable, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "-p", "names", metavar="NAME", multiple=True, help="Load only this plugin; no:NAME loads all but it."
)
@click.option("--no-plugins", "none", is_flag=True, help="Load no plugin by itself.")
@click.option(
    "--strict-plugins", "strict", is_flag=True, help="Fail where a plugin is broken or incompatible."
)
@click.version_option(__version__, prog_name="marsys", message="%(prog)s %(version)s")
@click.pass_context
def marsys(ctx: click.Context, /, **given: Any) -> None:
    """Run teams of cooperating agents, and see what they are made of."""
    ctx.obj = Knobs(**given)


def _of_function(declared: Command, function: Callable[..., object]) -> click.Command:
    """Make a command of a plain function: it gets the arguments as they are, and returns the exit code."""

    def call(arguments: tuple[str, ...]) -> None:
        ended = function(list(arguments)) if inspect.signature(function).parameters else function()
        click.get_current_context().exit(ended if isinstance(ended, int) else 0)

    return click.Command(
        declared.name,
        callback=call,
        params=[click.Argument(["arguments"], nargs=-1, type=click.UNPROCESSED)],
        help=declared.help,
        context_settings={"ignore_unknown_options": True},
    )
