"""Instructions with variables, and ones that are functions."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marsys_core.agents import Agent
from marsys_core.agents.instruction import fill, missing, placeholders
from marsys_core.config import ExecutionConfig
from marsys_core.errors import ConfigError, CriticalError
from marsys_core.results import RunResult
from tests.core.fakes import FakeModel, bare, virtually


def system(instruction: Any, goal: str = "", **options: Any) -> str:
    model = FakeModel(["done"])
    ran(Agent("A", model=model, instruction=instruction, goal=goal), **options)
    return model.requests[0].system


def ran(*agents: Agent, **options: Any) -> RunResult:
    async def main() -> RunResult:
        async with bare() as orchestra:
            names = " -> ".join(agent.name for agent in agents)
            return await orchestra.execute("x", names, agents=agents, **options)

    return virtually(main)


def test_variables_are_filled_from_variables_then_from_the_context() -> None:
    found = system(
        "You write about {topic} in {language}.",
        "{count} lines, {topic}.",
        variables={"topic": "ships", "count": 3},
        context={"language": "French", "topic": "cars"},
    )
    assert found == "You write about ships in French.\n\nYour goal: 3 lines, ships."


@pytest.mark.parametrize(
    "text",
    [
        'Answer as {"a": 1}.',
        'Answer as {"a": {"b": 1}}, {"c": [{}]}.',
        "{} { x } {0} {a.b} {a[0]} {a!r} {a:>5} {a b} {a,b} {-a} {é?}",
        "a {{}} pair {{ x }} and {{0}}",
        "}{ {{ }} {{{ }}}",
        "",
    ],
)
def test_other_braces_are_text(text: str) -> None:
    assert (placeholders(text), fill(text, {}), missing(text, ())) == ((), text, [])
    assert system(text) == text


def test_two_braces_are_one_round_a_name() -> None:
    assert system("Write {{name}} for {name}.", variables={"name": "Ada"}) == "Write {name} for Ada."
    assert system("Write {{name}}.") == "Write {name}."


def test_a_value_is_put_in_as_it_is_and_not_read_again() -> None:
    assert system("{a}", variables={"a": "{b} {{c}} \\1"}) == "{b} {{c}} \\1"
    assert system("{a}", variables={"a": {"b": [1]}}) == '{"b": [1]}'


def test_all_missing_variables_are_told_before_the_first_step() -> None:
    one = Agent("A", model=FakeModel(), instruction="{topik} {other}")
    two = Agent("B", model=FakeModel(), instruction="{x}", goal="{topic}")
    with pytest.raises(ConfigError) as caught:
        ran(one, two, variables={"topic": 1})
    assert caught.value.problems == (
        "no variable is called 'topik'. Did you mean 'topic'? Give it with variables={'topik': ...}, "
        "or write {{topik}} for the text itself @ agent 'A'",
        "no variable is called 'other'. Give it with variables={'other': ...}, "
        "or write {{other}} for the text itself @ agent 'A'",
        "no variable is called 'x'. Give it with variables={'x': ...}, "
        "or write {{x}} for the text itself @ agent 'B'",
    )
    result = ran(one, execution_config=ExecutionConfig(raise_errors=False))
    assert (result.success, result.total_steps) == (False, 0)


def test_an_instruction_can_be_a_function_of_the_context() -> None:
    async def later(context: Any) -> str:
        return f"{context.node} knows {context.variables['topic']} and {{this}}"

    options: Any = {"variables": {"topic": "ships"}}
    assert system(lambda context: f"Step {context.step}, {{this}}.") == "Step 1, {this}."
    assert system(later, "{topic}!", **options) == "A knows ships and {this}\n\nYour goal: ships!"


def test_the_goal_beside_a_function_is_checked_before_the_first_step_too() -> None:
    with pytest.raises(ConfigError, match="no variable is called 'topic'"):
        system(lambda context: "", "{topic}")


def test_a_function_that_returns_no_text_fails_the_run() -> None:
    with pytest.raises(CriticalError, match="^the instruction of agent 'A' returned 5, and not a text"):
        system(lambda context: 5)


def test_an_instruction_is_a_text_or_a_function() -> None:
    with pytest.raises(
        ConfigError, match="^the instruction of 'A' is a text or a function of the context, not 5$"
    ):
        Agent("A", instruction=5)  # type: ignore[arg-type]
    assert Agent("A", instruction=lambda context: "x", goal="g").system == "Your goal: g"


def test_an_agent_of_ones_own_reads_its_instruction_from_the_context() -> None:
    class Own(Agent):
        async def _run(self, prompt: Any, context: Any, **kwargs: Any) -> Any:
            return context.system

    assert (
        ran(Own("A", instruction="On {topic}."), variables={"topic": "ships"}).final_response == "On ships."
    )


def test_what_was_changed_between_two_runs_counts() -> None:
    model = FakeModel(lambda request: "done")
    agent = Agent("A", model=model, instruction="one")

    async def main() -> None:
        async with bare(agents=[agent]) as orchestra:
            await orchestra.execute("x", "A")
            agent.instruction = "two {n}"
            for n in (1, 2):
                await orchestra.execute("x", "A", variables={"n": n})

    virtually(main)
    assert [request.system for request in model.requests] == ["one", "two 1", "two 2"]


@given(st.text(st.sampled_from('{}ab_1 "é')), st.text())
def test_a_text_is_filled_or_its_missing_variables_are_told(text: str, value: str) -> None:
    names = placeholders(text)
    assert len(missing(text, ())) == len(names)
    assert all(name.isidentifier() for name in names)
    if not names and "{{" not in text:
        assert fill(text, {}) == text
    assert fill(text, dict.fromkeys(names, value)).count(value) >= len(names) or not value


def test_a_variable_whose_name_is_no_text_is_nothing_that_was_meant() -> None:
    assert missing("{topic}", {1: "x", "topik": "y"}) == [  # type: ignore[dict-item]
        "no variable is called 'topic'. Did you mean 'topik'? Give it with variables={'topic': ...}, "
        "or write {{topic}} for the text itself"
    ]
