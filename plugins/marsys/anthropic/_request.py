"""From a `ModelRequest` to what the Messages API is sent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from marsys.anthropic._caching import mark
from marsys.anthropic._history import is_unthought, turns_of
from marsys.anthropic._schema import answer_schema
from marsys.anthropic._thinking import think
from marsys.anthropic._traits import DEFAULT_OUTPUT, Traits
from marsys_core.models import ModelRequest, Sampling, ToolChoice, ToolSpec

__all__ = ["Wired", "wire"]

_BEFORE_SAMPLING_WENT = "2023-06-01"
_CHOICES = {"auto": "auto", "required": "any", "none": "none", "tool": "tool"}
_ADDED = ("output_config", "metadata")  # options that are added to what is there, key by key


@attrs.define(eq=False)
class Wired:
    """A request as it is sent.

    Args:
        body: The body, JSON data.
        headers: What the header has beyond the usual.
        left_out: What of the request the model does not take.
    """

    body: dict[str, Any]
    headers: dict[str, str]
    left_out: tuple[str, ...]


def wire(request: ModelRequest, name: str, traits: Traits) -> Wired:
    """Return `request` as the API takes it.

    Args:
        request: What is asked.
        name: The model.
        traits: What it can do.

    Raises:
        ModelError: There is something in it that the model cannot be shown.
    """
    left_out: list[str] = []
    body: dict[str, Any] = {"model": name, "max_tokens": request.sampling.max_output_tokens}
    forced = bool(request.tools) and request.tool_choice.mode in ("required", "tool")
    thinks = think(body, request.reasoning, traits, forced, left_out)
    if body["max_tokens"] is None:
        body["max_tokens"] = min(DEFAULT_OUTPUT, traits.max_output)
    instruction, body["messages"] = turns_of(request.messages, prefill=traits.prefill and not thinks)
    if body.get("thinking", {}).get("type") == "enabled" and is_unthought(body["messages"]):
        del body["thinking"]
        left_out.append("reasoning")
        thinks = False
    system = [request.system, *instruction]
    if any(text.strip() for text in system):
        body["system"] = [{"type": "text", "text": text} for text in system if text.strip()]
    _tools(body, request)
    if request.output_schema is not None:
        body.setdefault("output_config", {})["format"] = {
            "type": "json_schema",
            "schema": answer_schema(request.output_schema),
        }
    headers = _sampling(body, request.sampling, traits, thinks, left_out)
    if request.options:
        headers |= _options(body, request.options)
    if request.caching is not None:
        mark(body, request.caching)
    return Wired(body, headers, tuple(left_out))


def _tools(body: dict[str, Any], request: ModelRequest) -> None:
    if request.tools:
        body["tools"] = [_tool(spec) for spec in request.tools]
        choice = _choice(request.tool_choice, request.parallel_tool_calls)
        if choice is not None:
            body["tool_choice"] = choice


def _tool(spec: ToolSpec) -> dict[str, Any]:
    tool = {"name": spec.name, "input_schema": {"type": "object", **spec.parameters}}
    return {**tool, "description": spec.description} if spec.description else tool


def _choice(choice: ToolChoice, parallel: bool | None) -> dict[str, Any] | None:
    if choice.mode == "auto" and parallel is None:
        return None
    found: dict[str, Any] = {"type": _CHOICES[choice.mode]}
    if choice.mode == "tool":
        found["name"] = choice.name
    if parallel is not None and choice.mode != "none":
        found["disable_parallel_tool_use"] = not parallel
    return found


def _sampling(
    body: dict[str, Any], sampling: Sampling, traits: Traits, thinks: bool, left_out: list[str]
) -> dict[str, str]:
    """Add how to sample, as far as the model takes it, and return the header that says so."""
    if sampling.stop:
        body["stop_sequences"] = list(sampling.stop)
    left_out += [
        name
        for name in ("seed", "presence_penalty", "frequency_penalty")
        if getattr(sampling, name) is not None
    ]
    found = {
        name: value
        for name in ("temperature", "top_p", "top_k")
        if (value := getattr(sampling, name)) is not None
    }
    if not found:
        return {}
    taken = dict(found)
    if traits.sampling == "none":
        taken.clear()
    if thinks:  # while it thinks, the API takes only a top_p that is nearly 1
        taken = {name: value for name, value in taken.items() if name == "top_p" and value >= 0.95}
    if traits.sampling == "one" and "temperature" in taken:
        taken.pop("top_p", None)
    left_out += [name for name in found if name not in taken]
    body.update(taken)
    return {"anthropic-version": _BEFORE_SAMPLING_WENT} if taken else {}


def _options(body: dict[str, Any], options: Mapping[str, Any]) -> dict[str, str]:
    """Add what only this provider knows, and return what of it belongs in the header."""
    headers: dict[str, str] = {}
    for name, value in options.items():
        if name == "betas":
            headers["anthropic-beta"] = value if isinstance(value, str) else ",".join(value)
        elif name == "extra_headers":
            headers |= value
        elif name == "tools":
            body["tools"] = [*body.get("tools", ()), *_blocks(value)]
        elif name in _ADDED and isinstance(value, Mapping):
            body[name] = {**body.get(name, {}), **value}
        else:
            body[name] = value
    return headers


def _blocks(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list | tuple) else [value]
