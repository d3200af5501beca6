"""The reserved tools: how a model names an action by a tool call."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import attrs

from marsys_core.actions import Action, AskUser, EndConversation, Finish, Invoke, Malformed, Return
from marsys_core.errors import ToolError
from marsys_core.messages import ToolCall
from marsys_core.models import ToolSpec
from marsys_core.orchestrator import Offer

__all__ = ["read_reserved", "reserved_specs"]


@functools.lru_cache(maxsize=1024)
def reserved_specs(offer: Offer) -> tuple[ToolSpec, ...]:
    """Return the reserved tools that `offer` allows; a model never sees one that it may not use."""
    specs = []
    if offer.invoke:
        specs.append(_invoke_spec(offer.invoke))
    if offer.answer:
        specs.append(_value_spec("return_result", "Answer whoever asked you.", "result"))
    if offer.finish:
        specs.append(_value_spec("finish", "Give the final answer of the whole task.", "answer"))
    if offer.ask:
        specs.append(_ask_spec())
    if offer.end:
        specs.append(
            _value_spec("end_conversation", "End this conversation; your summary is its result.", "summary")
        )
    return tuple(specs)


def _object(properties: dict[str, Any], required: list[str]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def _invoke_spec(names: tuple[str, ...]) -> ToolSpec:
    invocation = _object(
        {
            "agent_name": {"type": "string", "enum": list(names)},
            "request": {"type": "string", "description": "What you ask of this agent."},
        },
        ["agent_name", "request"],
    )
    invocations = {"type": "array", "items": invocation, "minItems": 1}
    return ToolSpec(
        "invoke_agent",
        "Hand work to other agents. Several invocations are worked on side by side.",
        _object({"invocations": invocations}, ["invocations"]),
    )


def _value_spec(name: str, description: str, field: str) -> ToolSpec:
    return ToolSpec(name, description, _object({field: {"type": "string"}}, [field]))


def _ask_spec() -> ToolSpec:
    options = {"type": "array", "items": {"type": "string"}}
    schema = _object({"question": {"type": "string"}, "options": options}, ["question"])
    return ToolSpec("ask_user", "Ask the person who gave the task.", schema)


def read_reserved(calls: Sequence[ToolCall]) -> tuple[Action, dict[str, str]]:
    """Return the action that the reserved `calls` of one reply name, and why some are not done.

    Several `invoke_agent` calls are one fork, in order. Of several different ones the first counts.
    """
    chosen = calls[0].name
    used = [call for call in calls if call.name == chosen] if chosen == "invoke_agent" else [calls[0]]
    kept = {id(call) for call in used}
    undone = {call.id: f"not done: {chosen} was called first" for call in calls if id(call) not in kept}
    try:
        action = _READERS[chosen](_arguments(used[0])) if chosen != "invoke_agent" else _invoke(used)
        if isinstance(action, AskUser):
            action = attrs.evolve(action, replies=((used[0].id, 0, 1),))
    except (ToolError, KeyError, TypeError, ValueError) as error:
        why = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        return Malformed(f"the call of {chosen} cannot be read: {why}", used[0].arguments), undone
    return action, undone


def _arguments(call: ToolCall) -> dict[str, Any]:
    from marsys_core.tools import parse_object

    return parse_object(call.arguments)


def _invoke(used: Sequence[ToolCall]) -> Invoke:
    calls: list[tuple[str, Any]] = []
    replies = []
    for call in used:
        start = len(calls)
        invocations = _arguments(call)["invocations"]
        for each in invocations if isinstance(invocations, list) else [invocations]:
            if not isinstance(each, dict):
                msg = f"an invocation is {{agent_name, request}}, not {each!r}"
                raise TypeError(msg)
            calls.append((each["agent_name"], each.get("request", "")))
        replies.append((call.id, start, len(calls)))
    return Invoke(calls, replies=tuple(replies))


_READERS: dict[str, Callable[[dict[str, Any]], Action]] = {
    "return_result": lambda given: Return(given["result"]),
    "finish": lambda given: Finish(given["answer"]),
    "ask_user": lambda given: AskUser(given["question"], given.get("options") or ()),
    "end_conversation": lambda given: EndConversation(given["summary"]),
}
