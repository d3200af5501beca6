"""How code says that it is written for asyncio, and what comes of it."""

from __future__ import annotations

import asyncio
import inspect
from typing import Any

import pytest
import trio

from marsys_core.agents import BaseAgent, FunctionAgent, Registry, agent
from marsys_core.errors import ConfigError
from marsys_core.hosts.declared import Adapter, adapted, checked_library, crossing, uses_asyncio, written_for
from marsys_core.tools import Tool, as_tool, tool


async def task_here() -> bool:
    return asyncio.current_task() is not None


class Thing:
    async_library = "asyncio"
    count = 0

    async def work(self, number: int = 1) -> tuple[bool, int]:
        """Work."""
        return await task_here(), number

    async def items(self) -> Any:
        yield await task_here()

    def plain(self) -> str:
        return "plain"


def test_a_function_keeps_its_signature_and_its_kind():
    @uses_asyncio
    async def fetch(page: str, *, size: int = 1) -> str:
        """Fetch a page."""
        await asyncio.sleep(0)
        return f"{page} {size}"

    @uses_asyncio
    async def pages(first: int) -> Any:
        yield first

    assert str(inspect.signature(fetch)) == "(page: 'str', *, size: 'int' = 1) -> 'str'"
    assert inspect.iscoroutinefunction(fetch)
    assert inspect.isasyncgenfunction(pages)
    assert (fetch.__name__, fetch.__doc__) == ("fetch", "Fetch a page.")
    assert written_for(fetch) == written_for(pages) == "asyncio"
    assert asyncio.run(fetch("a", size=2)) == "a 2"
    assert trio.run(fetch, "b") == "b 1"


def test_saying_it_twice_changes_nothing():
    once = uses_asyncio(task_here)

    assert uses_asyncio(once) is once
    assert crossing(once) is once


def test_a_class_says_it_for_its_instances_and_subclasses():
    @uses_asyncio
    class Base:
        pass

    class Below(Base):
        pass

    assert written_for(Below()) == "asyncio"
    assert written_for(object()) == "trio"


def test_methods_of_all_kinds_can_say_it():
    class Holder:
        @uses_asyncio
        async def method(self) -> bool:
            return await task_here()

        @uses_asyncio
        @staticmethod
        async def static() -> bool:
            return await task_here()

        @uses_asyncio
        @classmethod
        async def of_class(cls) -> bool:
            return await task_here()

    async def main() -> Any:
        return await Holder().method(), await Holder.static(), await Holder.of_class()

    assert trio.run(main) == (True, True, True)


@pytest.mark.parametrize("order", [lambda f: tool(uses_asyncio(f)), lambda f: uses_asyncio(tool(f))])
def test_a_tool_says_it_in_either_order(order: Any):
    async def look(at: str) -> bool:
        """Look at something."""
        return await task_here()

    made = order(look)

    assert isinstance(made, Tool)
    assert made.is_async
    assert made.spec.parameters["required"] == ["at"]
    assert made.description == "Look at something."
    assert trio.run(lambda: made.function(at="x")) is True


def test_a_tool_says_it_by_keyword_attribute_or_class():
    async def look() -> bool:
        """Look."""
        return await task_here()

    async def flagged() -> bool:
        """Look."""
        return await task_here()

    flagged.async_library = "asyncio"  # type: ignore[attr-defined]
    made = [tool(look, async_library="asyncio"), tool(async_library="asyncio")(look), as_tool(flagged)]

    assert [trio.run(each.function) for each in made] == [True] * 3


@pytest.mark.parametrize("order", [lambda f: agent(uses_asyncio(f)), lambda f: uses_asyncio(agent(f))])
def test_an_agent_says_it_in_either_order(order: Any):
    async def looks(prompt: Any) -> bool:
        return await task_here()

    with Registry():
        made = order(looks)

    assert isinstance(made, FunctionAgent)
    assert asyncio.run(made("x")) is True


def test_plain_functions_are_told_that_they_need_nothing():
    def plain(prompt: Any) -> None:
        """Do nothing."""

    rest = r": plain functions run in threads and need nothing; leave it out$"
    with pytest.raises(
        ConfigError, match=r"^@uses_asyncio is for async functions, and .*plain is a plain one" + rest
    ):
        uses_asyncio(plain)
    with pytest.raises(ConfigError, match=r"^tool 'plain' says that it is written for asyncio, .*" + rest):
        uses_asyncio(tool(plain))
    with pytest.raises(ConfigError, match=r"^tool 'plain' says that it is written for asyncio, .*" + rest):
        tool(plain, async_library="asyncio")
    with (
        Registry(),
        pytest.raises(ConfigError, match=r"^agent 'plain' says that it is written for asyncio, .*" + rest),
    ):
        uses_asyncio(agent(plain))


def test_what_is_no_code_is_refused():
    text = r"^@uses_asyncio is for an async function, an async generator function, a class or a tool, not 3$"
    with pytest.raises(ConfigError, match=text):
        uses_asyncio(3)


def test_another_library_is_refused_by_name():
    class Odd(Thing):
        async_library = "asincio"

    text = r"^X says async_library='asincio', which is 'trio' or 'asyncio'. Did you mean 'asyncio'\?$"
    with pytest.raises(ConfigError, match=text):
        adapted(Odd(), "X")
    with pytest.raises(ConfigError, match=r"^X says async_library=3, which is 'trio' or 'asyncio'.$"):
        checked_library(3, "X")
    with pytest.raises(ConfigError, match=r"^tool 'look' says async_library='curio'"):
        tool(Thing().work, name="look", async_library="curio")  # type: ignore[call-overload]


def test_what_says_nothing_is_used_as_it_is():
    class Free:
        pass

    free = Free()

    assert adapted(free) is free


def test_an_adapter_lets_async_methods_cross_and_leaves_the_rest():
    thing = Thing()
    seen = adapted(thing, "a thing")

    async def main() -> Any:
        return await seen.work(number=3), [item async for item in seen.items()]

    assert trio.run(main) == ((True, 3), [True])
    assert seen.plain() == "plain"
    seen.count = 5
    assert (thing.count, seen.count) == (5, 5)
    assert isinstance(seen, Thing)
    assert (seen == thing, hash(seen) == hash(thing), repr(seen) == repr(thing)) == (True, True, True)
    assert seen == Adapter(thing)
    assert adapted(seen) is seen
    assert seen.work is seen.work
    assert "work" in dir(seen)


def test_an_object_that_is_called_becomes_a_function_of_its_name():
    class Guard:
        async_library = "asyncio"

        async def __call__(self, subject: Any) -> bool:
            return await task_here()

    made = crossing(Guard())

    assert made.__name__ == "Guard"
    assert trio.run(made, "x") is True


def test_a_base_agent_is_written_for_trio():
    assert BaseAgent.async_library == "trio"
