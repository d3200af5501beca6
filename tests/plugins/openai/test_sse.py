"""Events in a stream of bytes, whatever way it is cut."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marsys.openai._sse import EventReader


def events_of(*pieces):
    reader = EventReader()
    found = [event for piece in pieces for event in reader.feed(piece)]
    return [*found, *reader.finish()]


names = st.sampled_from(["", "message", "error"])
values = st.dictionaries(st.text(max_size=4), st.text(max_size=6), max_size=3)
ends = st.sampled_from(["\n", "\r\n", "\r"])


@given(
    st.lists(st.tuples(names, values), max_size=4),
    ends,
    st.booleans(),
    st.lists(st.integers(0, 400), max_size=6),
)
def test_the_events_do_not_depend_on_where_the_bytes_are_cut(events, end, ascii_only, cuts):
    text = "\ufeff: hello" + end
    for name, data in events:
        text += f"event: {name}{end}" if name else ""
        text += f"id: 1{end}data: {json.dumps(data, ensure_ascii=ascii_only)}{end}retry: 5{end}{end}"
    whole = text.encode("utf-8", "surrogatepass") if ascii_only else text.encode("utf-8")
    places = sorted({0, len(whole), *(cut for cut in cuts if cut < len(whole))})
    pieces = [whole[one:other] for one, other in zip(places, places[1:], strict=False)]

    assert events_of(*pieces) == events
    assert events_of(*(whole[index : index + 1] for index in range(len(whole)))) == events


def test_data_of_several_lines_is_joined():
    assert events_of(b'data: {"a":\ndata:1}\n\n') == [("", {"a": 1})]


def test_the_last_event_needs_no_empty_line():
    assert events_of(b'data: {"a": 1}') == [("", {"a": 1})]


def test_what_comes_after_the_end_is_passed_over():
    reader = EventReader()

    assert reader.feed(b'data: {}\n\ndata: [DONE]\n\ndata: {"late": 1}\n\n') == [("", {})]
    assert reader.done


@pytest.mark.parametrize("wrong", [b"data: {\n\n", b"data: \xff\n\n", b"data: oops\n\n"])
def test_data_that_is_no_json_is_an_error(wrong):
    with pytest.raises(ValueError, match=r"."):
        EventReader().feed(wrong)
