"""What the Messages API demands of a request, as a check, and its turns as messages of ours."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Sequence
from typing import Any

from marsys.anthropic._answer import response_of
from marsys.anthropic._traits import traits_of
from marsys_core.messages import DataPart, Message, NativePart, Part, TextPart

ID = re.compile(r"[a-zA-Z0-9_-]+")
SERVED = ("server_tool_use", "mcp_tool_use")


def check_turns(turns: Sequence[dict[str, Any]], *, prefill: bool = False) -> None:
    """See that the API would take these turns; `prefill` says that the last one may be one to go on with."""
    assert turns
    assert turns[0]["role"] == "user"
    assert [turn["role"] for turn in turns] == [("user", "assistant")[n % 2] for n in range(len(turns))]
    seen: set[str] = set()
    for number, turn in enumerate(turns):
        content = turn["content"]
        assert content
        assert all(block["text"].strip() for block in content if block["type"] == "text")
        if turn["role"] == "user":
            called = (
                []
                if not number
                else [b["id"] for b in turns[number - 1]["content"] if b["type"] == "tool_use"]
            )
            results = [block for block in content if block["type"] == "tool_result"]
            assert sorted(block["tool_use_id"] for block in results) == sorted(called)
            assert content[: len(results)] == results
            continue
        calls = [block for block in content if block["type"] == "tool_use"]
        assert all(ID.fullmatch(block["id"]) and ID.fullmatch(block["name"]) for block in calls)
        assert all(isinstance(block["input"], dict) for block in calls)
        ids = [block["id"] for block in calls]
        assert len(set(ids)) == len(ids)
        assert seen.isdisjoint(ids)
        seen.update(ids)
        assert not any(block["type"] in ("image", "document") for block in content)
        assert all(block["signature"] for block in content if block["type"] == "thinking")
    last = turns[-1]
    if last["role"] == "assistant" and not (prefill and last["content"][-1]["type"] == "text"):
        assert any(block["type"] in SERVED for block in last["content"])


@functools.cache
def _adapter(beta: bool) -> Any:
    import pydantic
    from anthropic.types.beta.message_create_params import MessageCreateParamsNonStreaming as Beta
    from anthropic.types.message_create_params import MessageCreateParamsNonStreaming as Stable

    return pydantic.TypeAdapter(Beta if beta else Stable)


def check_body(body: dict[str, Any], *, beta: bool = False) -> None:
    """See that the SDK's types and the API would take a request."""
    body = {key: value for key, value in body.items() if key != "stream"}
    _adapter(beta).validate_python(body)
    check_turns(body["messages"], prefill=traits_of(body["model"]).prefill and "thinking" not in body)
    if (thinking := body.get("thinking")) and "budget_tokens" in thinking:
        assert 1024 <= thinking["budget_tokens"] < body["max_tokens"]
    marks = [block for block in places(body) if "cache_control" in block]
    assert len(marks) <= 4


def places(body: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield what may have a mark for the cache."""
    yield from body.get("tools", ())
    yield from body.get("system", ())
    for turn in body["messages"]:
        yield from turn["content"]


def messages_of(turns: Sequence[dict[str, Any]]) -> list[Message]:
    """Return turns of the API as the history that they stand for."""
    found: list[Message] = []
    for turn in turns:
        content = turn["content"]
        blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
        if turn["role"] == "assistant":
            response = response_of({"content": blocks}, {}, ())
            found.append(Message("assistant", response.content, response.tool_calls, provider="anthropic"))
            continue
        rest = []
        for block in blocks:
            if block["type"] == "tool_result":
                found.append(_result(block))
            else:
                rest.append(_part(block))
        if rest:
            found.append(Message(turn["role"], tuple(rest), provider="anthropic"))
    return found


def _result(block: dict[str, Any]) -> Message:
    content = block.get("content", "")
    return Message(
        "tool",
        content if isinstance(content, str) else tuple(_part(each) for each in content),
        tool_call_id=block["tool_use_id"],
        is_error=block.get("is_error") or False,
        provider="anthropic",
    )


def _part(block: dict[str, Any]) -> Part:
    if block["type"] == "text":
        return TextPart(block["text"])
    source = block.get("source", {})
    if isinstance(source, str):  # a search result names it
        return NativePart(block)
    if block["type"] == "image" or source.get("media_type") == "application/pdf":
        if source["type"] == "url":
            return DataPart("image/png" if block["type"] == "image" else "application/pdf", url=source["url"])
        if source["type"] == "base64":
            cited = {"citations": block["citations"]} if block.get("citations") else None
            return DataPart(source["media_type"], source["data"], name=block.get("title") or "", native=cited)
    return NativePart(block)
