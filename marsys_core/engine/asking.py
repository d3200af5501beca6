"""Asking a model once: as a whole or in pieces, within its limit, and looking at what it gave."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import attrs
import trio

from marsys_core import events as e
from marsys_core.errors import ErrorClass, ModelError, ModelErrorKind, ModelTimeout, told
from marsys_core.events import EventId
from marsys_core.messages import ToolCall, Usage
from marsys_core.models import (
    FinishReason,
    ModelDelta,
    ModelRequest,
    ModelResponse,
    StreamAbandoned,
    unanswered,
)

if TYPE_CHECKING:
    from marsys_core.engine.step import Step

__all__ = ["ask", "check_response"]


async def ask(
    step: Step, model: Any, request: ModelRequest, limit: float | None, called: EventId, attempt: int
) -> ModelResponse:
    """Ask `model`: in pieces where it can and somebody listens.

    Args:
        step: The step that asks.
        model: Who is asked.
        request: What is asked.
        limit: How many seconds it may take, or None.
        called: The id of the event that says so.
        attempt: Which attempt it is, from 1.

    Raises:
        ModelTimeout: It took longer.
    """
    if limit is None:
        return await _ask(step, model, request, called, attempt)
    request = attrs.evolve(request, deadline=trio.current_time() + limit)
    with trio.move_on_after(limit):
        return await _ask(step, model, request, called, attempt)
    msg = f"model {model.name!r} took longer than model_timeout={limit:g} s"
    error = ModelTimeout(msg, "model_timeout", limit)
    error.error_class = ErrorClass.RECOVERABLE
    raise error


async def _ask(step: Step, model: Any, request: ModelRequest, called: EventId, attempt: int) -> ModelResponse:
    deltas = step.run.deltas
    if deltas is None or not _streams(model):
        response: ModelResponse = await model.generate(request)
        return response
    found: ModelResponse | None = None
    count = 0
    try:
        async with _closing(model.stream(request)) as stream:
            async for delta in stream:
                given = _response_in(model.name, delta)
                found = given or found
                deltas.tell(e.ModelDelta(called[0], count, called, step.node, model.name, delta, attempt))
                count += 1
        return _whole(model.name, found)
    except BaseException as error:
        broken = StreamAbandoned(told(error) if isinstance(error, Exception) else "interrupted")
        deltas.tell(e.ModelDelta(called[0], count, called, step.node, model.name, broken, attempt))
        raise


def _streams(model: Any) -> bool:
    able = getattr(model, "capabilities", None)
    return (able is None or able.streaming) and callable(getattr(model, "stream", None))


@asynccontextmanager
async def _closing(stream: AsyncIterator[Any]) -> AsyncIterator[AsyncIterator[Any]]:
    """Close a stream at the end of the block, whatever it ends in, where it can be closed."""
    try:
        yield stream
    finally:
        if hasattr(stream, "aclose"):
            await stream.aclose()


def _response_in(name: str, delta: object) -> ModelResponse | None:
    """Return the response that ends a stream, checked, or None where `delta` does not end it."""
    if not isinstance(delta, ModelDelta):
        msg = f"model {name!r} streamed {delta!r:.200}, and not a ModelDelta"
        raise ModelError(msg, kind=ModelErrorKind.MALFORMED)
    if delta.response is not None:
        check_response(name, delta.response)
    return delta.response


def _whole(name: str, response: ModelResponse | None) -> ModelResponse:
    if response is None:
        msg = f"the stream of model {name!r} ended before the answer was complete"
        raise ModelError(msg, kind=ModelErrorKind.MALFORMED, retryable=True)
    return response


def check_response(name: str, given: object) -> None:
    """See that a model gave a response that can be worked with, and that answers.

    Raises:
        ModelError: It did not.
    """
    if not isinstance(given, ModelResponse):
        msg = f"model {name!r} returned {given!r:.200}, and not a ModelResponse"
        raise ModelError(msg, kind=ModelErrorKind.MALFORMED)
    content, calls = given.content, given.tool_calls
    sound = (
        (type(content) is str or isinstance(content, str | tuple))
        and isinstance(calls, tuple)
        and (not calls or all(isinstance(call, ToolCall) for call in calls))
        and isinstance(given.finish_reason, FinishReason)
        and isinstance(given.usage, Usage)
    )
    if not sound:
        msg = f"model {name!r} returned a response with fields of other types than ModelResponse has: {given!r:.400}"
        raise ModelError(msg, kind=ModelErrorKind.MALFORMED)
    if not _is_spent(given.usage):
        msg = f"model {name!r} returned a usage that nobody can have spent: {given.usage!r:.400}"
        raise ModelError(msg, kind=ModelErrorKind.MALFORMED)
    if not calls and (unsaid := unanswered(name, given)) is not None:
        raise unsaid


def _is_spent(usage: Usage) -> bool:
    """Whether it says what was spent in numbers from 0: less, or what is no number, would undo a budget."""
    cost = usage.cost
    return (
        isinstance(usage.input_tokens, int)
        and isinstance(usage.output_tokens, int)
        and usage.input_tokens >= 0
        and usage.output_tokens >= 0
        and isinstance(cost, float | int)
        and 0 <= cost < math.inf
    )
