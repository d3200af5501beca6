"""Adding the pieces of a streamed answer up, and cutting an answer into pieces."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Any, TypeVar

import attrs

from marsys_core.errors import ModelError, ModelErrorKind
from marsys_core.messages import (
    DataPart,
    NativePart,
    Part,
    ReasoningPart,
    RefusalPart,
    TextPart,
    ToolCall,
    Usage,
    in_order,
)
from marsys_core.models.deltas import (
    CallClosed,
    CallDelta,
    CallOpened,
    Key,
    ModelDelta,
    PartAdded,
    PartClosed,
    ReasoningDelta,
    RefusalDelta,
    StreamEnded,
    TextDelta,
    UsageDelta,
)
from marsys_core.models.response import FinishReason, ModelResponse, content_of, is_void

__all__ = ["Accumulator", "collect", "deltas_of"]

D = TypeVar("D", bound=ModelDelta)
_TEXTS = (TextPart, ReasoningPart, RefusalPart)


@attrs.define(eq=False)
class _Open:
    """A part on its way: of which class, and the pieces of its text and its signature."""

    cls: type
    pieces: list[str] = attrs.field(factory=list)
    signature: list[str] = attrs.field(factory=list)
    redacted: bool = False
    native: Mapping[str, Any] | None = None
    closed: bool = False
    whole: Part | None = None

    def part(self) -> Part:
        if self.whole is not None:
            return self.whole
        text = "".join(self.pieces)
        if self.cls is TextPart:
            return TextPart(text, self.native)
        if self.cls is RefusalPart:
            return RefusalPart(text)
        return ReasoningPart(text, "".join(self.signature), self.redacted, self.native)


@attrs.define(eq=False)
class _OpenCall:
    """A tool call on its way; `before` says how many parts there were when it began."""

    before: int
    id: str = ""
    name: str = ""
    pieces: list[str] = attrs.field(factory=list)
    native: Mapping[str, Any] | None = None


@attrs.define(eq=False)
class Accumulator:
    """Adds the deltas of a stream up to a response. Providers feed it, and build their response of it::

        total = Accumulator()
        async for chunk in wire:
            yield total.feed(TextDelta(chunk["text"]))
        yield StreamEnded(total.response(finish_reason=FinishReason.STOP, model=self.name))

    Attributes:
        usage: The last usage that was told, or None.
    """

    usage: Usage | None = None
    _parts: list[_Open] = attrs.field(factory=list)
    _by_key: dict[tuple[type, Key], _Open] = attrs.field(factory=dict)
    _calls: dict[Key, _OpenCall] = attrs.field(factory=dict)

    def feed(self, delta: D) -> D:
        """Add `delta`, and return it."""
        add = _ADD.get(type(delta))
        if add is not None:
            add(self, delta)
        elif delta.text:
            self._opened(TextPart, None).pieces.append(delta.text)
        return delta

    @property
    def text(self) -> str:
        """The text so far."""
        return "".join("".join(each.pieces) for each in self._parts if each.cls is TextPart)

    @property
    def content(self) -> str | tuple[Part, ...]:
        """The parts so far, as the content of a response."""
        return content_of(each.part() for each in self._parts)

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        """The tool calls so far, whether they are complete or not."""
        kept = [0]  # how many of the parts before each index are more than nothing
        for each in self._parts:
            kept.append(kept[-1] + (not is_void(each.part())))
        return tuple(
            ToolCall(
                call.id,
                call.name,
                "".join(call.pieces),
                None if kept[call.before] == kept[-1] else kept[call.before],
                call.native,
            )
            for call in self._calls.values()
        )

    def response(
        self,
        *,
        finish_reason: FinishReason = FinishReason.STOP,
        raw_finish_reason: str = "",
        usage: Usage | None = None,
        model: str = "",
        metadata: Mapping[str, Any] | None = None,
        provider: str = "",
        id: str = "",
    ) -> ModelResponse:
        """Return what the deltas add up to; the rest are fields of `ModelResponse`."""
        return ModelResponse(
            content=self.content,
            tool_calls=self.tool_calls,
            finish_reason=finish_reason,
            raw_finish_reason=raw_finish_reason,
            usage=usage or self.usage or Usage(),
            model=model,
            metadata=metadata,
            provider=provider,
            id=id,
        )

    def _opened(self, cls: type, key: Key) -> _Open:
        """Return the part that a piece belongs to, begun where it is new."""
        if key is not None:
            found = self._by_key.get((cls, key))
        else:
            last = self._parts[-1] if self._parts else None
            found = None if last is None or last.cls is not cls else last
        if found is None or found.closed:
            found = _Open(cls)
            self._parts.append(found)
            if key is not None:
                self._by_key[cls, key] = found
        return found

    def _add_text(self, delta: TextDelta) -> None:
        if delta.text or delta.key is not None:
            self._opened(TextPart, delta.key).pieces.append(delta.text)

    def _add_reasoning(self, delta: ReasoningDelta) -> None:
        found = self._opened(ReasoningPart, delta.key)
        found.pieces.append(delta.reasoning)
        found.signature.append(delta.signature)
        found.redacted = found.redacted or delta.redacted

    def _add_refusal(self, delta: RefusalDelta) -> None:
        self._opened(RefusalPart, delta.key).pieces.append(delta.refusal)

    def _add_part(self, delta: PartAdded) -> None:
        self._parts.append(_Open(type(delta.part), whole=delta.part, closed=True))

    def _close_part(self, delta: PartClosed) -> None:
        if delta.key is None:
            begun = self._parts[-1:]
        else:
            begun = [found for cls in _TEXTS if (found := self._by_key.get((cls, delta.key))) is not None]
        for found in begun:
            if not found.closed:
                found.closed, found.native = True, delta.native
                return
        if delta.native is not None:
            self._parts.append(_Open(TextPart, native=delta.native, closed=True))

    def _call(self, key: Key) -> _OpenCall:
        found = self._calls.get(key)
        if found is None:
            found = self._calls[key] = _OpenCall(len(self._parts))
        return found

    def _open_call(self, delta: CallOpened) -> None:
        call = self._call(delta.key)
        call.id, call.name = call.id or delta.id, call.name or delta.name

    def _add_arguments(self, delta: CallDelta) -> None:
        self._call(delta.key).pieces.append(delta.arguments)

    def _close_call(self, delta: CallClosed) -> None:
        call = self._call(delta.key)
        call.native = call.native if delta.native is None else delta.native

    def _take_usage(self, delta: UsageDelta) -> None:
        self.usage = delta.usage


_ADD: dict[type, Callable[[Accumulator, Any], None]] = {
    TextDelta: Accumulator._add_text,
    ReasoningDelta: Accumulator._add_reasoning,
    RefusalDelta: Accumulator._add_refusal,
    PartAdded: Accumulator._add_part,
    PartClosed: Accumulator._close_part,
    CallOpened: Accumulator._open_call,
    CallDelta: Accumulator._add_arguments,
    CallClosed: Accumulator._close_call,
    UsageDelta: Accumulator._take_usage,
}


def deltas_of(response: ModelResponse) -> Iterator[ModelDelta]:
    """Cut a response into deltas, one for each thing in it, and the end: what answers a stream from a record."""
    for key, said in enumerate(in_order(response)):
        if isinstance(said, ToolCall):
            yield CallOpened(key, said.id, said.name)
            yield CallDelta(key, said.arguments)
            yield CallClosed(key, said.native)
        else:
            yield from _cut(key, said)
    yield UsageDelta(response.usage)
    yield StreamEnded(response)


def _cut(key: int, part: Part) -> Iterator[ModelDelta]:
    if isinstance(part, DataPart | NativePart):
        yield PartAdded(part)
        return
    if isinstance(part, TextPart):
        yield TextDelta(part.text, key)
    elif isinstance(part, ReasoningPart):
        yield ReasoningDelta(part.text, key, part.signature, part.redacted)
    else:
        yield RefusalDelta(part.refusal, key)
        return
    if part.native is not None:
        yield PartClosed(key, part.native)


async def collect(deltas: AsyncIterator[ModelDelta]) -> ModelResponse:
    """Read a stream to its end and return the response it added up to.

    Raises:
        ModelError: The stream ended without its response.
    """
    response = None
    async for delta in deltas:
        if delta.response is not None:
            response = delta.response
    if response is None:
        msg = "the stream ended before the answer was complete"
        raise ModelError(msg, kind=ModelErrorKind.MALFORMED, retryable=True)
    return response
