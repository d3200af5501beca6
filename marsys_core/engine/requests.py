"""Making the request of a step of what its code asks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from marsys_core.errors import ConfigError
from marsys_core.messages import Message
from marsys_core.models import (
    Caching,
    ModelConfig,
    ModelRequest,
    Reasoning,
    Sampling,
    ToolChoice,
    ToolSpec,
    usable_model,
)
from marsys_core.tools import Tool

if TYPE_CHECKING:
    from marsys_core.engine.step import Step

__all__ = ["other_model", "request_of"]

_SAMPLING = Sampling()
_CHOICE = ToolChoice()


async def other_model(step: Step, model: Any) -> Any:
    """Return the model that a step is to ask in place of its agent's own; None is the agent's own, which it lacks.

    Raises:
        ConfigError: There is none, or it is no model.
    """
    if model is None:
        msg = f"agent {step.prepared.name!r} has no model; give it one, or name one in generate(model=...)"
        raise ConfigError(msg)
    if isinstance(model, str | ModelConfig):
        return await step.run.engine.model(model)
    return usable_model(model, "generate(model=...)")


def request_of(
    target: Any,
    messages: str | Sequence[Message],
    system: str,
    tools: Sequence[Tool | ToolSpec],
    output_schema: Mapping[str, Any] | None,
    sampling: Sampling | None,
    tool_choice: ToolChoice | None,
    parallel_tool_calls: bool | None,
    reasoning: Reasoning | str | None,
    caching: Caching | None,
    options: Mapping[str, Any] | None,
) -> ModelRequest:
    """Return what `target` is asked, with what its `ModelConfig` says where this leaves it open."""
    request = ModelRequest(
        messages=[Message("user", messages)] if isinstance(messages, str) else messages,
        system=system,
        tools=_specs(tools),
        output_schema=output_schema,
        sampling=sampling or _SAMPLING,
        tool_choice=tool_choice or _CHOICE,
        parallel_tool_calls=parallel_tool_calls,
        reasoning=None if reasoning is None else Reasoning.of(reasoning),
        caching=caching,
        options=options,
    )
    defaults = getattr(target, "defaults", None)
    return defaults.fill(request) if isinstance(defaults, ModelConfig) else request


def _specs(tools: Sequence[Tool | ToolSpec]) -> Sequence[ToolSpec]:
    for each in tools:
        if isinstance(each, Tool):
            return [each.spec if isinstance(each, Tool) else each for each in tools]
    return tools  # type: ignore[return-value]  # there is no `Tool` among them
