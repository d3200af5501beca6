"""A Claude model over real sockets: what it sends, and what comes of a server that does wrong."""

from __future__ import annotations

import email.utils
import time
from collections.abc import Callable
from typing import Any

import pytest
import trio
import trio.testing

from marsys.anthropic._source import AnthropicSource
from marsys.anthropic.plugin import AnthropicSettings
from marsys_core.errors import ConfigError, ModelError, ModelErrorKind
from marsys_core.messages import Message
from marsys_core.models import ModelRequest, ModelResponse, Sampling, collect
from tests.plugins.anthropic.asking import BEGUN, ENDED, KEY, REQUEST, asking, config, events, run
from tests.wire.server import Answer, answer, dropped, endless, serving, silent, slow

pytestmark = pytest.mark.sockets
Kind = ModelErrorKind
STREAM = {"content-type": "text/event-stream"}
WHOLE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-x",
    "content": [{"type": "text", "text": "Hello"}],
    "stop_reason": "end_turn",
    "usage": {"input_tokens": 11, "output_tokens": 2},
}


def failure(
    *answers: Answer, streamed: bool = True, request: ModelRequest = REQUEST, **settings: Any
) -> ModelError:
    """Ask, and return the error that comes of it; that every connection is closed is seen to."""

    async def main() -> ModelError:
        async with asking(*answers, **settings) as (model, _server):
            with pytest.raises(ModelError) as caught:
                await (collect(model.stream(request)) if streamed else model.generate(request))
            return caught.value

    return run(main)


def test_what_is_sent_and_read() -> None:
    async def main() -> None:
        async with asking(answer(json_body=WHOLE, headers={"request-id": "req_1"})) as (model, server):
            response = await model.generate(REQUEST)
            (asked,) = server.asked
            assert (response.text, response.provider, response.id) == ("Hello", "anthropic", "msg_1")
            assert response.metadata == {"request_id": "req_1"}
            assert (asked.method, asked.path) == ("POST", "/v1/messages")
            assert KEY in asked.headers["authorization"]
            assert asked.json["model"] == "claude-sonnet-4-5"
            assert "stream" not in asked.json
            assert KEY not in f"{model!r} {vars(model)!r}"

    run(main)


def test_a_stream_uses_its_connection_again() -> None:
    async def main() -> None:
        async with asking(answer(headers=STREAM, body=[BEGUN, ENDED])) as (model, server):
            texts = [(await collect(model.stream(REQUEST))).text for _ in range(3)]
            assert texts == ["Hello"] * 3
            assert (len(server.asked), server.open) == (3, 1)
            assert server.asked[0].json["stream"] is True

    run(main)


def test_a_long_answer_comes_in_pieces_also_as_a_whole() -> None:
    async def main() -> ModelResponse:
        async with asking(answer(headers=STREAM, body=[BEGUN, ENDED])) as (model, server):
            request = ModelRequest(messages=REQUEST.messages, sampling=Sampling(max_output_tokens=64_000))
            response = await model.generate(request)
            assert server.asked[0].json["stream"] is True
            return response

    assert run(main).text == "Hello"


def test_a_server_that_does_not_stream_is_understood() -> None:
    async def main() -> ModelResponse:
        async with asking(answer(json_body=WHOLE)) as (model, _server):
            return await collect(model.stream(REQUEST))

    assert run(main).text == "Hello"


def test_betas_and_headers_are_sent() -> None:
    async def main() -> None:
        async with asking(answer(json_body=WHOLE)) as (model, server):
            options = {
                "betas": ["files-api-2025-04-14"],
                "extra_headers": {"x-own": "1"},
                "service_tier": "auto",
            }
            sampling = Sampling(temperature=0.0)
            await model.generate(ModelRequest(messages=REQUEST.messages, options=options, sampling=sampling))
            (asked,) = server.asked
            assert asked.path == "/v1/messages?beta=true"
            assert asked.headers["anthropic-beta"] == "files-api-2025-04-14"
            assert asked.headers["anthropic-version"] == "2023-06-01"
            assert asked.headers["x-own"] == "1"
            assert (asked.json["service_tier"], asked.json["temperature"]) == ("auto", 0.0)

    run(main)


def test_the_tokens_of_an_input_are_counted_by_the_api() -> None:
    async def main() -> None:
        async with asking(answer(json_body={"input_tokens": 14}), answer(json_body={})) as (model, server):
            assert await model.input_tokens(REQUEST) == 14
            assert server.asked[0].path == "/v1/messages/count_tokens"
            assert set(server.asked[0].json) == {"model", "messages"}
            with pytest.raises(ModelError, match="input_tokens is None"):
                await model.input_tokens(REQUEST)

    run(main)


