"""The plugin that brings the standard commands."""

from __future__ import annotations

from collections.abc import Iterable

from marsys_core import hookimpl
from marsys_core.protocols.command import Command

__all__ = ["marsys_commands"]


@hookimpl
def marsys_commands() -> Iterable[Command]:
    """Offer the commands that run teams, look into runs that are kept, and look at plugins."""
    return [
        Command("run", "Run a team of agents on a task.", target="marsys.cli.run:run"),
        Command("resume", "Go on with a run that was interrupted.", target="marsys.cli.resume:resume"),
        Command("answer", "Answer what a run waits for.", target="marsys.cli.answer:answer"),
        Command("fork", "Begin a run that shares the past of another one.", target="marsys.cli.fork:fork"),
        Command("runs", "List the runs that are kept.", target="marsys.cli.runs:runs"),
        Command("show", "Say what happened in a run.", target="marsys.cli.show:show"),
        Command("diff", "Say where two runs part.", target="marsys.cli.diff:diff"),
        Command("store", "Look after the runs that are kept.", target="marsys.cli.store:store"),
        Command("chat", "Talk to a team of agents, turn by turn.", target="marsys.cli.chat:chat"),
        Command("new", "Write the beginning of a team of your own.", target="marsys.cli.new:new"),
        Command(
            "plugins", "List the plugins and say what became of each.", target="marsys.cli.plugins:plugins"
        ),
        Command("topology", "Draw who may invoke whom.", target="marsys.cli.topology:topology"),
        Command("doctor", "Say what is wrong with this installation.", target="marsys.cli.doctor:doctor"),
    ]
