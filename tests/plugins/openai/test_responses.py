"""Asking through the Responses API, of a server that does well and of one that does not."""

import json

import pytest
import trio

from marsys import Agent, Orchestra, tool
from marsys.openai._client import open_http
from marsys.openai._responses import ResponsesModel, ResponsesSource
from marsys.openai._settings import Wire
from marsys_core.errors import ConfigError, ModelError, ModelErrorKind
from marsys_core.messages import Message
from marsys_core.models import FinishReason, ModelConfig, ModelRequest, Sampling, TextDelta, collect
from marsys_core.secret import Secret
from tests.plugins.openai.responses_params import assert_valid
from tests.wire.server import answer, dropped, recorded, serving, silent

pytestmark = pytest.mark.sockets

KEY = "sk-test-0123456789"
QUESTION = ModelRequest(messages=[Message("user", "Hello")])
MESSAGE = {
    "type": "message",
    "id": "msg_1",
    "role": "assistant",
    "status": "completed",
    "content": [{"type": "output_text", "text": "Hello", "annotations": []}],
}
WHOLE = {"id": "resp_1", "model": "gpt-5-1", "status": "completed", "error": None, "output": [MESSAGE]}
EVENTS = {"content-type": "text/event-stream"}


def event(kind, **data):
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **data})}\n\n".encode()


HELLO = event("response.output_text.delta", output_index=0, content_index=0, item_id="msg_1", delta="Hello")
DONE = event("response.completed", response=WHOLE)


def asked_of(*answers, way=ResponsesModel.generate, request=QUESTION, wire=None):
    """Ask a server that answers like this, see that nothing stays open, and return what came and what was asked."""

    async def main():
        async with serving(*answers) as server:
            async with open_http(wire) as http:
                model = ResponsesModel("gpt-5", http.client("openai", Secret(KEY), f"{server.url}/v1"))
                with trio.fail_after(10):
                    try:
                        found = await way(model, request)
                    except ModelError as error:
                        found = error
            await server.closed()
        return found, server.asked

    return trio.run(main)


async def streamed(model, request):
    return await collect(model.stream(request))


def failure_of(*answers, way=ResponsesModel.generate, **how):
    found, _ = asked_of(*answers, way=way, **how)
    assert isinstance(found, ModelError)
    return found


def test_an_answer_is_asked_for_and_read():
    headers = {"x-request-id": "req_1", "x-ratelimit-remaining-tokens": "9"}
    response, (asked,) = asked_of(answer(headers=headers, json_body={**WHOLE, "service_tier": "flex"}))

    assert (asked.method, asked.path) == ("POST", "/v1/responses")
    assert asked.headers["authorization"] == f"Bearer {KEY}"
    assert asked.json["store"] is False
    assert "stream" not in asked.json
    assert (response.text, response.model, response.provider) == ("Hello", "gpt-5-1", "openai")
    assert response.finish_reason is FinishReason.STOP
    assert response.metadata == {
        "service_tier": "flex",
        "request_id": "req_1",
        "rate_limit": {"remaining-tokens": "9"},
    }


def test_an_answer_is_streamed():
    response, (asked,) = asked_of(answer(headers=EVENTS, body=[HELLO, DONE]), way=streamed)

    assert asked.json["stream"] is True
    assert (response.text, response.id) == ("Hello", "resp_1")


def test_the_model_that_was_asked_is_named_where_the_provider_names_none():
    response, _ = asked_of(answer(json_body={**WHOLE, "model": None}))

    assert response.model == "gpt-5"


def test_a_connection_is_used_again_after_a_stream():
    streams = set()

    async def reply(asked, connection):
        streams.add(connection.stream)
        await answer(headers=EVENTS, body=[HELLO, DONE])(asked, connection)

    async def twice(model, request):
        return [await streamed(model, request), await streamed(model, request)]

    asked_of(reply, way=twice)
    assert len(streams) == 1


