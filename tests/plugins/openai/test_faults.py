"""Servers that misbehave: a typed error within the deadline, and nothing left."""

import email.utils
import gzip
import json
import time

import openai  # noqa: F401 - it takes a second, which no test is to be blamed for
import pytest
import trio

from marsys.openai._chat import ChatModel
from marsys.openai._client import open_http
from marsys.openai._presets import PRESETS
from marsys.openai._settings import Wire
from marsys_core.errors import ModelError, ModelErrorKind
from marsys_core.messages import Message
from marsys_core.models import ModelRequest, collect
from marsys_core.secret import Secret
from tests.wire.server import answer, dropped, endless, serving, silent, slow

pytestmark = pytest.mark.sockets

KEY = "sk-secret-0123456789"
JSON = {"content-type": "application/json"}
EVENTS = {"content-type": "text/event-stream"}
Kind = ModelErrorKind


def event(**data):
    return f"data: {json.dumps(data)}\n\n".encode()


def piece(text="Hel", **choice):
    return event(id="c1", model="m", choices=[{"index": 0, "delta": {"content": text}, **choice}])


async def streamed(model, request):
    return await collect(model.stream(request))


async def failing(reply, way=streamed, *, within=None, wire=None, preset="openrouter"):
    """Ask a server that answers like that, and return the error; see that the connection is closed with it."""
    async with serving(reply) as server:
        async with open_http(wire) as http:
            client = http.client(preset, Secret(KEY), f"{server.url}/v1")
            model = ChatModel("m", PRESETS[preset], client)
            deadline = None if within is None else trio.current_time() + within
            request = ModelRequest(messages=[Message("user", "Hello")], deadline=deadline)
            with trio.fail_after(10), pytest.raises(ModelError) as caught:
                await way(model, request)
        await server.closed()
    error = caught.value
    assert KEY not in repr(error) + str(error) + error.said
    return error


def fails(*args, **settings):
    return trio.run(lambda: failing(*args, **settings))


def refusal(status, headers=None, body=None):
    return answer(status, headers, json_body=body or {"error": {"message": "No.", "type": "t", "code": "c"}})


@pytest.mark.parametrize("way", [streamed, ChatModel.generate])
def test_a_connection_that_breaks_off_in_the_middle_is_a_network_error(way):
    error = fails(dropped(piece(), headers=EVENTS), way)

    assert (error.kind, error.retryable) == (Kind.NETWORK, True)


def test_a_stream_that_ends_in_the_middle_of_an_event_is_a_network_error():
    error = fails(answer(headers=EVENTS, body=[piece(), b'data: {"choices": [{"ind']))

    assert error.kind is Kind.NETWORK
    assert "in the middle of an event" in str(error)


def test_a_stream_that_ends_before_it_says_that_it_is_complete_is_a_network_error():
    error = fails(answer(headers=EVENTS, body=piece()))

    assert str(error) == "the stream of openrouter ended before the answer was complete"
    assert error.retryable


def test_an_empty_stream_is_an_error():
    assert fails(answer(headers=EVENTS, body=b"")).retryable
    assert fails(answer(headers=EVENTS, body=b"data: [DONE]\n\n")).retryable


