"""What a step costs does not grow with the run: counted in events and bytes, not in seconds."""

from __future__ import annotations

import json
from typing import Any

import attrs
import pytest

from marsys_core import events as e
from marsys_core.agents import Agent, BaseAgent, FunctionAgent
from marsys_core.messages import Message
from marsys_core.models import ModelRequest
from marsys_core.tools import tool
from marsys_core.topology import Node, Topology
from tests.core.fakes import FakeModel, Ran, Reply, call, run


def ring(steps: int) -> Topology:
    """Two agents in a ring, for so many steps."""
    nodes = [Node(name, dispatch="next", rounds=steps // 2) for name in "AB"]
    return Topology(nodes, ["A -> B", "B -> A"], entry_point="A")


def size(ran: Ran) -> tuple[int, int]:
    """How many events the journal has, and how many bytes they come to as JSON."""

    def plain(value: Any) -> Any:
        if attrs.has(type(value)):
            return {field.name: plain(getattr(value, field.name)) for field in attrs.fields(type(value))}
        if isinstance(value, list | tuple):
            return [plain(inner) for inner in value]
        return str(value)

    return len(ran.heard.events), sum(len(json.dumps(plain(event))) for event in ran.heard.events)


def cost(agents: Any, steps: int) -> tuple[float, float]:
    """Events and bytes of one step, the beginning and the end of the run taken off."""
    runs = [run("task", ring(count), agents(), max_steps=10_000) for count in (10, steps + 10)]
    assert [ran.result.total_steps for ran in runs] == [10, steps + 10]
    (events, bytes_), (more_events, more_bytes) = map(size, runs)
    return (more_events - events) / steps, (more_bytes - bytes_) / steps


def functions() -> list[BaseAgent]:
    async def act(prompt: Any) -> str:
        return "content"

    return [FunctionAgent(act, name=name) for name in "AB"]


def models() -> list[BaseAgent]:
    return [Agent(name, model=Unchecked(lambda request: "content")) for name in "AB"]


@tool
async def look(at: str) -> str:
    """Look."""
    return f"seen {at}"


def models_with_tools() -> list[BaseAgent]:
    def reply(request: ModelRequest) -> Reply:
        return "content" if request.messages[-1].role == "tool" else call("look", at="it")

    return [Agent(name, model=Unchecked(reply), tools=[look]) for name in "AB"]


class Unchecked(FakeModel):
    """Looks at no more than the last message: reading a conversation takes time that grows with it."""

    async def generate(self, request: ModelRequest) -> Any:
        from tests.core.fakes import respond

        assert callable(self._replies)
        return respond(self._replies(request))


@pytest.mark.slow
@pytest.mark.parametrize("agents", [functions, models, models_with_tools], ids=lambda each: each.__name__)
def test_a_step_of_a_long_run_costs_what_one_of_a_short_run_does(agents: Any) -> None:
    events, bytes_ = cost(agents, 100)
    more_events, more_bytes = cost(agents, 1000)
    assert events == more_events
    assert more_bytes == pytest.approx(bytes_, rel=0.05)  # numbers have more digits


def test_a_conversation_is_handed_to_the_model_as_a_view() -> None:
    seen: list[Any] = []

    class Looking(Unchecked):
        async def generate(self, request: ModelRequest) -> Any:
            seen.append(request.messages)
            return await super().generate(request)

    agents = [Agent(name, model=Looking(lambda request: "content")) for name in "AB"]
    run("task", ring(20), agents, max_steps=100)
    logs = {id(messages._log) for messages in seen}
    assert len(logs) == 2  # one for each agent, however many steps
    assert [len(messages) for messages in seen] == [1 + 2 * (i // 2) for i in range(20)]


def test_each_message_is_recorded_once() -> None:
    ran = run("task", ring(20), models(), max_steps=100)
    recorded: list[Message] = [message for event in ran.of(e.StepFinished) for message in event.messages]
    assert len(recorded) == 40
    assert len(set(map(id, recorded))) == 40
