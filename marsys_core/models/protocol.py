"""What a model is, and what it says of itself."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator
from typing import Any, Protocol, runtime_checkable

import attrs

from marsys_core.errors import ConfigError
from marsys_core.hosts.declared import adapted
from marsys_core.models.deltas import ModelDelta
from marsys_core.models.request import ModelRequest
from marsys_core.models.response import ModelResponse

__all__ = ["Capabilities", "Model", "StreamingModel", "usable_model"]


@attrs.frozen(kw_only=True)
class Capabilities:
    """What a model says it can do.

    The engine refuses to ask for tools, a choice of tools or an output schema where it cannot. An agent that has
    an output schema is held to it natively where `output_schema` says so, by a tool that the model has to call
    where `tools` and `tool_choice` do, and else by its instruction. It is streamed from where `streaming` says so
    and somebody listens. `images`, `files`, `reasoning` and `max_input_tokens` are for whoever chooses a model.
    What else it says is for budgets, which set aside what a call may come to before it is made.

    Args:
        tools: It can call tools.
        output_schema: It can be held to a JSON Schema.
        streaming: It can answer in pieces.
        images: It can be shown images.
        max_output_tokens: The longest answer, in tokens; None where that is not known.
        input_price: What a million tokens of input cost; None where that is not known.
        output_price: What a million tokens of output cost, in the same currency.
        tool_choice: It can be made to call a tool.
        files: It can be shown documents.
        reasoning: It can think before it answers.
        max_input_tokens: The longest input, in tokens; None where that is not known.
        cached_price: What a million tokens of input cost that come from the provider's cache; None: as any input.
        cache_write_price: What a million tokens cost that are put there; None: as any input.
    """

    tools: bool = True
    output_schema: bool = False
    streaming: bool = False
    images: bool = False
    max_output_tokens: int | None = None
    input_price: float | None = None
    output_price: float | None = None
    tool_choice: bool = False
    files: bool = False
    reasoning: bool = False
    max_input_tokens: int | None = None
    cached_price: float | None = None
    cache_write_price: float | None = None


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
    """A model that can answer in pieces as well; `stream` keeps what `Model` says of `generate`.

    The law of it: the sum of the deltas, as an `Accumulator` makes it, is the response of the last one, and that is
    what `generate` would have returned.
    """

    def stream(self, request: ModelRequest) -> AsyncIterator[ModelDelta]:
        """Answer in pieces, of which the last is a `StreamEnded`; close the iterator to abandon it."""


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
