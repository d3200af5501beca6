"""The plugin that offers models of OpenAI, and of everybody who speaks its ways."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Any

from marsys.openai._presets import PRESETS, Preset
from marsys.openai._settings import Wire
from marsys_core import Provider, hookimpl
from marsys_core.errors import ConfigError, nearest

if TYPE_CHECKING:
    from marsys.openai._chat import ChatSource
    from marsys.openai._responses import ResponsesSource
    from marsys_core.plugins.providers import OpenContext

__all__ = ["marsys_models", "open_openai"]


def _opener(preset: Preset) -> Callable[[OpenContext, Wire], AbstractAsyncContextManager[ChatSource]]:
    @asynccontextmanager
    async def open_source(_context: OpenContext, settings: Wire) -> AsyncIterator[ChatSource]:
        from marsys.openai._chat import ChatSource
        from marsys.openai._client import open_http

        _check(settings)
        async with open_http(settings) as http:
            yield ChatSource(preset, http, settings.base_urls.get(preset.name, ""))

    return open_source


@asynccontextmanager
async def open_openai(_context: OpenContext, settings: Wire) -> AsyncIterator[ResponsesSource]:
    """Open the way to OpenAI, whose models are asked through the Responses API."""
    from marsys.openai._client import open_http
    from marsys.openai._responses import ResponsesSource

    _check(settings)
    async with open_http(settings) as http:
        yield ResponsesSource(http, settings.base_urls.get("openai", ""))


def _check(settings: Wire) -> None:
    known = ("openai", *PRESETS)
    for name in settings.base_urls:
        if name not in known:
            msg = f"base_urls names {name!r}, which is no provider of this plugin.{nearest(name, known)}"
            raise ConfigError(msg)


@hookimpl
def marsys_models() -> Iterable[Provider[Any]]:
    """Offer OpenAI, and a provider of models for each of the presets."""
    return [
        Provider("openai", open_openai, settings=Wire, summary="Models of OpenAI"),
        *(
            Provider(preset.name, _opener(preset), settings=Wire, summary=preset.summary)
            for preset in PRESETS.values()
        ),
    ]
