"""Holding a model to the output schema of its agent: natively, by a tool that it has to call, or by its instruction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from marsys_core.agents.shaping import as_parameters, instructed
from marsys_core.models import FinishReason, ModelRequest, ModelResponse, ToolChoice, ToolSpec

__all__ = ["ANSWER", "answered_by_tool", "held_by_other_means", "holds_natively"]

ANSWER = "give_answer"
"""The tool by which a model answers that can be made to call tools and not be held to a schema."""
_DESCRIPTION = "Give your answer, once you have it. Call nothing else beside it."
_ONLY = ToolChoice("tool", ANSWER)
_SOME = ToolChoice("required")


def holds_natively(model: Any) -> bool:
    """Whether `model` can be held to a schema; one that says nothing of itself is asked for anything."""
    able = getattr(model, "capabilities", None)
    return able is None or bool(able.output_schema)


def held_by_other_means(model: Any, request: ModelRequest) -> ModelRequest:
    """Return `request` without its output schema, which a tool or the instruction stands in for."""
    schema = request.output_schema
    assert schema is not None  # the caller has looked
    spec = _tool_for(schema, model, request)
    if spec is None:
        return attrs.evolve(request, system=instructed(request.system, schema), output_schema=None)
    choice = _SOME if request.tools else _ONLY
    return attrs.evolve(request, tools=[*request.tools, spec], tool_choice=choice, output_schema=None)


def _tool_for(schema: Mapping[str, Any], model: Any, request: ModelRequest) -> ToolSpec | None:
    able = model.capabilities
    if not (able.tools and able.tool_choice) or request.tool_choice.mode != "auto":
        return None
    if any(spec.name == ANSWER for spec in request.tools):
        return None
    parameters = as_parameters("answer", schema)
    return None if parameters is None else ToolSpec(ANSWER, _DESCRIPTION, parameters)


def answered_by_tool(
    response: ModelResponse, tools: Sequence[ToolSpec], schema: Mapping[str, Any]
) -> ModelResponse:
    """Return a response whose answer stands in a call of the answer's tool as one that says it.

    Beside other calls it is no answer yet, because their results are still to come: it is left out. What was
    thought before the call goes with it; a provider takes that back only with the call.

    Args:
        response: What the model gave.
        tools: What it was offered; the answer's tool is the last, where there is one.
        schema: What its answer has to meet.
    """
    if not tools or tools[-1].name != ANSWER:
        return response
    given = [call for call in response.tool_calls if call.name == ANSWER]
    if not given:
        return response
    others = tuple(call for call in response.tool_calls if call.name != ANSWER)
    if others:
        return attrs.evolve(response, tool_calls=others)
    text = _unwrapped(given[0].arguments, tools[-1].parameters, schema)
    return attrs.evolve(response, content=text, tool_calls=(), finish_reason=FinishReason.STOP)


def _unwrapped(arguments: str, parameters: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    """Return the JSON text of an answer; what cannot be read is left as it is, and found wrong later."""
    if parameters is schema:
        return arguments
    import json

    try:
        return json.dumps(json.loads(arguments)["answer"], ensure_ascii=False)
    except (ValueError, KeyError, TypeError):
        return arguments