@pytest.mark.parametrize(
    "wrong",
    [
        b"data: {\n\n",
        b"data: [1, 2]\n\n",
        b"data: null\n\n",
        b"data: \xff\n\n",
        b"data: " + b"[" * 100_000 + b"\n\n",
        event(choices="none"),
        event(choices=[7]),
        event(choices=[{"index": 0, "delta": "text"}]),
        event(choices=[{"index": 0, "delta": {"content": 7}}]),
        event(choices=[{"index": 0, "delta": {"tool_calls": "none"}}]),
        event(choices=[{"index": 0, "delta": {"tool_calls": [7]}}]),
        event(choices=[{"index": 0, "delta": {"tool_calls": [{"index": 0, "function": 7}]}}]),
        event(choices=[{"index": 0, "delta": {"tool_calls": [{"function": {"name": "f", "arguments": 7}}]}}]),
        event(choices=[{"index": 0, "delta": {"reasoning": 7}}]),
        event(choices=[{"index": 0, "delta": {"refusal": 7}}]),
        event(choices=[{"index": 0, "delta": {}, "finish_reason": 7}]),
        event(choices=[], usage="much"),
    ],
)
def test_what_is_of_another_type_is_malformed(wrong):
    error = fails(answer(headers=EVENTS, body=[piece(), wrong, b"data: [DONE]\n\n"]))

    assert error.kind is Kind.MALFORMED
    assert len(str(error)) < 3000


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"", Kind.MALFORMED),
        (b"<html>Welcome</html>", Kind.MALFORMED),
        (b"[]", Kind.MALFORMED),
        (b'"text"', Kind.MALFORMED),
        (b"{}", Kind.EMPTY),
        (b'{"choices": []}', Kind.EMPTY),
        (b'{"choices": {"index": 0}}', Kind.MALFORMED),
        (b'{"choices": [null]}', Kind.MALFORMED),
        (b'{"choices": [{"message": "text"}]}', Kind.MALFORMED),
        (b'{"error": {"message": "Slow down", "code": 429}}', Kind.RATE_LIMIT),
        (b'{"error": "model not loaded"}', Kind.OVERLOADED),
        (b'{"success": false, "errors": [{"code": 7009, "message": "Upstream failed"}]}', Kind.OVERLOADED),
        (b'{"message": "Incorrect API key", "code": 401}', Kind.AUTHENTICATION),
        (b'{"choices": [{"error": {"message": "It broke", "code": 502}, "message": {}}]}', Kind.OVERLOADED),
    ],
)
def test_a_whole_answer_that_is_none_says_what_it_is(body, kind):
    assert fails(answer(headers=JSON, body=body), ChatModel.generate).kind is kind


def test_a_usage_that_nobody_can_have_spent_counts_as_nothing():
    async def main():
        body = {
            "choices": [{"message": {"content": "Hi"}}],
            "usage": {"prompt_tokens": -3, "completion_tokens": "x"},
        }
        async with serving(answer(json_body=body)) as server, open_http() as http:
            model = ChatModel("m", PRESETS["groq"], http.client("groq", Secret(KEY), server.url))
            response = await model.generate(ModelRequest(messages=[Message("user", "Hello")]))
        assert response.usage.total_tokens == 0

    trio.run(main)


@pytest.mark.parametrize("way", [streamed, ChatModel.generate])
def test_a_wait_is_read_in_both_of_its_forms(way):
    date = email.utils.formatdate(time.time() + 60, usegmt=True)

    assert fails(refusal(429, {"retry-after": "7"}), way).retry_after == 7
    assert fails(refusal(429, {"retry-after-ms": "250"}), way).retry_after == 0.25
    assert 55 < fails(refusal(429, {"retry-after": date}), way).retry_after <= 60


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, Kind.BAD_REQUEST), (401, Kind.AUTHENTICATION), (402, Kind.QUOTA), (403, Kind.PERMISSION),
        (404, Kind.NOT_FOUND), (408, Kind.TIMEOUT), (413, Kind.BAD_REQUEST), (422, Kind.BAD_REQUEST),
        (429, Kind.RATE_LIMIT), (500, Kind.OVERLOADED), (503, Kind.OVERLOADED), (504, Kind.TIMEOUT),
        (529, Kind.OVERLOADED),
    ],
)  # fmt: skip
def test_the_status_of_a_refusal_says_what_it_is(status, kind):
    error = fails(refusal(status, {"x-request-id": "r-1"}))

    assert (error.kind, error.status, error.request_id) == (kind, status, "r-1")
    assert (error.said, error.code, error.type) == ("No.", "c", "t")
    assert str(error) == f"openrouter answered with status {status} (c): No."


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (400, {"error": {"message": "too long", "code": "context_length_exceeded"}}, Kind.CONTEXT_TOO_LONG),
        (400, {"error": {"message": "This model's maximum context length is 8192"}}, Kind.CONTEXT_TOO_LONG),
        (400, {"error": {"message": "Incorrect API key provided"}}, Kind.AUTHENTICATION),
        (400, {"error": {"message": "x", "code": "content_filter"}}, Kind.CONTENT_FILTER),
        (403, {"error": {"message": "x", "metadata": {"reasons": ["violence"]}}}, Kind.CONTENT_FILTER),
        (
            413,
            {"error": {"message": "Request too large", "code": "rate_limit_exceeded"}},
            Kind.CONTEXT_TOO_LONG,
        ),
        (429, {"error": {"message": "x", "code": "insufficient_quota"}}, Kind.QUOTA),
        (429, {"error": {"message": "You exceeded your current quota"}}, Kind.QUOTA),
        (422, {"detail": [{"loc": ["body"], "msg": "field required"}]}, Kind.BAD_REQUEST),
        (401, {"message": "Unauthorized", "request_id": "x"}, Kind.AUTHENTICATION),
    ],
)
def test_the_words_of_a_refusal_say_more_than_its_status(status, body, kind):
    assert fails(refusal(status, body=body)).kind is kind