@pytest.mark.parametrize("named", [True, False])
def test_an_error_in_a_stream_is_raised_as_what_it_is(named):
    told = {"code": "rate_limit_exceeded", "message": "Slow down", "param": None}
    error = (
        event("error", **told)
        if named
        else b"data: " + json.dumps({"type": "error", **told}).encode() + b"\n\n"
    )
    failure = failure_of(answer(headers=EVENTS, body=[HELLO, error]), way=streamed)

    assert failure.kind is ModelErrorKind.RATE_LIMIT
    assert (failure.code, failure.said) == ("rate_limit_exceeded", "Slow down")


@pytest.mark.parametrize("streams", [True, False])
def test_a_response_that_failed_is_an_error(streams):
    failed = {**WHOLE, "status": "failed", "error": {"code": "server_error", "message": "Sorry"}}
    if streams:
        failed["usage"] = {"input_tokens": 7, "output_tokens": 1}
        end = answer(headers=EVENTS, body=[HELLO, event("response.failed", response=failed)])
        failure = failure_of(end, way=streamed)
        assert failure.usage.input_tokens == 7
    else:
        failure = failure_of(answer(json_body=failed))

    assert failure.kind is ModelErrorKind.OVERLOADED
    assert failure.retryable
    assert failure.said == "Sorry"


def test_a_response_that_failed_without_a_word_is_an_error():
    failure = failure_of(answer(json_body={**WHOLE, "status": "failed"}))

    assert "without a word why" in str(failure)


@pytest.mark.parametrize(
    "end", [answer(headers=EVENTS, body=[HELLO]), dropped(HELLO), dropped(HELLO, DONE[:60])]
)
def test_a_stream_that_ends_too_early_is_an_error_that_may_pass(end):
    failure = failure_of(end, way=streamed)

    assert failure.kind is ModelErrorKind.NETWORK
    assert failure.retryable


@pytest.mark.parametrize(
    "body",
    [
        {"hello": 1},
        {**WHOLE, "output": {"a": 1}},
        {**WHOLE, "output": [1]},
        {**WHOLE, "output": [{**MESSAGE, "content": 3}]},
        {**WHOLE, "output": [{**MESSAGE, "content": [{"type": "output_text", "text": 5}]}]},
        {**WHOLE, "output": [{"type": "function_call", "call_id": 3, "name": "a", "arguments": "{}"}]},
        {**WHOLE, "output": [{"type": "reasoning", "id": "rs_1", "encrypted_content": [1]}]},
        {**WHOLE, "usage": "much"},
    ],
)
@pytest.mark.parametrize("way", [ResponsesModel.generate, streamed])
def test_an_answer_of_another_form_is_an_error(body, way):
    failure = failure_of(answer(json_body=body), way=way)

    assert failure.kind is ModelErrorKind.MALFORMED
    assert not failure.retryable


def test_an_event_of_another_form_is_an_error():
    wrong = event("response.output_text.delta", output_index=0, delta={"a": 1})
    failure = failure_of(answer(headers=EVENTS, body=[wrong, DONE]), way=streamed)

    assert failure.kind is ModelErrorKind.MALFORMED
    assert "response.output_text.delta" in str(failure)


def test_an_event_without_a_type_has_that_of_its_name():
    unnamed = b'event: response.output_text.delta\ndata: {"output_index": 0, "delta": "Hello"}\n\n'
    response, _ = asked_of(answer(headers=EVENTS, body=[unnamed, DONE]), way=streamed)

    assert response.text == "Hello"


def test_what_is_too_long_is_not_read_to_its_end():
    wire = Wire(max_reply_bytes=1000)
    failure = failure_of(answer(headers=EVENTS, body=[HELLO] * 50), way=streamed, wire=wire)

    assert failure.kind is ModelErrorKind.MALFORMED
    assert "max_reply_bytes=1000" in str(failure)


