from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marsys_core.messages import (
    Conversation,
    DataPart,
    Message,
    NativePart,
    ReasoningPart,
    TextPart,
    ToolCall,
    Usage,
    in_order,
    shown,
    text_of,
)

counts = st.integers(0, 10**9)
usages = st.builds(Usage, counts, counts, counts, counts, counts, cache_write_tokens=counts)


@given(usages, usages, usages)
def test_usage_adds_up_in_any_order(a: Usage, b: Usage, c: Usage) -> None:
    assert a + b == b + a
    assert (a + b) + c == a + (b + c)
    assert a + Usage() == a
    assert (a + b).total_tokens == a.total_tokens + b.total_tokens


def test_the_text_of_a_message_leaves_other_parts_out() -> None:
    assert Message("user", (TextPart("a"), DataPart("image/png", "x"), TextPart("b"))).text == "ab"
    assert text_of("plain") == "plain"
    assert Message("user").text == ""


def test_parts_and_calls_are_given_in_the_order_in_which_they_came() -> None:
    first, search, text = ReasoningPart("hm"), NativePart({"type": "search"}), TextPart("so")
    calls = (ToolCall("late", "f"), ToolCall("between", "f", after=1), ToolCall("end", "f", after=3))
    said = Message("assistant", (first, search, text), calls)

    assert list(in_order(said)) == [first, calls[1], search, text, calls[0], calls[2]]
    assert list(in_order(Message("assistant", "", (calls[1],)))) == [calls[1]]
    [given] = in_order(Message("assistant", "text"))
    assert isinstance(given, TextPart)
    assert given.text == "text"


def test_a_call_may_come_before_a_text() -> None:
    call = ToolCall("c", "f", after=0)
    before, after = in_order(Message("assistant", "text", (call,)))

    assert before is call
    assert isinstance(after, TextPart)


def test_a_file_is_a_part_by_value(tmp_path: Path) -> None:
    picture = tmp_path / "dot.png"
    picture.write_bytes(b"\x89PNG")

    part = DataPart.of_file(picture)

    assert (part.media_type, part.data, part.name) == ("image/png", "iVBORw==", "dot.png")
    assert DataPart.of_file(picture, "image/x-own").media_type == "image/x-own"


def test_a_file_whose_name_says_nothing_needs_a_media_type(tmp_path: Path) -> None:
    (tmp_path / "dot").write_bytes(b"")

    with pytest.raises(ValueError, match=r"^the name of 'dot' does not say what it is; give media_type="):
        DataPart.of_file(tmp_path / "dot")


def test_a_conversation_is_a_view_that_does_not_grow() -> None:
    log = [Message("user", str(i)) for i in range(3)]
    view = Conversation(log)
    log.append(Message("user", "3"))
    assert len(view) == 3
    assert [m.content for m in view] == ["0", "1", "2"]
    assert [m.content for m in view[1:]] == ["1", "2"]
    assert [m.content for m in view[-2:]] == ["1", "2"]
    assert (view[-1].content, view[0].content) == ("2", "0")
    assert repr(view) == "<Conversation of 3 messages>"
    assert [m.content for m in Conversation(log, 1)] == ["0"]
    for index in (3, -4):
        with pytest.raises(IndexError):
            view[index]


class Silent:
    def __repr__(self) -> str:
        msg = "no words"
        raise KeyError(msg)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (5, "5"),
        ("x" * 1000, "'" + "x" * 79 + "…"),
        (list(range(1000)), repr(list(range(1000)))[:80] + "…"),
        (10**5000, "a whole number of 16610 bits"),
        ([10**5000], "<list whose repr raised ValueError>"),
        (Silent(), "<Silent whose repr raised KeyError>"),
    ],
    ids=["short", "text", "list", "number", "list of numbers", "object"],
)
def test_any_value_can_be_shown_in_a_sentence(value: object, text: str) -> None:
    assert shown(value) == text
