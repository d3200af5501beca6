"""What is said: messages, their parts, tool calls and what they cost.

Instances are immutable by rule: nobody assigns to a field after construction. They are not frozen by
attrs, because making a frozen one costs three times as much and a run makes several for each step.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol, overload

import attrs

if TYPE_CHECKING:
    import os

__all__ = [
    "Conversation",
    "DataPart",
    "Message",
    "NativePart",
    "Part",
    "ReasoningPart",
    "RefusalPart",
    "Role",
    "Said",
    "TextPart",
    "ToolCall",
    "Usage",
    "in_order",
    "shown",
    "text_of",
]

Role = Literal["system", "user", "assistant", "tool"]


@attrs.define(eq=False)
class TextPart:
    """Text within a message of several parts.

    Args:
        text: The text.
        native: What else of the provider's own goes with it, such as citations or a signature: JSON data that is
            sent back as it is, to that provider only.
    """

    text: str
    native: Mapping[str, Any] | None = None


@attrs.define(eq=False)
class DataPart:
    """Something that is not text: an image or a file, by value (base64) or by address.

    Args:
        media_type: What it is, for example ``"image/png"``.
        data: Its bytes in base64.
        url: Where it is, in place of `data`.
        name: What the file is called.
        native: What of the provider's own goes with it; see `TextPart`.
    """

    media_type: str
    data: str = ""
    url: str = ""
    name: str = ""
    native: Mapping[str, Any] | None = None

    @classmethod
    def of_bytes(cls, data: bytes, media_type: str, name: str = "") -> DataPart:
        """Return `data` as a part of a message."""
        import base64

        return cls(media_type, base64.b64encode(data).decode("ascii"), name=name)

    @classmethod
    def of_file(cls, path: str | os.PathLike[str], media_type: str = "") -> DataPart:
        """Read a file and return it as a part of a message; it blocks while it reads.

        Args:
            path: The file.
            media_type: What it is; by default what its name says.

        Raises:
            ValueError: Its name does not say what it is.
            OSError: It cannot be read.
        """
        from pathlib import Path

        file = Path(path)
        if not media_type:
            import mimetypes

            media_type = mimetypes.guess_type(file.name)[0] or ""
        if not media_type:
            msg = f"the name of {file.name!r} does not say what it is; give media_type=, for example 'image/png'"
            raise ValueError(msg)
        return cls.of_bytes(file.read_bytes(), media_type, file.name)


@attrs.define(eq=False)
class ReasoningPart:
    """What a model thought before it answered. It is no part of the answer's text.

    Args:
        text: What can be read of it; often nothing, or a summary.
        signature: What the provider needs back to go on from it, opaque, sent back as it is.
        redacted: Whether the provider keeps the text to itself and gives only the signature.
        native: What else of the provider's own goes with it; see `TextPart`.
    """

    text: str = ""
    signature: str = ""
    redacted: bool = False
    native: Mapping[str, Any] | None = None


@attrs.define(eq=False)
class RefusalPart:
    """A model's own words for not answering."""

    refusal: str


@attrs.define(eq=False)
class NativePart:
    """An item that only its provider understands, such as a search that it made itself: kept, and sent back as it is."""

    item: Mapping[str, Any]


Part = TextPart | DataPart | ReasoningPart | RefusalPart | NativePart


def _as_json(arguments: Any) -> str:
    if not isinstance(arguments, dict | list):
        return arguments  # type: ignore[no-any-return]  # text, or what stands in an event for long text
    import json

    return json.dumps(arguments, ensure_ascii=False)


@attrs.define(eq=False)
class ToolCall:
    """A model's request to run a tool.

    `arguments` is the text exactly as the model sent it; it may not be valid JSON, and is never repaired.
    Where a provider sends an object, it is written as JSON.

    Args:
        id: What its result is given under.
        name: The tool.
        arguments: What to give it, as JSON text.
        after: How many parts of the content came before it, where it came before the last one; see `in_order`.
        native: What of the provider's own goes with it, such as a signature; see `TextPart`.
    """

    id: str
    name: str
    arguments: str = attrs.field(default="{}", converter=_as_json)
    after: int | None = None
    native: Mapping[str, Any] | None = None


