"""One run of a team, from opening the engine to its result."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import attrs
import trio

from marsys.cli.account import Account
from marsys.cli.ending import say
from marsys.cli.place import Place
from marsys.cli.problems import Problems, at
from marsys.cli.signals import Interruptions
from marsys.cli.team import LoadedTeam
from marsys_core.config import ExecutionConfig
from marsys_core.engine.prepared import named_tools
from marsys_core.errors import ConfigError, RunHeld, StoreError
from marsys_core.orchestra import Orchestra
from marsys_core.results import RunResult
from marsys_core.run import Run

__all__ = ["Begin", "Conducted", "conduct"]

Begin = Callable[[Orchestra, Account], Awaitable[Run]]


@attrs.define(eq=False, kw_only=True)
class Conducted:
    """What came of a run.

    Attributes:
        result: The result; None where it was interrupted before it started.
        account: What was done.
        interrupted: What was going on when a signal came.
        run_id: The run; empty where it did not start.
        standing: How the store says that it stands; empty where it is not kept.
        option: What names its store to another command.
    """

    result: RunResult | None = None
    account: Account = attrs.field(factory=Account)
    interrupted: str = ""
    run_id: str = ""
    standing: str = ""
    option: str = ""


async def conduct(
    team: LoadedTeam,
    begin: Begin,
    config: ExecutionConfig,
    place: Place | None,
    interruptions: Interruptions,
) -> Conducted:
    """Have `begin` start a run of `team`, and cancel it at a signal.

    Args:
        team: The team.
        begin: Starts the run in the engine that it is given.
        config: The run's settings.
        place: Where it is kept, if at all.
        interruptions: Where signals arrive.

    Raises:
        ConfigError: The run could not start.
        StoreError: It cannot be kept.
    """
    conducted = Conducted()
    with trio.CancelScope() as opening:
        interruptions.cancel_with(opening.cancel)
        await trio.lowlevel.checkpoint_if_cancelled()
        settings = {
            "agents": team.agents, "execution_config": config, "plugins": team.plugins, "sinks": [conducted.account]
        }  # fmt: skip
        async with _opened(place, settings) as orchestra:
            await _open_what_is_named(team, orchestra)
            run = await begin(orchestra, conducted.account)

            def cancel() -> None:
                conducted.interrupted = conducted.account.going_on()
                run.cancel()

            interruptions.cancel_with(cancel)
            try:
                conducted.result = await run.result()
            except StoreError as error:
                raise await _with_the_way_on(orchestra, run.id, place, error) from error
            await _see_how_it_stands(orchestra, run.id, place, conducted)
    return conducted


@asynccontextmanager
async def _opened(place: Place | None, settings: dict[str, Any]) -> AsyncIterator[Orchestra]:
    """Open an engine that keeps its runs at `place`; one that keeps none where nobody asked for the place."""
    async with AsyncExitStack() as stack:
        orchestra, failed = None, ""
        if place is not None:
            try:
                place.make_folder()
                made = _keeping(place, settings)
                orchestra = await stack.enter_async_context(made)
            except (ConfigError, StoreError, OSError) as error:
                if place.asked:
                    raise _unusable(place, error) from error
                failed = _reason(error)
        if orchestra is None:
            orchestra = await stack.enter_async_context(Orchestra(**settings))
        if failed:  # what kept the first engine from opening was the store, as the second one has opened
            say(f"this run is not kept: {failed}; --storage FILE keeps it elsewhere, --no-storage nowhere")
        yield orchestra


def _keeping(place: Place, settings: dict[str, Any]) -> Orchestra:
    if place.directory is None:
        return Orchestra(storage=place.storage, **settings)
    return Orchestra.open(place.directory, storage=place.storage, **settings)


def _reason(error: Exception) -> str:
    if isinstance(error, OSError):
        return f"{error.filename!r} cannot be made: {error.strerror or error}"
    return str(error)


def _unusable(place: Place, error: Exception) -> Exception:
    if isinstance(error, OSError | StoreError):
        return ConfigError(f"the run cannot be kept: {_reason(error)}")
    return error


async def _with_the_way_on(
    orchestra: Orchestra, run_id: str, place: Place | None, error: StoreError
) -> StoreError:
    """Say how a run that could not be kept any more is gone on with; nothing of one that somebody else has."""
    store = orchestra.engine.store
    if store is None or place is None or isinstance(error, RunHeld):
        return error
    try:
        await store.info(run_id)
    except (ConfigError, StoreError):  # it did not begin
        return error
    return StoreError(f"{error}; then go on with the run: marsys resume {run_id}{place.option}", error.path)


async def _see_how_it_stands(
    orchestra: Orchestra, run_id: str, place: Place | None, conducted: Conducted
) -> None:
    store = orchestra.engine.store
    if store is None or place is None:
        return
    conducted.run_id, conducted.option = run_id, place.option
    try:
        info = await store.info(run_id)
    except ConfigError:  # it did not begin, and so there is nothing to keep
        return
    conducted.standing = info.status


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
