"""What is recorded of model calls, and what becomes of what a model raises."""

from __future__ import annotations

import socket
from typing import Any

import pytest
import trio

from marsys_core import events as e
from marsys_core.agents import Agent, BaseAgent, agent
from marsys_core.errors import ModelError, ModelErrorKind, PluginError, UnknownName
from marsys_core.messages import TextPart, Usage
from marsys_core.models import FinishReason, ModelResponse
from marsys_core.tools import tool
from marsys_core.topology import Topology
from marsys_core.values import JoinInput
from tests.core.fakes import FakeModel, bare, call, run, virtually


def test_a_model_call_is_recorded_with_what_it_cost() -> None:
    response = ModelResponse(
        content="hi", finish_reason=FinishReason.LENGTH, usage=Usage(5, 3, model_calls=1)
    )
    ran = run("x", "A", [Agent("A", model=FakeModel([response], name="m", delay=2))])
    [called] = ran.of(e.ModelCalled)
    [replied] = ran.of(e.ModelReplied)
    assert (called.model, called.messages, called.tools, called.attempt) == ("m", 1, 1, 1)
    assert (replied.model, replied.content, replied.finish_reason, replied.duration) == (
        "m",
        "hi",
        "length",
        2,
    )
    assert replied.usage == ran.result.usage == Usage(5, 3, model_calls=1)
    assert called.id < replied.id


def test_an_answer_of_parts_is_its_text() -> None:
    ran = run(
        "x", "A", [Agent("A", model=FakeModel([ModelResponse(content=(TextPart("a"), TextPart("b")))]))]
    )
    assert ran.result.unwrap() == "ab"


@pytest.mark.parametrize(
    ("raised", "kind", "retryable"),
    [
        (ValueError("odd"), ModelErrorKind.MALFORMED, False),
        (ConnectionResetError("reset"), ModelErrorKind.NETWORK, True),
        (TimeoutError("slow"), ModelErrorKind.NETWORK, True),
        (trio.BrokenResourceError("gone"), ModelErrorKind.NETWORK, True),
        (socket.gaierror("no such host"), None, None),
    ],
    ids=repr,
)
def test_what_a_broken_model_raises_is_made_a_model_error(
    raised: Exception, kind: Any, retryable: Any
) -> None:
    error = run("x", "A", [Agent("A", model=FakeModel([raised]))]).result.error
    assert type(error) is ModelError
    assert error.__cause__ is raised
    assert str(error).startswith(f"model 'fake' raised {type(raised).__name__}: {raised}")
    if kind is not None:
        assert (error.kind, error.retryable) == (kind, retryable)


def test_a_model_error_is_recorded_and_passed_on_as_it_is() -> None:
    raised = ModelError("busy", kind=ModelErrorKind.OVERLOADED, retry_after=3)
    ran = run("x", "A", [Agent("A", model=FakeModel([raised]))])
    assert ran.result.error is raised
    [failed] = ran.of(e.ModelFailed)
    assert (failed.error, failed.kind, failed.retryable) == ("busy", "overloaded", True)


def test_an_agent_may_catch_what_its_model_raises() -> None:
    class Calm(BaseAgent):
        async def _run(self, prompt: Any, context: Any, **kwargs: Any) -> Any:
            try:
                await context.generate("x")
            except ModelError as error:
                return f"caught {error.kind.value}"

    assert run(
        "x", "Calm", [Calm(FakeModel([ModelError("busy", kind=ModelErrorKind.QUOTA)]))]
    ).result.unwrap() == ("caught quota")


def test_an_agent_that_was_changed_between_runs_is_looked_at_again() -> None:
    @tool
    async def look() -> str:
        """Look."""
        return "seen"

    one = Agent("A", model=FakeModel(["first"]))
    second = FakeModel([call("look"), "second"])

    async def main() -> list[Any]:
        async with bare() as orchestra:
            before = (await orchestra.execute("x", "A", agents=[one])).unwrap()
            one.model, one.tools = second, (look,)
            return [before, (await orchestra.execute("x", "A", agents=[one])).unwrap()]

    assert virtually(main) == ["first", "second"]
    assert second.offered(0) == ["look", "finish"]


def test_two_tools_of_one_name_are_refused() -> None:
    @tool
    async def look() -> str:
        """Look."""
        return "one"

    @tool(name="look")
    async def other() -> str:
        """Look elsewhere."""
        return "two"

    error = run("x", "A", [Agent("A", model=FakeModel(), tools=[look, other])]).result.error
    assert "agent 'A' has two tools called 'look'" in str(error)
    assert run("x", "A", [Agent("A", model=FakeModel(["ok"]), tools=[look, look])]).result.unwrap() == "ok"


@pytest.mark.parametrize(
    ("settings", "text"), [({"tools": ["nothing"]}, "nothing"), ({"memory": "nothing"}, "nothing")]
)
def test_names_that_no_plugin_provides_are_refused_before_anything_runs(settings: Any, text: str) -> None:
    ran = run("x", "A", [Agent("A", model=FakeModel(["never"]), **settings)])
    assert isinstance(ran.result.error, UnknownName | PluginError)
    assert text in str(ran.result.error)
    assert ran.heard.events == []


def test_an_interrupted_tool_says_so_in_the_journal() -> None:
    @tool
    async def slow() -> str:
        """Wait in a nursery of its own."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep, 9)
            await trio.sleep(9)
        return "slow"

    model = FakeModel([[call("slow", "1"), call("slow", "2")], "never"])
    ran = run("x", "A", [Agent("A", model=model, tools=[slow])], timeout=3)
    assert [event.error for event in ran.of(e.ToolFailed)] == ["interrupted"] * 2


def test_a_started_call_says_whether_it_may_be_run_again() -> None:
    @tool(idempotent=True)
    async def look() -> str:
        """Look."""
        return "seen"

    @tool
    async def pay() -> str:
        """Pay."""
        return "paid"

    model = FakeModel([[call("look", "1"), call("pay", "2")], "done"])
    ran = run("x", "A", [Agent("A", model=model, tools=[look, pay])])
    assert {event.tool: event.idempotent for event in ran.of(e.ToolStarted)} == {"look": True, "pay": False}


def test_a_list_that_is_too_large_for_an_event_is_dispatched_item_by_item() -> None:
    large = "x" * 5000

    @agent
    async def Cut(prompt: str) -> list[str]:
        return [large, "small", large]

    @agent
    async def Work(prompt: str) -> int:
        return len(prompt)

    topology = Topology([{"name": "Cut", "dispatch": "map"}, "Work", "Sum"], ["Cut -> Work -> Sum"])

    @agent
    async def Sum(prompt: JoinInput) -> list[int]:
        return prompt.values

    assert run("go", topology, [Cut, Work, Sum]).result.final_response == [5000, 5, 5000]
