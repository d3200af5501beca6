"""What the Responses API answered, replayed over a socket and read."""

import attrs
import pytest
import trio

from marsys.openai._client import open_http
from marsys.openai._responses import ResponsesModel
from marsys_core.errors import ModelError
from marsys_core.messages import DataPart, Message, NativePart, ReasoningPart
from marsys_core.models import Accumulator, ModelRequest, StreamEnded
from marsys_core.secret import Secret
from tests.plugins.openai.responses_params import assert_valid
from tests.wire.records import differences, error_differences, records
from tests.wire.server import Asked, Connection, recorded, serving

pytestmark = [pytest.mark.sockets, pytest.mark.slow]

RECORDS = records("openai-responses")
QUESTION = ModelRequest(messages=[Message("user", "Hello")])


async def summed(model, request):
    """Stream an answer, see that the pieces add up to it, and return it."""
    total, response, text = Accumulator(), None, []
    async for delta in model.stream(request):
        assert response is None, "something came after the end"
        text.append(delta.text)
        if isinstance(delta, StreamEnded):
            response = delta.response
        else:
            total.feed(delta)
    assert response is not None
    assert response.text == "".join(text)
    again = total.response(usage=response.usage)
    assert plain(again) == plain(response)
    return response


def plain(response):
    content = (
        response.content if isinstance(response.content, str) else list(map(attrs.asdict, response.content))
    )
    return content, list(map(attrs.asdict, response.tool_calls)), response.usage


def parts(response):
    return () if isinstance(response.content, str) else response.content


def unlike(record, response):
    """Say where a response is not as the record expects; thoughts are told there with an empty line in between."""
    found = [each for each in differences(record, response) if not each.startswith("reasoning: ")]
    expected = record["expected"]
    thoughts = [part.text for part in parts(response) if isinstance(part, ReasoningPart) and part.text]
    if not expected["is_error"] and "\n\n".join(thoughts) != (expected.get("thinking") or ""):
        found.append(f"thoughts: {thoughts!r:.300}")
    others = [part.item["type"] for part in parts(response) if isinstance(part, NativePart)]
    others += [part.native["type"] for part in parts(response) if isinstance(part, DataPart)]
    if sorted(others) != sorted(expected.get("other_items") or ()):
        found.append(f"other items: {others}")
    return found


async def replayed(seed, ways):
    """Ask for every record, and return what is not as expected, by record."""
    found = {}

    async def choose(asked: Asked, connection: Connection) -> None:
        assert_valid(asked.json)
        number = int(asked.path.split("/")[1])
        await recorded(RECORDS[number], seed)(asked, connection)

    async with serving(choose) as server:
        async with open_http() as http:
            for number, record in enumerate(RECORDS):
                client = http.client("openai", Secret("sk-test-0123456789"), f"{server.url}/{number}/v1")
                model = ResponsesModel("gpt-5", client)
                for way in ways(record):
                    with trio.fail_after(20):
                        try:
                            problems = unlike(record, await way(model, QUESTION))
                        except ModelError as error:
                            problems = error_differences(record, error)
                    if problems:
                        found[record["id"]] = problems
        await server.closed()
    return found


def as_recorded(record):
    return [summed] if record["response"]["format"] == "sse" else [ResponsesModel.generate]


def as_a_whole_where_a_stream_was_asked_for(record):
    return [] if record["response"]["format"] == "sse" else [summed]


def test_there_are_records_of_several_providers():
    assert {"openai", "xai", "deepseek", "azure", "openrouter", "lmstudio", "bedrock-mantle"} <= {
        record["provider"] for record in RECORDS
    }


@pytest.mark.parametrize("seed", [0, 1])
def test_every_record_is_read_as_it_should_be_however_its_bytes_are_cut(seed):
    assert trio.run(replayed, seed, as_recorded) == {}


def test_a_whole_answer_is_read_where_a_stream_was_asked_for():
    assert trio.run(replayed, 2, as_a_whole_where_a_stream_was_asked_for) == {}
