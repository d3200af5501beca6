"""A conversation as Chat Completions takes it: every tool call answered, in its place, whatever the history is."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from typing import Any

import attrs

from marsys.openai._chat_parts import data_part, user_content
from marsys.openai._presets import Preset
from marsys_core.messages import (
    DataPart,
    Message,
    NativePart,
    ReasoningPart,
    RefusalPart,
    TextPart,
    ToolCall,
)

__all__ = ["wire_messages"]

_UNANSWERED = "There is no result: the call was interrupted."
_LONGEST_ID = 40
_NINE = re.compile(r"[a-zA-Z0-9]{9}")
_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_ALPHABET = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"

Wire = dict[str, Any]


@attrs.define(eq=False)
class _Turn:
    """An assistant's message with its calls, and what answers each of them."""

    message: Wire
    calls: list[ToolCall]
    ids: list[str]
    results: list[Message | None]
    carried: list[Wire] = attrs.field(factory=list)


def wire_messages(system: str, messages: Iterable[Message], preset: Preset) -> list[Wire]:
    """Return the messages of a request.

    A result stands right after the message that called for it, in the order of the calls; a call without a result
    gets one that says so; a result that nobody called for is told as a user's message.

    Raises:
        ModelError: There is something in a message that the provider does not take.
    """
    laid: list[Wire | _Turn] = [{"role": "system", "content": system}] if system else []
    waiting: dict[str, list[tuple[_Turn, int]]] = {}
    for message in messages:
        role = message.role
        if role == "assistant":
            turn = _assistant(message, preset)
            if turn is not None:
                laid.append(turn if turn.calls or turn.carried else turn.message)
                own: dict[str, list[tuple[_Turn, int]]] = {}
                for index, call in enumerate(turn.calls):
                    own.setdefault(call.id, []).append((turn, index))
                waiting.update(own)
        elif role == "tool":
            slots = waiting.get(message.tool_call_id)
            if slots:
                turn, index = slots.pop(0)
                turn.results[index] = message
            else:
                laid.append({"role": "user", "content": _unasked(message, preset)})
        else:
            laid.append(_said(message, preset))
    found: list[Wire] = []
    for each in laid:
        if isinstance(each, _Turn):
            _lay(each, found, preset)
        else:
            found.append(each)
    return found


def _said(message: Message, preset: Preset) -> Wire:
    wire: Wire = {"role": message.role}
    if message.role == "system":
        wire["content"] = message.text
    else:
        content = message.content
        wire["content"] = content if type(content) is str else user_content(content, preset)
    if message.name and preset.names and _NAME.fullmatch(message.name):
        wire["name"] = message.name
    return wire


def _unasked(message: Message, preset: Preset) -> Any:
    content = user_content(message.content, preset)
    told = f"Result of {message.name or 'a tool'}"
    if isinstance(content, str):
        return f"{told}: {content}"
    return [{"type": "text", "text": f"{told}:"}, *content]


def _assistant(message: Message, preset: Preset) -> _Turn | None:
    """Return a model's turn, or None where there is nothing in it that can be sent."""
    wire: Wire = {"role": "assistant"}
    own = bool(message.provider) and message.provider == preset.name
    content = message.content
    carried: list[Wire] = []
    if type(content) is str:
        wire["content"] = content
    else:
        carried = _fill(wire, message, preset, own)
    if message.name and preset.names and _NAME.fullmatch(message.name):
        wire["name"] = message.name
    calls = list(message.tool_calls)
    ids: list[str] = []
    if calls:
        for number, call in enumerate(calls, 1):
            ids.append(_own_id(call.id, number, ids, preset))
        wire["tool_calls"] = [_call(call, id, preset, own) for call, id in zip(calls, ids, strict=True)]
        if not wire.get("content"):
            wire["content"] = None
        if preset.thinking.back_always:
            wire.setdefault(preset.thinking.back, "")
    elif not (wire.get("content") or wire.get("refusal") or wire.get("audio")):
        if not carried:
            return None
        wire["content"] = "(see below)"
    return _Turn(wire, calls, ids, [None] * len(calls), carried)