@pytest.mark.parametrize("way", [ResponsesModel.generate, streamed])
def test_an_answer_that_does_not_come_in_time_is_an_error(way):
    async def hurried(model, request):
        late = ModelRequest(messages=request.messages, deadline=trio.current_time() + 0.05)
        return await way(model, late)

    failure = failure_of(silent(HELLO), way=hurried)

    assert failure.kind is ModelErrorKind.TIMEOUT


def test_a_stream_that_is_done_with_is_not_waited_for():
    response, _ = asked_of(silent(HELLO, DONE), way=streamed)

    assert response.text == "Hello"


@pytest.mark.parametrize("closed", [True, False])
def test_a_stream_that_is_given_up_closes_its_connection(closed):
    async def given_up(model, request):
        stream = model.stream(request)
        with trio.CancelScope() as scope:
            async for delta in stream:
                assert isinstance(delta, TextDelta)
                if closed:
                    break
                scope.cancel()
        await stream.aclose()
        return scope.cancelled_caught

    cancelled, _ = asked_of(silent(HELLO), way=given_up)

    assert cancelled is not closed


def test_a_call_that_is_cancelled_closes_its_connection():
    async def cancelled(model, request):
        with trio.move_on_after(0.05) as scope:
            await model.generate(request)
        return scope.cancelled_caught

    assert asked_of(silent(), way=cancelled)[0]


def test_a_recorded_error_keeps_the_key_to_itself():
    told = {"error": {"message": f"Incorrect API key provided: {KEY}.", "code": "invalid_api_key"}}
    record = {"response": {"status": 401, "headers": {}, "format": "json", "body": told}}
    failure = failure_of(recorded(record))

    assert failure.kind is ModelErrorKind.AUTHENTICATION
    assert KEY not in str(failure) + failure.said


def source(config):
    async def main():
        async with open_http() as http:
            return ResponsesSource(http).model(config)

    return trio.run(main)


def test_a_source_makes_models_for_either_way_to_ask():
    config = ModelConfig(provider="openai", name="gpt-5", api_key=KEY)
    model = source(config)

    assert isinstance(model, ResponsesModel)
    assert model.capabilities.reasoning
    chat = source(ModelConfig(provider="openai", name="gpt-5", api_key=KEY, options={"api": "chat"}))
    assert type(chat).__name__ == "ChatModel"


def test_a_source_refuses_what_cannot_be_asked():
    with pytest.raises(ConfigError, match=r"options=\{'api': 'soap'\}, and that is 'responses' or 'chat'$"):
        source(ModelConfig(provider="openai", name="gpt-5", api_key=KEY, options={"api": "soap"}))
    with pytest.raises(ConfigError, match=r"has sampling with seed, which the Responses API does not have"):
        source(ModelConfig(provider="openai", name="gpt-5", api_key=KEY, sampling=Sampling(seed=1)))


def test_an_agent_calls_tools_and_sends_back_what_led_to_it():
    thought = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA"}
    call = {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "depth", "arguments": "{}"}
    first = {**WHOLE, "output": [thought, {**call, "status": "completed"}]}

    @tool
    def depth() -> str:
        """Say how deep it is."""
        return "9 m"

    async def main():
        async with serving(answer(json_body=first), answer(json_body=WHOLE)) as server:
            model = ModelConfig(provider="openai", name="gpt-5", api_key=KEY, base_url=f"{server.url}/v1")
            async with Orchestra() as orchestra:
                agent = Agent("Pilot", model=model, tools=[depth])
                result = await orchestra.execute("How deep?", "Pilot", agents=[agent])
            await server.closed()
        return result, server.asked

    result, (_, second) = trio.run(main)

    assert result.final_response == "Hello"
    assert second.json["input"][1:] == [
        thought,
        call,
        {"type": "function_call_output", "call_id": "call_1", "output": "9 m"},
    ]
    assert_valid(second.json)
