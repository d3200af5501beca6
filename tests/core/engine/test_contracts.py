"""What the caller's objects and the contracts of its agents mean for a run that is put together."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from marsys_core.actions import Invoke
from marsys_core.agents import Agent, BaseAgent, FunctionAgent, agent
from marsys_core.agents.pool import AgentPool
from marsys_core.engine.contracts import takes
from marsys_core.errors import ConfigError, UnknownName
from marsys_core.orchestra import Orchestra
from marsys_core.tools import ToolContext, tool
from tests.core.fakes import BARE, FakeModel, Heard, bare, call, virtually


class Database:
    """Something that cannot be recorded."""

    rows = ("a", "b")


@tool
async def read(at: int, context: ToolContext) -> str:
    """Read a row."""
    return str(context.deps.rows[at])


def read_plainly(at: int, context: Any) -> str:
    """Read a row."""
    return str(context.deps.rows[at])


def test_agents_and_tools_find_what_the_caller_gave() -> None:
    heard = Heard()

    async def act(prompt: Any, context: Any) -> str:
        return f"{prompt} {context.deps.rows[1]}"

    replies = [[call("read", "1", at=0), call("read_plainly", "2", at=1)], "done"]
    model = FakeModel(replies)
    agents = [Agent("A", model=model, tools=[read, read_plainly]), FunctionAgent(act, name="B")]

    async def main() -> Any:
        async with Orchestra(plugins=BARE, sinks=[heard]) as orchestra:
            return await orchestra.execute("x", "A -> B", agents=agents, deps=Database())

    assert virtually(main).unwrap() == "done b"
    assert [message.text for message in model.requests[1].messages[-2:]] == ["a", "b"]
    assert not any("Database" in repr(event) for event in heard.events)


def test_the_runs_own_take_the_place_of_the_orchestras() -> None:
    async def act(prompt: Any, context: Any) -> str:
        return str(context.deps)

    one = FunctionAgent(act, name="A")

    async def main() -> list[Any]:
        async with bare(agents=[one], deps="house") as orchestra:
            ran = [await orchestra.execute("x", "A"), await orchestra.execute("x", "A", deps="own")]
        async with bare(agents=[one]) as orchestra:
            ran.append(await orchestra.execute("x", "A"))
        return [result.unwrap() for result in ran]

    assert virtually(main) == ["house", "own", "None"]


def test_a_function_can_say_what_it_takes_and_gives() -> None:
    @attrs.frozen
    class Pair:
        left: int
        right: int

    @agent(input_type=Pair, output_type=int)
    async def Adder(prompt: Pair) -> int:
        return prompt.left + prompt.right

    async def main() -> Any:
        return await Adder.run('{"left": 1, "right": 2}', output_type=int)

    assert virtually(main).unwrap() == 3


@pytest.mark.parametrize(
    ("given", "problems"),
    [
        ({"output_schema": []}, ["output_schema takes a JSON Schema as a mapping, not []"]),
        ({"input_type": bytes}, ["input_type: bytes has no JSON Schema"]),
        (
            {"output_type": int, "output_schema": {}},
            ["output_type and output_schema say the same thing; give one"],
        ),
        ({"guards": print}, [f"guards is a list of functions, not {print!r}"]),
        ({"guards": ["x", print]}, ["a guard is a function of one subject, not 'x'"]),
        (
            {"input_schema": 5, "output_type": bytes, "guards": [1]},
            [
                "input_schema takes a JSON Schema as a mapping, not 5",
                "output_type: bytes has no JSON Schema",
                "a guard is a function of one subject, not 1",
            ],
        ),
    ],
)
def test_what_cannot_be_checked_is_told_when_the_agent_is_made(given: Any, problems: list[str]) -> None:
    for made in (BaseAgent, Agent, lambda **all: FunctionAgent(lambda prompt: prompt, **all)):
        with pytest.raises(ConfigError) as caught:
            made(name="A", **given)
        assert list(caught.value.problems) == problems
        assert str(caught.value).startswith("agent 'A' cannot be made:")


def test_an_agent_that_says_nothing_of_it_has_no_contract() -> None:
    assert BaseAgent(name="A").contract is None
    assert Agent("A", guards=[]).contract is not None
    assert (Agent("A").output_schema, Agent("A", output_type=int).output_schema) == (
        None,
        {"type": "integer"},
    )
    assert takes({}) is None


def test_an_option_that_there_is_not_and_an_output_type_that_is_none_are_refused() -> None:
    async def main() -> None:
        async with bare() as orchestra:
            with pytest.raises(UnknownName, match="no option of a run is called 'variable'"):
                await orchestra.execute("x", "A", variable={})  # type: ignore[call-overload]
            with pytest.raises(ConfigError, match="variables= takes a mapping, not 5"):
                await orchestra.execute("x", "A", variables=5)  # type: ignore[call-overload]
            with pytest.raises(ConfigError, match="bytes has no JSON Schema"):
                await orchestra.execute("x", "A", output_type=bytes)

    virtually(main)


def test_the_instances_of_a_pool_are_held_to_their_contracts_and_to_the_run() -> None:
    model = FakeModel(lambda request: "5" if request.system == "On ships." else request.system)
    pool = AgentPool(Agent, 2, name="P", model=model, instruction="On {topic}.", input_type=int)

    async def main() -> None:
        async with bare(agents=[pool, FunctionAgent(lambda p: Invoke([("P", "x")]), name="A")]) as orchestra:
            variables = {"topic": "ships"}
            result = await orchestra.execute(1, "P", variables=variables, output_type=int)
            assert result.final_response == 5
            assert (await orchestra.execute(1, "P", variables={"topic": "cars"})).unwrap() == "On cars."
            refused = await orchestra.execute("x", "A -> P", variables=variables)
            assert str(refused.error).startswith("'P' takes int, and not this: $ ")
            with pytest.raises(ConfigError, match="no variable is called 'topic'"):
                await orchestra.execute(1, "P")

    virtually(main)
