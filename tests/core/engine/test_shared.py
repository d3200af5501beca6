"""Bare calls that overlap share one engine, and nothing is open between them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
import trio.testing

from marsys_core import Provider, hookimpl
from marsys_core.agents import Agent, BaseAgent
from marsys_core.engine.opening import Request
from marsys_core.engine.shared import execute_bare
from marsys_core.errors import PluginError
from marsys_core.messages import Usage
from marsys_core.models import Capabilities, ModelResponse
from marsys_core.orchestra import Orchestra
from marsys_core.plugins import PluginSettings
from marsys_core.results import RunResult


class Slow:
    """A model that takes a second."""

    name = "slow"
    capabilities = Capabilities()

    async def generate(self, request: Any) -> ModelResponse:
        await trio.sleep(1)
        return ModelResponse(content="done", usage=Usage(1, 1, model_calls=1))


class House:
    """A plugin with one model; writes down what is opened and closed."""

    def __init__(self, *, fails_after: float | None = None, opens: bool = True) -> None:
        self.log: list[str] = []
        self.fails_after = fails_after
        self.opens = opens

    @asynccontextmanager
    async def _open(self, context: Any, settings: Any) -> AsyncIterator[Slow]:
        if not self.opens:
            msg = "no door"
            raise ValueError(msg)
        self.log.append("open")
        async with trio.open_nursery() as nursery:
            if self.fails_after is not None:
                nursery.start_soon(self._fail, self.fails_after)
            try:
                yield Slow()
            finally:
                self.log.append("close")

    async def _fail(self, seconds: float) -> None:
        await trio.sleep(seconds)
        msg = "the house burns"
        raise OSError(msg)

    @hookimpl
    def marsys_models(self) -> list[Provider[Slow]]:
        return [Provider("slow", self._open)]

    def orchestra(self) -> Orchestra:
        return Orchestra(plugins=PluginSettings(plugins={"house": self}, discover=False))


def request(*agents: BaseAgent) -> Request:
    return Request(
        task="go",
        topology=agents[0].name,
        options={"agents": {agent.name: agent for agent in agents}},
    )


def played(main: Any, *args: Any) -> Any:
    return trio.run(main, *args, clock=trio.testing.MockClock(autojump_threshold=0))


def asker() -> Agent:
    return Agent("Asker", model="slow")


async def tasks() -> int:
    """How many tasks there are, those of the system included."""
    await trio.testing.wait_all_tasks_blocked()
    found, waiting = 0, [trio.lowlevel.current_root_task()]
    while waiting:
        task = waiting.pop()
        found += 1
        waiting += [child for nursery in task.child_nurseries for child in nursery.child_tasks]
    return found


def test_calls_at_once_open_a_model_once_and_the_last_one_closes_it() -> None:
    house = House()
    results: list[RunResult] = []

    async def main() -> None:
        orchestra, before = house.orchestra(), await tasks()

        async def one() -> None:
            results.append(await execute_bare(orchestra, request(asker())))

        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(one)
            await trio.sleep(0.5)
            nursery.start_soon(one)  # joins while the others wait, and outlasts them
        assert house.log == ["open", "close"]
        assert await tasks() == before

    played(main)
    assert [result.response for result in results] == ["done"] * 21


def test_calls_one_after_another_leave_nothing_open_between_them() -> None:
    house = House()

    async def main() -> None:
        orchestra = house.orchestra()
        for i in (1, 2):
            await execute_bare(orchestra, request(asker()))
            assert house.log == ["open", "close"] * i

    played(main)


def test_cancelling_one_call_leaves_the_others_their_model() -> None:
    house = House()

    async def main() -> None:
        orchestra = house.orchestra()
        async with trio.open_nursery() as nursery:
            with trio.move_on_after(0.5) as scope:
                nursery.start_soon(execute_bare, orchestra, request(asker()))
                await execute_bare(orchestra, request(asker()))
            assert scope.cancelled_caught
            assert house.log == ["open"]
        assert house.log == ["open", "close"]

    played(main)


def test_cancelling_all_of_them_closes_it_before_they_return() -> None:
    house = House()

    async def main() -> None:
        orchestra, before = house.orchestra(), await tasks()
        with trio.move_on_after(0.5):
            async with trio.open_nursery() as nursery:
                for _ in range(5):
                    nursery.start_soon(execute_bare, orchestra, request(asker()))
        assert house.log == ["open", "close"]
        assert await tasks() == before

    played(main)


def test_a_provider_that_fails_in_the_background_ends_every_call_with_its_error() -> None:
    house, failures = House(fails_after=0.5), []

    async def main() -> None:
        orchestra, before = house.orchestra(), await tasks()

        async def one() -> None:
            try:
                await execute_bare(orchestra, request(asker()))
            except ExceptionGroup as error:
                failures.append(str(error.exceptions[0]))

        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(one)
        assert await tasks() == before
        house.fails_after = None
        assert (await execute_bare(orchestra, request(asker()))).response == "done"

    played(main)
    assert failures == ["the house burns"] * 3


def test_a_model_that_does_not_open_is_the_error_of_the_call_that_asked() -> None:
    house = House(opens=False)

    async def main() -> None:
        with pytest.raises(
            PluginError,
            match=r"^model provider 'slow' of plugin 'house' cannot be opened: ValueError: no door",
        ):
            await execute_bare(house.orchestra(), request(asker()))

    played(main)


def test_a_subclass_gets_an_engine_for_each_call() -> None:
    class Own(Orchestra):
        opened = 0

        async def __aenter__(self) -> Orchestra:
            Own.opened += 1
            return await super().__aenter__()

    class Still(BaseAgent):
        async def _run(self, prompt: Any, context: Any, **kwargs: Any) -> str:
            return "still"

    async def main() -> None:
        for _ in range(2):
            result = await Own.run("go", "Still", agents=[Still()])
            assert result.response == "still"

    played(main)
    assert Own.opened == 2
