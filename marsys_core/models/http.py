"""What the HTTP responses of providers say, where they agree: the kind of an error, and how long to wait."""

from __future__ import annotations

import math
from collections.abc import Mapping

from marsys_core.errors import ModelErrorKind

__all__ = ["kind_of_status", "wait_of"]

_KINDS = {
    400: ModelErrorKind.BAD_REQUEST,
    401: ModelErrorKind.AUTHENTICATION,
    402: ModelErrorKind.QUOTA,
    403: ModelErrorKind.PERMISSION,
    404: ModelErrorKind.NOT_FOUND,
    405: ModelErrorKind.BAD_REQUEST,
    408: ModelErrorKind.TIMEOUT,
    409: ModelErrorKind.OVERLOADED,
    413: ModelErrorKind.BAD_REQUEST,
    422: ModelErrorKind.BAD_REQUEST,
    429: ModelErrorKind.RATE_LIMIT,
    504: ModelErrorKind.TIMEOUT,
}


def kind_of_status(status: int) -> ModelErrorKind:
    """Return the kind of error that an HTTP status stands for, where nothing else is known of it.

    Look at the provider's own code first: it tells an empty account from a rate limit, and a prompt that is too
    long from one that is wrong. Everything from 500 on counts as overload, which passes.
    """
    found = _KINDS.get(status)
    if found is not None:
        return found
    if status >= 500:
        return ModelErrorKind.OVERLOADED
    return ModelErrorKind.BAD_REQUEST if 400 <= status < 500 else ModelErrorKind.MALFORMED


def wait_of(headers: Mapping[str, str], now: float) -> float | None:
    """Return how many seconds the headers of a response ask to wait, or None where they do not say.

    ``retry-after-ms`` counts before ``retry-after``, which is a number of seconds or a date.

    Args:
        headers: The headers, with names in lower case, or a mapping that does not tell cases apart.
        now: The time by which a date is measured, in seconds since 1970.
    """
    exact = _seconds(headers.get("retry-after-ms"))
    if exact is not None:
        return exact / 1000
    given = headers.get("retry-after")
    seconds = _seconds(given)
    if seconds is not None or not given:
        return seconds
    import email.utils

    try:
        date = email.utils.parsedate_to_datetime(given)
    except ValueError:
        return None
    return max(0.0, date.timestamp() - now)


def _seconds(text: str | None) -> float | None:
    try:
        seconds = float(text or "")
    except ValueError:
        return None
    return seconds if 0 <= seconds < math.inf else None
