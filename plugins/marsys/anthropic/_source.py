"""From a `ModelConfig` to a model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import trio

from marsys.anthropic._http import refuse
from marsys.anthropic._traits import traits_of
from marsys.anthropic.model import AnthropicModel
from marsys_core.errors import ConfigError

if TYPE_CHECKING:
    from marsys.anthropic.plugin import AnthropicSettings
    from marsys_core.models import ModelConfig
    from marsys_core.secret import Secret

__all__ = ["AnthropicSource"]


class AnthropicSource:
    """Makes models, which share one pool of connections.

    Args:
        settings: How the API is reached.
    """

    key_names: Sequence[str] = ("ANTHROPIC_API_KEY",)

    def __init__(self, settings: AnthropicSettings) -> None:
        self._settings = settings
        self._clients: dict[tuple[Secret, str], Any] = {}
        self._pool: Any = None

    def model(self, config: ModelConfig) -> AnthropicModel:
        """Return the model that `config` names.

        Raises:
            ConfigError: There is no key, or the base URL is none.
        """
        key = config.api_key
        if key is None:
            msg = f"there is no key for model {str(config)!r}: set ANTHROPIC_API_KEY in the environment, or give ModelConfig(api_key=...)"
            raise ConfigError(msg)
        base_url = config.base_url or self._settings.base_url
        if base_url and not base_url.startswith(("http://", "https://")):
            msg = f"base_url of model {str(config)!r} is an address that begins with https:// or http://, not {base_url!r:.200}"
            raise ConfigError(msg)
        return AnthropicModel(
            config.name,
            self._client(key, base_url),
            traits_of(config.name),
            redact=key.redact,
            max_reply_bytes=self._settings.max_reply_bytes,
        )

    def _client(self, key: Secret, base_url: str) -> Any:
        client = self._clients.get((key, base_url))
        if client is None:
            import anthropic

            timeout = anthropic.Timeout(self._settings.read_timeout, connect=self._settings.connect_timeout)
            if self._pool is None:
                self._pool = anthropic.DefaultAsyncHttpxClient(
                    timeout=timeout, event_hooks={"response": [refuse]}
                )
            client = self._clients[key, base_url] = anthropic.AsyncAnthropic(
                api_key=key.reveal(),
                base_url=base_url or None,
                timeout=timeout,
                max_retries=0,  # retries are middleware, and are recorded
                http_client=self._pool,
            )
        return client

    async def aclose(self) -> None:
        """Close every connection, also while this is cancelled."""
        pool, self._pool = self._pool, None
        self._clients.clear()
        if pool is not None:
            with trio.CancelScope(shield=True):
                await pool.aclose()
