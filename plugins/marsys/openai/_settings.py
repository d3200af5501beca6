"""How the providers of the plugin are reached."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

__all__ = ["Wire"]


@attrs.frozen(kw_only=True)
class Wire:
    """How providers are reached: what the section of the plugin says.

    Args:
        connect_timeout: How long a connection may take to be made, in seconds.
        read_timeout: How long a provider may be silent in an answer, in seconds.
        max_reply_bytes: The longest reply that is read, in bytes.
        base_urls: Where providers are that are in another place than usual, by their names:
            ``{"ollama": "http://gpu.example:11434/v1"}``.
    """

    connect_timeout: float = attrs.field(default=10.0, validator=attrs.validators.gt(0))
    read_timeout: float = attrs.field(default=600.0, validator=attrs.validators.gt(0))
    max_reply_bytes: int = attrs.field(default=32_000_000, validator=attrs.validators.gt(0))
    base_urls: Mapping[str, str] = attrs.field(factory=dict)
