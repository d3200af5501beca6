"""The plugin that brings the standard commands."""

from __future__ import annotations

from collections.abc import Iterable

from marsys_core import hookimpl
from marsys_core.protocols.command import Command

__all__ = ["marsys_commands"]


@hookimpl
def marsys_commands() -> Iterable[Command]:
    """Offer `run`, `chat`, `new`, `plugins`, `topology` and `doctor`."""
    return [
        Command("run", "Run a team of agents on a task.", target="marsys.cli.run:run"),
        Command("chat", "Talk to a team of agents, turn by turn.", target="marsys.cli.chat:chat"),
        Command("new", "Write the beginning of a team of your own.", target="marsys.cli.new:new"),
        Command(
            "plugins", "List the plugins and say what became of each.", target="marsys.cli.plugins:plugins"
        ),
        Command("topology", "Draw who may invoke whom.", target="marsys.cli.topology:topology"),
        Command("doctor", "Say what is wrong with this installation.", target="marsys.cli.doctor:doctor"),
    ]