def test_a_key_that_a_provider_repeats_is_not_shown():
    error = fails(
        refusal(401, body={"error": {"message": f"Incorrect API key: {KEY}", "code": KEY, "type": KEY}})
    )

    assert error.said == "Incorrect API key: ***"
    assert KEY not in error.code + error.type


def test_an_error_in_a_stream_comes_after_what_was_before_it():
    heard = []

    async def listening(model, request):
        async for delta in model.stream(request):
            heard.append(delta.text)

    wrong = event(error={"message": "Overloaded", "type": "server_error", "code": None})
    error = fails(answer(headers=EVENTS, body=piece("a") + piece("b") + wrong), listening)

    assert heard == ["a", "b"]
    assert (error.kind, error.said, error.retryable) == (Kind.OVERLOADED, "Overloaded", True)


def test_a_named_error_event_is_an_error_whatever_is_in_it():
    error = fails(answer(headers=EVENTS, body=piece() + b'event: error\ndata: {"message": "Broken"}\n\n'))

    assert (error.kind, error.said) == (Kind.OVERLOADED, "Broken")


@pytest.mark.slow
@pytest.mark.parametrize("way", [streamed, ChatModel.generate])
@pytest.mark.parametrize("chunk", [b"x" * 65536, b"data: " + b"x" * 65536, b": wait\n" * 10_000])
def test_a_hundred_megabytes_are_not_read_to_their_end(way, chunk):
    error = fails(endless(chunk, 100_000_000), way, within=8)

    assert error.kind is Kind.MALFORMED
    assert "max_reply_bytes=32000000" in str(error)


def test_an_endless_refusal_is_cut():
    error = fails(endless(b"<p>no</p>" * 1000, 20_000_000, status=500))

    assert error.kind is Kind.OVERLOADED
    assert len(error.said) <= 2001


def test_a_small_reply_that_unpacks_to_a_large_one_is_not_read_to_its_end():
    packed = gzip.compress(b"0" * 20_000_000)
    reply = answer(headers={**JSON, "content-encoding": "gzip"}, body=[packed])

    assert "max_reply_bytes=100000" in str(
        fails(reply, ChatModel.generate, wire=Wire(max_reply_bytes=100_000))
    )


# The HTTP library leaves what it reads from for the garbage collector to close where it cannot unpack it.
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_body_that_is_not_packed_as_it_says_is_malformed():
    reply = answer(headers={**JSON, "content-encoding": "gzip"}, body=b"this is no gzip")

    assert fails(reply, ChatModel.generate).kind is Kind.MALFORMED


@pytest.mark.parametrize("way", [streamed, ChatModel.generate])
def test_a_byte_now_and_then_does_not_hold_the_deadline_off(way):
    started = time.monotonic()
    error = fails(slow(piece() * 100, 0.02), way, within=0.15)

    assert error.kind is Kind.TIMEOUT
    assert str(error) == "openrouter did not end its answer in time"
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("way", [streamed, ChatModel.generate])
def test_silence_is_a_timeout_at_the_deadline(way):
    assert str(fails(silent(), way, within=0.05)) == "openrouter did not begin to answer in time"
    assert fails(silent(piece()), way, within=0.05).kind is Kind.TIMEOUT


def test_silence_is_a_timeout_where_there_is_no_deadline():
    assert fails(silent(piece()), wire=Wire(read_timeout=0.1)).kind is Kind.TIMEOUT


