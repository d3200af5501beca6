"""Answers of Chat Completions, read."""

import json

import pytest

from marsys.openai._chat_reply import Reader
from marsys.openai._chat_usage import usage_of
from marsys.openai._errors import Asked
from marsys_core.errors import ModelError, ModelErrorKind
from marsys_core.messages import DataPart, NativePart, ReasoningPart, RefusalPart, TextPart, Usage
from marsys_core.models import FinishReason, StreamEnded


def reader(headers=None):
    return Reader(Asked("groq"), "m", headers or {})


def whole(message, finish="stop", headers=None, **more):
    choice = {"index": 0, "message": message, "finish_reason": finish}
    return reader(headers).whole({"id": "c1", "model": "m-1", "choices": [choice], **more})


def streamed(*deltas, finish="stop", done=True, **more):
    """Read a stream of such deltas; return what it yields, and the response."""
    reading = reader()
    found = []
    for delta in deltas:
        found += reading.read({"id": "c1", "choices": [{"index": 0, "delta": delta}]})
    found += reading.read({"choices": [{"index": 0, "delta": {}, "finish_reason": finish}], **more})
    found += reading.end(done)
    assert isinstance(found[-1], StreamEnded)
    return found[-1].response


def plain(call):
    return (call.id, call.name, call.arguments, call.native)


