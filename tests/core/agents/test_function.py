from __future__ import annotations

import threading
from typing import Any

import pytest

from marsys_core.agents import FunctionAgent, agent
from marsys_core.errors import ConfigError
from tests.core.fakes import run, virtually


def test_a_function_of_the_prompt_is_an_agent() -> None:
    @agent
    async def shout(prompt: str) -> str:
        """Say it louder.

        Much louder.
        """
        return prompt.upper()

    assert (shout.name, shout.description) == ("shout", "Say it louder.")
    assert virtually(shout.run, "hey").unwrap() == "HEY"
    assert virtually(shout, "hey") == "HEY"


def test_a_function_of_the_prompt_and_the_context_is_one_too() -> None:
    @agent(name="Ada", description="Says where.")
    async def where(prompt: str, context: Any) -> list[str]:
        return [context.node, context.branch_id, context.run_id]

    assert (where.name, where.description) == ("Ada", "Says where.")
    result = virtually(where.run, "x")
    assert result.unwrap() == ["Ada", "0", result.run_id]


def test_a_plain_function_runs_in_a_thread() -> None:
    @agent
    def where(prompt: str) -> bool:
        return threading.current_thread() is threading.main_thread()

    assert virtually(where.run, "x").unwrap() is False


@pytest.mark.parametrize(
    "function",
    [
        lambda prompt: "took 1",
        lambda prompt, context: "took 2",
        lambda *given: f"took {len(given)}",
        lambda prompt, *rest: f"took {1 + len(rest)}",
        lambda prompt, context=None: f"took {1 if context is None else 2}",
        lambda prompt, **rest: "took 1",
    ],
)
def test_it_may_take_its_arguments_in_any_way(function: Any) -> None:
    expected = {0: "took 1", 1: "took 2"}
    answer = virtually(FunctionAgent(function, name="f").run, "x").unwrap()
    assert answer in expected.values()


@pytest.mark.parametrize(
    "function", [lambda: 1, lambda a, b, c: 1, lambda prompt, *, key: 1, lambda *, key: 1], ids=range(4)
)
def test_a_function_that_takes_something_else_is_refused(function: Any) -> None:
    with pytest.raises(
        ConfigError, match=r"^an agent function takes \(prompt\) or \(prompt, context\), not <lambda>"
    ):
        agent(function)


def test_a_function_that_returns_nothing_hands_on_an_empty_text_and_is_warned_of_once() -> None:
    seen = []

    @agent
    async def quiet(prompt: str) -> None:
        return None

    @agent
    async def last(prompt: str) -> str:
        seen.append(prompt)
        return "done"

    ran = run("x", "A -> B -> last", {"A": quiet, "B": quiet, "last": last})
    assert ran.result.unwrap() == "done"
    assert seen == [""]
    assert ran.result.metadata["warnings"] == (
        "the function of agent 'quiet' returned None; an empty text is handed on",
    )


def test_each_function_that_returns_nothing_is_warned_of() -> None:
    @agent
    async def quiet(prompt: str) -> None:
        return None

    @agent
    async def still(prompt: str) -> None:
        return None

    ran = run("x", "quiet -> still", [quiet, still])
    assert len(ran.result.metadata["warnings"]) == 2