def refused(status: int, type: str, message: str, headers: Any = None) -> Answer:
    body = {"type": "error", "error": {"type": type, "message": message}, "request_id": "req_9"}
    return answer(status, headers, json_body=body)


@pytest.mark.parametrize(
    ("status", "type", "message", "kind"),
    [
        (400, "invalid_request_error", "messages: at least one message is required", Kind.BAD_REQUEST),
        (
            400,
            "invalid_request_error",
            "prompt is too long: 210000 tokens > 200000 maximum",
            Kind.CONTEXT_TOO_LONG,
        ),
        (
            400,
            "invalid_request_error",
            "input length and `max_tokens` exceed context limit: 1 + 2 > 2",
            Kind.CONTEXT_TOO_LONG,
        ),
        (400, "invalid_request_error", "Your credit balance is too low", Kind.QUOTA),
        (400, "invalid_request_error", "You have reached your specified API usage limits.", Kind.QUOTA),
        (400, "invalid_request_error", "Output blocked by content filtering policy", Kind.CONTENT_FILTER),
        (401, "authentication_error", "invalid x-api-key", Kind.AUTHENTICATION),
        (402, "billing_error", "pay", Kind.QUOTA),
        (403, "permission_error", "no", Kind.PERMISSION),
        (404, "not_found_error", "model: x", Kind.NOT_FOUND),
        (413, "request_too_large", "Request exceeds the maximum size", Kind.BAD_REQUEST),
        (429, "rate_limit_error", "slower", Kind.RATE_LIMIT),
        (500, "api_error", "oh", Kind.OVERLOADED),
        (504, "timeout_error", "late", Kind.TIMEOUT),
        (529, "overloaded_error", "Overloaded", Kind.OVERLOADED),
    ],
)
def test_a_refusal_has_its_kind(status: int, type: str, message: str, kind: ModelErrorKind) -> None:
    error = failure(refused(status, type, message))

    assert (error.kind, error.status, error.type, error.said) == (kind, status, type, message)
    assert (error.request_id, error.provider) == ("req_9", "anthropic")
    assert str(error) == f"model 'claude-sonnet-4-5' was refused with status {status} ({type}): {message}"


def test_how_long_to_wait_is_read_in_both_forms() -> None:
    date = email.utils.formatdate(time.time() + 40, usegmt=True)
    by_number = failure(refused(429, "rate_limit_error", "x", {"retry-after": "17"}))
    by_date = failure(refused(529, "overloaded_error", "x", {"retry-after": date}), streamed=False)

    assert (by_number.retry_after, by_number.retryable) == (17, True)
    assert by_date.retry_after is not None
    assert 30 < by_date.retry_after <= 41


def test_the_api_may_say_that_another_try_is_no_use() -> None:
    assert not failure(refused(500, "api_error", "x", {"x-should-retry": "false"})).retryable
    assert failure(refused(409, "api_error", "x", {"x-should-retry": "true"})).retryable
    assert not failure(refused(429, "billing_error", "x", {"x-should-retry": "true"})).retryable


def test_a_key_that_is_repeated_is_not_told_on() -> None:
    error = failure(refused(401, "authentication_error", f"no such key: {KEY}"))

    assert KEY not in f"{error!r} {error} {error.said}"
    assert error.said == "no such key: ***"


def test_an_error_that_is_no_json_is_told_in_its_words() -> None:
    error = failure(answer(502, {"content-type": "text/html"}, "<h1>Bad gateway</h1>"))

    assert (error.kind, error.status, error.said) == (Kind.OVERLOADED, 502, "<h1>Bad gateway</h1>")


OVERLOADED = {
    "type": "error",
    "error": {"type": "overloaded_error", "message": "Overloaded"},
    "request_id": "req_7",
}
LONG_LINE = b"data: " + b"x" * 100_000


