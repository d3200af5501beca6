from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from marsys_core.agents import Agent, BaseAgent
from marsys_core.memory import ConversationLog, ConversationMemory
from marsys_core.messages import Conversation, Message
from marsys_core.plugins.knobs import PluginSettings
from tests.core.fakes import FakeModel, call, invalid, invoking, run


def test_a_conversation_is_shown_with_what_the_step_has_added() -> None:
    log = ConversationLog([Message("user", "before")])
    memory = ConversationMemory(log, 1)
    memory.add(Message("user", "now"))
    assert [m.content for m in memory.messages] == ["before", "now"]
    assert [m.content for m in memory.added] == ["now"]
    assert len(memory) == 2


def test_showing_it_copies_nothing() -> None:
    log = ConversationLog([Message("user", "before")])
    assert isinstance(ConversationMemory(log).messages, Conversation)


def test_open_calls_are_closed_for_whoever_looks() -> None:
    asked = Message("assistant", "", (invoking("B", id="1"), invoking("C", id="2")))
    log = ConversationLog([asked], ("1", "2"))
    shown = ConversationMemory(log).messages
    assert invalid(shown) is None
    assert [m.content for m in shown[1:]] == ["interrupted"] * 2
    log.handed_to = "B, C"
    assert [m.content for m in log.closings()] == ["handed over to B, C"] * 2


def test_a_memory_chooses_what_a_model_is_shown() -> None:
    import contextlib

    from marsys_core import Provider, hookimpl

    class Last:
        def recall(self, conversation: Sequence[Message]) -> Sequence[Message]:
            return conversation[-1:]

    @contextlib.asynccontextmanager
    async def opened(context: Any, settings: Any) -> Any:
        yield Last()

    class Plugin:
        @hookimpl
        def marsys_memory(self) -> list[Provider[Any]]:
            return [Provider("last", opened)]

    plugins = PluginSettings(discover=False, plugins={"forgetful": Plugin()})
    model = FakeModel(["one", "two"])
    hub = FakeModel(
        [call("invoke_agent", invocations=[{"agent_name": "S", "request": text}]) for text in "ab"]
    )
    agents = [Agent("H", model=hub), Agent("S", model=model, memory="last")]
    run("x", "H <-> S", agents, plugins=plugins, max_steps=4)
    assert [model.said(0), model.said(1)] == [[("user", "a")], [("user", "b")]]


def test_any_agent_has_a_conversation_of_its_own() -> None:
    class Counting(BaseAgent):
        async def _run(self, prompt: Any, context: Any, **kwargs: Any) -> Any:
            for message in context.incoming():
                context.memory.add(message)
            return len(context.memory)

    from marsys_core.topology import Node, Topology

    nodes = [Node(name, dispatch="next", rounds=3) for name in "AB"]
    topology = Topology(nodes, ["A -> B", "B -> A"], entry_point="A")
    ran = run("x", topology, {"A": Counting(name="A"), "B": Counting(name="B")})
    assert ran.result.unwrap() == 3
