"""What is read in an answer: as a whole and in events, the same."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marsys.anthropic._answer import Answer, response_of
from marsys.anthropic._sse import EventReader
from marsys_core.messages import NativePart, ReasoningPart, RefusalPart, TextPart, ToolCall, Usage
from marsys_core.models import Accumulator, FinishReason, ModelDelta, ModelResponse, UsageDelta

USAGE = {
    "input_tokens": 3,
    "cache_creation_input_tokens": 4,
    "cache_read_input_tokens": 5,
    "output_tokens": 7,
    "output_tokens_details": {"thinking_tokens": 2},
}


def message(*content: Any, **more: Any) -> dict[str, Any]:
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-x",
        "content": list(content),
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": USAGE,
        **more,
    }


def read(whole: dict[str, Any]) -> ModelResponse:
    return response_of(whole, {}, ())


def streamed(whole: dict[str, Any], cut: int = 3) -> list[dict[str, Any]]:
    """Return an answer as the events that the API would send, with texts cut into pieces."""
    start = {**whole, "content": [], "stop_reason": None, "usage": {**USAGE, "output_tokens": 1}}
    events: list[dict[str, Any]] = [{"type": "message_start", "message": start}, {"type": "ping"}]
    for index, block in enumerate(whole["content"]):
        begun, deltas = _in_pieces(block, cut)
        events.append({"type": "content_block_start", "index": index, "content_block": begun})
        events += [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
        events.append({"type": "content_block_stop", "index": index})
    ended = {key: whole.get(key) for key in ("stop_reason", "stop_sequence", "stop_details")}
    events.append({"type": "message_delta", "delta": ended, "usage": whole["usage"]})
    events.append({"type": "message_stop"})
    return events


def _in_pieces(block: dict[str, Any], cut: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    def pieces(text: str) -> list[str]:
        return [text[at : at + cut] for at in range(0, len(text), cut)]

    kind = block["type"]
    if kind == "text":
        deltas: list[dict[str, Any]] = [
            {"type": "text_delta", "text": piece} for piece in pieces(block["text"])
        ]
        deltas += [{"type": "citations_delta", "citation": each} for each in block.get("citations") or ()]
        return {"type": "text", "text": ""}, deltas
    if kind == "thinking":
        deltas = [{"type": "thinking_delta", "thinking": piece} for piece in pieces(block["thinking"])]
        deltas += [{"type": "signature_delta", "signature": block["signature"]}]
        return {"type": "thinking", "thinking": "", "signature": ""}, deltas
    if kind in ("tool_use", "server_tool_use"):
        told = json.dumps(block["input"], ensure_ascii=False)
        deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in ["", *pieces(told)]]
        return {**block, "input": {}}, deltas
    return block, []


def taken(events: list[dict[str, Any]], headers: Any = None) -> tuple[list[ModelDelta], ModelResponse]:
    answer = Answer(headers or {})
    deltas = [delta for event in events for delta in answer.take(event)]
    assert answer.done
    assert deltas[-1].response is not None
    return deltas, deltas[-1].response


def plain(response: ModelResponse) -> Any:
    import attrs

    return attrs.asdict(response, recurse=True)


SEARCH = {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {"query": "x"}}
FOUND = {"type": "web_search_tool_result", "tool_use_id": "s1", "content": [{"url": "https://x.test"}]}
CITED = [{"type": "char_location", "cited_text": "x", "document_index": 0, "file_id": None}]
blocks = st.one_of(
    st.builds(lambda text: {"type": "text", "text": text}, st.text(max_size=8)),
    st.just({"type": "text", "text": "So.", "citations": CITED}),
    st.builds(
        lambda text, signature: {"type": "thinking", "thinking": text, "signature": signature},
        st.text(max_size=8),
        st.sampled_from(["", "sig"]),
    ),
    st.just({"type": "redacted_thinking", "data": "opaque"}),
    st.builds(
        lambda given: {
            "type": "tool_use",
            "id": "t",
            "name": "look",
            "input": given,
            "caller": {"type": "direct"},
        },
        st.dictionaries(st.text(max_size=3), st.integers(), max_size=3),
    ),
    st.just(SEARCH),
    st.just(FOUND),
)


@pytest.mark.slow
@given(
    st.lists(blocks, max_size=6), st.integers(1, 5), st.sampled_from(["end_turn", "tool_use", "pause_turn"])
)
def test_the_sum_of_the_events_is_the_answer_as_a_whole(content: list[Any], cut: int, reason: str) -> None:
    whole = message(*content, stop_reason=reason)
    deltas, response = taken(streamed(whole, cut))
    total = Accumulator()
    for delta in deltas:
        total.feed(delta)

    assert plain(response) == plain(read(whole))
    assert plain(ModelResponse(content=total.content)) == plain(ModelResponse(content=response.content))
    assert total.usage == response.usage
    assert "".join(delta.text for delta in deltas) == response.text


def test_parts_and_calls_keep_their_order() -> None:
    response = read(
        message(
            {"type": "thinking", "thinking": "hm", "signature": "sig"},
            {
                "type": "tool_use",
                "id": "t1",
                "name": "look",
                "input": {"at": "ä"},
                "caller": {"type": "direct"},
            },
            {"type": "redacted_thinking", "data": "opaque"},
            SEARCH,
            {"type": "text", "text": "So.", "citations": CITED},
            {"type": "tool_use", "id": "t2", "name": "look", "input": {}},
            stop_reason="tool_use",
        )
    )
    thought, hidden, search, text = response.content

    assert isinstance(thought, ReasoningPart)
    assert (thought.text, thought.signature) == ("hm", "sig")
    assert isinstance(hidden, ReasoningPart)
    assert (hidden.signature, hidden.redacted) == ("opaque", True)
    assert isinstance(search, NativePart)
    assert search.item == SEARCH
    assert isinstance(text, TextPart)
    assert text.native == {"citations": [{"type": "char_location", "cited_text": "x", "document_index": 0}]}
    assert [(call.id, call.arguments, call.after) for call in response.tool_calls] == [
        ("t1", '{"at": "ä"}', 1),
        ("t2", "{}", None),
    ]
    assert isinstance(response.tool_calls[0], ToolCall)
    assert response.tool_calls[0].native == {"caller": {"type": "direct"}}
    assert response.finish_reason is FinishReason.TOOL_CALLS


@pytest.mark.parametrize(
    ("reason", "finish"),
    [
        ("end_turn", FinishReason.STOP),
        ("stop_sequence", FinishReason.STOP),
        ("max_tokens", FinishReason.LENGTH),
        ("model_context_window_exceeded", FinishReason.LENGTH),
        ("pause_turn", FinishReason.PAUSED),
        ("refusal", FinishReason.REFUSAL),
        ("what_comes_next", FinishReason.OTHER),
        (None, FinishReason.OTHER),
    ],
)
def test_why_it_stopped(reason: str | None, finish: FinishReason) -> None:
    response = read(message({"type": "text", "text": "x"}, stop_reason=reason))

    assert (response.finish_reason, response.raw_finish_reason) == (finish, reason or "")


def test_the_words_of_a_refusal_are_kept() -> None:
    details = {"type": "refusal", "category": "cyber", "explanation": "Not this."}
    whole = message(stop_reason="refusal", stop_details=details)

    for response in (read(whole), taken(streamed(whole))[1]):
        assert isinstance(response.content, tuple)
        assert isinstance(response.content[0], RefusalPart)
        assert response.refusal == "Not this."
        assert response.metadata is not None
        assert response.metadata["stop_details"] == details


def test_input_counts_what_came_from_the_cache_and_went_there() -> None:
    usage = Usage(input_tokens=12, cached_tokens=5, cache_write_tokens=4, output_tokens=7, reasoning_tokens=2)

    assert read(message()).usage == usage
    told = [delta for delta in taken(streamed(message()))[0] if isinstance(delta, UsageDelta)]
    assert [delta.usage.output_tokens for delta in told] == [1, 7]
    assert told[-1].usage == usage


def test_what_else_was_said_is_metadata() -> None:
    headers = {
        "request-id": "req_1",
        "anthropic-ratelimit-requests-remaining": "9",
        "anthropic-ratelimit-requests-reset": "2026-01-01T00:00:17Z",
        "server": "x",
    }
    whole = message(stop_sequence="END", usage={**USAGE, "service_tier": "standard"})

    assert response_of(whole, headers, ("seed",)).metadata == {
        "stop_sequence": "END",
        "service_tier": "standard",
        "request_id": "req_1",
        "rate_limit": {"requests-remaining": "9", "requests-reset": "2026-01-01T00:00:17Z"},
        "left_out": ["seed"],
    }


def test_a_call_that_comes_as_a_whole_keeps_its_arguments() -> None:
    events = streamed(message({"type": "tool_use", "id": "t", "name": "look", "input": {}}))
    begun = [event for event in events if event["type"] != "content_block_delta"]
    begun[2]["content_block"]["input"] = {"at": 1}

    assert taken(begun)[1].tool_calls[0].arguments == '{"at": 1}'


def test_a_block_of_an_unknown_kind_grows_as_it_is_told() -> None:
    events = streamed(message({"type": "compaction", "content": ""}))
    grown = [{"type": "compaction_delta", "content": piece} for piece in ("so ", "far")]
    events[3:3] = [{"type": "content_block_delta", "index": 0, "delta": delta} for delta in grown]
    (part,) = taken(events)[1].content

    assert isinstance(part, NativePart)
    assert part.item == {"type": "compaction", "content": "so far"}


@pytest.mark.parametrize(
    "whole",
    [
        {},
        message({"type": "text"}),
        message({"type": "text", "text": 7}),
        message({"type": "tool_use", "id": None, "name": "x"}),
        message({}),
        message("text"),
        message(usage={"input_tokens": "many"}),
        message(usage={"input_tokens": -1}),
        message(content=None),
    ],
)
def test_what_has_another_form_is_not_read(whole: dict[str, Any]) -> None:
    with pytest.raises((TypeError, KeyError, AttributeError)):
        read(whole)


data = st.binary(max_size=12).map(lambda raw: raw.replace(b"\n", b"").replace(b"\r", b""))


@pytest.mark.slow
@given(
    st.lists(data.filter(bool), max_size=5),
    st.sampled_from([b"\n", b"\r\n", b"\r"]),
    st.lists(st.integers(1, 9), min_size=1),
)
def test_events_are_the_same_wherever_the_bytes_are_cut(
    sent: list[bytes], end: bytes, sizes: list[int]
) -> None:
    raw = b"".join(b": ping" + end + b"event: x" + end + b"data: " + each + end + end for each in sent)
    reader, found, at, turn = EventReader(), [], 0, 0
    while at < len(raw):
        size = sizes[turn % len(sizes)]
        found += reader.feed(raw[at : at + size])
        at, turn = at + size, turn + 1
    found += reader.feed(end)

    assert found == sent


def test_data_of_several_lines_is_joined_and_half_an_event_is_none() -> None:
    reader = EventReader()

    assert reader.feed(b"data: a\ndata:b\n\ndata: c\n") == [b"a\nb"]