def test_an_answer_has_its_text_its_usage_and_what_else_was_said():
    response = whole(
        {"role": "assistant", "content": "Hi", "annotations": [{"type": "url_citation"}]},
        headers={"x-request-id": "r-1", "x-ratelimit-remaining-tokens": "9"},
        usage={"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
        service_tier="flex",
    )

    assert (response.content, response.finish_reason, response.raw_finish_reason) == (
        "Hi",
        FinishReason.STOP,
        "stop",
    )
    assert (response.provider, response.model, response.id) == ("groq", "m-1", "c1")
    assert response.usage == Usage(3, 2, model_calls=1)
    assert response.metadata == {
        "service_tier": "flex",
        "annotations": [{"type": "url_citation"}],
        "request_id": "r-1",
        "rate_limit": {"remaining-tokens": "9"},
    }


@pytest.mark.parametrize(
    ("raw", "meant"),
    [
        ("length", FinishReason.LENGTH),
        ("content_filter", FinishReason.CONTENT_FILTER),
        ("insufficient_system_resource", FinishReason.OTHER),
        ("", FinishReason.STOP),
        (None, FinishReason.STOP),
    ],
)
def test_why_it_stopped_is_told_in_words_that_do_not_depend_on_the_provider(raw, meant):
    response = whole({"content": "Hi"}, raw)

    assert (response.finish_reason, response.raw_finish_reason) == (meant, raw or "")


def test_nothing_at_all_is_no_answer():
    assert whole({"content": None}, None).finish_reason is FinishReason.OTHER


def test_a_refusal_is_one_whatever_the_provider_calls_its_end():
    response = whole({"content": None, "refusal": "No."})

    assert response.finish_reason is FinishReason.REFUSAL
    assert response.refusal == "No."
    assert isinstance(streamed({"refusal": "N"}, {"refusal": "o."}).content[0], RefusalPart)


def test_calls_are_calls_whatever_the_provider_calls_their_end():
    call = {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}

    assert whole({"content": None, "tool_calls": [call]}).finish_reason is FinishReason.TOOL_CALLS
    assert whole({"content": None, "tool_calls": [call]}, "length").finish_reason is FinishReason.LENGTH


def test_arguments_in_pieces_are_joined_by_their_index():
    response = streamed(
        {"tool_calls": [{"index": 0, "id": "a", "function": {"name": "f", "arguments": ""}}]},
        {"tool_calls": [{"index": 1, "id": "b", "function": {"name": "g", "arguments": '{"x"'}}]},
        {
            "tool_calls": [
                {"index": 0, "function": {"arguments": "{}"}},
                {"index": 1, "function": {"arguments": ": 1}"}},
            ]
        },
        finish="tool_calls",
    )

    assert [plain(call) for call in response.tool_calls] == [
        ("a", "f", "{}", None),
        ("b", "g", '{"x": 1}', None),
    ]


def test_calls_without_an_index_are_told_apart_by_their_ids():
    response = streamed(
        {"tool_calls": [{"id": "a", "function": {"name": "f", "arguments": "{"}}]},
        {"tool_calls": [{"function": {"arguments": "}"}}]},
        {"tool_calls": [{"id": "b", "function": {"name": "f", "arguments": {"x": "é"}}}]},
    )

    assert [plain(call)[:3] for call in response.tool_calls] == [("a", "f", "{}"), ("b", "f", '{"x": "é"}')]


def test_calls_with_the_same_index_are_told_apart_by_their_ids():
    response = streamed(
        {"tool_calls": [{"index": 0, "id": "a", "function": {"name": "f", "arguments": "{}"}}]},
        {"tool_calls": [{"index": 0, "id": "b", "function": {"name": "g", "arguments": "{}"}}]},
    )

    assert [plain(call)[:3] for call in response.tool_calls] == [("a", "f", "{}"), ("b", "g", "{}")]


def test_a_name_that_is_repeated_with_each_piece_is_said_once():
    piece = {"index": 0, "id": "a", "function": {"name": "f", "arguments": "1"}}

    assert [
        plain(call)[:3] for call in streamed({"tool_calls": [piece]}, {"tool_calls": [piece]}).tool_calls
    ] == [("a", "f", "11")]


def test_what_is_the_providers_own_is_kept_with_its_call():
    signature = {"google": {"thought_signature": "s"}}
    call = {"index": 0, "id": "a", "extra_content": signature, "function": {"name": "f", "arguments": "{}"}}

    assert whole({"tool_calls": [call]}).tool_calls[0].native == {"extra_content": signature}
    assert streamed({"tool_calls": [call]}).tool_calls[0].native == {"extra_content": signature}


def test_custom_and_legacy_calls_are_calls():
    custom = {"id": "a", "type": "custom", "custom": {"name": "exp", "input": "4 + 4"}}
    legacy = {"content": None, "function_call": {"name": "f", "arguments": "{}"}}

    assert plain(whole({"tool_calls": [custom]}).tool_calls[0]) == ("a", "exp", "4 + 4", {"type": "custom"})
    assert plain(whole(legacy, "function_call").tool_calls[0]) == ("", "f", "{}", None)
    assert whole({"content": "x", "function_call": {"name": "", "arguments": ""}}).tool_calls == ()


def test_thoughts_come_before_the_text_however_they_are_called():
    for name in ("reasoning", "reasoning_content"):
        response = streamed({name: "Hm"}, {name: "."}, {"content": "Yes"}, {name: " More"}, {"content": "."})
        thought, text = response.content
        assert (thought.text, text.text) == ("Hm. More", "Yes.")


def test_details_of_thoughts_are_joined_and_kept_to_be_sent_back():
    response = streamed(
        {"reasoning_details": [{"type": "reasoning.text", "index": 0, "text": "A"}]},
        {"reasoning_details": [{"type": "reasoning.text", "index": 0, "text": "B", "signature": "s"}]},
        {"reasoning_details": [{"type": "reasoning.encrypted", "index": 1, "data": "x"}], "content": "Yes"},
    )
    thought = response.content[0]

    assert (type(thought), thought.text) == (ReasoningPart, "AB")
    assert thought.native == {
        "reasoning_details": [
            {"type": "reasoning.text", "index": 0, "text": "AB", "signature": "s"},
            {"type": "reasoning.encrypted", "index": 1, "data": "x"},
        ]
    }


def test_thoughts_that_nobody_can_read_are_kept_too():
    response = whole({"content": "Yes", "reasoning_details": [{"type": "reasoning.encrypted", "data": "x"}]})

    assert response.content[0].native == {"reasoning_details": [{"type": "reasoning.encrypted", "data": "x"}]}


def test_a_content_of_parts_keeps_their_order():
    thinking = {"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}
    response = whole(
        {"content": [thinking, {"type": "text", "text": "A"}, thinking, {"type": "text", "text": "B"}]}
    )

    assert [type(part) for part in response.content] == [ReasoningPart, TextPart, ReasoningPart, TextPart]
    assert (response.text, response.reasoning) == ("AB", "Hm.Hm.")


def test_a_content_that_is_json_is_its_text():
    assert json.loads(whole({"content": {"a": "é"}}).text) == {"a": "é"}


def test_images_and_sounds_are_parts():
    image = {"type": "image_url", "image_url": {"url": "data:image/webp;base64,AAAA"}}
    response = whole(
        {"content": "Here", "images": [image, "nonsense"], "audio": {"id": "a1", "data": "BBBB"}}
    )
    text, sound, picture = response.content

    assert text.text == "Here"
    assert (type(sound), sound.item) == (NativePart, {"audio": {"id": "a1", "data": "BBBB"}})
    assert (type(picture), picture.media_type, picture.data) == (DataPart, "image/webp", "AAAA")


def test_a_character_that_is_cut_in_two_is_made_whole():
    response = streamed(
        {"content": "a\ud83d"},
        {"content": "\ude00b"},
        {"reasoning": "\ud83d"},
        {"reasoning": "\ude00"},
        {"tool_calls": [{"index": 0, "id": "a", "function": {"name": "f", "arguments": '"\ud83d'}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": '\ude00"'}}]},
    )

    assert (response.text, response.reasoning) == ("a\U0001f600b", "\U0001f600")
    assert response.tool_calls[0].arguments == '"\U0001f600"'


def test_other_answers_to_the_same_question_are_told_beside():
    reading = reader()
    response = reading.whole(
        {
            "choices": [
                {"index": 0, "message": {"content": "A"}, "finish_reason": "stop"},
                {"index": 1, "message": {"content": "B"}, "finish_reason": "length"},
            ]
        }
    )

    assert response.text == "A"
    assert response.metadata == {"choices": [{"text": "B", "tool_calls": [], "finish_reason": "length"}]}


def test_chances_of_tokens_that_come_in_pieces_are_joined():
    reading = reader()
    for text in "ab":
        chunk = {
            "index": 0,
            "delta": {"content": text},
            "logprobs": {"content": [{"token": text}], "refusal": None},
        }
        reading.read({"choices": [chunk]})
    (*_, end) = reading.end(done=True)

    assert end.response.metadata["logprobs"]["content"] == [{"token": "a"}, {"token": "b"}]


def test_the_usage_may_come_in_a_chunk_of_its_own():
    reading = reader()
    reading.read({"choices": [{"index": 0, "delta": {"content": "A"}, "finish_reason": "stop"}]})
    reading.read({"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2}})
    (*_, end) = reading.end(done=False)

    assert end.response.usage == Usage(3, 2, model_calls=1)


def test_what_a_stream_cost_that_broke_off_is_told():
    reading = reader()
    reading.read({"choices": [{"index": 0, "delta": {"content": "A"}}], "usage": {"prompt_tokens": 3}})

    with pytest.raises(ModelError) as caught:
        list(reading.end(done=False))
    assert (caught.value.kind, caught.value.usage) == (ModelErrorKind.NETWORK, Usage(3, model_calls=1))


@pytest.mark.parametrize(
    ("told", "usage"),
    [
        ({"prompt_tokens": 9, "completion_tokens": 4, "prompt_tokens_details": {"cached_tokens": 5, "cache_write_tokens": 2}}, Usage(9, 4, 5, cache_write_tokens=2)),
        ({"prompt_tokens": 9, "completion_tokens": 4, "prompt_cache_hit_tokens": 5}, Usage(9, 4, 5)),
        ({"prompt_tokens": 9, "completion_tokens": 4, "completion_tokens_details": {"reasoning_tokens": 3}}, Usage(9, 4, 0, 3)),
        ({"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 13, "completion_tokens_details": {"reasoning_tokens": 3}}, Usage(9, 4, 0, 3)),
        ({"prompt_tokens": 9, "completion_tokens": 4, "cost": 0.25}, Usage(9, 4, cost=0.25)),
        ({"prompt_tokens": 9, "completion_tokens": 4, "cost": {"total_cost": 0.5}}, Usage(9, 4, cost=0.5)),
        ({"prompt_tokens": -1, "completion_tokens": True, "cost": float("nan")}, Usage()),
    ],
)  # fmt: skip
def test_usage_is_counted_as_the_engine_counts(told, usage):
    found = usage_of(told)

    assert found is not None
    assert found == Usage(
        usage.input_tokens,
        usage.output_tokens,
        usage.cached_tokens,
        usage.reasoning_tokens,
        1,
        usage.cost,
        usage.cache_write_tokens,
    )


def test_a_usage_without_counts_is_none():
    assert usage_of({"service_tier": "standard"}) is None
