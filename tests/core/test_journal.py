from __future__ import annotations

from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from marsys_core import events as e
from marsys_core.actions import Finish, Invoke
from marsys_core.agents import Agent, BaseAgent, FunctionAgent
from marsys_core.journal import MemoryJournal, pack, pack_calls, pack_message, unpack, unpack_call
from marsys_core.messages import DataPart, Message, TextPart, ToolCall
from marsys_core.models import ModelResponse
from marsys_core.tools import tool
from marsys_core.values import REF_BYTES, JoinInput, Ref
from tests.core.engine.cancelling import assert_complete
from tests.core.fakes import FakeModel, call, invoking, run
from tests.core.test_values import shape, values

BIG = "x" * 10_000


def test_events_are_read_in_the_order_of_appending() -> None:
    journal = MemoryJournal()
    for n in range(3):
        journal.append(e.Warned("", n, ("", 0), str(n)))
    assert [event.n for event in journal.read()] == [0, 1, 2]
    assert [event.n for event in journal.read(2)] == [2]


def test_a_large_value_is_kept_once() -> None:
    journal = MemoryJournal()
    first, second = journal.put({"a": BIG, "b": 1}), journal.put({"b": 1, "a": BIG})
    assert first == second
    assert journal.get(first) == {"a": BIG, "b": 1}
    assert journal.put("other") != first
    with pytest.raises(KeyError):
        journal.get(Ref("unknown", 1))


@pytest.mark.slow
@given(values, st.integers(0, 3))
def test_what_is_packed_is_small_and_can_be_unpacked(value: Any, copies: int) -> None:
    journal = MemoryJournal()
    large = [value, *[BIG] * copies]
    packed = pack(journal, large)
    assert isinstance(packed, Ref) or copies == 0
    assert shape(unpack(journal, packed)) == shape(large)


def test_references_inside_a_join_are_opened() -> None:
    journal = MemoryJournal()
    join = JoinInput(
        [("A", "0.0", pack(journal, BIG)), ("B", "0.1", JoinInput([("C", "0.1.0", pack(journal, [BIG]))]))]
    )
    assert pack(journal, join) is join
    opened = unpack(journal, join)
    assert opened == JoinInput([("A", "0.0", BIG), ("B", "0.1", JoinInput([("C", "0.1.0", [BIG])]))])


def test_a_message_is_packed_by_its_content_and_its_arguments() -> None:
    journal = MemoryJournal()
    small = Message("user", "small")
    assert pack_message(journal, small) is small
    parts = Message("user", (TextPart("small"), DataPart("image/png", "AA")))
    assert pack_message(journal, parts) is parts
    assert isinstance(pack_message(journal, Message("user", BIG)).content, Ref)
    assert isinstance(pack_message(journal, Message("user", (DataPart("image/png", BIG),))).content, Ref)
    calls = (ToolCall("1", "t", "{}"), ToolCall("2", "t", BIG))
    packed: list[Any] = [
        each.arguments for each in pack_message(journal, Message("assistant", "", calls)).tool_calls
    ]
    assert [packed[0], type(packed[1])] == ["{}", Ref]
    assert pack_calls(journal, calls[:1]) == calls[:1]


def test_what_is_the_providers_own_of_a_call_is_put_away_where_it_is_large() -> None:
    journal = MemoryJournal()
    given = ToolCall("1", "t", "{}", after=0, native={"signature": BIG})
    [packed] = pack_calls(journal, (given,))

    assert isinstance(packed.native, Ref)
    assert attrs.asdict(unpack_call(journal, packed)) == attrs.asdict(given)
    small = ToolCall("1", "t", "{}", native={"signature": "s"})
    assert pack_calls(journal, (small,))[0] is small
    assert unpack_call(journal, small) is small


# -- runs ----------------------------------------------------------------------------------------


