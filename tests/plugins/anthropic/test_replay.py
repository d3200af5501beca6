"""Recorded answers, over real sockets, and recorded conversations as we would send them."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest

from marsys.anthropic._answer import Answer, response_of
from marsys.anthropic._request import wire
from marsys.anthropic._sse import EventReader
from marsys.anthropic._traits import traits_of
from marsys_core.errors import ModelError
from marsys_core.messages import Message
from marsys_core.models import Accumulator, ModelRequest, ModelResponse
from tests.plugins.anthropic.asking import REQUEST, asking, run
from tests.plugins.anthropic.laws import check_body, messages_of
from tests.wire.records import differences, error_differences, records
from tests.wire.server import recorded

RECORDS = records("anthropic-messages")
CUT = "ended before the answer was complete"


def asked(record: Any, streamed: bool, seed: int | None) -> ModelResponse | ModelError:
    async def main() -> ModelResponse | ModelError:
        async with asking(recorded(record, seed)) as (model, _server):
            try:
                if not streamed:
                    return await model.generate(REQUEST)
                total, found = Accumulator(), None
                async for delta in model.stream(REQUEST):
                    total.feed(delta)
                    found = delta.response or found
                assert found is not None
                assert total.text == found.text
                assert [each.arguments for each in total.tool_calls] == [
                    each.arguments for each in found.tool_calls
                ]
                return found
            except ModelError as error:
                return error

    return run(main)


def wrong(record: Any, given: ModelResponse | ModelError) -> list[str]:
    if isinstance(given, ModelError):
        if CUT in str(given):
            unfinished = any("no message_stop" in note for note in record["expected"].get("notes") or ())
            return [] if unfinished and given.retryable and given.usage else [str(given)]
        return error_differences(record, given)
    # The records do not tell what was thought, and the words of a refusal.
    return [
        each for each in differences(record, given) if not each.startswith(("reasoning_tokens", "refusal"))
    ]


def test_there_are_records() -> None:
    assert {record["response"]["format"] for record in RECORDS} == {"json", "sse"}


@pytest.mark.sockets
@pytest.mark.slow
@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record["id"].rpartition(".")[2])
def test_a_recorded_answer_is_read_as_the_sdk_reads_it(record: Any, streamed: bool) -> None:
    assert wrong(record, asked(record, streamed, len(record["id"]) + streamed)) == []


@pytest.mark.sockets
@pytest.mark.slow
def test_an_answer_in_single_bytes_is_read_too() -> None:
    short = min(
        (each for each in RECORDS if each["response"]["format"] == "sse"),
        key=lambda each: len(each["response"]["body"]),
    )

    assert wrong(short, asked(short, True, None)) == []


ASKED = [record for record in RECORDS if record["request"].get("json") and not record["expected"]["is_error"]]


def blocks_of(turn: dict[str, Any]) -> list[dict[str, Any]]:
    content = turn["content"]
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def sent(record: Any) -> dict[str, Any]:
    """Return what we send for the conversation of a record."""
    body = record["request"]["json"]
    history = messages_of(body["messages"])
    return wire(ModelRequest(messages=history), body["model"], traits_of(body["model"])).body


def bare(given: Any) -> Any:
    """Return data without what a client may add and leave out."""
    if isinstance(given, list):
        return [bare(each) for each in given]
    if not isinstance(given, dict):
        return given
    kept = {
        key: bare(value)
        for key, value in given.items()
        if key not in ("cache_control", "caller", "file_id") and value not in (None, [], False)
    }
    if kept.get("type") == "tool_result" and isinstance(kept.get("content"), str):
        kept["content"] = [{"type": "text", "text": kept["content"]}]
    return kept


def lost(told: list[Any], made: dict[str, Any]) -> list[Any]:
    """Return the blocks that should be in a request and are not."""
    ours = [bare(block) for turn in made["messages"] for block in turn["content"]]
    return [block for block in told if block.get("text", "x").strip() and bare(block) not in ours]


def is_whole(record: Any) -> bool:
    """Whether every result has its call; one recording has another id in it."""
    blocks = [block for turn in record["request"]["json"]["messages"] for block in blocks_of(turn)]
    made = {block["id"] for block in blocks if block["type"] == "tool_use"}
    return made == {block["tool_use_id"] for block in blocks if block["type"] == "tool_result"}


@pytest.mark.parametrize(
    "record", list(filter(is_whole, ASKED)), ids=lambda record: record["id"].rpartition(".")[2]
)
def test_a_recorded_conversation_is_sent_as_it_was(record: Any) -> None:
    turns = record["request"]["json"]["messages"]
    told = [block for turn in turns if turn["role"] != "system" for block in blocks_of(turn)]
    body = sent(record)

    check_body(body, beta=True)
    assert lost(told, body) == []


def place(record: Any) -> tuple[str, str, int]:
    source = record["source"]
    return source["repo"] or "", source["path"] or "", source["index"] or 0


def read(record: Any) -> ModelResponse:
    body = record["response"]["body"]
    if record["response"]["format"] == "json":
        return response_of(body, {}, ())
    answer, found = Answer({}), None
    for data in EventReader().feed(body.encode()):
        for delta in answer.take(json.loads(data)):
            found = delta.response
    assert found is not None
    return found


def is_in(record: Any, turn: dict[str, Any]) -> bool:
    """Whether a turn is the answer of a record; others of the same recording may have been left out."""
    ids = [block["id"] for block in blocks_of(turn) if block["type"] == "tool_use"]
    return turn["role"] == "assistant" and all(id in json.dumps(record["response"]["body"]) for id in ids)


def follows() -> list[Any]:
    """Return neighbours of one recording in which the second request has the first answer in it."""
    found = []
    for one, other in itertools.pairwise(sorted(ASKED, key=place)):
        before, after = one["request"]["json"]["messages"], other["request"]["json"]["messages"]
        if place(one)[:2] == place(other)[:2] and len(after) > len(before) and is_in(one, after[len(before)]):
            found.append((one, other))
    return found


@pytest.mark.parametrize("pair", follows(), ids=lambda pair: pair[0]["id"].rpartition(".")[2])
def test_what_was_answered_goes_back_as_the_next_recorded_request_has_it(pair: Any) -> None:
    one, other = pair
    response = read(one)
    answered = Message("assistant", response.content, response.tool_calls, provider=response.provider)
    said = messages_of(one["request"]["json"]["messages"])
    rest = messages_of(other["request"]["json"]["messages"][len(one["request"]["json"]["messages"]) + 1 :])
    name = one["request"]["json"]["model"]
    made = wire(ModelRequest(messages=[*said, answered, *rest]), name, traits_of(name)).body
    theirs = blocks_of(other["request"]["json"]["messages"][len(one["request"]["json"]["messages"])])

    check_body(made, beta=True)
    assert lost(theirs, made) == []
