"""``marsys chat``: a team at work, turn by turn."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Mapping
from typing import Any

import attrs
import click

from marsys.cli.ending import say
from marsys.cli.options import Work, channel_of, dumb_terminal, status_of, team_options
from marsys.cli.response import written
from marsys.people import TerminalChannel

__all__ = ["chat"]

_LEAVING = frozenset({"/exit", "/quit"})


@click.command()
@team_options
@click.option(
    "--session", metavar="ID", default="chat", show_default=True, help="What the session is called."
)
def chat(ctx: click.Context, work: Work, session: str) -> None:
    """Talk to the team in the file TEAM: each line is a task, and what was said before is remembered.

    Lines are read from standard input, answers go to standard output. What an agent asks a person is answered
    by the next line. /exit, or the end of the input, ends
    it, and so does Ctrl-C, also in the middle of a turn.
    """
    from marsys.cli.signals import Interruption, Interruptions

    if sys.stdin is None:
        msg = "standard input is closed, and there is nobody to talk to"
        raise click.UsageError(msg, ctx)
    with Interruptions() as interruptions:
        try:
            code = _chat(work, session, interruptions)
        except Interruption as interruption:
            code = interruption.exit_code
    ctx.exit(code)


def _chat(work: Work, session: str, interruptions: Any) -> int:
    import trio

    from marsys.cli.notes import notes_on_stderr
    from marsys.cli.team import load_team

    with notes_on_stderr(verbose=work.verbose), dumb_terminal(dumb=work.plain):
        team = load_team(work.team, work.knobs, input_folder=work.input_folder, models=work.models)
        config = attrs.evolve(team.config, status=status_of(team, work) if work.verbose else None)
        talk = _Talk(team, session, config, work.variables, channel_of(team, work), interruptions)
        trio.run(talk.hold)
    return int(interruptions.exit_code) if interruptions.first else int(talk.failed)


@attrs.define(eq=False)
class _Talk:
    """One session of a team with whoever types.

    Attributes:
        failed: Whether the last turn has failed.
    """

    team: Any
    session: str
    config: Any
    variables: Mapping[str, str]
    channel: str | None
    interruptions: Any
    failed: bool = False
    _messages: Any = None
    _typing: TerminalChannel = attrs.field(factory=lambda: TerminalChannel(sys.stdin))

    async def hold(self) -> None:
        """Take turns until there is no further line, or a signal comes."""
        import trio

        from marsys_core.orchestra import Orchestra

        with trio.CancelScope() as scope:
            self.interruptions.cancel_with(scope.cancel)
            async with Orchestra(
                agents=self.team.agents, execution_config=self.config, plugins=self.team.plugins
            ) as orchestra:
                async for line in self._lines():
                    await self._turn(orchestra, line)

    async def _turn(self, orchestra: Any, line: str) -> None:
        # An agent that goes on with its session has all of it already.
        lasting = any(agent.memory_scope == "session" for agent in self.team.agents.values())
        messages = None if lasting else self._messages
        result = await orchestra.execute(
            line,
            self.team.topology,
            session_id=self.session,
            messages=messages,
            variables=self.variables,
            channel=self._typing if self.channel in (None, "terminal") else self.channel,
        )
        self.failed = not result.success
        if result.success:
            self._messages = result.messages
            click.echo(written(result.final_response))
        else:
            error = result.error
            say(f"this turn failed: {type(error).__name__}: {error}; what was said before still counts")

    async def _lines(self) -> AsyncIterator[str]:
        """Yield what is typed, line by line; waiting for it can be cancelled."""
        interactive = sys.stdin.isatty()
        while True:
            if interactive:
                click.echo("> ", err=True, nl=False)
            line = await self._typing.read_line()
            if not line or line.strip() in _LEAVING:
                return
            if line.strip():
                yield line.strip()