@pytest.mark.parametrize(
    ("server", "kind", "told"),
    [
        (answer(headers=STREAM, body=[BEGUN, events(OVERLOADED)]), Kind.OVERLOADED, "Overloaded"),
        (answer(headers=STREAM, body=[BEGUN]), Kind.NETWORK, "ended before the answer was complete"),
        (answer(headers=STREAM, body=[BEGUN, b'event: content_block_delta\ndata: {"type": "cont']), Kind.NETWORK, "ended"),
        (answer(headers=STREAM, body=b""), Kind.NETWORK, "ended before the answer was complete"),
        (dropped(BEGUN), Kind.NETWORK, "broke the connection off"),
        (dropped(), Kind.NETWORK, "broke the connection off"),
        (answer(headers=STREAM, body=[BEGUN, b"data: {no json}\n\n"]), Kind.MALFORMED, "cannot be read"),
        (answer(headers=STREAM, body=[BEGUN, b"data: [1]\n\n"]), Kind.MALFORMED, "cannot be read"),
        (answer(headers=STREAM, body=b'data: {"type": "message_start", "message": 7}\n\n'), Kind.MALFORMED, "cannot be read"),
        (answer(headers=STREAM, body=[BEGUN, b'data: {"type": "content_block_stop", "index": 9}\n\n']), Kind.MALFORMED, "9 is missing"),
        (answer(headers=STREAM, body=ENDED), Kind.MALFORMED, "cannot be read"),
        (answer(headers=STREAM, body=[BEGUN, b"data: " + b"[" * 60_000 + b"\n\n"]), Kind.MALFORMED, "cannot be read"),
        (endless(LONG_LINE, 100_000_000), Kind.MALFORMED, "longer than max_reply_bytes=2000000"),
    ],
)  # fmt: skip
def test_a_stream_that_goes_wrong_is_an_error_of_its_kind(
    server: Answer, kind: ModelErrorKind, told: str
) -> None:
    error = failure(server, max_reply_bytes=2_000_000)

    assert error.kind is kind
    assert told in str(error)
    assert error.retryable is (kind in (Kind.NETWORK, Kind.OVERLOADED))


@pytest.mark.parametrize(
    ("server", "kind", "told"),
    [
        (answer(json_body={"type": "error", "error": {"type": "api_error", "message": "oh"}}), Kind.OVERLOADED, "oh"),
        (answer(json_body={"error": "oh no"}), Kind.OVERLOADED, "oh no"),
        (answer(body="Hello"), Kind.MALFORMED, "no JSON"),
        (answer(body=""), Kind.MALFORMED, "no JSON"),
        (answer(body="[" * 100_000), Kind.MALFORMED, "no JSON"),
        (answer(json_body=[1]), Kind.MALFORMED, "no JSON object"),
        (answer(json_body={**WHOLE, "content": 7}), Kind.MALFORMED, "cannot be read"),
        (answer(json_body={**WHOLE, "content": [{"type": "text", "text": []}]}), Kind.MALFORMED, "where a text should be"),
        (answer(json_body={**WHOLE, "usage": {"input_tokens": "x"}}), Kind.MALFORMED, "input_tokens is 'x'"),
        (answer(200, {"content-length": "10"}, b""), Kind.NETWORK, "broke"),
        (endless(b"x" * 10_000, 100_000_000, headers={"content-type": "application/json"}), Kind.MALFORMED, "longer than"),
        (endless(b"x" * 10_000, 100_000_000, 500), Kind.OVERLOADED, "was refused with status 500: xxx"),
    ],
)  # fmt: skip
def test_an_answer_that_is_none_is_an_error_of_its_kind(
    server: Answer, kind: ModelErrorKind, told: str
) -> None:
    if told == "broke":
        server = dropped(b"{", headers={"content-type": "application/json"})
    error = failure(server, streamed=False, max_reply_bytes=2_000_000)

    assert error.kind is kind
    assert told in str(error)


@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)  # the HTTP library leaves a generator
def test_a_body_that_is_not_packed_as_it_says_cannot_be_read() -> None:
    error = failure(answer(headers={**STREAM, "content-encoding": "gzip"}, body=b"no gzip"))

    assert error.kind is Kind.MALFORMED


def test_what_was_spent_before_an_error_is_told() -> None:
    for server in (answer(headers=STREAM, body=[BEGUN, events(OVERLOADED)]), dropped(BEGUN)):
        error = failure(server)
        assert error.usage is not None
        assert (error.usage.input_tokens, error.usage.output_tokens) == (11, 1)


def test_what_came_before_an_error_is_heard() -> None:
    async def main() -> str:
        async with asking(answer(headers=STREAM, body=BEGUN + events(OVERLOADED))) as (model, _server):
            heard = ""
            with pytest.raises(ModelError):
                async for delta in model.stream(REQUEST):
                    heard += delta.text
            return heard

    assert run(main) == "Hel"


def test_nobody_at_the_address_is_a_network_error() -> None:
    async def main() -> ModelError:
        async with serving(answer()) as server:
            url = server.url
        source = AnthropicSource(AnthropicSettings())
        try:
            with pytest.raises(ModelError) as caught:
                await source.model(config(base_url=url)).generate(REQUEST)
            return caught.value
        finally:
            await source.aclose()

    error = run(main)
    assert (error.kind, error.retryable) == (Kind.NETWORK, True)


