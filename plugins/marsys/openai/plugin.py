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
    from marsys_core.plugins.providers import OpenContext

__all__ = ["marsys_models"]


def _opener(preset: Preset) -> Callable[[OpenContext, Wire], AbstractAsyncContextManager[ChatSource]]:
    @asynccontextmanager
    async def open_source(_context: OpenContext, settings: Wire) -> AsyncIterator[ChatSource]:
        from marsys.openai._chat import ChatSource
        from marsys.openai._client import open_http

        for name in settings.base_urls:
            if name not in PRESETS:
                msg = (
                    f"base_urls names {name!r}, which is no provider of this plugin.{nearest(name, PRESETS)}"
                )
                raise ConfigError(msg)
        async with open_http(settings) as http:
            yield ChatSource(preset, http, settings.base_urls.get(preset.name, ""))

    return open_source


@hookimpl
def marsys_models() -> Iterable[Provider[Any]]:
    """Offer a provider of models for each of the presets."""
    return [
        Provider(preset.name, _opener(preset), settings=Wire, summary=preset.summary)
        for preset in PRESETS.values()
    ]
