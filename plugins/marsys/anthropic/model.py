"""A Claude model."""

from __future__ import annotations

import json
import math
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import attrs
import trio

from marsys.anthropic._answer import Answer, response_of
from marsys.anthropic._errors import Telling
from marsys.anthropic._http import abandon
from marsys.anthropic._request import Wired, wire
from marsys.anthropic._sse import EventReader
from marsys.anthropic._traits import Traits
from marsys_core.errors import ModelError
from marsys_core.messages import Usage
from marsys_core.models import Capabilities, ModelDelta, ModelRequest, ModelResponse, deltas_of

__all__ = ["AnthropicModel"]

_AS_A_WHOLE = (
    21_333  # tokens that come within ten minutes; longer answers come in pieces, or connections break
)
_DRAIN = 0.1  # seconds that a stream gets to end after its last event, so that its connection serves again
_BROKEN = (TypeError, KeyError, ValueError, AttributeError, RecursionError)


class AnthropicModel:
    """A Claude model, asked by the Messages API. The provider ``anthropic`` makes them.

    Args:
        name: The model, in the provider's words.
        client: The SDK's client, on Trio, without retries of its own.
        traits: What the model can do.
        redact: Takes the key out of a text.
        max_reply_bytes: The largest reply that is read.
    """

    def __init__(
        self,
        name: str,
        client: Any,
        traits: Traits,
        *,
        redact: Callable[[str], str],
        max_reply_bytes: int = 32_000_000,
    ) -> None:
        self.name = name
        self.capabilities: Capabilities = traits.capabilities()
        self._client, self._traits = client, traits
        self._telling = Telling(name, redact)
        self._most = max_reply_bytes

    def __repr__(self) -> str:
        return f"<AnthropicModel {self.name!r}>"

    async def generate(self, request: ModelRequest) -> ModelResponse:
        """Answer at once, as a whole.

        Raises:
            ModelError: There is no answer.
        """
        wired = wire(request, self.name, self._traits)
        if wired.body["max_tokens"] > _AS_A_WHOLE:
            wired.body["stream"] = True
        async with self._asked(wired, request.deadline) as reply:
            if not reply.in_events:
                return await reply.whole()
            while True:
                for delta in await reply.more():
                    if delta.response is not None:
                        return delta.response

    async def stream(self, request: ModelRequest) -> AsyncIterator[ModelDelta]:
        """Answer in pieces, the last of which has the whole.

        Raises:
            ModelError: There is no answer, or it broke off.
        """
        wired = wire(request, self.name, self._traits)
        wired.body["stream"] = True
        async with self._asked(wired, request.deadline) as reply:
            if not reply.in_events:
                for delta in deltas_of(await reply.whole()):
                    yield delta
                return
            while not reply.done:
                for delta in await reply.more():
                    yield delta
            await reply.drain()

    async def input_tokens(self, request: ModelRequest) -> int:
        """Ask the API how many tokens the input of `request` has; that costs nothing but a request.

        Raises:
            ModelError: It does not say.
        """
        wired = wire(request, self.name, self._traits)
        for name in ("max_tokens", "stop_sequences", "temperature", "top_p", "top_k", "metadata"):
            wired.body.pop(name, None)
        async with self._asked(wired, request.deadline, "/v1/messages/count_tokens") as reply:
            data = await reply.data()
        count = data.get("input_tokens")
        if type(count) is not int or count < 0:
            raise self._telling.malformed(f"input_tokens is {count!r:.200}")
        return count

    @asynccontextmanager
    async def _asked(
        self, wired: Wired, deadline: float | None, path: str = "/v1/messages"
    ) -> AsyncIterator[_Reply]:
        import anthropic
        import httpx2

        if "anthropic-beta" in wired.headers:
            path += "?beta=true"
        response = None
        with trio.move_on_at(math.inf if deadline is None else deadline):
            try:
                response = await self._client.post(
                    path,
                    cast_to=httpx2.Response,  # its bytes, and no objects made of them: nothing in them is lost
                    body=wired.body,
                    options={"headers": wired.headers} if wired.headers else {},
                    stream=True,
                    stream_cls=anthropic.AsyncStream[Any],
                )
            except Exception as error:
                raise self._telling.failed(error, asking=True) from error
        if response is None:
            raise self._telling.late()
        reply = _Reply(response, self._telling, deadline, self._most, wired.left_out)
        try:
            yield reply
        finally:
            await abandon(response, reply.chunks)