def test_a_request_that_cannot_be_written_is_a_bad_one() -> None:
    async def main() -> ModelError:
        async with asking(answer(json_body=WHOLE)) as (model, _server):
            with pytest.raises(ModelError) as caught:
                await model.generate(ModelRequest(messages=REQUEST.messages, options={"metadata": {1j}}))
            return caught.value

    assert run(main).kind is Kind.BAD_REQUEST


@pytest.mark.slow
@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("server", [silent(), silent(BEGUN), slow(BEGUN + ENDED, 0.01)])
def test_a_deadline_ends_an_answer_that_does_not_come(server: Answer, streamed: bool) -> None:
    async def main() -> tuple[ModelError, float]:
        async with asking(server) as (model, _server):
            begun = trio.current_time()
            request = ModelRequest(messages=REQUEST.messages, deadline=begun + 0.1)
            with pytest.raises(ModelError) as caught:
                await (collect(model.stream(request)) if streamed else model.generate(request))
            return caught.value, trio.current_time() - begun

    error, took = run(main)
    assert (error.kind, error.retryable) == (Kind.TIMEOUT, True)
    assert took < 1


def counting(reached: list[int], stop: int, then: Callable[[], None]) -> Answer:
    """Answer with an event at a time, and call `then` before the one with the number `stop`."""
    pieces = [piece + b"\n\n" for piece in (BEGUN + ENDED).split(b"\n\n") if piece]

    async def reply(asked: Any, connection: Any) -> None:
        for number, piece in enumerate([b"", *pieces, b""]):
            reached[0] = number
            if number == stop:
                then()
                await trio.sleep_forever()
            if number == 0:
                await connection.begin(200, STREAM)
            await connection.piece(piece)
            await trio.testing.wait_all_tasks_blocked()

    return reply


@pytest.mark.slow
@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("stop", range(7))
def test_cancelling_at_any_event_closes_the_connection(stop: int, streamed: bool) -> None:
    async def main() -> None:
        reached = [0]
        with trio.CancelScope() as scope:
            async with asking(counting(reached, stop, scope.cancel)) as (model, server):
                request = ModelRequest(messages=REQUEST.messages, sampling=Sampling(max_output_tokens=64_000))
                try:
                    await (collect(model.stream(request)) if streamed else model.generate(request))
                finally:
                    with trio.CancelScope(shield=True):
                        await server.closed()
        assert scope.cancelled_caught
        assert reached == [stop]

    run(main)


@pytest.mark.slow
@pytest.mark.parametrize("deltas", range(1, 4))
def test_a_stream_that_is_given_up_closes_its_connection(deltas: int) -> None:
    async def main() -> None:
        async with asking(silent(BEGUN)) as (model, server):
            stream = model.stream(REQUEST)
            for _ in range(deltas):
                await anext(stream)
            await stream.aclose()  # type: ignore[attr-defined]
            await server.closed()

    run(main)


def test_models_of_one_key_share_their_connections() -> None:
    async def main() -> None:
        async with serving(answer(json_body=WHOLE)) as server:
            source = AnthropicSource(AnthropicSettings(base_url=server.url))
            for name in ("claude-sonnet-4-5", "claude-opus-4-8"):
                await source.model(config(name)).generate(REQUEST)
            assert server.open == 1
            await source.aclose()
            await server.closed()

    run(main)


def test_a_setting_that_cannot_be_right_is_told_at_once() -> None:
    source = AnthropicSource(AnthropicSettings())
    with pytest.raises(
        ConfigError,
        match="^base_url of model 'anthropic:claude-x' is an address that begins with https:// or http://, not 'localhost'$",
    ):
        source.model(config("claude-x", "localhost"))
    with pytest.raises(
        ConfigError,
        match="^there is no key for model 'anthropic:claude-x': set ANTHROPIC_API_KEY in the environment, or give ModelConfig",
    ):
        source.model(config("claude-x", key=None))


def test_a_message_that_cannot_be_shown_is_told_before_anything_is_sent() -> None:
    from marsys_core.messages import DataPart

    async def main() -> None:
        async with asking(answer(json_body=WHOLE)) as (model, server):
            request = ModelRequest(messages=[Message("user", (DataPart("audio/wav", "aGk="),))])
            with pytest.raises(ModelError, match="cannot be shown"):
                await model.generate(request)
            assert server.asked == []

    run(main)
