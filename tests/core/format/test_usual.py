"""What is written in one go is what is written field by field."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from marsys_core import events as e
from marsys_core.actions import Content, EndConversation, Finish, Invoke, Return
from marsys_core.events import Event
from marsys_core.format import Texts
from marsys_core.format.entries import _record
from marsys_core.format.fields import DEEPEST
from marsys_core.format.text import dumps
from marsys_core.format.usual import usual
from marsys_core.messages import Message, Usage
from tests.core.examples import examples
from tests.core.format.strategies import CONVERTER, events

LONG = "This is what I think of it, after I have read it. " * 4
USUAL: list[Event] = [
    e.StepStarted("0", 1, ("0", 0), "A", 1, (("0", 0),)),
    e.ModelCalled("0", 2, ("0", 1), "A", "m", 1, 0),
    e.ModelReplied("0", 3, ("0", 2), "A", "m", "gö", (), "stop", Usage(1, 2, 3, 4, 1, 0.5), 0.25, 7),
    e.StepFinished(
        "0", 4, ("0", 3), "A", Content("gö"), True, (Message("user", "do"), Message("assistant", "gö", name="A")),
        Usage(1, 2), 0.5,
    ),
    e.BranchMoved("0", 5, ("0", 4), "B", "handoff", "gö", inputs=(("0", 4),)),
]  # fmt: skip


def by_fields(event: Event, texts: Texts | None = None) -> str:
    data = _record(type(event)).write(event, CONVERTER, DEEPEST)
    if texts is not None:
        texts.shorten(type(event).__name__, data, event.seq)
    return dumps(data)


@pytest.mark.parametrize("event", USUAL, ids=lambda event: type(event).__name__)
def test_a_usual_event_is_written_in_one_go(event: Event):
    assert usual()(event, None) == by_fields(event)


@pytest.mark.parametrize(
    ("index", "change"),
    [
        (0, {"step": True}), (0, {"turn": False}), (0, {"node": None}), (0, {"step": 1 << 20_000}),
        (1, {"attempt": 1.0}), (1, {"model": 5}), (2, {"content": None}), (2, {"duration": float("nan")}),
        (2, {"duration": 1}), (2, {"usage": Usage(cost=-0.0)}), (2, {"usage": Usage(cost=1)}), (2, {"usage": None}),
        (3, {"action": Content({"a": 1})}), (3, {"duration": 0.0}), (3, {"offered": 1}), (3, {"usage": Usage(True)}),
        (3, {"messages": (Message("user", ""),)}), (3, {"messages": (Message("tool", "x", is_error=True),)}),
        (3, {"unasked": ("B",)}), (3, {"action": Invoke([("B", 1)])}), (3, {"action": Invoke([("B", "x")], wait=False)}),
        (3, {"action": Invoke([("B", "x")], policy="any")}), (3, {"action": Invoke([("B", "x")], replies=[("1", 0, 1)])}), (4, {"value": "\ud83d\ude00"}), (4, {"value": "\ud800"}), (4, {"error": ValueError()}),
        (4, {"stack": ["B"]}), (4, {"inputs": (("0", 1.5),)}),
    ],
)  # fmt: skip
def test_an_unusual_event_is_left_to_others(index: int, change: dict[str, Any]):
    event = attrs.evolve(USUAL[index], **change)

    assert usual()(event, Texts()) is None


short = st.text('aö\\"\n\0😀', max_size=4)
said = short | st.sampled_from([LONG, LONG + "ö"])
ids = st.lists(st.tuples(short, st.integers(0, 9)), max_size=2).map(tuple)
usages = st.builds(
    Usage, st.integers(0, 3), st.integers(0, 3), st.integers(0, 1), st.integers(0, 1), st.integers(0, 2), st.sampled_from([0.0, 0.5])
)  # fmt: skip
seconds = st.sampled_from([0.0, 0.001, 1e-7, 2.5e10])
messages = st.builds(
    Message, st.sampled_from(["user", "assistant", "tool"]), said, tool_call_id=short, name=short
)
WHERE: Any = ("0", 1, ("0", 0))
likely = st.one_of(
    st.builds(lambda *given: e.StepStarted(*WHERE, *given), short, st.integers(0, 9), ids, st.integers(0, 2)),
    st.builds(
        lambda *given: e.ModelCalled(*WHERE, *given), short, short, st.integers(0, 9), st.integers(0, 9), st.integers(0, 2)
    ),
    st.builds(
        lambda node, text, *given: e.ModelReplied(*WHERE, node, "m", text, (), "stop", *given),
        short, said, usages, seconds, st.integers(0, 2),
    ),
    st.builds(
        lambda node, kind, text, *given: e.StepFinished(*WHERE, node, kind(text), *given[:4], turn=given[4]),
        short, st.sampled_from([Content, EndConversation, Finish, Return, lambda text: Invoke([("B", text), ("C", text)])]), said, st.booleans(),
        st.lists(messages, max_size=3).map(tuple), st.none() | usages, seconds, st.booleans(),
    ),
    st.builds(
        lambda node, text, inputs, fresh: e.BranchMoved(*WHERE, node, "call", text, (), inputs, fresh),
        short, said, ids, st.booleans(),
    ),
)  # fmt: skip


@pytest.mark.slow
@examples(300)
@given(st.lists(likely | st.sampled_from([type(event) for event in USUAL]).flatmap(events), max_size=6))
def test_what_is_written_in_one_go_is_what_is_written_field_by_field(journal: list[Event]):
    one, other = Texts(), Texts()
    for seq, event in enumerate(journal):
        event.seq = seq
        expected = by_fields(event, other)
        found = usual()(event, one)
        assert (by_fields(event, one) if found is None else found) == expected
