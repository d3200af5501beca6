import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from marsys.openai._responses_answer import Answer, usage_of
from marsys_core.messages import DataPart, NativePart, ReasoningPart, RefusalPart, TextPart
from marsys_core.models import CallDelta, FinishReason

TEXT = {"type": "output_text", "text": "Hello", "annotations": []}
MESSAGE = {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [TEXT]}
CALL = {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "look", "arguments": '{"at": 1}'}
REASONING = {
    "type": "reasoning",
    "id": "rs_1",
    "summary": [{"type": "summary_text", "text": "One"}, {"type": "summary_text", "text": "Two"}],
    "encrypted_content": "gAAA",
}
IMAGE = {
    "type": "image_generation_call",
    "id": "ig_1",
    "status": "completed",
    "output_format": "webp",
    "result": "QUJD",
}
SEARCH = {
    "type": "web_search_call",
    "id": "ws_1",
    "status": "completed",
    "action": {"type": "search", "query": "x"},
}


def whole(*output, **fields):
    return {"id": "resp_1", "model": "gpt-5", "status": "completed", "output": list(output), **fields}


def told(answer):
    return answer.response(provider="openai", model="asked", metadata={})


def read(*output, **fields):
    answer = Answer()
    list(answer.finish(whole(*output, **fields)))
    return told(answer)


def plain(response):
    content = (
        response.content if isinstance(response.content, str) else list(map(attrs.asdict, response.content))
    )
    return content, list(map(attrs.asdict, response.tool_calls)), response.finish_reason, response.usage


def test_a_text_alone_is_a_text():
    response = read(MESSAGE)

    assert response.content == "Hello"
    assert (response.id, response.model, response.provider) == ("resp_1", "gpt-5", "openai")
    assert response.finish_reason is FinishReason.STOP
    assert response.raw_finish_reason == "completed"


def test_reasoning_is_parts_that_share_an_id_and_what_follows_keeps_its_own():
    one, two, text = read(REASONING, {**MESSAGE, "phase": "final_answer"}).content

    assert (one.text, one.signature, one.native) == ("One", "gAAA", {"id": "rs_1"})
    assert (two.text, two.signature, two.native) == ("Two", "", {"id": "rs_1"})
    assert (text.text, text.native) == ("Hello", {"id": "msg_1", "phase": "final_answer"})


def test_reasoning_without_words_is_redacted():
    (part, _) = read({**REASONING, "summary": []}, MESSAGE).content

    assert attrs.astuple(part) == ("", "gAAA", True, {"id": "rs_1"})


def test_reasoning_of_which_nothing_can_be_sent_back_is_none():
    assert read({"type": "reasoning", "id": "rs_1", "summary": []}, MESSAGE).content == "Hello"


def test_stored_reasoning_is_kept_by_its_id():
    (part, text) = read({"type": "reasoning", "id": "rs_1", "summary": []}, MESSAGE, store=True).content

    assert isinstance(part, ReasoningPart)
    assert part.native == {"id": "rs_1"}
    assert text.native == {"id": "msg_1"}


def test_calls_are_told_with_what_goes_back_with_them():
    custom = {
        "type": "custom_tool_call",
        "id": "ctc_1",
        "call_id": "call_2",
        "name": "count",
        "input": "4 + 4",
    }
    one, two = read({**CALL, "namespace": "eyes"}, custom).tool_calls

    assert attrs.astuple(one) == ("call_1", "look", '{"at": 1}', None, {"namespace": "eyes"})
    assert attrs.astuple(two) == ("call_2", "count", "4 + 4", None, {"type": "custom_tool_call"})


def test_arguments_may_come_as_an_object_or_not_at_all():
    one, two = read({**CALL, "arguments": {"at": 1}}, {**CALL, "id": "fc_2", "arguments": None}).tool_calls

    assert (one.arguments, two.arguments) == ('{"at": 1}', "")


