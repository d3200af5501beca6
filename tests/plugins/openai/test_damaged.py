"""Answers in which something is of another type than it should be."""

import copy
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marsys.openai._chat_reply import Reader
from marsys.openai._errors import Asked, Refused, error_in, error_of_refusal
from marsys_core.errors import ModelError
from marsys_core.models import ModelResponse, StreamEnded
from tests.wire.records import records

pytestmark = pytest.mark.slow

ASKED = Asked("groq")
RECORDS = [record for record in records("openai-chat") if len(json.dumps(record["response"])) < 6000]
ANYTHING = st.sampled_from(
    [None, True, 0, -1, 7, 1.5, 1e300, "", "text", "\ud83d", [], [None], [[7]], {}, {"a": 1}, [{"type": 7}]]
)


def chunks_of(record):
    body = record["response"]["body"]
    if record["response"]["format"] == "json":
        return [body]
    return [json.loads(line[5:]) for line in body.splitlines() if line.startswith("data: {")]


def places(value, path=()):
    """Yield the way to everything in JSON data."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in items:
        yield from places(each, (*path, key))


def damaged(chunks, draw):
    chunks = copy.deepcopy(chunks)
    for _ in range(draw(st.integers(1, 3))):
        found = [path for path in places(chunks) if len(path) > 1]
        if not found:
            break
        *way, last = draw(st.sampled_from(found))
        inner = chunks
        for key in way:
            inner = inner[key]
        inner[last] = copy.deepcopy(draw(ANYTHING))
    return chunks


def sound(response):
    assert isinstance(response, ModelResponse)
    assert isinstance(response.content, str | tuple)
    assert isinstance(response.text + response.reasoning + response.refusal, str)
    for call in response.tool_calls:
        assert isinstance(call.id + call.name + call.arguments, str)
    assert isinstance(response.id + response.model + response.raw_finish_reason, str)
    assert all(
        type(count) is int and count >= 0
        for count in (response.usage.input_tokens, response.usage.output_tokens)
    )


@given(st.data(), st.sampled_from(RECORDS))
def test_a_damaged_answer_is_read_or_is_a_typed_error(data, record):
    chunks = damaged(chunks_of(record), data.draw)
    reader = Reader(ASKED, "m", {})
    try:
        if record["response"]["format"] == "json":
            if isinstance(chunks[0], dict):
                sound(reader.whole(chunks[0]))
            return
        for chunk in chunks:
            if isinstance(chunk, dict):
                reader.read(chunk)
        for delta in reader.end(done=True):
            if isinstance(delta, StreamEnded):
                sound(delta.response)
    except ModelError:
        pass  # typed, and that is all that is asked for


@given(st.data(), st.sampled_from([record for record in RECORDS if record["response"]["status"] >= 400]))
def test_a_damaged_refusal_is_a_typed_error(data, record):
    (body,) = damaged([record["response"]["body"]], data.draw)
    refused = Refused(record["response"]["status"], {}, json.dumps(body).encode())

    assert isinstance(error_of_refusal(ASKED, refused), ModelError)
    assert error_in(ASKED, body, {}) is None or str(error_in(ASKED, body, {}))
