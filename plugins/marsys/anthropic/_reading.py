"""From the blocks of an answer to its parts, calls, usage and end."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from marsys_core.messages import NativePart, Part, ReasoningPart, RefusalPart, TextPart, ToolCall, Usage
from marsys_core.models import FinishReason

__all__ = ["call_of", "finish_of", "metadata_of", "native_of", "part_of", "refusal_of", "usage_of"]

_FINISH = {
    "end_turn": FinishReason.STOP,
    "stop_sequence": FinishReason.STOP,
    "tool_use": FinishReason.TOOL_CALLS,
    "max_tokens": FinishReason.LENGTH,
    "model_context_window_exceeded": FinishReason.LENGTH,
    "pause_turn": FinishReason.PAUSED,
    "refusal": FinishReason.REFUSAL,
}
_OWN = {
    "text": ("type", "text"),
    "thinking": ("type", "thinking", "signature"),
    "redacted_thinking": ("type", "data"),
    "tool_use": ("type", "id", "name", "input"),
}
_TOLD = ("stop_sequence", "stop_details", "container", "context_management", "diagnostics")
_TOLD_OF_USAGE = ("service_tier", "server_tool_use", "inference_geo", "speed", "iterations", "cache_creation")
_LIMITS = "anthropic-ratelimit-"


def native_of(block: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return what of a block has no place in a part, such as citations; None where there is nothing."""
    own = _OWN[block["type"]]
    found = {key: value for key, value in block.items() if key not in own and value is not None}
    if found and isinstance(citations := found.get("citations"), list):
        if not citations:
            del found["citations"]
        else:  # the API tells where a file is, and does not take it back
            found["citations"] = [_without_file(each) for each in citations]
    return found or None


def _without_file(citation: Any) -> Any:
    if isinstance(citation, dict) and "file_id" in citation:
        return {key: value for key, value in citation.items() if key != "file_id"}
    return citation


def part_of(block: Mapping[str, Any]) -> Part:
    """Return a block that calls no tool of ours as a part.

    Raises:
        TypeError, KeyError: It is not of the form that its type has.
    """
    type = block["type"]
    if type == "text":
        return TextPart(_str(block["text"]), native_of(block))
    if type == "thinking":
        return ReasoningPart(
            _str(block["thinking"]), _str(block.get("signature") or ""), native=native_of(block)
        )
    if type == "redacted_thinking":
        return ReasoningPart("", _str(block["data"]), True, native_of(block))
    return NativePart(dict(block))


def call_of(block: Mapping[str, Any], after: int | None = None) -> ToolCall:
    """Return a block that calls a tool of ours as the call.

    Args:
        block: The block.
        after: How many parts came before it, where some come after it.
    """
    given = block.get("input")
    arguments = json.dumps({} if given is None else given, ensure_ascii=False)
    return ToolCall(_str(block["id"]), _str(block["name"]), arguments, after, native_of(block))


def _str(value: Any) -> str:
    if not isinstance(value, str):
        msg = f"there is {value!r:.200} where a text should be"
        raise TypeError(msg)
    return value


def finish_of(reason: object) -> FinishReason:
    """Return why the model stopped, in words that do not depend on the provider."""
    return _FINISH.get(reason, FinishReason.OTHER) if isinstance(reason, str) else FinishReason.OTHER


def refusal_of(details: object) -> RefusalPart | None:
    """Return the words that an answer was refused with, where there are some."""
    said = details.get("explanation") if isinstance(details, Mapping) else None
    return RefusalPart(said) if isinstance(said, str) and said else None


def usage_of(usage: Mapping[str, Any]) -> Usage:
    """Return what was spent; the API tells cached input apart from the rest, and we count it in."""
    read, written = _count(usage, "cache_read_input_tokens"), _count(usage, "cache_creation_input_tokens")
    details = usage.get("output_tokens_details")
    return Usage(
        input_tokens=_count(usage, "input_tokens") + read + written,
        output_tokens=_count(usage, "output_tokens"),
        cached_tokens=read,
        reasoning_tokens=_count(details, "thinking_tokens") if isinstance(details, Mapping) else 0,
        cache_write_tokens=written,
    )


def _count(usage: Mapping[str, Any], name: str) -> int:
    value = usage.get(name)
    if value is None:
        return 0
    if type(value) is not int or value < 0:
        msg = f"{name} is {value!r:.200}, and not a number of tokens"
        raise TypeError(msg)
    return value


def metadata_of(
    message: Mapping[str, Any], headers: Mapping[str, str], left_out: tuple[str, ...]
) -> dict[str, Any] | None:
    """Return what else was said.

    Args:
        message: The message, or what a stream told of it.
        headers: The headers of the response.
        left_out: What of the request the model does not take.
    """
    found = {name: value for name in _TOLD if (value := message.get(name)) is not None}
    usage = message.get("usage")
    if isinstance(usage, Mapping):
        found |= {name: value for name in _TOLD_OF_USAGE if (value := usage.get(name)) is not None}
    if request_id := headers.get("request-id"):
        found["request_id"] = request_id
    limits = {name[len(_LIMITS) :]: value for name, value in headers.items() if name.startswith(_LIMITS)}
    if limits:
        found["rate_limit"] = limits
    if left_out:
        found["left_out"] = list(left_out)
    return found or None
