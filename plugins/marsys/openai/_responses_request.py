"""A request as the Responses API takes it."""

from __future__ import annotations

import re
import weakref
from collections.abc import Mapping
from typing import Any

from marsys.openai._responses_families import Family, family_of
from marsys.openai._responses_input import input_of
from marsys.openai._responses_strict import is_strict
from marsys_core.errors import ModelError, ModelErrorKind
from marsys_core.models import ModelRequest, Sampling, ToolSpec

__all__ = ["ENCRYPTED", "body_of", "unknown_sampling"]

ENCRYPTED = "reasoning.encrypted_content"
_UNKNOWN_SAMPLING = ("stop", "seed", "top_k", "presence_penalty", "frequency_penalty")
_ADDED = (
    "include",
    "reasoning",
    "text",
    "tools",
)  # options that go beside what the request says, not before it
_NOT_SENT = frozenset({"api", "stream"})  # options that say how to ask, or what the caller decides otherwise
_HALF_AN_HOUR = 1800.0
_AN_HOUR = 3600.0

_tools: weakref.WeakKeyDictionary[ToolSpec, dict[str, Any]] = weakref.WeakKeyDictionary()


def body_of(request: ModelRequest, model: str, provider: str, marked: str) -> dict[str, Any]:
    """Return the body of a request, JSON data.

    Nothing is left at the provider unless `options` say ``store``: what it needs to go on from is asked for in
    encrypted form, and sent back.

    Args:
        request: What is asked.
        model: Which model is asked.
        provider: Who is asked, for errors.
        marked: What the answers are marked with whose opaque items this provider gets back.

    Raises:
        ModelError: The request wants what this API does not have.
    """
    _refuse(request.sampling, provider)
    options = {name: value for name, value in (request.options or {}).items() if name not in _NOT_SENT}
    family = family_of(model)
    stored = bool(options.get("store", False))
    body: dict[str, Any] = {
        "model": model,
        "input": input_of(request.messages, marked, reasons=family.reasons, stored=stored),
        "store": stored,
    }
    if request.system:
        body["instructions"] = request.system
    if family.reasons and not stored:
        body["include"] = [ENCRYPTED]
    _add_sampling(body, request.sampling)
    _add_tools(body, request, bool(options.get("tools")))
    if request.output_schema is not None:
        body["text"] = {"format": _format(request.output_schema)}
    if request.reasoning is not None and family.reasons:
        _add_reasoning(body, request, family)
    if request.caching is not None:
        _add_caching(body, request, family)
    if options:
        _add_options(body, options)
    return body


def unknown_sampling(sampling: Sampling) -> list[str]:
    """Return what of `sampling` this API does not have."""
    return [name for name in _UNKNOWN_SAMPLING if getattr(sampling, name) not in (None, ())]


def _refuse(sampling: Sampling, provider: str) -> None:
    if asked := unknown_sampling(sampling):
        msg = (
            f"the Responses API of {provider!r} has no {', '.join(asked)}; leave it out of Sampling, "
            "or ask through Chat Completions"
        )
        raise ModelError(msg, kind=ModelErrorKind.BAD_REQUEST, provider=provider)


def _add_sampling(body: dict[str, Any], sampling: Sampling) -> None:
    for field in ("temperature", "top_p", "max_output_tokens"):
        if (value := getattr(sampling, field)) is not None:
            body[field] = value


def _add_tools(body: dict[str, Any], request: ModelRequest, others: bool) -> None:
    if request.tools:
        body["tools"] = [_tool(spec) for spec in request.tools]
    if not (request.tools or others):
        return
    choice = request.tool_choice
    if choice.mode == "tool":
        body["tool_choice"] = {"type": "function", "name": choice.name}
    elif choice.mode != "auto":
        body["tool_choice"] = choice.mode
    if request.parallel_tool_calls is not None:
        body["parallel_tool_calls"] = request.parallel_tool_calls


def _tool(spec: ToolSpec) -> dict[str, Any]:
    found = _tools.get(spec)
    if found is None:
        found = _tools[spec] = {
            "type": "function",
            "name": spec.name,
            "description": spec.description,
            "parameters": spec.parameters,
            "strict": is_strict(spec.parameters),
        }
    return found


def _format(schema: Mapping[str, Any]) -> dict[str, Any]:
    name = re.sub(r"[^A-Za-z0-9_-]", "_", str(schema.get("title") or ""))[:64] or "answer"
    return {"type": "json_schema", "name": name, "schema": schema, "strict": is_strict(schema)}


def _add_reasoning(body: dict[str, Any], request: ModelRequest, family: Family) -> None:
    reasoning = request.reasoning
    assert reasoning is not None
    said: dict[str, Any] = {}
    if reasoning.effort is not None:
        said["effort"] = family.effort(reasoning.effort)
    if reasoning.visible:
        said["summary"] = "auto"
    if said:
        body["reasoning"] = said


def _add_caching(body: dict[str, Any], request: ModelRequest, family: Family) -> None:
    caching = request.caching
    assert caching is not None
    if caching.key:
        body["prompt_cache_key"] = caching.key
    if caching.seconds is None or not (caching.instruction or caching.conversation):
        return
    if family.retains == "ttl":
        body["prompt_cache_options"] = {"ttl": "30m" if caching.seconds <= _HALF_AN_HOUR else "12h"}
    elif family.retains == "retention" and caching.seconds > _AN_HOUR:
        body["prompt_cache_retention"] = "24h"


def _add_options(body: dict[str, Any], options: dict[str, Any]) -> None:
    """Add what only this provider knows; tools, inclusions and settings beside those that are there."""
    for name in _ADDED:
        here, more = body.get(name), options.get(name)
        if isinstance(here, dict) and isinstance(more, Mapping):
            options[name] = {**here, **more}
        elif isinstance(here, list) and isinstance(more, list | tuple):
            options[name] = [*here, *(each for each in more if each not in here)]
    body.update(options)
