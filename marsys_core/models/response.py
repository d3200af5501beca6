"""What a model answers."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from typing import Any

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
    text_of,
)

__all__ = ["FinishReason", "ModelResponse", "content_of", "is_void", "unanswered"]


class FinishReason(enum.Enum):
    """Why a model stopped, in words that do not depend on the provider."""

    STOP = "stop"
    TOOL_CALLS = "tool_calls"
    LENGTH = "length"
    CONTENT_FILTER = "content_filter"
    REFUSAL = "refusal"
    PAUSED = "paused"
    """The provider stopped in the middle of its own work, and goes on when it is sent its answer back."""
    OTHER = "other"


@attrs.define(eq=False, kw_only=True)
class ModelResponse:
    """A model's answer: content, tool calls, why it stopped, and what it cost.

    Args:
        content: Text, or a tuple of parts in the order in which they came; see `content_of`.
        tool_calls: The tools that it calls, in order.
        finish_reason: Why it stopped.
        raw_finish_reason: The provider's own word for that.
        usage: What it cost.
        model: Which model answered, in the provider's words.
        metadata: What else the provider said, JSON data: ``request_id``, ``rate_limit``, ``stop_sequence``, ...
        provider: Who answered, and gets back what is opaque in the answer; the same for all models that
            understand each other's signatures.
        id: What the provider calls this answer.
    """

    content: str | tuple[Part, ...] = ""
    tool_calls: tuple[ToolCall, ...] = ()
    finish_reason: FinishReason = FinishReason.STOP
    raw_finish_reason: str = ""
    usage: Usage = Usage()  # noqa: RUF009 - frozen, shared on purpose
    model: str = ""
    metadata: Mapping[str, Any] | None = None
    provider: str = ""
    id: str = ""

    @property
    def text(self) -> str:
        """The text of the answer, without its other parts."""
        return text_of(self.content)

    @property
    def reasoning(self) -> str:
        """What can be read of the model's thoughts."""
        return "".join(part.text for part in self._parts if isinstance(part, ReasoningPart))

    @property
    def refusal(self) -> str:
        """The model's own words for not answering."""
        return "".join(part.refusal for part in self._parts if isinstance(part, RefusalPart))

    @property
    def _parts(self) -> tuple[Part, ...]:
        return () if isinstance(self.content, str) else self.content


def content_of(parts: Iterable[Part]) -> str | tuple[Part, ...]:
    """Return parts as the content of a response: a text where they are no more than one, and no empty texts."""
    kept = tuple(part for part in parts if not is_void(part))
    if not kept:
        return ""
    only = kept[0]
    plain = len(kept) == 1 and isinstance(only, TextPart) and only.native is None
    return only.text if plain else kept  # type: ignore[union-attr]  # it is a TextPart


_UNANSWERED = {
    FinishReason.REFUSAL: (ModelErrorKind.REFUSAL, "refused to answer"),
    FinishReason.CONTENT_FILTER: (
        ModelErrorKind.CONTENT_FILTER,
        "was kept from answering by a content filter",
    ),
    FinishReason.LENGTH: (ModelErrorKind.EMPTY, "came to its limit of output tokens before it said anything"),
    FinishReason.OTHER: (ModelErrorKind.EMPTY, "ended without saying anything"),
}


def unanswered(name: str, response: ModelResponse) -> ModelError | None:
    """Return what is wrong with a response in which nothing is answered, or None where there is something.

    A model that stops of itself and says nothing has answered: there was nothing to say.

    Args:
        name: The model.
        response: What it gave, without calls.
    """
    found = _UNANSWERED.get(response.finish_reason)
    if found is None or (
        response.content and (isinstance(response.content, str) or any(map(_answers, response.content)))
    ):
        return None
    kind, what = found
    said = response.refusal
    msg = f"model {name!r} {what}" + (
        f" ({response.raw_finish_reason})" if response.raw_finish_reason else ""
    )
    msg += f": {said}" if said else ""
    return ModelError(
        msg,
        kind=kind,
        provider=response.provider,
        code=response.raw_finish_reason,
        said=said,
        usage=response.usage,
    )


def _answers(part: Part) -> bool:
    return isinstance(part, DataPart | NativePart) or (isinstance(part, TextPart) and bool(part.text))


def is_void(part: Part) -> bool:
    """Whether there is nothing in a part."""
    if isinstance(part, TextPart):
        return not part.text and part.native is None
    if isinstance(part, ReasoningPart):
        return not (part.text or part.signature or part.redacted) and part.native is None
    return isinstance(part, RefusalPart) and not part.refusal