def _fill(wire: Wire, message: Message, preset: Preset, own: bool) -> list[Wire]:
    """Put the parts of a model's message where they belong; return those that only a user can send."""
    texts: list[str] = []
    parts: list[Wire] = []
    thoughts: list[ReasoningPart] = []
    carried: list[Wire] = []
    for part in message.content:
        if isinstance(part, TextPart):
            texts.append(part.text)
            parts.append({"type": "text", "text": part.text})
            if own and part.native and "extra_content" in part.native:
                wire["extra_content"] = part.native["extra_content"]
        elif isinstance(part, RefusalPart):
            if preset.of_openai:
                wire["refusal"] = f"{wire.get('refusal', '')}{part.refusal}"
            else:
                texts.append(part.refusal)
                parts.append({"type": "text", "text": part.refusal})
        elif isinstance(part, ReasoningPart):
            thoughts.append(part)
            if part.text:
                parts.append({"type": "thinking", "thinking": [{"type": "text", "text": part.text}]})
        elif isinstance(part, DataPart):
            carried.append(data_part(part, preset))
        elif isinstance(part, NativePart) and own and isinstance(audio := part.item.get("audio"), dict):
            wire["audio"] = {"id": audio.get("id", "")}
    wire["content"] = "".join(texts)
    if thoughts and own and (message.tool_calls or not preset.thinking.back_with_calls):
        _give_back(wire, thoughts, parts, preset)
    return carried


def _give_back(wire: Wire, thoughts: list[ReasoningPart], parts: list[Wire], preset: Preset) -> None:
    back = preset.thinking.back
    if back == "content":
        wire["content"] = parts
    elif back == "reasoning_details":
        details = [
            each for part in thoughts if part.native for each in part.native.get("reasoning_details", ())
        ]
        if details:
            wire["reasoning_details"] = details
        elif text := "".join(part.text for part in thoughts):
            wire["reasoning"] = text
    elif back:
        wire[back] = "".join(part.text for part in thoughts)


def _call(call: ToolCall, id: str, preset: Preset, own: bool) -> Wire:
    native = call.native if own else None
    if native and native.get("type") == "custom":
        return {"id": id, "type": "custom", "custom": {"name": call.name, "input": call.arguments}}
    arguments = call.arguments
    if preset.strict_arguments or not arguments:
        arguments = _object(arguments)
    wire: Wire = {"id": id, "type": "function", "function": {"name": call.name, "arguments": arguments}}
    if native and "extra_content" in native:
        wire["extra_content"] = native["extra_content"]
    return wire


def _object(arguments: str) -> str:
    """Return arguments that servers can read which parse them: what is no object is put into one."""
    if not arguments.strip():
        return "{}"
    try:
        if isinstance(json.loads(arguments), dict):
            return arguments
    except (ValueError, RecursionError):
        pass
    return json.dumps({"arguments": arguments}, ensure_ascii=False)


def _own_id(id: str, number: int, taken: list[str], preset: Preset) -> str:
    """Return the id of a call in a form that the provider takes, different from those of the message's other calls."""
    wanted = id or f"call_{number}"
    while True:
        if preset.call_id == "nine":
            found = wanted if _NINE.fullmatch(wanted) else _nine(wanted)
        else:
            found = wanted if len(wanted) <= _LONGEST_ID else f"call_{_digest(wanted)[:32]}"
        if found not in taken:
            return found
        wanted = f"{wanted}-{number}"


def _nine(id: str) -> str:
    number = int(_digest(id), 16)
    found = ""
    for _ in range(9):
        number, digit = divmod(number, len(_ALPHABET))
        found += _ALPHABET[digit]
    return found


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _lay(turn: _Turn, found: list[Wire], preset: Preset) -> None:
    """Write a turn, then the results of its calls, then what they hold that only a user can send."""
    found.append(turn.message)
    carried: list[Wire] = list(turn.carried)
    for id, result in zip(turn.ids, turn.results, strict=True):
        content: Any = _UNANSWERED
        if result is not None:
            content = result.content
            if type(content) is not str:
                content, more = _result(result, preset)
                carried += more
        found.append({"role": "tool", "tool_call_id": id, "content": content})
    if carried:
        found.append({"role": "user", "content": carried})


def _result(result: Message, preset: Preset) -> tuple[str, list[Wire]]:
    """Return the text of a result, and its images and files, which a tool's message cannot hold."""
    content = user_content(result.content, preset)
    if isinstance(content, str):
        return content, []
    text = "".join(part["text"] for part in content if part["type"] == "text")
    others = [part for part in content if part["type"] != "text"]
    label = f"From {result.name or 'a tool'}:"
    return text or "(see below)", [{"type": "text", "text": label}, *others]
