"""What goes wrong at a provider that speaks OpenAI's ways, as a `ModelError`."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

import attrs

from marsys_core.errors import ModelError, ModelErrorKind
from marsys_core.models import kind_of_status, wait_of
from marsys_core.secret import Secret

__all__ = [
    "Asked",
    "Refused",
    "cut_short",
    "error_in",
    "error_of",
    "error_of_refusal",
    "malformed",
    "request_id_of",
    "timed_out",
]

Kind = ModelErrorKind
_LONGEST = 2000  # characters of a provider's words that are kept


@attrs.frozen
class Asked:
    """Who is asked, for messages.

    Args:
        provider: The name of the provider.
        key: The key that is left out of what it says.
    """

    provider: str
    key: Secret | None = None

    def quote(self, text: object) -> str:
        """Return the provider's words as they may be shown: without the key, and not too long."""
        said = text if isinstance(text, str) else json.dumps(text, ensure_ascii=False, default=repr)
        if self.key is not None:
            said = self.key.redact(said)
        return said if len(said) <= _LONGEST else f"{said[:_LONGEST]}…"


class Refused(Exception):
    """An HTTP response that is an error: its status, its headers, and as much of its body as is kept."""

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        super().__init__(f"HTTP status {status}")
        self.status, self.headers, self.body = status, headers, body


@attrs.frozen(kw_only=True)
class _Told:
    """An error as a provider tells it, whatever the form."""

    message: str = ""
    code: str = ""
    type: str = ""
    status: int | None = None
    flagged: bool = False


_CODES = {
    "context_length_exceeded": Kind.CONTEXT_TOO_LONG,
    "exceed_context_size_error": Kind.CONTEXT_TOO_LONG,
    "too_many_prompt_tokens": Kind.CONTEXT_TOO_LONG,
    "insufficient_quota": Kind.QUOTA,
    "billing_hard_limit_reached": Kind.QUOTA,
    "billing_not_active": Kind.QUOTA,
    "insufficient_balance": Kind.QUOTA,
    "insufficient_user_quota": Kind.QUOTA,
    "credits_exhausted": Kind.QUOTA,
    "access_terminated": Kind.PERMISSION,
    "invalid_api_key": Kind.AUTHENTICATION,
    "invalid_authentication": Kind.AUTHENTICATION,
    "authentication_error": Kind.AUTHENTICATION,
    "permission_error": Kind.PERMISSION,
    "permission_denied": Kind.PERMISSION,
    "model_not_found": Kind.NOT_FOUND,
    "deploymentnotfound": Kind.NOT_FOUND,
    "not_found_error": Kind.NOT_FOUND,
    "rate_limit_exceeded": Kind.RATE_LIMIT,
    "rate_limit_error": Kind.RATE_LIMIT,
    "rate_limit_reached_error": Kind.RATE_LIMIT,
    "too_many_requests": Kind.RATE_LIMIT,
    "content_filter": Kind.CONTENT_FILTER,
    "content_policy_violation": Kind.CONTENT_FILTER,
    "responsibleaipolicyviolation": Kind.CONTENT_FILTER,
    "data_inspection_failed": Kind.CONTENT_FILTER,
    "server_error": Kind.OVERLOADED,
    "server_overloaded": Kind.OVERLOADED,
    "internal_error": Kind.OVERLOADED,
    "internal_server_error": Kind.OVERLOADED,
    "overloaded_error": Kind.OVERLOADED,
    "engine_overloaded_error": Kind.OVERLOADED,
    "service_unavailable": Kind.OVERLOADED,
    "timeout": Kind.TIMEOUT,
    "request_timeout": Kind.TIMEOUT,
    "invalid_request_error": Kind.BAD_REQUEST,
}

_WORDS: tuple[tuple[ModelErrorKind, tuple[str, ...]], ...] = (
    (
        Kind.CONTEXT_TOO_LONG,
        (
            "context length",
            "context window",
            "context size",
            "prompt is too long",
            "prompt too long",
            "too many tokens",
            "messages is too long",
            "maximum prompt length",
            "reduce the length of",
            "input is too long",
        ),
    ),
    (
        Kind.QUOTA,
        ("exceeded your current quota", "insufficient credits", "insufficient balance", "out of credits"),
    ),
    (Kind.AUTHENTICATION, ("incorrect api key", "invalid api key", "api key not valid")),
    (Kind.CONTENT_FILTER, ("content management policy", "content policy", "content filter")),
)
_DOUBTFUL = (Kind.BAD_REQUEST, Kind.RATE_LIMIT, Kind.PERMISSION, Kind.MALFORMED)


