"""The pieces of a streamed answer. What they add up to, an `Accumulator` says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import attrs

from marsys_core.messages import Part, Usage
from marsys_core.models.response import ModelResponse

__all__ = [
    "CallClosed",
    "CallDelta",
    "CallOpened",
    "Key",
    "ModelDelta",
    "PartAdded",
    "PartClosed",
    "ReasoningDelta",
    "RefusalDelta",
    "StreamAbandoned",
    "StreamEnded",
    "TextDelta",
    "UsageDelta",
]

Key: TypeAlias = str | int | None
"""Which part a piece belongs to, where a provider says so: its index or id.

None goes on with the part before, if it is of the same kind and not closed, and otherwise begins one.
"""


@attrs.define(eq=False)
class ModelDelta:
    """A piece of a streamed answer: one of the subclasses, or, made as it is, a piece of text, the end, or both.

    The texts of all deltas, joined, are the text of the response; the last one carries the whole `response`.
    """

    text: str = attrs.field(default="", kw_only=True)
    response: ModelResponse | None = attrs.field(default=None, kw_only=True)


@attrs.define(eq=False)
class TextDelta(ModelDelta):
    """More text of the answer."""

    text: str = ""
    key: Key = None


@attrs.define(eq=False)
class ReasoningDelta(ModelDelta):
    """More of what the model thinks: readable text, a piece of the signature, or both."""

    reasoning: str = ""
    key: Key = None
    signature: str = ""
    redacted: bool = False


@attrs.define(eq=False)
class RefusalDelta(ModelDelta):
    """More of the model's words for not answering."""

    refusal: str = ""
    key: Key = None


@attrs.define(eq=False)
class PartAdded(ModelDelta):
    """A part as a whole: an image, an item of the provider's own."""

    part: Part


@attrs.define(eq=False)
class PartClosed(ModelDelta):
    """Nothing more comes to a part; with what of the provider's own goes with it."""

    key: Key = None
    native: Mapping[str, Any] | None = None


@attrs.define(eq=False)
class CallOpened(ModelDelta):
    """A tool call begins. One that is told again, under the same key, adds what was not told before."""

    key: Key
    id: str = ""
    name: str = ""


@attrs.define(eq=False)
class CallDelta(ModelDelta):
    """More of the arguments of a tool call."""

    key: Key
    arguments: str = ""


@attrs.define(eq=False)
class CallClosed(ModelDelta):
    """The arguments of a tool call are complete."""

    key: Key
    native: Mapping[str, Any] | None = None


@attrs.define(eq=False)
class UsageDelta(ModelDelta):
    """What the call has cost so far, all of it: the last one counts."""

    usage: Usage


@attrs.define(eq=False)
class StreamEnded(ModelDelta):
    """The answer is complete, and this is the whole of it."""

    response: ModelResponse


@attrs.define(eq=False)
class StreamAbandoned(ModelDelta):
    """The answer will not be completed: what came of it counts no more. The engine says so; no model does."""

    reason: str = ""