def test_items_of_the_provider_s_own_are_kept_as_they_are_and_images_shown():
    search, image, text = read(
        SEARCH, IMAGE, {**MESSAGE, "content": [{**TEXT, "annotations": [{"type": "x"}]}]}
    ).content

    assert isinstance(search, NativePart)
    assert search.item == SEARCH
    assert isinstance(image, DataPart)
    assert (image.media_type, image.data, image.native) == (
        "image/webp",
        "QUJD",
        {key: value for key, value in IMAGE.items() if key != "result"},
    )
    assert isinstance(text, TextPart)
    assert text.native == {"id": "msg_1", "annotations": [{"type": "x"}]}


def test_a_refusal_is_a_part_and_a_reason():
    response = read({**MESSAGE, "content": [{"type": "refusal", "refusal": "I will not."}]})

    assert isinstance(response.content[0], RefusalPart)
    assert response.refusal == "I will not."
    assert response.finish_reason is FinishReason.REFUSAL


@pytest.mark.parametrize(
    ("status", "details", "reason"),
    [
        ("incomplete", {"reason": "max_output_tokens"}, FinishReason.LENGTH),
        ("incomplete", {"reason": "content_filter"}, FinishReason.CONTENT_FILTER),
        ("incomplete", {"reason": "steered"}, FinishReason.OTHER),
        ("incomplete", None, FinishReason.OTHER),
        ("queued", None, FinishReason.OTHER),
        ("cancelled", None, FinishReason.OTHER),
    ],
)
def test_why_an_answer_is_not_complete_is_told(status, details, reason):
    response = read(MESSAGE, status=status, incomplete_details=details)

    assert response.finish_reason is reason
    assert response.raw_finish_reason == status
    assert (response.metadata or {}).get("incomplete_reason") == (details or {}).get("reason")


def test_usage_is_counted_as_it_is_told():
    usage = usage_of(
        {
            "input_tokens": 100,
            "input_tokens_details": {"cached_tokens": 60, "cache_write_tokens": 10},
            "output_tokens": 20,
            "output_tokens_details": {"reasoning_tokens": 12},
            "total_tokens": 120,
        }
    )

    assert (usage.input_tokens, usage.cached_tokens, usage.cache_write_tokens) == (100, 60, 10)
    assert (usage.output_tokens, usage.reasoning_tokens, usage.model_calls) == (20, 12, 1)
    assert usage_of({"cost": 0.25}).cost == 0.25
    assert usage_of({"cost_in_usd_ticks": 25_000_000}).cost == 0.0025
    assert usage_of({"cost": float("nan"), "input_tokens": "7"}).total_tokens == 0


def added(index, item):
    return {"type": "response.output_item.added", "output_index": index, "item": item}


def done(index, item):
    return {"type": "response.output_item.done", "output_index": index, "item": item}


def end(*output, **fields):
    return {"type": "response.completed", "response": whole(*output, **fields)}


def piece(kind, index, text, at=0):
    name = "summary_index" if "summary" in kind else "content_index"
    return {"type": f"response.{kind}.delta", "output_index": index, name: at, "delta": text}


def streamed(*events):
    answer, deltas = Answer(), []
    for event in events:
        deltas += answer.feed(event)
    return told(answer), deltas


def test_a_call_whose_arguments_come_with_the_end_only_is_told_whole():
    for events in (
        [added(0, {**CALL, "arguments": ""}), done(0, CALL), end(CALL)],
        [added(0, {**CALL, "arguments": ""}), end(CALL)],
        [end(CALL)],
    ):
        response, deltas = streamed(*events)

        assert [delta.arguments for delta in deltas if isinstance(delta, CallDelta)] == ['{"at": 1}']
        assert response.tool_calls[0].arguments == '{"at": 1}'


