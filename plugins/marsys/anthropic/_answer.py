"""An answer that comes as a whole, and one that comes in events, to the same response."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import attrs

from marsys.anthropic._history import PROVIDER
from marsys.anthropic._reading import (
    call_of,
    finish_of,
    metadata_of,
    native_of,
    part_of,
    refusal_of,
    usage_of,
)
from marsys_core.messages import NativePart, Part, ToolCall, Usage
from marsys_core.models import (
    Accumulator,
    CallClosed,
    CallDelta,
    CallOpened,
    ModelDelta,
    ModelResponse,
    PartAdded,
    PartClosed,
    ReasoningDelta,
    StreamEnded,
    TextDelta,
    UsageDelta,
    content_of,
)
from marsys_core.models.response import is_void

__all__ = ["Answer", "response_of"]


def response_of(
    message: Mapping[str, Any], headers: Mapping[str, str], left_out: tuple[str, ...]
) -> ModelResponse:
    """Return a whole answer as a response.

    Args:
        message: The answer.
        headers: The headers of the response.
        left_out: What of the request the model does not take.

    Raises:
        TypeError, KeyError, AttributeError: It is not of the form that an answer has.
    """
    parts: list[Part] = []
    calls: list[tuple[Mapping[str, Any], int]] = []
    for block in message["content"]:
        if block["type"] == "tool_use":
            calls.append((block, len(parts)))
        elif not is_void(part := part_of(block)):
            parts.append(part)
    if (refusal := refusal_of(message.get("stop_details"))) is not None:
        parts.append(refusal)
    tool_calls: tuple[ToolCall, ...] = tuple(
        call_of(block, before if before < len(parts) else None) for block, before in calls
    )
    reason = message.get("stop_reason")
    usage = message.get("usage")
    return ModelResponse(
        content=content_of(parts),
        tool_calls=tool_calls,
        finish_reason=finish_of(reason),
        raw_finish_reason=reason if isinstance(reason, str) else "",
        usage=Usage() if usage is None else usage_of(usage),
        model=_text(message.get("model")),
        metadata=metadata_of(message, headers, left_out),
        provider=PROVIDER,
        id=_text(message.get("id")),
    )


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


@attrs.define(eq=False)
class Answer:
    """Adds events up, and tells them as deltas.

    What is not of the form that an event has raises TypeError, KeyError, ValueError or AttributeError.

    Args:
        headers: The headers of the response.
        left_out: What of the request the model does not take.

    Attributes:
        usage: What the call has cost so far, or None.
        done: Whether the answer is complete.
    """

    headers: Mapping[str, str]
    left_out: tuple[str, ...] = ()
    usage: Usage | None = None
    done: bool = False
    _total: Accumulator = attrs.field(factory=Accumulator)
    _message: dict[str, Any] = attrs.field(factory=dict)
    _blocks: dict[int, dict[str, Any]] = attrs.field(factory=dict)
    _json: dict[int, list[str]] = attrs.field(factory=dict)

    def take(self, event: Mapping[str, Any]) -> Iterator[ModelDelta]:
        """Take the data of an event, and yield what it adds."""
        handler = _EVENTS.get(event["type"])
        if handler is not None:  # others are pings, and what the API may add to it
            for delta in handler(self, event):
                yield self._total.feed(delta)

    def _started(self, event: Mapping[str, Any]) -> Iterator[ModelDelta]:
        message = event["message"]
        self._message = {**message, "usage": dict(message.get("usage") or {})}
        yield self._spent()

    def _spent(self) -> ModelDelta:
        self.usage = usage_of(self._message["usage"])
        return UsageDelta(self.usage)

    def _block_started(self, event: Mapping[str, Any]) -> Iterator[ModelDelta]:
        index, block = event["index"], dict(event["content_block"])
        self._blocks[index] = block
        type = block["type"]
        if type == "tool_use":
            yield CallOpened(index, block["id"], block["name"])
        elif type == "text":
            yield TextDelta(block.get("text") or "", index)
        elif type == "thinking":
            yield ReasoningDelta(block.get("thinking") or "", index, block.get("signature") or "")
        elif type == "redacted_thinking":
            yield ReasoningDelta("", index, block["data"], True)

    def _block_delta(self, event: Mapping[str, Any]) -> Iterator[ModelDelta]:
        index, delta = event["index"], event["delta"]
        type = delta["type"]
        if type == "text_delta":
            yield TextDelta(delta["text"], index)
        elif type == "input_json_delta":
            piece = delta["partial_json"]
            if piece:
                self._json.setdefault(index, []).append(piece)
                if self._blocks[index]["type"] == "tool_use":
                    yield CallDelta(index, piece)
        elif type == "thinking_delta":
            yield ReasoningDelta(delta["thinking"], index)
        elif type == "signature_delta":
            yield ReasoningDelta("", index, delta["signature"])
        elif type == "citations_delta":
            block = self._blocks[index]
            block["citations"] = [*(block.get("citations") or ()), delta["citation"]]
        else:
            self._block_grown(self._blocks[index], delta)

    @staticmethod
    def _block_grown(block: dict[str, Any], delta: Mapping[str, Any]) -> None:
        """Add what a block of a kind that is not known here is told: texts grow, the rest is set."""
        for key, value in delta.items():
            before = block.get(key)
            if key != "type" and value is not None:
                block[key] = before + value if isinstance(before, str) and isinstance(value, str) else value

    def _block_stopped(self, event: Mapping[str, Any]) -> Iterator[ModelDelta]:
        index = event["index"]
        block = self._blocks.pop(index)
        pieces = self._json.pop(index, None)
        type = block["type"]
        if type == "tool_use":
            if pieces is None:  # it came as a whole
                given = block.get("input")
                yield CallDelta(index, json.dumps({} if given is None else given, ensure_ascii=False))
            yield CallClosed(index, native_of(block))
        elif type in ("text", "thinking", "redacted_thinking"):
            if (native := native_of(block)) is not None:
                yield PartClosed(index, native)
        else:
            if pieces is not None:
                block["input"] = json.loads("".join(pieces))
            yield PartAdded(NativePart(block))

    def _message_delta(self, event: Mapping[str, Any]) -> Iterator[ModelDelta]:
        message = self._message
        told = {**event["delta"], **{key: event[key] for key in ("context_management",) if key in event}}
        message.update({key: value for key, value in told.items() if value is not None})
        usage = event.get("usage")
        if usage:
            message["usage"].update({key: value for key, value in usage.items() if value is not None})
            yield self._spent()

    def _stopped(self, _event: Mapping[str, Any]) -> Iterator[ModelDelta]:
        message = self._message
        if (refusal := refusal_of(message.get("stop_details"))) is not None:
            yield PartAdded(refusal)
        self.done = True
        reason = message.get("stop_reason")
        response = self._total.response(
            finish_reason=finish_of(reason),
            raw_finish_reason=_text(reason),
            usage=self.usage,
            model=_text(message.get("model")),
            metadata=metadata_of(message, self.headers, self.left_out),
            provider=PROVIDER,
            id=_text(message.get("id")),
        )
        yield StreamEnded(response)


_EVENTS: dict[str, Callable[[Answer, Mapping[str, Any]], Iterator[ModelDelta]]] = {
    "message_start": Answer._started,
    "content_block_start": Answer._block_started,
    "content_block_delta": Answer._block_delta,
    "content_block_stop": Answer._block_stopped,
    "message_delta": Answer._message_delta,
    "message_stop": Answer._stopped,
}
