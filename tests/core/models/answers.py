"""Responses of every shape, ways to cut them into deltas, and what two of them differ in."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import attrs
from hypothesis import strategies as st

from marsys_core.messages import (
    DataPart,
    NativePart,
    Part,
    ReasoningPart,
    RefusalPart,
    TextPart,
    ToolCall,
    Usage,
)
from marsys_core.models import (
    CallDelta,
    FinishReason,
    ModelDelta,
    ModelResponse,
    ReasoningDelta,
    RefusalDelta,
    TextDelta,
    content_of,
    deltas_of,
)

__all__ = ["cut", "plain", "responses"]

texts = st.text(max_size=6)
items = st.dictionaries(texts, texts | st.integers(), max_size=2)
natives = st.none() | items
parts = (
    st.builds(TextPart, texts, natives)
    | st.builds(DataPart, texts, texts, native=natives)
    | st.builds(ReasoningPart, texts, texts, st.booleans(), natives)
    | st.builds(RefusalPart, texts)
    | st.builds(NativePart, items)
)
usages = st.builds(Usage, *[st.integers(0, 9)] * 5, st.floats(0, 1), st.integers(0, 9))


@st.composite
def responses(draw: st.DrawFn) -> ModelResponse:
    """Draw a response as a provider builds it: no empty parts, calls in the order in which they came."""
    content = content_of(draw(st.lists(parts, max_size=4)))
    count = len(content) if isinstance(content, tuple) else bool(content)
    places = st.none() if not count else st.none() | st.integers(0, count - 1)
    afters = draw(st.lists(places, max_size=3))
    afters.sort(key=lambda after: count if after is None else after)
    calls = tuple(ToolCall(draw(texts), draw(texts), draw(texts), after, draw(natives)) for after in afters)
    return ModelResponse(
        content=content,
        tool_calls=calls,
        finish_reason=draw(st.sampled_from(FinishReason)),
        raw_finish_reason=draw(texts),
        usage=draw(usages),
        model=draw(texts),
        metadata=draw(natives),
        provider=draw(texts),
        id=draw(texts),
    )


def cut(response: ModelResponse, draw: Any) -> Iterator[ModelDelta]:
    """Yield the deltas of a response, its texts cut into pieces of any length."""
    for delta in deltas_of(response):
        if isinstance(delta, TextDelta):
            yield from (TextDelta(piece, delta.key) for piece in _pieces(delta.text, draw))
        elif isinstance(delta, RefusalDelta):
            yield from (RefusalDelta(piece, delta.key) for piece in _pieces(delta.refusal, draw))
        elif isinstance(delta, CallDelta):
            yield from (CallDelta(delta.key, piece) for piece in _pieces(delta.arguments, draw))
        elif isinstance(delta, ReasoningDelta):
            for piece in _pieces(delta.reasoning, draw):
                yield ReasoningDelta(piece, delta.key)
            for piece in _pieces(delta.signature, draw):
                yield ReasoningDelta("", delta.key, piece, delta.redacted)
        else:
            yield delta


def _pieces(text: str, draw: Any) -> list[str]:
    ends = sorted(draw(st.lists(st.integers(0, len(text)), max_size=3)))
    return [text[start:end] for start, end in zip([0, *ends], [*ends, len(text)], strict=True)]


def plain(said: ModelResponse | Part | ToolCall) -> Any:
    """Return what can be compared: instances are equal to themselves alone."""
    if isinstance(said, ModelResponse):
        content = said.content if isinstance(said.content, str) else [*map(plain, said.content)]
        fields = {field.name: getattr(said, field.name) for field in attrs.fields(ModelResponse)}
        return {**fields, "content": content, "tool_calls": [*map(plain, said.tool_calls)]}
    return type(said).__name__, attrs.asdict(said)
