"""Recorded answers of providers, and what has to be read in them.

A thinned selection is in ``tests/data/wire``; where the environment variable ``MARSYS_WIRE`` names a folder, all
records in it are taken instead.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from marsys_core.errors import ModelError, ModelErrorKind
from marsys_core.models import ModelResponse

__all__ = ["FOLDER", "differences", "error_differences", "is_cut_short", "records"]

FOLDER = Path(os.environ.get("MARSYS_WIRE") or Path(__file__).parents[1] / "data" / "wire")

Record = Mapping[str, Any]
Kind = ModelErrorKind


def records(api: str) -> list[Record]:
    """Return the records of an API: ``openai-chat``, ``openai-responses``, ``anthropic-messages``, ``gemini-generate``."""
    return [record for record in _all() if record["api"] == api]


def _all() -> Iterator[Record]:
    for path in sorted(FOLDER.glob("*.jsonl")):
        with path.open(encoding="utf-8") as lines:
            for line in lines:
                if line.strip():
                    yield json.loads(line)


def differences(record: Record, response: ModelResponse) -> list[str]:
    """Say where a response is not what the record expects; nothing where it is."""
    expected = record["expected"]
    if expected["is_error"]:
        return [f"an error was expected: {expected['error']}, and there is {response!r:.300}"]
    found: list[str] = []
    _text(expected, response, found)
    _calls(expected, response, found)
    same = [
        ("raw_finish_reason", expected["finish_reason"] or "", response.raw_finish_reason),
        ("model", expected.get("model") or response.model, response.model),
        ("id", expected.get("response_id") or "", response.id),
        ("refusal", expected.get("refusal") or "", response.refusal),
    ]
    if "thinking" in expected or "thinking" not in record["features"]:
        same.append(("reasoning", expected.get("thinking") or "", response.reasoning))
    if expected["usage"]:
        same += _usage(record["api"], expected["usage"], response)
    others = [
        {
            "text": each["text"] or "",
            "finish_reason": each["finish_reason"] or "",
            "calls": len(each["tool_calls"]),
        }
        for each in (expected.get("choices") or [])[1:]
    ]
    told = [
        {"text": each["text"], "finish_reason": each["finish_reason"], "calls": len(each["tool_calls"])}
        for each in (response.metadata or {}).get("choices", ())
    ]
    same.append(("choices", others, told))
    found += [
        f"{what}: {wanted!r:.300} was expected, and there is {given!r:.300}"
        for what, wanted, given in same
        if wanted != given
    ]
    return found


def _text(expected: Mapping[str, Any], response: ModelResponse, found: list[str]) -> None:
    wanted, given = expected["text"] or "", response.text
    if wanted == given:
        return
    if any("JSON object" in note for note in expected.get("notes") or ()) and json.loads(
        wanted
    ) == json.loads(given):
        return
    found.append(f"text: {wanted!r:.300} was expected, and there is {given!r:.300}")


def _calls(expected: Mapping[str, Any], response: ModelResponse, found: list[str]) -> None:
    if expected["tool_calls"] is None:
        return
    # A legacy call without a name is a field that some servers never leave out.
    wanted = [
        call for call in expected["tool_calls"] if call["name"] or call.get("kind") != "legacy_function_call"
    ]
    given = response.tool_calls
    if len(wanted) != len(given):
        found.append(f"{len(wanted)} tool calls were expected: {wanted!r:.300}, and there are {given!r:.300}")
        return
    for one, other in zip(wanted, given, strict=True):
        if (one.get("id") or "", one["name"]) != (other.id, other.name):
            found.append(f"the tool call {one!r:.300} was expected, and there is {other!r:.300}")
        elif "arguments_raw" in one:
            if (one["arguments_raw"] or "") != other.arguments:
                found.append(
                    f"arguments {one['arguments_raw']!r:.300} were expected, and there are {other.arguments!r:.300}"
                )
        elif json.loads(other.arguments) != one["arguments"]:
            found.append(
                f"arguments {one['arguments']!r:.300} were expected, and there are {other.arguments!r:.300}"
            )


def _usage(api: str, wanted: Mapping[str, Any], response: ModelResponse) -> list[tuple[str, Any, Any]]:
    """Compare what was counted: input with what was cached, and output with what was thought, as `Usage` has it."""
    usage = response.usage
    read, written, thought = (wanted.get(key) or 0 for key in ("cached_input", "cache_creation", "reasoning"))
    given, made = wanted["input"] or 0, wanted["output"] or 0
    if api == "anthropic-messages":
        given += read + written
    apart = thought > 0 and wanted.get("total") == given + made + thought
    if api == "gemini-generate" or apart:
        made += thought
    return [
        ("input_tokens", given, usage.input_tokens),
        ("output_tokens", made, usage.output_tokens),
        ("cached_tokens", read, usage.cached_tokens),
        ("reasoning_tokens", thought, usage.reasoning_tokens),
    ]


_KINDS = {
    "AuthenticationError": {Kind.AUTHENTICATION},
    "PermissionDeniedError": {Kind.PERMISSION, Kind.CONTENT_FILTER},
    "NotFoundError": {Kind.NOT_FOUND},
    "BadRequestError": {Kind.BAD_REQUEST, Kind.CONTEXT_TOO_LONG, Kind.CONTENT_FILTER, Kind.AUTHENTICATION, Kind.NOT_FOUND, Kind.QUOTA},
    "RateLimitError": {Kind.RATE_LIMIT, Kind.QUOTA},
    "InternalServerError": {Kind.OVERLOADED, Kind.TIMEOUT},
}  # fmt: skip


def is_cut_short(record: Record) -> bool:
    """Whether a recorded stream ends before its answer does: an SDK that adds events up does not notice."""
    return "stream_without_finish" in record["features"] and not any(
        end in record["response"]["body"] for end in ("[DONE]", "message_stop")
    )


def error_differences(record: Record, error: ModelError) -> list[str]:
    """Say where an error is not what the record expects; nothing where it is."""
    expected = record["expected"]
    if not expected["is_error"] and is_cut_short(record):
        return [] if error.retryable else [f"a retryable error was expected, and there is {error!r}"]
    if not expected["is_error"]:
        return [f"no error was expected, and there is {error}"]
    told = expected["error"]
    same: list[tuple[str, Any, Any]] = []
    if expected["http_status"] >= 400:
        same.append(("status", expected["http_status"], error.status))
    if told.get("message") and not told["message"].startswith("Error code:"):
        same.append(("said", told["message"], error.said[: len(told["message"])]))
    for name in ("code", "type"):
        if told.get(name) is not None:
            same.append((name, str(told[name]), getattr(error, name)))
    kinds = _KINDS.get(told.get("sdk_class", ""))
    if kinds is not None:
        same.append(("kind", True, error.kind in kinds or error.kind))
    if expected.get("sdk_retries") and error.kind is not Kind.QUOTA:
        same.append(("retryable", True, error.retryable))
    if expected.get("retry_after_s") is not None:
        same.append(("retry_after", expected["retry_after_s"], error.retry_after))
    return [
        f"{what}: {wanted!r:.300} was expected, and there is {given!r:.300}"
        for what, wanted, given in same
        if wanted != given
    ]
