"""Claude models of Anthropic, by the Messages API: ``"anthropic:claude-sonnet-4-5"``."""

from marsys.anthropic.model import AnthropicModel

__all__ = ["AnthropicModel"]
