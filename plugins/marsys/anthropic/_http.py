"""Reading the bodies of HTTP responses no further than one wants to."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import trio

from marsys.anthropic._errors import Refused

__all__ = ["abandon", "refuse"]

_LONGEST_REFUSAL = 262_144  # bytes of the body of an error that are read
_CLOSING = 2.0  # seconds that closing a connection may take


async def abandon(response: Any, chunks: AsyncIterator[bytes]) -> None:
    """Close `response`, and its connection where there was more to come; nothing of it is left to the collector.

    Args:
        response: The response.
        chunks: The iterator that its body was read from.
    """
    with trio.move_on_after(_CLOSING) as scope:
        scope.shield = True
        await response.aclose()
        # The HTTP library reads through generators within generators. Closing one leaves those within it open; an
        # error that comes from the closed connection ends them all.
        try:
            while await anext(chunks, None) is not None:
                await trio.lowlevel.checkpoint()
        except Exception:  # noqa: S110 - it is the one that was waited for
            pass


async def refuse(response: Any) -> None:
    """Raise `Refused` for a response with the status of an error, with no more of its body than is shown."""
    if response.status_code < 400:
        return
    body = bytearray()
    chunks = response.aiter_bytes()
    try:
        while len(body) < _LONGEST_REFUSAL and (chunk := await anext(chunks, None)) is not None:
            body += chunk
    except Exception:  # noqa: S110 - the status says what went wrong; a body that broke off only says less
        pass
    finally:
        await abandon(response, chunks)
    raise Refused(response.status_code, response.headers, bytes(body[:_LONGEST_REFUSAL]))
