"""A model that is asked through the Responses API."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs
import trio

from marsys.openai._client import Client, Events, Http
from marsys.openai._errors import Asked, cut_short, error_in, malformed, request_id_of
from marsys.openai._responses_answer import Answer, usage_of
from marsys.openai._responses_families import family_of
from marsys.openai._responses_request import body_of, unknown_sampling
from marsys_core.errors import ConfigError, ModelError
from marsys_core.models import (
    Capabilities,
    ModelConfig,
    ModelDelta,
    ModelRequest,
    ModelResponse,
    StreamEnded,
)

if TYPE_CHECKING:
    from marsys.openai._chat import ChatModel

__all__ = ["ResponsesModel", "ResponsesSource", "capabilities_of"]

_PATH = "/responses"
_UNREADABLE = (AttributeError, KeyError, TypeError, ValueError, IndexError)
_PATIENCE = (
    0.1  # seconds that a stream gets to end after its last event, so that its connection can be used again
)


def capabilities_of(name: str) -> Capabilities:
    """Return what a model can do through this API, as far as its name tells."""
    return Capabilities(
        tools=True,
        tool_choice=True,
        output_schema=True,
        streaming=True,
        images=True,
        files=True,
        reasoning=family_of(name).reasons,
    )


@attrs.define(eq=False)
class ResponsesModel:
    """A model of OpenAI, or of another provider that speaks its Responses API.

    Nothing is kept at the provider unless the options of a request say ``store``: what it needs to go on from is in its
    answers, encrypted, and goes back with the conversation.

    Args:
        name: The model, in the provider's words.
        client: The way to the provider.
        capabilities: What it can do; by default what its name tells.
    """

    name: str
    client: Client = attrs.field(repr=False)
    capabilities: Capabilities = attrs.field(
        default=attrs.Factory(lambda self: capabilities_of(self.name), True)
    )

    async def generate(self, request: ModelRequest) -> ModelResponse:
        """Answer at once, as a whole."""
        asked = self.client.asked
        reply = await self.client.ask(_PATH, self._body(request), deadline=request.deadline)
        answer = Answer()
        _finish(asked, answer, reply.data)
        return self._whole(answer, reply.headers)

    async def stream(self, request: ModelRequest) -> AsyncIterator[ModelDelta]:
        """Answer in pieces."""
        asked, answer = self.client.asked, Answer()
        body = {**self._body(request), "stream": True}
        async with self.client.stream(_PATH, body, deadline=request.deadline) as events:
            whole = await events.whole()
            if whole is not None:  # a server that does not stream
                for delta in _finish(asked, answer, whole):
                    yield delta
            async for batch in events:
                for name, event in batch:
                    for delta in _read(asked, answer, name, event, events.headers):
                        yield delta
                if answer.end is not None:
                    await _ended(events)
                    break
        if answer.end is None:
            raise cut_short(asked)
        yield StreamEnded(self._whole(answer, events.headers))

    def _body(self, request: ModelRequest) -> dict[str, Any]:
        provider = self.client.asked.provider
        return body_of(request, self.name, provider, provider)

    def _whole(self, answer: Answer, headers: Mapping[str, str]) -> ModelResponse:
        asked, end = self.client.asked, answer.end or {}
        if end.get("status") == "failed":
            raise _failed(asked, end, headers)
        try:
            return answer.response(provider=asked.provider, model=self.name, metadata=_metadata(headers))
        except _UNREADABLE as error:
            raise _unreadable(asked, error, "a response") from error


@attrs.define(eq=False)
class ResponsesSource:
    """Makes the models of OpenAI.

    They are asked through the Responses API, and with ``options={"api": "chat"}`` through Chat Completions.

    Args:
        http: The connections.
        base_url: Where the provider is, where that is not OpenAI.
    """

    key_names = ("OPENAI_API_KEY",)

    _http: Http = attrs.field(repr=False)
    base_url: str = ""
    _clients: dict[Any, Client] = attrs.field(factory=dict, init=False, repr=False)

    def model(self, config: ModelConfig) -> ResponsesModel | ChatModel:
        """Return the model that `config` names.

        Raises:
            ConfigError: A way to ask that there is not, or sampling that the Responses API does not know.
        """
        api = config.options.get("api", "responses")
        if api == "chat":
            from marsys.openai._chat import ChatSource
            from marsys.openai._presets import PRESETS

            return ChatSource(PRESETS["openai-chat"], self._http, self.base_url).model(config)
        if api != "responses":
            msg = f"model {str(config)!r} has options={{'api': {api!r}}}, and that is 'responses' or 'chat'"
            raise ConfigError(msg)
        if config.sampling is not None and (unknown := unknown_sampling(config.sampling)):
            msg = (
                f"model {str(config)!r} has sampling with {', '.join(unknown)}, which the Responses API does not have; "
                "leave it out, or give options={'api': 'chat'}"
            )
            raise ConfigError(msg)
        return ResponsesModel(config.name, self._client(config))

    def _client(self, config: ModelConfig) -> Client:
        base_url, key = config.base_url or self.base_url, config.api_key
        found = self._clients.get((base_url, key))
        if found is None:
            found = self._clients[base_url, key] = self._http.client(
                "openai", key, base_url or None, of_openai=not base_url
            )
        return found


def _finish(asked: Asked, answer: Answer, response: dict[str, Any]) -> Sequence[ModelDelta]:
    """Read a whole response.

    Raises:
        ModelError: It cannot be read.
    """
    if not isinstance(response.get("output"), list):
        raise malformed(asked, f"a response without output: {response!r:.200}")
    try:
        return tuple(answer.finish(response))
    except _UNREADABLE as error:
        raise _unreadable(asked, error, "a response") from error


def _read(
    asked: Asked, answer: Answer, name: str, event: dict[str, Any], headers: Mapping[str, str]
) -> Sequence[ModelDelta]:
    """Return the deltas of an event.

    Raises:
        ModelError: It tells of an error, or cannot be read.
    """
    kind = event.get("type")
    if kind is None and name:
        event = {**event, "type": name}
    elif kind == "error":
        failure = error_in(asked, event, headers)
        raise failure or malformed(asked, f"an error that says nothing: {event!r:.200}")
    try:
        return tuple(answer.feed(event))
    except _UNREADABLE as error:
        raise _unreadable(asked, error, f"an event {event.get('type')!r:.80}") from error


async def _ended(events: Events) -> None:
    """Read on to the end of a stream whose answer is complete; what else it says is of no account."""
    with trio.move_on_after(_PATIENCE):
        try:
            async for _ in events:
                pass
        except ModelError:
            return


def _failed(asked: Asked, end: Mapping[str, Any], headers: Mapping[str, str]) -> ModelError:
    told = end.get("error") or {"message": "the response failed, without a word why"}
    failure = error_in(asked, {"error": told}, headers) or malformed(asked, f"an error {told!r:.200}")
    if isinstance(end.get("usage"), Mapping):
        failure.usage = usage_of(end["usage"])
    return failure


def _unreadable(asked: Asked, error: Exception, what: str) -> ModelError:
    return malformed(asked, f"{what} of another form ({type(error).__name__}: {error})")


_LIMITS = "x-ratelimit-"


def _metadata(headers: Mapping[str, str]) -> dict[str, Any]:
    """Return what the headers of an answer say of it: what the request is called, and how much may be asked yet."""
    found: dict[str, Any] = {"request_id": id} if (id := request_id_of(headers)) else {}
    limits = {name[len(_LIMITS) :]: text for name, text in headers.items() if name.startswith(_LIMITS)}
    return {**found, "rate_limit": limits} if limits else found
