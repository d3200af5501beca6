"""One run of a team, from opening the engine to its result."""

from __future__ import annotations

import attrs
import trio

from marsys.cli.account import Account
from marsys.cli.problems import Problems, at
from marsys.cli.signals import Interruptions
from marsys.cli.team import LoadedTeam
from marsys_core.config import ExecutionConfig
from marsys_core.engine.prepared import named_tools
from marsys_core.errors import ConfigError
from marsys_core.options import RunOptions
from marsys_core.orchestra import Orchestra
from marsys_core.results import RunResult

__all__ = ["Conducted", "conduct"]


@attrs.define(eq=False, kw_only=True)
class Conducted:
    """What came of a run.

    Attributes:
        result: The result; None where it was interrupted before it started.
        account: What was done.
        interrupted: What was going on when a signal came.
    """

    result: RunResult | None = None
    account: Account = attrs.field(factory=Account)
    interrupted: str = ""


async def conduct(
    team: LoadedTeam,
    task: str,
    config: ExecutionConfig,
    options: RunOptions,
    interruptions: Interruptions,
) -> Conducted:
    """Run `team` on `task`, and cancel it at a signal.

    Raises:
        ConfigError: The run could not start.
    """
    conducted = Conducted()
    with trio.CancelScope() as opening:
        interruptions.cancel_with(opening.cancel)
        await trio.lowlevel.checkpoint_if_cancelled()
        async with Orchestra(
            agents=team.agents, execution_config=config, plugins=team.plugins, sinks=[conducted.account]
        ) as orchestra:
            await _open_what_is_named(team, orchestra)
            run = orchestra.start(task, team.topology, **options)

            def cancel() -> None:
                conducted.interrupted = conducted.account.going_on()
                run.cancel()

            interruptions.cancel_with(cancel)
            conducted.result = await run.result()
    return conducted


async def _open_what_is_named(team: LoadedTeam, orchestra: Orchestra) -> None:
    """Open the agents' models and tools, so that what cannot be opened is found before the first step."""
    problems = Problems()
    for name, agent in team.agents.items():
        path = at("$.agents", name)
        if isinstance(agent.model, str):
            try:
                await orchestra.engine.model(agent.model)
            except ConfigError as error:
                problems.add(str(error), at(path, "model"))
        for index, tool in enumerate(agent.tools):
            if isinstance(tool, str):
                try:
                    await named_tools(tool, orchestra.engine)
                except ConfigError as error:
                    problems.add(str(error), at(at(path, "tools"), index))
    problems.raise_all("the team cannot start:")