def _kind(told: _Told, status: int | None) -> ModelErrorKind:
    """Find the kind by the provider's code, then by its words where they are needed, then by the status."""
    by_code = _CODES.get(told.code.lower()) or _CODES.get(told.type.lower())
    number = status if status is not None and status >= 400 else told.status
    found = by_code
    if number is not None and (found is None or found is Kind.BAD_REQUEST):
        found = kind_of_status(number)
    if number == 413 and found is Kind.RATE_LIMIT:
        return (
            Kind.CONTEXT_TOO_LONG
        )  # more tokens in one request than a minute allows: waiting does not mend it
    if found is None or found in _DOUBTFUL:
        if told.flagged:
            return Kind.CONTENT_FILTER
        words = told.message.lower()
        for kind, phrases in _WORDS:
            if any(phrase in words for phrase in phrases):
                return kind
    return found or Kind.OVERLOADED  # an error without a word of blame is the provider's own


def _text(value: object) -> str:
    if value is None or isinstance(value, bool):
        return ""
    return value if isinstance(value, str) else str(value) if isinstance(value, int | float) else ""


def _number(*values: object) -> int | None:
    """Return the first value that is the status of an error."""
    for value in values:
        if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) == 3:
            value = int(value)
        if type(value) is int and 400 <= value < 600:
            return value
    return None


def _told(data: Any) -> _Told | None:
    """Find an error in JSON data: within ``error``, or told flat; None where there is none."""
    if isinstance(data, list) and len(data) == 1:
        data = data[0]
    if not isinstance(data, Mapping):
        return None
    error = data.get("error")
    if isinstance(error, str) and error:
        status = _number(data.get("status_code"), data.get("status"), data.get("code"))
        return _Told(message=error, code=_text(data.get("code")), type=_text(data.get("type")), status=status)
    if isinstance(error, Mapping) and error:
        return _of_mapping(error)
    response = data.get("response")
    if isinstance(response, Mapping) and isinstance(inner := response.get("error"), Mapping):
        return _of_mapping(inner)
    errors = data.get("errors")
    if (
        data.get("success") is False
        and isinstance(errors, list)
        and errors
        and isinstance(errors[0], Mapping)
    ):
        return _of_mapping(errors[0])
    return _of_mapping(data) if data.get("object") == "error" or data.get("type") == "error" else None


def _of_mapping(error: Mapping[str, Any]) -> _Told:
    message = error.get("message") or error.get("msg") or error.get("detail") or error.get("error_msg")
    metadata = error.get("metadata")
    flagged = isinstance(metadata, Mapping) and bool(metadata.get("reasons") or metadata.get("flagged_input"))
    inner = error.get("innererror")
    code, type_ = error.get("code") or error.get("error_code"), error.get("type")
    if isinstance(inner, Mapping) and inner.get("code") and not code:
        code = inner["code"]
    said = (
        message if isinstance(message, str) else "" if message is None else json.dumps(message, default=repr)
    )
    if (
        isinstance(metadata, Mapping)
        and isinstance(raw := metadata.get("raw"), str)
        and raw
        and raw not in said
    ):
        said = f"{said}: {raw}" if said else raw
    return _Told(
        message=said,
        code=_text(code),
        type=_text(type_) if type_ != "error" else "",
        status=_number(error.get("status_code"), error.get("status"), code),
        flagged=flagged,
    )


def request_id_of(headers: Mapping[str, str]) -> str:
    """Return what the provider calls the request, or an empty text."""
    for name in ("x-request-id", "request-id", "apim-request-id", "x-ds-trace-id", "cf-ray"):
        if found := headers.get(name):
            return str(found)
    return ""


