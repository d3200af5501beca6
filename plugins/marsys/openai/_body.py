"""The bytes of an answer, within its deadline and its size."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Mapping
from typing import Any

import trio

from marsys.openai._errors import Asked, error_of, malformed, timed_out

__all__ = ["Body", "abandon"]

_DRAIN = (
    0.1  # seconds that an answer gets to end after its last event, so that its connection can be used again
)


class Body:
    """The bytes of an answer, within its deadline and its size."""

    def __init__(self, asked: Asked, response: Any, deadline: float | None, limit: int) -> None:
        self.asked = asked
        self.headers: Mapping[str, str] = response.headers
        self._response = response
        self._deadline = math.inf if deadline is None else deadline
        self._chunks: AsyncIterator[bytes] = response.aiter_bytes()
        self._left = limit
        self._limit = limit
        self.ended = False

    async def next(self) -> bytes | None:
        """Return the next bytes, or None at the end."""
        chunk: bytes | None = None
        with trio.move_on_at(self._deadline) as scope:
            try:
                chunk = await anext(self._chunks, None)
            except Exception as error:
                self.ended = True
                raise error_of(self.asked, error) from error
        if chunk is None:
            self.ended = True
            if scope.cancelled_caught:
                raise timed_out(self.asked, "end its answer")
            return None
        self._left -= len(chunk)
        if self._left < 0:
            raise malformed(self.asked, f"it is longer than max_reply_bytes={self._limit}")
        return chunk

    async def rest(self) -> bytearray:
        """Return all bytes that are still to come."""
        raw = bytearray()
        while (chunk := await self.next()) is not None:
            raw += chunk
        return raw

    async def drain(self) -> None:
        """Read to the end, if that is near, so that the connection can be used again."""
        with trio.move_on_after(_DRAIN):
            try:
                async for _ in self._chunks:
                    await trio.lowlevel.checkpoint()
            except Exception:  # noqa: S110 - what was to be read was read
                pass
            self.ended = True

    async def close(self) -> None:
        """Close the connection, unless it can be used again."""
        try:
            if not self.ended:
                await abandon(self._chunks)
        finally:
            with trio.CancelScope(shield=True):
                await self._response.aclose()


async def abandon(chunks: AsyncIterator[bytes]) -> None:
    """End an iterator in the middle.

    It is made of others, which would be left for the garbage collector to close, and the connection with them. What
    it waits for next is cancelled instead, which ends them all.
    """
    with trio.CancelScope() as scope:
        scope.cancel()
        try:
            async for _ in chunks:
                pass  # what has been received already
        except Exception:  # noqa: S110 - nobody wants what this would have been
            pass
