from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marsys_core.messages import Conversation, DataPart, Message, TextPart, Usage, shown, text_of

counts = st.integers(0, 10**9)
usages = st.builds(Usage, counts, counts, counts, counts, counts)


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
