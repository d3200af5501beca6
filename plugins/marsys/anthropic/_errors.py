"""What goes wrong at the API, as a `ModelError`."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from typing import Any

import attrs

from marsys_core.errors import ModelError, ModelErrorKind
from marsys_core.messages import Usage
from marsys_core.models import kind_of_status, wait_of

__all__ = ["Refused", "Telling"]

Kind = ModelErrorKind

_TYPES = {
    "authentication_error": Kind.AUTHENTICATION,
    "billing_error": Kind.QUOTA,
    "permission_error": Kind.PERMISSION,
    "not_found_error": Kind.NOT_FOUND,
    "invalid_request_error": Kind.BAD_REQUEST,
    "request_too_large": Kind.BAD_REQUEST,
    "rate_limit_error": Kind.RATE_LIMIT,
    "timeout_error": Kind.TIMEOUT,
    "api_error": Kind.OVERLOADED,
    "overloaded_error": Kind.OVERLOADED,
}
# The API tells these apart by nothing but its words.
_WORDS = (
    (Kind.CONTEXT_TOO_LONG, ("prompt is too long", "exceed context limit", "context window", "input is too long")),
    (Kind.QUOTA, ("credit balance", "usage limit", "spend limit")),
    (Kind.CONTENT_FILTER, ("content filtering policy", "usage policy")),
)  # fmt: skip
_BAD_ADDRESS = frozenset({"UnsupportedProtocol", "InvalidURL", "TooManyRedirects", "LocalProtocolError"})
_LOST = frozenset({"RequestError", "APIConnectionError", "OSError", "EndOfStream"})
_LONGEST = 2000  # characters of what was said that are kept


class Refused(Exception):
    """A response with the status of an error: its headers, and as much of its body as is kept."""

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        super().__init__(f"HTTP status {status}")
        self.status, self.headers, self.body = status, headers, body


@attrs.define(eq=False)
class Telling:
    """Makes errors about one model.

    Args:
        name: The model.
        redact: Takes the key out of a text.
    """

    name: str
    redact: Callable[[str], str]

    def _quoted(self, text: str) -> str:
        text = self.redact(text)
        return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"

    def refused(self, refused: Refused) -> ModelError:
        """Return the error that a response with the status of an error stands for."""
        try:
            data = json.loads(refused.body)
        except ValueError:
            data = None
        error = data.get("error") if isinstance(data, dict) else None
        if not isinstance(error, dict):
            error = {"message": refused.body.decode("utf-8", "replace").strip()}
        what = f"was refused with status {refused.status}"
        return self._of(error, what, refused.headers, refused.status, _request_id(data))

    def told(self, data: Mapping[str, Any], headers: Mapping[str, str], usage: Usage | None) -> ModelError:
        """Return the error that comes with a status of success, in a stream too.

        Args:
            data: What has the error in it.
            headers: The headers of the response.
            usage: What the call has cost until then.
        """
        error = data.get("error")
        error = error if isinstance(error, dict) else {"message": str(error or "")}
        return self._of(error, "failed while it answered", headers, None, _request_id(data), usage)

    def _of(
        self,
        error: Mapping[str, Any],
        what: str,
        headers: Mapping[str, str],
        status: int | None,
        request_id: str,
        usage: Usage | None = None,
    ) -> ModelError:
        said = self._quoted(_text(error.get("message")))
        details = error.get("details")
        code = _text(details.get("error_code")) if isinstance(details, dict) else ""
        type = _text(error.get("type"))
        msg = f"model {self.name!r} {what}{f' ({type})' if type else ''}{f': {said}' if said else ''}"
        kind = _kind(type, said, status)
        return ModelError(
            msg,
            kind=kind,
            retryable=_retryable(kind, headers),
            retry_after=wait_of(headers, time.time()),
            provider="anthropic",
            status=status,
            code=code,
            type=type,
            said=said,
            request_id=headers.get("request-id") or request_id,
            usage=usage,
        )

    def malformed(self, what: str, usage: Usage | None = None) -> ModelError:
        """Return the error for a reply that cannot be read; `what` says how it is wrong."""
        msg = f"model {self.name!r} gave a reply that cannot be read: {self._quoted(what)}"
        return ModelError(msg, kind=Kind.MALFORMED, provider="anthropic", usage=usage)

    def cut(self, usage: Usage | None = None) -> ModelError:
        """Return the error for a stream that ended before the answer was complete."""
        msg = f"the stream of model {self.name!r} ended before the answer was complete"
        return ModelError(msg, kind=Kind.NETWORK, provider="anthropic", usage=usage)

    def late(self, usage: Usage | None = None) -> ModelError:
        """Return the error for an answer that was not there at the deadline."""
        msg = f"model {self.name!r} had not answered at the deadline"
        return ModelError(msg, kind=Kind.TIMEOUT, provider="anthropic", usage=usage)

    def failed(self, error: Exception, usage: Usage | None = None, *, asking: bool = False) -> ModelError:
        """Return what an exception of the SDK, or of the HTTP library under it, means.

        Args:
            error: The exception.
            usage: What the call has cost until then.
            asking: Whether it came before there was a response.
        """
        if isinstance(error, ModelError):
            return error
        cause = error.__cause__
        if isinstance(cause, Refused):
            return self.refused(cause)
        names = {cls.__name__ for each in (error, cause) if each is not None for cls in type(each).__mro__}
        said = self._quoted(str(cause or "") or str(error) or type(error).__name__)
        if any("Timeout" in name for name in names):
            kind, what = Kind.TIMEOUT, "did not answer in time"
        elif names & _BAD_ADDRESS:
            kind, what = Kind.BAD_REQUEST, "cannot be asked; look at base_url"
        elif names & _LOST and "DecodingError" not in names:
            kind, what = Kind.NETWORK, "cannot be reached, or broke the connection off"
        elif asking:
            kind, what = Kind.BAD_REQUEST, f"cannot be asked this ({type(error).__name__})"
        else:
            return self.malformed(said, usage)
        return ModelError(
            f"model {self.name!r} {what}: {said}", kind=kind, provider="anthropic", said=said, usage=usage
        )


def _kind(type: str, said: str, status: int | None) -> ModelErrorKind:
    found = _TYPES.get(type)
    if found is None:
        found = Kind.OVERLOADED if status is None else kind_of_status(status)
    if found in (Kind.BAD_REQUEST, Kind.RATE_LIMIT, Kind.PERMISSION):
        words = said.lower()
        for kind, phrases in _WORDS:
            if any(phrase in words for phrase in phrases):
                return kind
    return found


def _retryable(kind: ModelErrorKind, headers: Mapping[str, str]) -> bool | None:
    """Return what the API says of another try, or None where it does not; no try fills an account."""
    told = headers.get("x-should-retry")
    return None if kind is Kind.QUOTA else {"true": True, "false": False}.get(told or "")


def _text(value: object) -> str:
    return value if isinstance(value, str) else "" if value is None else str(value)


def _request_id(data: object) -> str:
    return _text(data.get("request_id")) if isinstance(data, Mapping) else ""