@attrs.define(eq=False)
class Message:
    """One turn of a conversation.

    Args:
        role: Who speaks.
        content: Text, or a tuple of parts.
        tool_calls: The tools that an assistant asks for, in order.
        tool_call_id: In a tool's message, the call that it answers.
        name: Who spoke, where several share a role.
        is_error: In a tool's message, that the call went wrong.
        provider: Who gave an assistant's message: what in it is opaque (signatures, `native`, a `NativePart`) is
            for this provider, and is left out of what another one is sent.
    """

    role: Role
    content: str | tuple[Part, ...] = ""
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str = ""
    name: str = ""
    is_error: bool = False
    provider: str = ""

    @property
    def text(self) -> str:
        """The text of the message, without its other parts."""
        return text_of(self.content)


def text_of(content: str | Sequence[Part]) -> str:
    """Return the text in `content`; parts that are not text are left out."""
    if isinstance(content, str):
        return content
    return "".join(part.text for part in content if isinstance(part, TextPart))


class Said(Protocol):
    """A message, or a response: content, and calls of tools."""

    @property
    def content(self) -> str | tuple[Part, ...]:
        """Text, or parts."""

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        """The calls."""


def in_order(said: Said) -> Iterator[Part | ToolCall]:
    """Yield the parts and the tool calls of an assistant's message in the order in which the model gave them.

    What a provider is sent back has to stand in that order. A text is one part; an empty one is none.
    """
    content = said.content
    parts: Sequence[Part]
    if isinstance(content, str):
        parts = (TextPart(content),) if content else ()
    else:
        parts = content
    calls = iter(sorted(said.tool_calls, key=lambda call: len(parts) if call.after is None else call.after))
    call = next(calls, None)
    for index, part in enumerate(parts):
        while call is not None and call.after is not None and call.after <= index:
            yield call
            call = next(calls, None)
        yield part
    while call is not None:
        yield call
        call = next(calls, None)


_MOST_BITS = 3322  # a thousand digits; Python itself refuses to write more than 4,300


def shown(value: object, limit: int = 80) -> str:
    """Return the representation of `value` for a message about it: short, and whatever the value is.

    Use it where a value of unknown making is named: its own code may raise, and it may be a megabyte long.

    Args:
        value: Anything.
        limit: The most characters of it that are shown.
    """
    if isinstance(value, int) and value.bit_length() > _MOST_BITS:
        return f"a whole number of {value.bit_length()} bits"
    try:
        text = repr(value[: limit + 1]) if type(value) is str else repr(value)
    except Exception as error:  # the code of the value; what it raised is what there is to show
        return f"<{type(value).__qualname__} whose repr raised {type(error).__name__}>"
    return text if len(text) <= limit else f"{text[:limit]}…"


@attrs.frozen
class Usage:
    """What a model call, a step or a run cost, in tokens. Addition sums two of them.

    `input_tokens` includes `cached_tokens`, which were read from the provider's cache, and `cache_write_tokens`,
    which were written to it; `output_tokens` includes `reasoning_tokens`. `cost` is in the currency of whoever
    reports it; models of one run should agree on one.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    model_calls: int = 0
    cost: float = 0.0
    cache_write_tokens: int = 0

    @property
    def total_tokens(self) -> int:
        """Input and output together."""
        return self.input_tokens + self.output_tokens

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.cached_tokens + other.cached_tokens,
            self.reasoning_tokens + other.reasoning_tokens,
            self.model_calls + other.model_calls,
            self.cost + other.cost,
            self.cache_write_tokens + other.cache_write_tokens,
        )


class Conversation(Sequence[Message]):
    """An append-only list of messages, seen up to a length: a view that costs nothing to hand over.

    A run of a thousand steps would copy half a million references if each step got a list of its own.
    """

    __slots__ = ("_log", "_stop")

    def __init__(self, log: list[Message], stop: int | None = None) -> None:
        self._log = log
        self._stop = len(log) if stop is None else stop

    def __len__(self) -> int:
        return self._stop

    def __iter__(self) -> Iterator[Message]:
        from itertools import islice

        return islice(self._log, self._stop)

    @overload
    def __getitem__(self, index: int) -> Message: ...
    @overload
    def __getitem__(self, index: slice) -> list[Message]: ...
    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return self._log[: self._stop][index]
        if index < 0:
            index += self._stop
        if not 0 <= index < self._stop:
            msg = f"message {index} of {self._stop}"
            raise IndexError(msg)
        return self._log[index]

    def __repr__(self) -> str:
        return f"<Conversation of {self._stop} messages>"
