from __future__ import annotations

from typing import Any

import pytest

from marsys_core.agents import BaseAgent, Registry, agent, current_registry
from marsys_core.errors import UnknownName
from tests.core.fakes import bare, run, virtually


def test_a_later_agent_of_the_same_name_takes_the_place_of_the_earlier() -> None:
    BaseAgent(name="Ada")
    second = BaseAgent(name="Ada")
    assert current_registry()["Ada"] is second


def test_a_block_has_a_registry_of_its_own() -> None:
    outer = BaseAgent(name="Ada")
    with Registry() as registry:
        inner = BaseAgent(name="Ada")
        assert current_registry() is registry
        assert dict(registry) == {"Ada": inner}
        with Registry():
            assert len(current_registry()) == 0
        assert current_registry() is registry
    assert current_registry()["Ada"] is outer


def test_a_registry_forgets_what_it_is_told_to() -> None:
    registry = Registry()
    registry.add("a", 1)
    registry.discard("a")
    registry.discard("never there")
    assert list(registry) == []


def test_a_run_finds_agents_by_name_where_none_are_given() -> None:
    @agent
    async def Ada(prompt: str) -> str:
        return "the registered one"

    assert run("x", "Ada").result.unwrap() == "the registered one"


def test_a_run_in_the_background_uses_the_registry_of_whoever_started_it() -> None:
    async def main() -> Any:
        async with bare() as orchestra:
            with Registry():

                @agent
                async def Ada(prompt: str) -> str:
                    return "of the block"

                handle = orchestra.start("x", "Ada")
            return (await handle.result()).unwrap()

    assert virtually(main) == "of the block"


def test_agents_made_inside_a_run_are_not_registered() -> None:
    @agent
    async def maker(prompt: str) -> list[str]:
        @agent
        async def made(prompt: str) -> str:
            return prompt

        return sorted(current_registry())

    @agent
    def threaded(prompt: str) -> list[str]:
        BaseAgent(name="made in a thread")
        return sorted(current_registry())

    assert run("x", "maker", [maker]).result.unwrap() == ["maker", "threaded"]
    assert run("x", "threaded", [threaded]).result.unwrap() == ["maker", "threaded"]
    BaseAgent(name="after")
    assert "after" in current_registry()


def test_an_agent_that_nobody_made_is_named_with_the_nearest() -> None:
    BaseAgent(name="Researcher")
    error = run("x", "Reseacher").result.error
    assert "Reseacher" in str(error)
    assert "Did you mean 'Researcher'?" in str(error)


def test_more_than_ten_thousand_names_are_warned_of_once() -> None:
    registry = Registry()
    for i in range(10_000):
        registry.add(str(i), i)
    with pytest.warns(ResourceWarning, match="more than 10000 agents"):
        registry.add("one more", 0)
    registry.add("and another", 0)
    assert len(registry) == 10_002


def test_a_name_the_registry_lacks_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        Registry()["Ada"]


def test_unknown_context_values_name_those_there_are() -> None:
    @agent
    async def asking(prompt: str, context: Any) -> str:
        return str(context["adress"])

    ran = run("x", "asking", [asking], context={"address": "here"})
    assert type(ran.result.error) is UnknownName
    assert "no context value is called 'adress'; there are: address. Did you mean 'address'?" in str(
        ran.result.error
    )
