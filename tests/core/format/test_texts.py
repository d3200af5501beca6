"""Long texts stand once in a journal."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marsys_core import events as e
from marsys_core.actions import Content, Invoke, Malformed
from marsys_core.errors import FormatError
from marsys_core.events import Event, identity
from marsys_core.format import Texts, decode, encode, in_full, referred
from marsys_core.format.texts import LONG
from marsys_core.messages import Message, ToolCall, Usage
from marsys_core.protocols.store import Entry
from marsys_core.values import Converter
from tests.core.examples import examples
from tests.core.format.strategies import CONVERTER, events
from tests.core.format.test_entries import heard_of

SAID = "I have read it, and this is what I think. " * 4
OTHER = "Something else has to be said here as well. " * 4


def written(events: Sequence[Event], converter: Converter | None = None) -> list[Entry]:
    texts, found = Texts(), []
    for seq, event in enumerate(events):
        event.seq = seq
        data = encode(event, converter or Converter(), texts)
        found.append(Entry(seq, event.branch, event.n, event.cause, type(event).__name__, event.time, data))
    return found


def read(entries: Sequence[Entry], converter: Converter | None = None) -> list[Event]:
    texts = Texts()
    return [
        decode(
            entry.kind, entry.data, converter or Converter(), texts=texts,
            branch=entry.branch, n=entry.n, cause=entry.cause, seq=entry.seq, time=entry.time, run_id="r",
        )
        for entry in entries
    ]  # fmt: skip


def replied(content: Any, *calls: ToolCall) -> e.ModelReplied:
    return e.ModelReplied("0", 0, ("0", -1), "A", "m", content, calls, "stop", Usage(), 0.1)


def finished(action: Any, *messages: Message) -> e.StepFinished:
    return e.StepFinished("0", 1, ("0", 0), "A", action, messages=messages)


def moved(value: Any) -> e.BranchMoved:
    return e.BranchMoved("0", 2, ("0", 1), "B", "handoff", value)


def data_of(entry: Entry) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(entry.data)
    return data


def again(seq: int, at: str) -> dict[str, Any]:
    return {"$type": "again", "seq": seq, "at": at}


def test_what_is_said_again_is_referred_to():
    step = finished(Content(SAID), Message("user", OTHER), Message("assistant", SAID, name="A"))
    first, second, third = written([replied(SAID), step, moved(SAID)])

    assert data_of(first)["content"] == SAID
    assert data_of(second)["action"] == {"$type": "Content", "value": again(0, "$.content")}
    assert [message["content"] for message in data_of(second)["messages"]] == [OTHER, again(0, "$.content")]
    assert data_of(third)["value"] == again(0, "$.content")


def test_texts_inside_of_values_and_calls_are_referred_to():
    value = {"report": SAID, "notes": [OTHER, {"more": SAID}]}
    call = ToolCall("1", "f", OTHER)
    entries = written([finished(Invoke([("B", value)])), moved(value), replied("", call)])

    assert data_of(entries[0])["action"]["calls"] == [
        ["B", {"report": SAID, "notes": [OTHER, {"more": again(0, "$.action.calls[0][1].report")}]}]
    ]
    assert data_of(entries[1])["value"]["report"] == again(0, "$.action.calls[0][1].report")
    assert data_of(entries[2])["tool_calls"][0]["arguments"] == again(0, "$.action.calls[0][1].notes[0]")
    assert list(map(identity, read(entries))) == [
        identity(event) for event in (finished(Invoke([("B", value)])), moved(value), replied("", call))
    ]


@pytest.mark.parametrize("length", [LONG - 1, LONG])
def test_a_short_text_is_written_again(length: int):
    entries = written([replied("x" * length), moved("x" * length)])

    assert (data_of(entries[1])["value"] == "x" * length) is (length < LONG)


def test_text_that_no_path_leads_to_is_written_again():
    value = {"a key": SAID, "$type": "again", "seq": 0, "at": "$.content"}
    entries = written([replied(SAID), moved(value), moved({"a key": SAID})])

    assert data_of(entries[1])["value"] == {"$type": "dict", "items": value}
    assert data_of(entries[2])["value"] == {"a key": SAID}
    assert [event.value for event in read(entries)[1:]] == [value, {"a key": SAID}]  # type: ignore[attr-defined]


def test_a_reply_that_is_not_understood_is_written_in_full():
    entries = written([replied(SAID), finished(Malformed("no", {"said": SAID, "by": object()}))])

    assert data_of(entries[1])["action"]["reply"]["said"] == SAID


def test_a_text_is_referred_to_as_long_as_it_is_remembered():
    texts = [f"{number} {SAID}" for number in range(300)]
    entries = written([replied(text) for text in texts] + [moved(texts[0]), moved(texts[299])])

    assert data_of(entries[300])["value"] == texts[0]
    assert data_of(entries[301])["value"] == again(299, "$.content")


def test_a_text_in_halves_of_characters_comes_back():
    odd = SAID + "\ud83d\ude00 \ud800"
    entries = written([replied(odd), moved(odd)])

    assert [event.value for event in read(entries)[1:]] == [odd]  # type: ignore[attr-defined]


@pytest.mark.slow
@examples(60)
@given(st.data())
def test_any_events_come_back_equal(data: Any):
    long = st.sampled_from([SAID, OTHER, SAID + "ö", OTHER + "\0"])
    value = st.recursive(
        long | st.text(max_size=3),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["a", "b c", "$type", "items"]), inner)
            | st.tuples(inner)
        ),
        max_leaves=6,
    )
    made = st.one_of(
        value.map(moved), long.map(replied), value.map(lambda v: finished(Content(v))),
        value.map(lambda v: finished(Invoke([("B", v), ("C", v)]), Message("user", SAID))),
        st.sampled_from([e.BranchMoved, e.StepFinished, e.ToolFinished]).flatmap(events),
    )  # fmt: skip
    journal = data.draw(st.lists(made, max_size=8))
    entries = written(journal, CONVERTER)

    assert list(map(identity, read(entries, CONVERTER))) == list(map(identity, journal))
    for whole, event in zip(in_full(entries), journal, strict=True):
        assert whole.data == encode(event, CONVERTER)


def test_the_entries_of_a_workflow_are_short_and_mean_the_same():
    events = heard_of("long texts")
    entries = written(events)

    assert any("again" in entry.data for entry in entries)
    assert list(map(identity, read(entries))) == list(map(identity, events))
    assert [entry.data for entry in in_full(entries)] == [encode(event, Converter()) for event in events]


def test_some_entries_are_read_with_those_that_they_refer_to():
    entries = written([replied(SAID), finished(Content(OTHER), Message("user", SAID)), moved(OTHER)])
    texts = Texts()

    assert referred(entries) == {0, 1}
    assert referred(entries[2:]) == {1}
    texts.remember(entries[1])
    event = decode(
        "BranchMoved", entries[2].data, Converter(), texts=texts,
        branch="0", n=2, cause=("0", 1), seq=2, time=0.0, run_id="r",
    )  # fmt: skip
    assert event.value == OTHER  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "reference",
    [
        again(0, "$.other"), again(1, "$.content"), again(7, "$.content"), {**again(0, "$.content"), "more": 1},
        {"$type": "again"}, {"$type": "again", "seq": "0", "at": []}, {"$type": "again", "seq": 0, "at": None},
    ],
)  # fmt: skip
def test_a_reference_to_nothing_is_refused_with_its_place(reference: Any):
    good = written([replied(SAID)])
    bad = Entry(
        1, "0", 2, ("0", 1), "BranchMoved", 0.0, json.dumps({"node": "B", "how": "x", "value": [reference]})
    )

    with pytest.raises(
        FormatError,
        match=r"^entry 1 of run 'r' \(BranchMoved\) cannot be read @ \$\.value\[0\]: expected a text that an entry before has, found ",
    ):
        read([*good, bad])
    assert in_full([*good, bad])[1] == bad


def test_a_reference_is_refused_where_nothing_was_read_before():
    entries = written([replied(SAID), moved(SAID)])

    with pytest.raises(FormatError, match=r"cannot be read @ \$\.value: expected"):
        decode(
            "BranchMoved", entries[1].data, Converter(),
            branch="0", n=2, cause=("0", 1), seq=1, time=0.0, run_id="r",
        )  # fmt: skip


@pytest.mark.parametrize("text", ["", "[]", '{"value": ' + "[" * 150_000, '"again"'])
def test_what_is_no_entry_stays_as_it_is(text: str):
    entry = Entry(0, "0", 0, ("0", 0), "BranchMoved", 0.0, text + " " * LONG)

    assert in_full([entry]) == [entry]
    assert referred([entry]) == set()
