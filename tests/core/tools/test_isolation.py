"""How two processes talk: frames of JSON that come back as what was sent."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marsys_core.tools._isolation import HEAD, decode, encode, length_of, search_path

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=[])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=10,
)


@pytest.mark.slow
@given(JSON)
def test_what_is_sent_is_what_arrives(data: Any) -> None:
    frame = encode(data)

    assert length_of(frame[:HEAD]) == len(frame) - HEAD
    assert decode(frame[HEAD:]) == data


@pytest.mark.slow
@given(st.binary(min_size=HEAD, max_size=HEAD) | st.binary())
def test_what_is_no_frame_raises_nothing_but_a_value_error(data: bytes) -> None:
    for read in (length_of, decode):
        try:
            read(data)
        except ValueError:
            continue


@pytest.mark.parametrize(
    ("data", "error"), [(float("nan"), ValueError), ({1, 2}, TypeError), (object(), TypeError)]
)
def test_what_is_no_json_is_not_sent(data: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        encode(data)


def test_only_text_of_the_path_is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", ["a", object(), "b"])
    assert search_path() == ["a", "b"]
