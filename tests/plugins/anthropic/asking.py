"""A model that speaks to a server of this machine."""

from __future__ import annotations

import json
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import trio

from marsys.anthropic._source import AnthropicSource
from marsys.anthropic.model import AnthropicModel
from marsys.anthropic.plugin import AnthropicSettings
from marsys_core.messages import Message
from marsys_core.models import ModelConfig, ModelRequest
from tests.wire.server import Answer, Server, serving

T = TypeVar("T")
KEY = "sk-ant-0123456789"
REQUEST = ModelRequest(messages=[Message("user", "Hello")])


@asynccontextmanager
async def asking(
    *answers: Answer, name: str = "claude-sonnet-4-5", **settings: Any
) -> AsyncIterator[tuple[AnthropicModel, Server]]:
    """Serve `answers`, and give a model that asks there."""
    async with serving(*answers) as server:
        source = AnthropicSource(AnthropicSettings(**settings))
        try:
            yield source.model(config(name, server.url)), server
        finally:
            await source.aclose()
        await server.closed()


def config(name: str = "claude-sonnet-4-5", base_url: str = "", key: str | None = KEY) -> ModelConfig:
    return ModelConfig(provider="anthropic", name=name, api_key=key, base_url=base_url)  # type: ignore[arg-type]


def run(main: Callable[[], Awaitable[T]]) -> T:
    """Run `main`, where nothing may be left to be closed by chance."""

    async def checked() -> T:
        with warnings.catch_warnings():
            warnings.simplefilter("error", ResourceWarning)
            return await main()

    return trio.run(checked)


def events(*data: Any) -> bytes:
    """Return data as events of a stream."""
    return b"".join(
        b"event: %b\ndata: %b\n\n" % (each["type"].encode(), json.dumps(each).encode()) for each in data
    )


BEGUN = events(
    {
        "type": "message_start",
        "message": {"id": "msg_1", "model": "claude-x", "usage": {"input_tokens": 11, "output_tokens": 1}},
    },
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hel"}},
)
ENDED = events(
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "lo"}},
    {"type": "content_block_stop", "index": 0},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 2}},
    {"type": "message_stop"},
)
