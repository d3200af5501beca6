import itertools

import attrs
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from marsys_core.errors import ModelError, ModelErrorKind
from marsys_core.messages import DataPart, NativePart, ReasoningPart, RefusalPart, TextPart, ToolCall, Usage
from marsys_core.models import (
    Accumulator,
    CallClosed,
    CallDelta,
    CallOpened,
    FinishReason,
    ModelDelta,
    ModelResponse,
    PartAdded,
    PartClosed,
    ReasoningDelta,
    RefusalDelta,
    StreamEnded,
    TextDelta,
    UsageDelta,
    collect,
    deltas_of,
)
from tests.core.models.answers import cut, plain, responses


def summed(deltas, **fields):
    total = Accumulator()
    for delta in deltas:
        assert total.feed(delta) is delta
    return total.response(**fields)


def told(response):
    """The fields of a response that are not said in pieces."""
    pieces = {"content", "tool_calls", "usage"}
    return {
        field.name: getattr(response, field.name)
        for field in attrs.fields(ModelResponse)
        if field.name not in pieces
    }


@given(response=responses(), data=st.data())
def test_the_sum_of_the_deltas_is_the_response_wherever_it_is_cut(response, data):
    assert plain(summed(cut(response, data.draw), **told(response))) == plain(response)


@given(response=responses())
def test_the_texts_of_the_deltas_joined_are_the_text_of_the_response(response):
    assert "".join(delta.text for delta in deltas_of(response)) == response.text


@given(response=responses())
def test_the_last_delta_carries_the_response(response):
    *others, last = deltas_of(response)

    assert last.response is response
    assert [delta for delta in others if delta.response is not None] == []


@given(first=responses(), second=responses(), data=st.data())
def test_pieces_with_keys_may_come_in_any_order_between_parts(first, second, data):
    """Two answers under keys of their own, shuffled into each other, keep what belongs together together."""
    calls = [
        [*deltas_of(ModelResponse(tool_calls=(ToolCall(name, name, text),)))][:3]
        for name, text in (("a", first.text), ("b", second.text))
    ]
    for number, deltas in enumerate(calls):
        for delta in deltas:
            delta.key = number
    rest = [iter(deltas) for deltas in calls]
    order = data.draw(st.permutations([0, 0, 0, 1, 1, 1]))
    response = summed(next(rest[number]) for number in order)

    assert sorted((call.name, call.arguments) for call in response.tool_calls) == [
        ("a", first.text),
        ("b", second.text),
    ]


def test_pieces_without_keys_go_on_with_the_part_before_if_it_is_of_their_kind():
    response = summed(
        [
            ReasoningDelta("hm"), ReasoningDelta("m"), ReasoningDelta(signature="si"), ReasoningDelta(signature="g"),
            TextDelta("a"), TextDelta("b"), PartClosed(native={"n": 1}), TextDelta("c"), RefusalDelta("no"),
        ]
    )  # fmt: skip

    assert [plain(part) for part in response.content] == [
        plain(part)
        for part in (
            ReasoningPart("hmm", "sig"),
            TextPart("ab", {"n": 1}),
            TextPart("c"),
            RefusalPart("no"),
        )
    ]
    assert (response.text, response.reasoning, response.refusal) == ("abc", "hmm", "no")


def test_one_text_is_a_text_and_nothing_is_an_empty_one():
    assert summed([TextDelta("a"), TextDelta(""), ModelDelta(text="b")]).content == "ab"
    assert summed([]).content == ""
    assert summed([TextDelta("", 0), ReasoningDelta(), RefusalDelta()]).content == ""


def test_a_call_that_is_opened_again_is_told_only_what_was_missing():
    response = summed(
        [
            CallOpened(0, name="look"), CallDelta(0, '{"a"'), CallOpened(0, "c1", "look"), CallDelta(0, ":1}"),
            CallClosed(0, {"signature": "s"}), CallClosed(0),
        ]
    )  # fmt: skip

    assert plain(response.tool_calls[0]) == plain(
        ToolCall("c1", "look", '{"a":1}', native={"signature": "s"})
    )


def test_the_arguments_of_a_call_are_what_came_and_nothing_is_added():
    assert summed([CallOpened(0, "c", "now")]).tool_calls[0].arguments == ""
    assert summed([CallDelta(0, '{"a": ')]).tool_calls[0].arguments == '{"a": '


def test_a_call_keeps_its_place_between_the_parts():
    search = NativePart({"type": "search"})
    response = summed(
        [
            TextDelta("", 7),
            PartAdded(search),
            CallOpened(1, "c1", "f"),
            TextDelta("so"),
            CallOpened(2, "c2", "g"),
        ]
    )

    assert [call.after for call in response.tool_calls] == [1, None]
    assert [type(part) for part in response.content] == [NativePart, TextPart]


def test_the_last_usage_counts():
    total = Accumulator()
    total.feed(UsageDelta(Usage(3, 1)))
    total.feed(UsageDelta(Usage(3, 9)))

    assert total.usage == total.response().usage == Usage(3, 9)
    assert total.response(usage=Usage(1, 1)).usage == Usage(1, 1)


def test_what_has_come_so_far_can_be_read_at_any_time():
    total = Accumulator()
    seen = []
    for delta in (
        TextDelta("a"),
        PartAdded(DataPart("image/png", "AA")),
        TextDelta("b"),
        CallOpened(0, "c", "f"),
    ):
        total.feed(delta)
        seen.append((total.text, len(total.tool_calls)))

    assert seen == [("a", 0), ("a", 0), ("ab", 0), ("ab", 1)]


def test_a_part_that_was_closed_and_never_begun_is_there_if_it_says_something():
    assert summed([PartClosed(3)]).content == ""
    assert plain(summed([PartClosed(3, {"a": 1})]).content[0]) == plain(TextPart("", {"a": 1}))


def test_closing_takes_the_part_that_is_open_under_a_key():
    response = summed([ReasoningDelta("r", 0), PartClosed(0), TextDelta("t", 0), PartClosed(0, {"a": 1})])

    assert [plain(part) for part in response.content] == [
        plain(ReasoningPart("r")),
        plain(TextPart("t", {"a": 1})),
    ]


async def _stream(deltas):
    for delta in deltas:
        await trio.lowlevel.checkpoint()
        yield delta


def test_a_stream_is_collected_into_its_response():
    response = ModelResponse(content="x", finish_reason=FinishReason.LENGTH)

    assert trio.run(collect, _stream(deltas_of(response))) is response


def test_a_stream_that_ends_early_is_a_passing_error():
    with pytest.raises(ModelError, match="^the stream ended before the answer was complete$") as caught:
        trio.run(collect, _stream(itertools.islice(deltas_of(ModelResponse(content="x")), 2)))

    assert caught.value.kind is ModelErrorKind.MALFORMED
    assert caught.value.retryable


def test_the_end_alone_is_a_stream():
    response = ModelResponse(content="x")

    assert trio.run(collect, _stream([StreamEnded(response)])) is response