@attrs.define(eq=False)
class _Reply:
    """A response with the status of success, whose body is still to come."""

    response: Any
    telling: Telling
    deadline: float | None
    most: int
    left_out: tuple[str, ...]
    chunks: AsyncIterator[bytes] = attrs.field(init=False)
    _answer: Answer = attrs.field(init=False)
    _reader: EventReader = attrs.field(init=False, factory=EventReader)
    _read: int = attrs.field(init=False, default=0)
    _failure: ModelError | None = attrs.field(init=False, default=None)

    def __attrs_post_init__(self) -> None:
        self.chunks = self.response.aiter_bytes()
        self._answer = Answer(self.response.headers, self.left_out)

    @property
    def headers(self) -> Mapping[str, str]:
        return self.response.headers  # type: ignore[no-any-return]

    @property
    def in_events(self) -> bool:
        return "event-stream" in self.headers.get("content-type", "")

    async def _next(self, usage: Usage | None = None) -> bytes | None:
        """Return more of the body, or None at its end."""
        chunk: bytes | None = b""
        with trio.move_on_at(math.inf if self.deadline is None else self.deadline) as scope:
            try:
                chunk = await anext(self.chunks, None)
            except Exception as error:
                raise self.telling.failed(error, usage) from error
        if scope.cancelled_caught:
            raise self.telling.late(usage)
        if chunk is not None:
            self._read += len(chunk)
            if self._read > self.most:
                msg = f"it is longer than max_reply_bytes={self.most}"
                raise self.telling.malformed(msg, usage)
        return chunk

    async def data(self) -> dict[str, Any]:
        """Return the body, a JSON object that is no error."""
        raw = bytearray()
        while (chunk := await self._next()) is not None:
            raw += chunk
        try:
            data = json.loads(raw)
        except (ValueError, RecursionError) as error:
            begin = bytes(raw[:200]).decode("utf-8", "replace")
            raise self.telling.malformed(f"no JSON ({error}): {begin}") from error
        if not isinstance(data, dict):
            raise self.telling.malformed(f"no JSON object: {data!r:.200}")
        if data.get("type") == "error" or "error" in data:
            raise self.telling.told(data, self.headers, None)
        return data

    async def whole(self) -> ModelResponse:
        """Return the body as a response."""
        data = await self.data()
        try:
            return response_of(data, self.headers, self.left_out)
        except _BROKEN as error:
            raise self.telling.malformed(_wrong(error, data)) from error

    @property
    def done(self) -> bool:
        """Whether the answer is complete."""
        return self._answer.done

    async def more(self) -> list[ModelDelta]:
        """Return what the next events of the body add, one delta or more."""
        answer = self._answer
        found: list[ModelDelta] = []
        while not found:
            if self._failure is not None:
                raise self._failure
            chunk = await self._next(answer.usage)
            if chunk is None:
                raise self.telling.cut(answer.usage)
            for data in self._reader.feed(chunk):
                try:
                    found += self._taken(answer, data)
                except ModelError as failure:
                    self._failure = failure  # what came before it is told first
                    break
                if answer.done:
                    break
        return found

    def _taken(self, answer: Answer, data: bytes) -> list[ModelDelta]:
        try:
            event = json.loads(data)
            if event["type"] != "error":
                return list(answer.take(event))
        except _BROKEN as error:
            shown = data[:200].decode("utf-8", "replace")
            raise self.telling.malformed(_wrong(error, shown), answer.usage) from error
        raise self.telling.told(event, self.headers, answer.usage)

    async def drain(self) -> None:
        """Read to the end of the body, so that the connection can be used again."""
        with trio.move_on_after(_DRAIN):
            try:
                while await anext(self.chunks, None) is not None:
                    await trio.lowlevel.checkpoint()
            except Exception:  # noqa: S110 - the answer is complete
                pass


def _wrong(error: Exception, data: object) -> str:
    what = f"{error} is missing" if isinstance(error, KeyError) else str(error) or type(error).__name__
    return f"{what}, in {data!r:.200}"
