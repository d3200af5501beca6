"""``marsys new``: the beginning of a team of your own."""

from __future__ import annotations

import re
from pathlib import Path

import click

from marsys_core.errors import ConfigError

__all__ = ["new"]

_TEAM = """\
name = "{name}"
description = "Say what this team is for."

# An agent is a function or a class of agents.py, or a model with an instruction:
#
#   [agents.Writer]
#   model = "extractive"          # `marsys plugins -v` lists what is installed
#   instruction = "You write short answers."

[agents.Planner]
function = "agents:plan"

[agents.Worker]
function = "agents:work"

[agents.Editor]
function = "agents:edit"

[topology]
flows = ["Planner -> Worker -> Editor"]

[limits]
timeout = 60                      # seconds
max_steps = 20
"""

_AGENTS = '''\
"""The agents of {name}: each is a function of what it is handed."""

from __future__ import annotations


async def plan(task: str) -> list[str]:
    """Cut the task into parts."""
    parts = [part.strip() for part in task.split(" and ")]
    return [part for part in parts if part]


async def work(parts: list[str]) -> list[str]:
    """Do each part."""
    return [f"{{part}}: done" for part in parts]


async def edit(results: list[str]) -> str:
    """Put the results together."""
    return "\\n".join(results)
'''

_TESTS = '''\
"""Tests of {name}; run them with pytest."""

from __future__ import annotations

import agents
import trio


def test_a_task_is_cut_into_parts() -> None:
    assert trio.run(agents.plan, "wash up and sweep") == ["wash up", "sweep"]
'''

_FILES = {"team.toml": _TEAM, "agents.py": _AGENTS, "test_agents.py": _TESTS}
_NAME = re.compile(r"[^\W\d_](?:[\w .-]*\w)?")


def _named(ctx: click.Context, parameter: click.Parameter, folder: str) -> Path:
    """Refuse an empty text, which as a path is the working directory."""
    if not folder:
        msg = "it is empty; name a folder, or '.' for this one"
        raise click.BadParameter(msg, ctx, parameter)
    return Path(folder)


@click.command()
@click.argument("folder", type=click.Path(), callback=_named)
@click.option("--name", metavar="TEXT", help="What the team is called; the folder's name by default.")
def new(folder: Path, name: str | None) -> None:
    """Write the beginning of a team into FOLDER: a team file, its agents, and a test.

    It runs as it is. Nothing that is there is changed: if one of the files exists, none is written.
    """
    called = name or folder.absolute().name
    if not _NAME.fullmatch(called):
        msg = f"{called!r} is no name for a team; give one of letters, digits, spaces, '_', '-' and '.' with --name"
        raise ConfigError(msg)
    there = [each for each in _FILES if (folder / each).exists()]
    if there:
        msg = f"{str(folder)!r} has {', '.join(there)} already; nothing was written. Name another folder"
        raise ConfigError(msg)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for each, text in _FILES.items():
            with (folder / each).open("x", encoding="utf-8") as file:
                file.write(text.format(name=called))
    except OSError as error:
        msg = f"{str(folder)!r} cannot be written: {error.strerror or error}"
        raise ConfigError(msg) from error
    for each in _FILES:
        click.echo(str(folder / each))
    click.echo(f'Try: marsys run {folder / "team.toml"} --task "wash up and sweep"', err=True)
