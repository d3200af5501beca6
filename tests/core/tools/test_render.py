"""What a model sees of a result."""

import datetime
import enum
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marsys_core.tools import render_result


class Word(enum.StrEnum):
    YES = "yes"


LOOP: list[Any] = []
LOOP.append(LOOP)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("as it is\n", "as it is\n"),
        (None, "null"),
        (True, "true"),
        (1.5, "1.5"),
        ({"a": [1, "ü"]}, '{"a":[1,"ü"]}'),
        ((1, 2), "[1,2]"),
        (Word.YES, "yes"),
        (datetime.date(2000, 1, 31), "2000-01-31"),
        ({"on": datetime.date(2000, 1, 31)}, '{"on":"2000-01-31"}'),
        ({1}, "{1}"),
        (float("nan"), "nan"),
        ({(1, 2): 3}, "{(1, 2): 3}"),
        (LOOP, "[[...]]"),
    ],
)
def test_a_result_is_text_or_compact_json_or_its_own_text(value: Any, text: str) -> None:
    assert render_result(value) == text


class Mute:
    def __str__(self) -> str:
        msg = "no words"
        raise KeyError(msg)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (10**10000, "a whole number of 33220 bits"),
        ([10**10000], "<list that cannot be written as text: ValueError>"),
        ({"n": 10**10000}, "<dict that cannot be written as text: ValueError>"),
        (Mute(), "<Mute that cannot be written as text: KeyError>"),
        ({"m": Mute()}, None),
    ],
    ids=["number", "list", "dict", "object", "object in a dict"],
)
def test_a_result_that_cannot_be_written_is_named(value: Any, text: str | None) -> None:
    assert render_result(value) == (str(value) if text is None else text)


@pytest.mark.slow
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_plain_data_reads_back_as_it_was(value: Any) -> None:
    assert json.loads(render_result(value)) == value