def _error(
    asked: Asked, told: _Told, *, status: int | None, headers: Mapping[str, str], what: str
) -> ModelError:
    kind = _kind(told, status)
    said = asked.quote(told.message)
    code = asked.quote(told.code)
    words = f": {said}" if said else ""
    return ModelError(
        f"{asked.provider} {what}{f' ({code})' if code and code != str(status) else ''}{words}",
        kind=kind,
        retry_after=wait_of(headers, time.time()),
        provider=asked.provider,
        status=status,
        code=code,
        type=asked.quote(told.type),
        said=said,
        request_id=request_id_of(headers),
    )


def error_of_refusal(asked: Asked, refused: Refused) -> ModelError:
    """Return the error that an HTTP response with the status of an error stands for."""
    try:
        data = json.loads(refused.body)
    except ValueError:
        data = None
    told = _told(data)
    if told is None and isinstance(data, Mapping):
        told = _of_mapping(data)
    if told is None:
        told = _Told(message=refused.body.decode("utf-8", "replace").strip())
    what = f"answered with status {refused.status}"
    return _error(asked, told, status=refused.status, headers=refused.headers, what=what)


def error_in(
    asked: Asked, data: Any, headers: Mapping[str, str], status: int | None = 200
) -> ModelError | None:
    """Return the error that the data of a good response, or an event of a stream, tells of; None where there is none."""
    told = _told(data)
    if told is None:
        return None
    where = "told of an error in its answer"
    if status == 200 and told.status is not None:
        status = told.status
    return _error(asked, told, status=status, headers=headers, what=where)


def malformed(asked: Asked, what: str, *, retryable: bool = False) -> ModelError:
    """Return the error for an answer that cannot be read; `what` says how it is wrong."""
    msg = f"{asked.provider} gave an answer that cannot be read: {asked.quote(what)}"
    return ModelError(msg, kind=Kind.MALFORMED, retryable=retryable, provider=asked.provider)


def cut_short(asked: Asked, how: str = "") -> ModelError:
    """Return the error for a stream that ended before the answer was complete."""
    msg = f"the stream of {asked.provider} ended before the answer was complete"
    return ModelError(
        f"{msg}: {asked.quote(how)}" if how else msg, kind=Kind.NETWORK, provider=asked.provider
    )


def timed_out(asked: Asked, what: str) -> ModelError:
    """Return the error for a provider that did not do in time what it was to do."""
    msg = f"{asked.provider} did not {what} in time"
    return ModelError(msg, kind=Kind.TIMEOUT, provider=asked.provider)


def error_of(asked: Asked, error: Exception) -> ModelError:
    """Return what an exception of the SDK, or of the HTTP library under it, means."""
    if isinstance(error, ModelError):
        return error
    cause = error.__cause__
    for each in (error, cause):
        if isinstance(each, Refused):
            return error_of_refusal(asked, each)
    status = getattr(error, "status_code", None)
    if isinstance(status, int):
        response = error.response  # type: ignore[attr-defined]  # the SDK's error of a status has it
        return error_of_refusal(asked, Refused(status, response.headers, b""))
    names = [cls.__name__ for each in (error, cause) if each is not None for cls in type(each).__mro__]
    said = asked.quote(str(cause or "") or str(error) or type(error).__name__)
    if any("Timeout" in name for name in names):
        return ModelError(
            f"{asked.provider} did not answer in time: {said}", kind=Kind.TIMEOUT, provider=asked.provider
        )
    if "DecodingError" in names:
        return malformed(asked, said)
    if isinstance(error, UnicodeError | TypeError | ValueError | RecursionError):
        msg = f"{asked.provider} was not asked: the request cannot be written as JSON: {said}"
        return ModelError(msg, kind=Kind.BAD_REQUEST, provider=asked.provider, said=said)
    if _BAD_ADDRESS.intersection(names):
        msg = f"{asked.provider} cannot be asked: {said}; look at base_url"
        return ModelError(msg, kind=Kind.BAD_REQUEST, provider=asked.provider, said=said)
    if any(name in names for name in ("RequestError", "APIConnectionError", "OSError", "EndOfStream")):
        msg = f"{asked.provider} cannot be reached, or broke the connection off: {said}"
        return ModelError(msg, kind=Kind.NETWORK, provider=asked.provider, said=said)
    return malformed(asked, f"{type(error).__name__}: {error}")


_BAD_ADDRESS = frozenset({"UnsupportedProtocol", "InvalidURL", "TooManyRedirects", "LocalProtocolError"})
