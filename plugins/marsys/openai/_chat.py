"""Models that are asked through Chat Completions."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

import attrs

from marsys.openai._chat_reply import Reader
from marsys.openai._chat_request import refused_sampling, request_body
from marsys.openai._client import Client, Http
from marsys.openai._presets import Preset
from marsys_core.errors import ConfigError
from marsys_core.models import (
    Capabilities,
    ModelConfig,
    ModelDelta,
    ModelRequest,
    ModelResponse,
    deltas_of,
)

__all__ = ["ChatModel", "ChatSource"]

_PATH = "/chat/completions"


@attrs.define(eq=False)
class ChatModel:
    """One model of a provider, asked through Chat Completions.

    Args:
        name: The model, in the provider's words.
        preset: Who has it.
    """

    name: str
    preset: Preset
    _client: Client = attrs.field(repr=False)

    @property
    def provider(self) -> str:
        """Who has the model."""
        return self.preset.name

    @property
    def capabilities(self) -> Capabilities:
        """What the provider's models can do."""
        return self.preset.capabilities

    async def generate(self, request: ModelRequest) -> ModelResponse:
        """Answer as a whole.

        Raises:
            ModelError: There is no answer.
        """
        body = request_body(self.name, request, self.preset)
        reply = await self._client.ask(_PATH, body, deadline=request.deadline)
        return Reader(self._client.asked, self.name, reply.headers).whole(reply.data)

    async def stream(self, request: ModelRequest) -> AsyncIterator[ModelDelta]:
        """Answer in pieces; closing the iterator closes the connection.

        Raises:
            ModelError: There is no answer, or it broke off.
        """
        client = self._client
        body = request_body(self.name, request, self.preset, stream=True)
        async with client.stream(_PATH, body, deadline=request.deadline) as events:
            reader = Reader(client.asked, self.name, events.headers)
            whole = await events.whole()
            if whole is not None:  # a server that does not stream
                for delta in deltas_of(reader.whole(whole)):
                    yield delta
                return
            async for batch in events:
                for _name, data in batch:
                    for delta in reader.read(data):
                        yield delta
            for delta in reader.end(events.done):
                yield delta


@attrs.define(eq=False)
class ChatSource:
    """Makes the models of a provider.

    Args:
        preset: Who has them.
        base_url: Where the provider is, where that is set for all its models.
    """

    preset: Preset
    _http: Http = attrs.field(repr=False)
    base_url: str = ""
    _clients: dict[Any, Client] = attrs.field(factory=dict, init=False, repr=False)

    @property
    def key_names(self) -> Sequence[str]:
        """Under which names the key is looked for."""
        return self.preset.key_names

    @property
    def key_optional(self) -> bool:
        """Whether the provider is asked without a key as well."""
        return self.preset.key_optional

    def model(self, config: ModelConfig) -> ChatModel:
        """Return the model that `config` names.

        Raises:
            ConfigError: It is not said where the provider is, or something is set that it does not take.
        """
        api = config.options.get("api", "chat")
        if api != "chat":
            msg = f"model {str(config)!r} has options={{'api': {api!r}}}, and {self.preset.name!r} speaks 'chat' only"
            raise ConfigError(msg)
        refused = refused_sampling(config.sampling, self.preset) if config.sampling is not None else ""
        if refused:
            msg = f"model {str(config)!r}: {refused}"
            raise ConfigError(msg)
        return ChatModel(config.name, self.preset, self.client(config))

    def client(self, config: ModelConfig) -> Client:
        """Return the client for `config`; models with the same key and address share one.

        Raises:
            ConfigError: It is not said where the provider is.
        """
        preset = self.preset
        base_url = config.base_url or self.base_url or preset.base_url
        if not base_url and not preset.of_openai:
            msg = (
                f"it is not said where model {str(config)!r} is: give "
                f"ModelConfig(provider={preset.name!r}, name={config.name!r}, base_url='https://.../v1')"
            )
            raise ConfigError(msg)
        key = config.api_key
        found = self._clients.get((base_url, key))
        if found is None:
            found = self._clients[base_url, key] = self._http.client(
                preset.name, key, base_url or None, key_header=preset.key_header, of_openai=preset.of_openai
            )
        return found