def test_nobody_at_home_is_a_network_error():
    async def main():
        async with serving(answer()) as server:
            url = server.url
        async with open_http() as http:
            model = ChatModel("m", PRESETS["groq"], http.client("groq", Secret(KEY), url))
            with pytest.raises(ModelError) as caught:
                await model.generate(ModelRequest(messages=[Message("user", "Hello")]))
        assert caught.value.kind is Kind.NETWORK
        assert caught.value.retryable

    trio.run(main)


def test_a_text_that_cannot_be_written_is_a_bad_request():
    async def main():
        async with serving(answer()) as server, open_http() as http:
            model = ChatModel("m", PRESETS["groq"], http.client("groq", Secret(KEY), server.url))
            with pytest.raises(ModelError, match="cannot be written as JSON") as caught:
                await model.generate(ModelRequest(messages=[Message("user", "half \ud83d")]))
            assert caught.value.kind is Kind.BAD_REQUEST
            assert server.asked == []

    trio.run(main)


def test_a_redirect_that_leads_nowhere_is_an_error():
    assert (
        fails(answer(302, {"location": "/v1/chat/completions"}, b""), ChatModel.generate).retryable is False
    )


async def cancelled_after(pieces, count, way):
    """Cancel once so many pieces of an answer were heard, and see that the connection is closed at once."""
    heard = 0

    async def asking():
        nonlocal heard
        async for _ in model.stream(request):
            heard += 1

    async with serving(silent(*pieces)) as server, open_http() as http:
        model = ChatModel("m", PRESETS["groq"], http.client("groq", Secret(KEY), server.url))
        request = ModelRequest(messages=[Message("user", "Hello")])
        async with trio.open_nursery() as nursery:
            nursery.start_soon(asking if way == "stream" else lambda: model.generate(request))
            with trio.fail_after(5):
                while not server.asked or (way == "stream" and heard < count):
                    await trio.sleep(0.001)
            nursery.cancel_scope.cancel()
        await server.closed()


@pytest.mark.parametrize("count", [0, 1, 3])
def test_cancelling_a_stream_closes_its_connection(count):
    trio.run(cancelled_after, [piece()] * count, count, "stream")


def test_cancelling_a_whole_answer_closes_its_connection():
    trio.run(cancelled_after, [b'{"choices"'], 1, "generate")


@pytest.mark.slow
@pytest.mark.parametrize("way", ["stream", "generate"])
def test_cancelling_at_any_point_leaves_nothing(way):
    async def main():
        body = b"".join([piece()] * 3) + b"data: [DONE]\n\n"
        whole = json.dumps({"choices": [{"message": {"content": "Hello"}, "finish_reason": "stop"}]}).encode()
        reply = answer(headers=EVENTS, body=[body[:50], body[50:]]) if way == "stream" else answer(body=whole)
        completed = 0
        async with serving(reply) as server, open_http() as http:
            model = ChatModel("m", PRESETS["groq"], http.client("groq", Secret(KEY), server.url))
            request = ModelRequest(messages=[Message("user", "Hello")])

            async def asking():
                nonlocal completed
                await (collect(model.stream(request)) if way == "stream" else model.generate(request))
                completed += 1

            for ticks in range(120):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(asking)
                    for _ in range(ticks):
                        await trio.lowlevel.checkpoint()
                    nursery.cancel_scope.cancel()
            with trio.fail_after(5):
                await asking()  # the connections still work
        await server.closed()
        return completed

    assert trio.run(main) >= 1


def test_closing_a_stream_early_closes_its_connection():
    async def main():
        async with serving(silent(piece(), piece())) as server, open_http() as http:
            model = ChatModel("m", PRESETS["groq"], http.client("groq", Secret(KEY), server.url))
            stream = model.stream(ModelRequest(messages=[Message("user", "Hello")]))
            assert (await anext(stream)).text == "Hel"
            await stream.aclose()
            await server.closed()

    trio.run(main)


def test_a_connection_is_used_again():
    async def main():
        connections = 0
        body = piece(finish_reason="stop") + b"data: [DONE]\n\n"
        async with serving(answer(headers=EVENTS, body=body)) as server, open_http() as http:
            model = ChatModel("m", PRESETS["groq"], http.client("groq", Secret(KEY), server.url))
            for _ in range(5):
                await collect(model.stream(ModelRequest(messages=[Message("user", "Hello")])))
                connections = max(connections, server.open)
        assert connections == 1

    trio.run(main)