def longest(value: Any) -> int:
    """The longest text anywhere in an event."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, dict):
        return max((longest(inner) for pair in value.items() for inner in pair), default=0)
    if isinstance(value, list | tuple | JoinInput):
        return max((longest(inner) for inner in value), default=0)
    if attrs.has(type(value)):
        return max((longest(getattr(value, field.name)) for field in attrs.fields(type(value))), default=0)
    return 0


def giving(name: str, value: Any) -> BaseAgent:
    async def act(prompt: Any) -> Any:
        return value

    return FunctionAgent(act, name=name)


@tool
async def fetch(at: str) -> str:
    """Fetch."""
    return BIG


BIG_CALL = call("fetch", at=BIG)
TEAMS: dict[str, tuple[str, list[Any]]] = {
    "plain content": ("A -> B", [("A", BIG), ("B", [BIG])]),
    "invocations": (
        "A <-> [B, C]",
        [("A", Invoke([("B", BIG), ("C", {"k": BIG})])), ("B", BIG), ("C", Finish(BIG))],
    ),
    "joins": ("[A, B] -> C", [("A", BIG), ("B", [BIG]), ("C", "c")]),
    "many small ones": ("[A, B, C] -> D", [*[(name, ["x" * 1500]) for name in "ABC"], ("D", "d")]),
}


@pytest.mark.parametrize("name", TEAMS)
def test_no_event_holds_a_value_over_4_kb(name: str) -> None:
    topology, given_values = TEAMS[name]
    ran = run(BIG, topology, [giving(*each) for each in given_values])
    assert ran.heard.events
    assert max(map(longest, ran.heard.events)) <= REF_BYTES
    assert_complete(ran.heard.events)


def test_no_event_of_a_model_and_its_tools_holds_a_value_over_4_kb() -> None:
    model = FakeModel(
        [ModelResponse(content=BIG, tool_calls=(BIG_CALL,)), ModelResponse(content=(TextPart(BIG),))]
    )
    ran = run(BIG, "A", [Agent("A", model=model, tools=[fetch])])
    assert ran.result.unwrap() == BIG
    assert max(map(longest, ran.heard.events)) <= REF_BYTES
    assert [message.text for message in model.requests[1].messages] == [BIG] * 3


def test_a_large_value_arrives_whole() -> None:
    seen = []

    async def last(prompt: Any, context: Any) -> Any:
        seen.append(prompt)
        return [prompt, context.task]

    ran = run([BIG], "A -> last", [giving("A", {"k": BIG}), FunctionAgent(last)])
    assert ran.result.unwrap() == [{"k": BIG}, [BIG]]
    assert seen == [{"k": BIG}]


def test_a_large_join_with_a_failure_in_it_goes_on() -> None:
    async def broken(prompt: Any) -> Any:
        raise ValueError("own")

    hub = FakeModel([invoking(*"BCDE"), "done"])
    agents = [
        Agent("A", model=hub),
        *[giving(name, "x" * 2000) for name in "BCD"],
        FunctionAgent(broken, name="E"),
    ]
    ran = run("x", "A <-> [B, C, D, E]", agents, convergence_policy=0.5)
    assert ran.result.unwrap() == "done"
    assert "failed: AgentError: agent 'E' raised ValueError: own" in hub.said()[-1][1]


def test_two_runs_of_one_script_have_equal_journals() -> None:
    def team() -> list[BaseAgent]:
        hub = FakeModel(
            [invoking("B", "C", "B"), [invoking("C", id="2"), call("fetch", "3", at="x")], "done"]
        )
        return [
            Agent("A", model=hub, tools=[fetch]),
            Agent("B", model=FakeModel(lambda request: f"b{len(request.messages)}", delay=1)),
            giving("C", "c"),
        ]

    first, *others = [run("x", "A <-> [B, C]", team(), schedule=schedule) for schedule in range(5)]
    assert first.result.unwrap() == "done"
    orders = {tuple(event.id for event in ran.heard.events) for ran in [first, *others]}
    assert len(orders) > 1  # or the test would show nothing
    for other in others:
        assert other.heard.journal == first.heard.journal
