"""The plugin that brings the standard commands."""

from __future__ import annotations

from collections.abc import Iterable

from marsys_core import hookimpl
from marsys_core.protocols.command import Command

__all__ = ["marsys_commands"]


@hookimpl
def marsys_commands() -> Iterable[Command]:
    """Offer `run`, `plugins`, `topology` and `doctor`."""
    return [
        Command("run", "Run a team of agents on a task.", target="marsys.cli.run:run"),
        Command(
            "plugins", "List the plugins and say what became of each.", target="marsys.cli.plugins:plugins"
        ),
        Command("topology", "Draw who may invoke whom.", target="marsys.cli.topology:topology"),
        Command("doctor", "Say what is wrong with this installation.", target="marsys.cli.doctor:doctor"),
    ]
