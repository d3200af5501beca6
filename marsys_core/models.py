"""The model protocol: what is asked of a language model, and what it answers.

A model is any object with `generate` (or `stream`) and a `name`. Its errors are
`marsys_core.errors.ModelError`, classified, so that retries, fallbacks and the three endings of a run
need not know the provider.
"""

from __future__ import annotations

import enum
import inspect
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import attrs

from marsys_core.errors import ConfigError, ModelError, ModelErrorKind
from marsys_core.hosts.declared import adapted
from marsys_core.messages import Message, Part, ToolCall, Usage, text_of

__all__ = [
    "Capabilities",
    "FinishReason",
    "Model",
    "ModelDelta",
    "ModelRequest",
    "ModelResponse",
    "Sampling",
    "StreamingModel",
    "ToolSpec",
    "collect",
    "usable_model",
]


class FinishReason(enum.Enum):
    """Why a model stopped, in words that do not depend on the provider."""

    STOP = "stop"
    TOOL_CALLS = "tool_calls"
    LENGTH = "length"
    CONTENT_FILTER = "content_filter"
    REFUSAL = "refusal"
    OTHER = "other"


@attrs.define(eq=False)
class ToolSpec:
    """A tool as a model sees it. `parameters` is a JSON Schema of type object."""

    name: str
    description: str
    parameters: Mapping[str, Any]


@attrs.frozen(kw_only=True)
class Sampling:
    """How to sample. None leaves a choice to the provider."""

    temperature: float | None = None
    top_p: float | None = None
    max_output_tokens: int | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None


_DEFAULT_SAMPLING = Sampling()


@attrs.define(eq=False, kw_only=True)
class ModelRequest:
    """One question to a model.

    Args:
        messages: The conversation; a sequence that must not be changed, and may be a view.
        system: The instruction, apart from the conversation.
        tools: What the model may call.
        output_schema: A JSON Schema that the answer should meet, or None for free text.
        sampling: How to sample.
        deadline: When `model_timeout` ends this call, on Trio's clock, in seconds; None where that is not
            set. A step, branch or run may end earlier, which cancels the call.
    """

    messages: Sequence[Message]
    system: str = ""
    tools: Sequence[ToolSpec] = ()
    output_schema: Mapping[str, Any] | None = None
    sampling: Sampling = _DEFAULT_SAMPLING
    deadline: float | None = None


@attrs.define(eq=False, kw_only=True)
class ModelResponse:
    """A model's answer: content, tool calls, why it stopped, and what it cost.

    `raw_finish_reason` keeps the provider's own word, and `metadata` what else it said.
    """

    content: str | tuple[Part, ...] = ""
    tool_calls: tuple[ToolCall, ...] = ()
    finish_reason: FinishReason = FinishReason.STOP
    raw_finish_reason: str = ""
    usage: Usage = Usage()  # noqa: RUF009 - frozen, shared on purpose
    model: str = ""
    metadata: Mapping[str, Any] | None = None

    @property
    def text(self) -> str:
        """The text of the answer, without its other parts."""
        return text_of(self.content)


@attrs.define(eq=False, kw_only=True)
class ModelDelta:
    """A piece of a streamed answer. The last one carries the whole `response`.

    The texts of all deltas, joined, are the text of the response.
    """

    text: str = ""
    response: ModelResponse | None = None


@attrs.frozen(kw_only=True)
class Capabilities:
    """What a model says it can do.

    The engine refuses to ask for tools or an output schema where it cannot, and puts the output schema of an
    agent into its instruction; `streaming` and `images` are for whoever chooses a model. What else it says is for
    budgets, which set aside what a call may come to before it is made.

    Args:
        tools: It can call tools.
        output_schema: It can be held to a JSON Schema.
        streaming: It can answer in pieces.
        images: It can be shown images.
        max_output_tokens: The longest answer, in tokens; None where that is not known.
        input_price: What a million tokens of input cost; None where that is not known.
        output_price: What a million tokens of output cost, in the same currency.
    """

    tools: bool = True
    output_schema: bool = False
    streaming: bool = False
    images: bool = False
    max_output_tokens: int | None = None
    input_price: float | None = None
    output_price: float | None = None


@runtime_checkable
class Model(Protocol):
    """A language model, or something that stands in for one.

    `generate` may be called from many tasks at once and keeps no state between calls that a caller could
    notice. It checkpoints, and it can be cancelled at any time without a leak. It raises `ModelError` and
    nothing else. A model without `capabilities` is asked for anything. One that can count has a plain method
    ``count_tokens(request) -> int``, the tokens of a request's input, for runs with a budget.
    """

    @property
    def name(self) -> str:
        """What traces and prices know the model by."""

    async def generate(self, request: ModelRequest) -> ModelResponse:
        """Answer at once, as a whole."""


@runtime_checkable
class StreamingModel(Model, Protocol):
    """A model that can answer in pieces as well; `stream` keeps what `Model` says of `generate`."""

    def stream(self, request: ModelRequest) -> AsyncIterator[ModelDelta]:
        """Answer in pieces; close the iterator to abandon it."""


def usable_model(model: Any, whose: str) -> Any:
    """Return `model` if it is one; one that is written for asyncio as Trio code can use it.

    Raises:
        ConfigError: It has no name or no async `generate`, or is written for another async library.
    """
    generate = getattr(model, "generate", None)
    if isinstance(model, type) or not isinstance(getattr(model, "name", None), str) or not callable(generate):
        msg = (
            f"{whose} is {model!r:.200}, which is no model: an instance with a name and "
            "`async def generate(self, request) -> ModelResponse`, or the name of one that a plugin provides"
        )
        raise ConfigError(msg)
    if inspect.isfunction(getattr(generate, "__func__", generate)) and not inspect.iscoroutinefunction(
        generate
    ):
        msg = f"{whose} is {model!r:.200}, whose generate is a plain function; write `async def generate`"
        raise ConfigError(msg)
    return adapted(model, whose)


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
