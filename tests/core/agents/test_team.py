"""Teams: what they are made of, and running one by itself."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from marsys_core.agents import FunctionAgent, Registry, Team
from marsys_core.agents.team import is_team_tool, single
from marsys_core.config import ExecutionConfig
from marsys_core.errors import ConfigError, TopologyError
from marsys_core.tools import tool
from tests.core.fakes import virtually


def saying(name: str) -> FunctionAgent:
    async def act(prompt: Any) -> Any:
        await trio.lowlevel.checkpoint()
        return f"{prompt}{name}"

    return FunctionAgent(act, name=name)


def test_a_team_runs_by_itself() -> None:
    team = Team("A -> B", [saying("A"), saying("B")])
    assert virtually(team.run, "x").final_response == "xAB"


def test_options_of_a_run_are_added_to_what_the_team_has() -> None:
    team = Team("A -> B", [saying("A")], execution_config=ExecutionConfig(max_steps=1, raise_errors=False))

    async def main() -> Any:
        limited = await team.run("x", agents=[saying("B")])
        free = await team.run("x", agents={"B": saying("C")}, execution_config=ExecutionConfig())
        return str(limited.error), free.final_response

    assert virtually(main) == ("the run took 1 step (max_steps=1)", "xAC")


def test_a_node_of_a_team_is_registered_under_its_name() -> None:
    with Registry() as registry:
        node = Team("A", [saying("A")], name="crew", description="Works.").as_node("N")
        assert (registry["N"], node.description) == (node, "Works.")
        assert Team("A", name="crew").as_node().name == "crew"


def test_what_is_no_team_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^a team's name is text, not ' '$"):
        Team("A", name=" ")
    with pytest.raises(ConfigError, match=r"which is no agent"):
        Team("A", {"A": 3})  # type: ignore[dict-item]
    with pytest.raises(ConfigError, match=r"^execution_config= takes ExecutionConfig"):
        Team("A", execution_config={})  # type: ignore[arg-type]
    with pytest.raises(TopologyError):
        Team("A => B")


def test_a_tools_name_is_made_of_the_teams() -> None:
    assert Team("A", name="Ann & Bob's").as_tool().name == "Ann_Bob_s"
    assert Team("A").as_tool().description == "Ask team."
    with pytest.raises(ConfigError, match="the name should be"):
        Team("A").as_tool("no name")


def test_only_tools_of_teams_are_known_as_such() -> None:
    @tool
    async def other(request: str) -> str:
        """Other."""
        return request

    assert is_team_tool(saying("A").as_tool())
    assert not is_team_tool(other)


def test_an_agent_alone_stands_at_a_node_of_its_name_where_that_is_one() -> None:
    assert [node.name for node in single(saying("A")).graph.nodes.values()] == ["A"]
    assert [node.name for node in single(saying("end")).graph.nodes.values()] == ["agent"]


def test_agents_that_are_none_are_refused_when_a_team_is_made() -> None:
    with pytest.raises(ConfigError, match=r"^agents= takes agents, by name or as a sequence, not 5$"):
        Team("A", 5)  # type: ignore[arg-type]
