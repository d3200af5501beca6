"""What providers answered, replayed over a socket and read."""

import attrs
import pytest
import trio

from marsys.openai._chat import ChatModel
from marsys.openai._client import open_http
from marsys.openai._presets import PRESETS
from marsys_core.errors import ModelError
from marsys_core.messages import Message
from marsys_core.models import Accumulator, ModelRequest, StreamEnded
from marsys_core.secret import Secret
from tests.wire.records import differences, error_differences, records
from tests.wire.server import Asked, Connection, recorded, serving

pytestmark = [pytest.mark.sockets, pytest.mark.slow]

RECORDS = records("openai-chat")
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
    if response.text != "".join(text):
        msg = f"{response.text!r:.300} is not the sum of {''.join(text)!r:.300}"
        raise AssertionError(msg)
    again = total.response(usage=response.usage)
    assert again.text == response.text
    assert again.reasoning == response.reasoning
    assert again.tool_calls == response.tool_calls or [attrs.astuple(call) for call in again.tool_calls] == [
        attrs.astuple(call) for call in response.tool_calls
    ]
    assert len(again.content) == len(response.content)
    return response


async def replayed(seed, ways):
    """Ask for every record, and return what is not as expected, by record."""
    found = {}

    async def choose(asked: Asked, connection: Connection) -> None:
        number = int(asked.path.split("/")[1])
        await recorded(RECORDS[number], seed)(asked, connection)

    async with serving(choose) as server:
        async with open_http() as http:
            for number, record in enumerate(RECORDS):
                client = http.client("openrouter", Secret("sk-test-0123456789"), f"{server.url}/{number}/v1")
                model = ChatModel("some-model", PRESETS["openrouter"], client)
                for way in ways(record):
                    with trio.fail_after(20):
                        try:
                            problems = differences(record, await way(model, QUESTION))
                        except ModelError as error:
                            problems = error_differences(record, error)
                    if problems:
                        found[record["id"]] = problems
        await server.closed()
    return found


def as_recorded(record):
    return [summed] if record["response"]["format"] == "sse" else [ChatModel.generate]


def as_a_whole_where_a_stream_was_asked_for(record):
    return [] if record["response"]["format"] == "sse" else [summed]


def test_there_are_records_of_many_providers():
    assert len({record["provider"] for record in RECORDS}) > 20


@pytest.mark.parametrize("seed", [0, 1])
def test_every_record_is_read_as_it_should_be_however_its_bytes_are_cut(seed):
    assert trio.run(replayed, seed, as_recorded) == {}


def test_a_whole_answer_is_read_where_a_stream_was_asked_for():
    assert trio.run(replayed, 2, as_a_whole_where_a_stream_was_asked_for) == {}
