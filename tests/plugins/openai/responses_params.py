"""Checking requests against the types of the SDK."""

from functools import cache
from typing import Any

from pydantic import TypeAdapter


@cache
def _types() -> TypeAdapter:
    from openai.types.responses.response_create_params import (
        ResponseCreateParamsNonStreaming,
        ResponseCreateParamsStreaming,
    )

    return TypeAdapter(ResponseCreateParamsStreaming | ResponseCreateParamsNonStreaming)


def assert_valid(body: dict[str, Any]) -> None:
    """See that the SDK knows every key of a request, and the types of its values."""
    from openai.types.responses.response_create_params import ResponseCreateParamsStreaming

    assert set(body) <= set(ResponseCreateParamsStreaming.__annotations__) | _base()
    _read(_types().validate_python(body))


@cache
def _base() -> set[str]:
    from openai.types.responses.response_create_params import ResponseCreateParamsBase

    return set(ResponseCreateParamsBase.__annotations__)


def _read(value: Any) -> None:
    """Read what is checked only when it is read."""
    if isinstance(value, dict):
        for each in value.values():
            _read(each)
    elif not isinstance(value, str | bytes | int | float | None):
        for each in value:
            _read(each)


def assert_answered(items: list[dict[str, Any]]) -> None:
    """See that every call has one output after it, and every output a call before it."""
    open_calls: list[str] = []
    for item in items:
        kind = item.get("type", "")
        if kind in ("function_call", "custom_tool_call"):
            open_calls.append(item["call_id"])
        elif kind in ("function_call_output", "custom_tool_call_output"):
            assert item["call_id"] in open_calls, item
            open_calls.remove(item["call_id"])
    assert open_calls == []
