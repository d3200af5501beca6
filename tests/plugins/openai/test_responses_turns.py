"""What a provider said in one turn goes back to it in the next."""

import json
from collections import defaultdict

import pytest

from marsys.openai._responses_answer import Answer
from marsys.openai._responses_request import body_of
from marsys.openai._sse import EventReader
from marsys_core.messages import Message
from marsys_core.models import ModelRequest
from tests.plugins.openai.responses_params import assert_answered, assert_valid
from tests.wire.records import records

RECORDS = [record for record in records("openai-responses") if not record["expected"]["is_error"]]
UNANSWERED_CALLS = ("local_shell_call", "shell_call")


def read(record):
    """Return the response of a record, and the items in it as the provider told them when each was complete."""
    answer, body = Answer(), record["response"]["body"]
    if record["response"]["format"] != "sse":
        list(answer.finish(body))
        items = body["output"]
    else:
        reader = EventReader()
        events = [event for _, event in (*reader.feed(body.encode()), *reader.finish())]
        for event in events:
            list(answer.feed(event))
        items = [event["item"] for event in events if event["type"] == "response.output_item.done"]
        known = {item["id"] for item in items}
        items += [item for item in answer.end["output"] if item["id"] not in known]
    return answer.response(provider="openai", model="m", metadata={}), items


def next_input(response, model="gpt-5", **options):
    """Return the input of the request that follows a response, with a result for each call."""
    said = Message("assistant", response.content, response.tool_calls, provider=response.provider)
    results = [Message("tool", "done", tool_call_id=call.id) for call in response.tool_calls]
    request = ModelRequest(
        messages=[Message("user", "?"), said, *results, Message("user", "!")], options=options
    )
    body = body_of(request, model, "openai", "openai")
    assert_valid(body)
    assert_answered(body["input"])
    return body["input"][1 : -1 - len(results)]


def expected(item):
    """Return what has to go back of an item, and what is not looked at here is left out."""
    kind = item["type"]
    if kind == "message":
        return "".join(part.get("text") or part.get("refusal") or "" for part in item["content"])
    if kind == "reasoning":
        texts = [part["text"] for part in item.get("summary") or () if part["text"]]
        thoughts = [part["text"] for part in item.get("content") or () if part["text"]]
        return kind, item["id"], texts, thoughts, item.get("encrypted_content") or ""
    if kind == "function_call":
        return kind, item["call_id"], item["name"], item["arguments"], item.get("namespace")
    if kind == "custom_tool_call":
        return kind, item["call_id"], item["name"], item["input"]
    if kind == "web_search_call":
        item = {**item, "action": {key: value for key, value in item["action"].items() if key != "sources"}}
    return {key: value for key, value in item.items() if key != "created_by"}


def sent(item):
    if item.get("role") == "assistant" and isinstance(item["content"], str):
        return item["content"]
    return expected(item)


def complete(items):
    """Whether the provider can be sent its reasoning back: it has given it, and said or did something after it."""
    return all(
        (item.get("encrypted_content") or item.get("content"))
        and after.get("type", "reasoning") != "reasoning"
        for item, after in zip(items, [*items, {}][1:], strict=True)
        if item["type"] == "reasoning"
    )


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record["id"])
def test_the_items_of_an_answer_go_back_as_they_came(record):
    response, items = read(record)
    back = [sent(item) for item in next_input(response)]

    wanted = [expected(item) for item in items if item["type"] not in UNANSWERED_CALLS]
    if not complete(items):
        kinds = ("reasoning", "message", "function_call", "custom_tool_call")
        wanted = [expected(item) for item in items if item["type"] in kinds[1:]]
    assert back == [each for each in wanted if each != ""]


TURNS = defaultdict(list)
for each in sorted(RECORDS, key=lambda record: record["source"]["index"]):
    TURNS[each["source"]["repo"], each["source"]["path"]].append(each)
PAIRS = [
    (one, other)
    for turns in TURNS.values()
    for one, other in zip(turns, turns[1:], strict=False)
    if isinstance((other["request"].get("json") or {}).get("input"), list)
]


@pytest.mark.parametrize(("one", "other"), PAIRS, ids=lambda record: record["id"])
def test_the_next_request_has_what_was_sent_back_when_it_was_recorded(one, other):
    response, items = read(one)
    signatures = {item.get("encrypted_content") for item in items} - {None, ""}
    calls = {item.get("call_id") for item in items} - {None}
    ours = next_input(response)

    for item in other["request"]["json"]["input"]:
        if item.get("type") == "reasoning" and item.get("encrypted_content") in signatures:
            assert item["encrypted_content"] in {mine.get("encrypted_content") for mine in ours}
        if item.get("type") == "function_call" and item["call_id"] in calls:
            found = [mine for mine in ours if mine.get("call_id") == item["call_id"]]
            assert [json.loads(mine["arguments"]) for mine in found] == [json.loads(item["arguments"])]


def test_some_of_the_recorded_turns_send_reasoning_and_calls_back():
    went = 0
    for one, other in PAIRS:
        signatures = {item.get("encrypted_content") for item in read(one)[1]} - {None, ""}
        went += any(item.get("encrypted_content") in signatures for item in other["request"]["json"]["input"])
    assert went >= 2


def test_a_model_that_does_not_reason_is_sent_words_and_calls_of_one_that_does():
    found = 0
    for record in RECORDS:
        response, items = read(record)
        if any(item["type"] == "reasoning" for item in items) and complete(items):
            found += 1
            assert not [item for item in next_input(response, "gpt-4o") if "id" in item]
    assert found