def test_a_signature_counts_as_it_was_when_the_item_was_complete():
    response, _ = streamed(
        added(0, {**REASONING, "summary": [], "encrypted_content": "gBegin"}),
        done(0, REASONING),
        end({**REASONING, "encrypted_content": "gEnd"}),
    )

    assert response.content[0].signature == "gAAA"


def test_a_server_may_count_the_texts_of_an_item_in_another_way():
    response, _ = streamed(
        piece("output_text", 0, "Hel", at=1),
        piece("output_text", 0, "lo", at=1),
        done(0, MESSAGE),
        end(MESSAGE),
    )

    assert response.content == "Hello"


def test_a_server_may_tell_items_apart_by_their_ids_alone():
    response, _ = streamed(
        {"type": "response.output_text.delta", "item_id": "msg_1", "delta": "Hel"},
        {"type": "response.output_text.delta", "item_id": "msg_1", "delta": "lo"},
        end(MESSAGE),
    )
    assert response.content == "Hello"

    other = {**CALL, "id": "fc_2", "call_id": "call_2"}
    response, _ = streamed(added(0, CALL), done(0, CALL), added(0, other), done(0, other), end(CALL, other))
    assert [call.id for call in response.tool_calls] == ["call_1", "call_2"]


def test_a_server_may_give_items_new_ids_at_the_end():
    response, _ = streamed(
        piece("output_text", 0, "Hello"), done(0, MESSAGE), end({**MESSAGE, "id": "msg_2"})
    )

    assert response.content == "Hello"


@pytest.mark.parametrize(
    "event",
    [
        {"type": "response.output_text.delta", "output_index": 0, "delta": None},
        {"type": "response.output_text.delta", "output_index": 0},
        {"type": "response.output_item.done", "output_index": 0, "item": "text"},
        {"type": "response.output_item.added", "output_index": 0, "item": {**CALL, "name": 7}},
        {"type": "response.output_item.done", "output_index": 0, "item": {**MESSAGE, "content": "Hello"}},
        {"type": "response.completed", "response": None},
        {"type": "response.completed", "response": {"output": "text"}},
        {"type": "response.completed", "response": {"output": [], "usage": [1]}},
        {"output_index": 0},
    ],
)
def test_what_is_of_another_form_is_not_read(event):
    with pytest.raises((AttributeError, KeyError, TypeError)):
        list(Answer().feed(event))


def test_events_that_say_nothing_of_the_answer_are_passed_over():
    assert list(Answer().feed({"type": "response.web_search_call.searching", "output_index": 0})) == []


ITEMS = st.lists(st.sampled_from([MESSAGE, CALL, REASONING, SEARCH, IMAGE]), max_size=5).map(
    lambda items: [
        {**item, "id": f"{item['id']}_{at}", **({"call_id": f"c{at}"} if item is CALL else {})}
        for at, item in enumerate(items)
    ]
)


def cut_up(index, item, cut, complete):
    yield added(index, {**item, **({"arguments": ""} if item["type"] == "function_call" else {})})
    if item["type"] == "message":
        yield from (piece("output_text", index, part) for part in ("Hello"[:cut], "Hello"[cut:]))
    elif item["type"] == "function_call":
        yield {
            "type": "response.function_call_arguments.delta",
            "output_index": index,
            "delta": item["arguments"][:cut],
        }
    elif item["type"] == "reasoning":
        yield piece("reasoning_summary_text", index, "One"[:cut])
    if complete:
        yield done(index, item)


@given(ITEMS, st.integers(0, 5), st.booleans())
def test_a_stream_adds_up_to_what_the_whole_answer_is(items, cut, complete):
    events = [event for index, item in enumerate(items) for event in cut_up(index, item, cut, complete)]
    response, deltas = streamed(*events, end(*items, usage={"input_tokens": 1}))

    again = read(*items, usage={"input_tokens": 1})
    assert "".join(delta.text for delta in deltas) == response.text == again.text
    if complete:
        assert plain(response) == plain(again)
