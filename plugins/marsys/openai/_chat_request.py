"""What Chat Completions is asked with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from marsys.openai._chat_history import wire_messages
from marsys.openai._presets import Preset
from marsys_core.errors import ModelError, ModelErrorKind
from marsys_core.models import Caching, ModelRequest, Reasoning, Sampling, ToolSpec

__all__ = ["OWN_OPTIONS", "refused_sampling", "request_body"]

OWN_OPTIONS = frozenset({"api"})
"""Options that say how to ask, and are not sent."""

_NOTHING: dict[str, Any] = {"type": "object", "properties": {}}
_DAY = 3600.0  # seconds above which OpenAI is asked to keep a beginning for longer than it does unasked
_FIVE_MINUTES = 300.0
_DEFAULT_SAMPLING = Sampling()


def request_body(
    model: str, request: ModelRequest, preset: Preset, *, stream: bool = False
) -> dict[str, Any]:
    """Return the body of a request.

    Raises:
        ModelError: It asks for something that the provider does not take.
    """
    body: dict[str, Any] = {
        "model": model,
        "messages": wire_messages(request.system, request.messages, preset),
    }
    if stream:
        body["stream"] = True
        if preset.stream_usage:
            body["stream_options"] = {"include_usage": True}
    if request.tools:
        _add_tools(body, request, preset)
    if request.output_schema is not None:
        body["response_format"] = _format(request.output_schema)
    if request.sampling != _DEFAULT_SAMPLING:
        _add_sampling(body, request.sampling, preset)
    if request.reasoning is not None:
        _add_reasoning(body, request.reasoning, preset)
    if request.caching is not None and preset.caching:
        _add_caching(body, request.caching, preset)
    if request.options:
        body.update((name, value) for name, value in request.options.items() if name not in OWN_OPTIONS)
    return body


def _add_tools(body: dict[str, Any], request: ModelRequest, preset: Preset) -> None:
    tools, choice = request.tools, request.tool_choice
    mode: Any = choice.mode
    if mode == "tool":
        if preset.named_tool:
            mode = {"type": "function", "function": {"name": choice.name}}
        else:  # one that has to call a tool, and has only one, calls that
            tools, mode = [spec for spec in tools if spec.name == choice.name], "required"
    body["tools"] = [_tool(spec) for spec in tools]
    if mode != "auto":
        body["tool_choice"] = mode
    if request.parallel_tool_calls is not None:
        body["parallel_tool_calls"] = request.parallel_tool_calls


def _tool(spec: ToolSpec) -> dict[str, Any]:
    function: dict[str, Any] = {"name": spec.name, "parameters": spec.parameters or _NOTHING}
    if spec.description:
        function["description"] = spec.description
    return {"type": "function", "function": function}


def _format(schema: Mapping[str, Any]) -> dict[str, Any]:
    held: dict[str, Any] = {"name": "answer", "schema": schema}
    if _is_strict(schema):
        held["strict"] = True
    return {"type": "json_schema", "json_schema": held}


_LOOSE = frozenset(
    {
        "allOf", "not", "if", "then", "else", "oneOf", "patternProperties", "dependentRequired", "dependentSchemas",
        "prefixItems", "contains", "propertyNames", "unevaluatedProperties", "minProperties", "maxProperties",
        "uniqueItems", "default",
    }
)  # fmt: skip
"""What a schema must not have to be held to strictly."""


def _is_strict(schema: Any, *, top: bool = True) -> bool:
    """Whether a schema is one that answers can be held to token by token: closed objects, all of it required."""
    if isinstance(schema, list | tuple):
        return all(_is_strict(each, top=False) for each in schema)
    if not isinstance(schema, Mapping):
        return False
    if not _LOOSE.isdisjoint(schema) or (top and schema.get("type") != "object"):
        return False
    kind = schema.get("type")
    properties = schema.get("properties")
    if kind == "object" or properties is not None or (isinstance(kind, list | tuple) and "object" in kind):
        if schema.get("additionalProperties") is not False or not isinstance(properties, Mapping):
            return False
        if set(schema.get("required", ())) != set(properties):
            return False
        if not all(_is_strict(each, top=False) for each in properties.values()):
            return False
    if not any(key in schema for key in ("type", "anyOf", "$ref", "enum", "const")):
        return False
    inner = [schema[key] for key in ("items", "anyOf") if key in schema]
    inner += [
        list(schema[key].values()) for key in ("$defs", "definitions") if isinstance(schema.get(key), Mapping)
    ]
    return all(_is_strict(each, top=False) for each in inner)


def _add_sampling(body: dict[str, Any], sampling: Sampling, preset: Preset) -> None:
    names = (
        ("temperature", "temperature"),
        ("top_p", "top_p"),
        ("max_output_tokens", preset.limit_field),
        ("seed", preset.seed_field),
        ("presence_penalty", "presence_penalty"),
        ("frequency_penalty", "frequency_penalty"),
        ("top_k", "top_k"),
    )
    for ours, theirs in names:
        value = getattr(sampling, ours)
        if value is not None:
            body[theirs] = value
    if sampling.stop:
        body["stop"] = list(sampling.stop)
    if refused := refused_sampling(sampling, preset):
        raise ModelError(refused, kind=ModelErrorKind.BAD_REQUEST, provider=preset.name)


def refused_sampling(sampling: Sampling, preset: Preset) -> str:
    """Say what of `sampling` a provider does not take, or nothing."""
    if sampling.top_k is None or "top_k" in preset.extra_sampling:
        return ""
    return f"{preset.name} cannot sample with top_k, and was asked to with top_k={sampling.top_k}"


def _add_reasoning(body: dict[str, Any], reasoning: Reasoning, preset: Preset) -> None:
    thinking = preset.thinking
    effort = reasoning.effort
    word = None if effort is None else thinking.efforts.get(effort)
    if thinking.form == "effort":
        if word is not None:
            body["reasoning_effort"] = word
    elif thinking.form == "object":
        told: dict[str, Any] = {}
        if reasoning.max_tokens is not None:
            told["max_tokens"] = reasoning.max_tokens
        elif word is not None:
            told["effort"] = word
        if reasoning.visible is not None:
            told["exclude"] = not reasoning.visible
        if told:
            body["reasoning"] = told
    elif thinking.form == "switch":
        if word is not None:
            body["thinking"] = {"type": word}
    elif thinking.form == "enable":
        if effort is not None:
            body["enable_thinking"] = effort != "none"
        if reasoning.max_tokens is not None:
            body["thinking_budget"] = reasoning.max_tokens
    elif thinking.form == "template" and effort is not None:
        body["chat_template_kwargs"] = {"enable_thinking": effort != "none"}


def _add_caching(body: dict[str, Any], caching: Caching, preset: Preset) -> None:
    if preset.caching == "key":
        if caching.key:
            body["prompt_cache_key"] = caching.key
        if caching.seconds is not None and caching.seconds > _DAY:
            body["prompt_cache_retention"] = "24h"
        return
    mark: dict[str, Any] = {"type": "ephemeral"}
    if caching.seconds is not None and caching.seconds > _FIVE_MINUTES:
        mark["ttl"] = "1h"
    messages = body["messages"]
    if caching.instruction and messages and messages[0]["role"] == "system":
        messages[0] = _marked(messages[0], mark)
    if caching.conversation and messages and messages[-1]["role"] in ("user", "tool"):
        messages[-1] = _marked(messages[-1], mark)


def _marked(message: dict[str, Any], mark: dict[str, Any]) -> dict[str, Any]:
    content = message["content"]
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else list(content)
    if not parts or parts[-1].get("text") == "":
        return message
    parts[-1] = {**parts[-1], "cache_control": mark}
    return {**message, "content": parts}
