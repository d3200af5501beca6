"""The plugin that offers the models of Anthropic."""

from __future__ import annotations

import importlib.util
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import attrs

from marsys_core import Provider, hookimpl
from marsys_core.errors import PluginUnavailable

if TYPE_CHECKING:
    from marsys_core.models import ModelSource
    from marsys_core.plugins.providers import OpenContext

__all__ = ["AnthropicSettings", "marsys_models"]


@attrs.frozen(kw_only=True)
class AnthropicSettings:
    """How the API is reached.

    Args:
        base_url: Where it is, where that is another place than usual and `ModelConfig` does not say.
        connect_timeout: How long a connection may take to be made, in seconds.
        read_timeout: How long it may be silent in an answer, in seconds; `model_timeout` limits a call as a whole.
        max_reply_bytes: The longest reply that is read, in bytes; a longer one is an error.
    """

    base_url: str = ""
    connect_timeout: float = attrs.field(default=10.0, validator=attrs.validators.gt(0))
    read_timeout: float = attrs.field(default=600.0, validator=attrs.validators.gt(0))
    max_reply_bytes: int = attrs.field(default=32_000_000, validator=attrs.validators.gt(0))


@asynccontextmanager
async def _open(_context: OpenContext, settings: AnthropicSettings) -> AsyncIterator[ModelSource]:
    if importlib.util.find_spec("anthropic") is None:
        msg = "pip install 'marsys-core[anthropic]'"
        raise PluginUnavailable(msg)
    from marsys.anthropic._source import AnthropicSource

    source = AnthropicSource(settings)
    try:
        yield source
    finally:
        await source.aclose()


@hookimpl
def marsys_models() -> Iterable[Provider[Any]]:
    """Offer the models of Anthropic."""
    summary = "Claude models: 'anthropic:NAME', with a key in ANTHROPIC_API_KEY"
    return [Provider("anthropic", _open, settings=AnthropicSettings, summary=summary)]
