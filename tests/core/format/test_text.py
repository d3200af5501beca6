from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marsys_core.format.text import dumps, loads
from marsys_core.format.wrong import Wrong
from tests.core.examples import examples

texts = st.text() | st.text("\ud83d\ude00\ud800\udfff\0a", max_size=8)
data = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("ab", max_size=2), inner, max_size=4),
)


@pytest.mark.slow
@examples(300)
@given(data)
def test_data_comes_back_whatever_its_texts_hold(value: Any):
    text = dumps(value)

    assert loads(text) == value
    assert text.encode("utf-8").decode("utf-8") == text


def test_people_can_read_it():
    assert dumps({"say": ["gö", "😀", "\0", "\n"]}) == '{"say":["gö","😀","\\u0000","\\n"]}'


def test_surrogates_are_escaped_and_never_joined():
    assert dumps("a\ud800") == '"a\\ud800"'
    assert dumps(["\ud83d\ude00"]) == '[{"$type":"surrogates","parts":["\\ud83d","\\ude00"]}]'
    assert loads('["\\ud83d\\ude00"]') == ["😀"]
    assert loads(dumps(["\ud83d\ude00", "😀"])) == ["\ud83d\ude00", "😀"]


@pytest.mark.parametrize(
    "text", ["", "{", "NaN", "-Infinity", '{"a":}', "9" * 5000, "[" * 100_000, "\ufeff1"]
)
def test_what_is_no_json_is_refused(text: str):
    with pytest.raises(Wrong, match="^JSON$"):
        loads(text)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), object(), {1, 2}, {("a",): 1}])
def test_what_json_cannot_say_is_refused(value: Any):
    with pytest.raises(Wrong, match="^what JSON can say$"):
        dumps([value])


def test_numbers_beyond_all_floats_are_read_as_json_tools_read_them():
    assert loads("1e999") == float("inf")  # and refused where a number is expected
    assert json.loads(dumps(10**4000)) == 10**4000
