"""What is said: messages, their parts, tool calls and what they cost.

Instances are immutable by rule: nobody assigns to a field after construction. They are not frozen by
attrs, because making a frozen one costs three times as much and a run makes several for each step.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal, overload

import attrs

__all__ = [
    "Conversation",
    "DataPart",
    "Message",
    "Part",
    "Role",
    "TextPart",
    "ToolCall",
    "Usage",
    "shown",
    "text_of",
]

Role = Literal["system", "user", "assistant", "tool"]


@attrs.define(eq=False)
class TextPart:
    """Text within a message of several parts."""

    text: str


@attrs.define(eq=False)
class DataPart:
    """Something that is not text: an image or a file, by value (base64) or by address."""

    media_type: str
    data: str = ""
    url: str = ""


Part = TextPart | DataPart


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
    """

    id: str
    name: str
    arguments: str = attrs.field(default="{}", converter=_as_json)


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
    """

    role: Role
    content: str | tuple[Part, ...] = ""
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str = ""
    name: str = ""
    is_error: bool = False

    @property
    def text(self) -> str:
        """The text of the message, without its other parts."""
        return text_of(self.content)


def text_of(content: str | Sequence[Part]) -> str:
    """Return the text in `content`; parts that are not text are left out."""
    if isinstance(content, str):
        return content
    return "".join(part.text for part in content if isinstance(part, TextPart))


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

    `input_tokens` includes `cached_tokens`, and `output_tokens` includes `reasoning_tokens`. `cost` is in the
    currency of whoever reports it; models of one run should agree on one.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    model_calls: int = 0
    cost: float = 0.0

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
