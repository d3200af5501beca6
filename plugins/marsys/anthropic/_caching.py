"""Where the API is told to keep a request for the next ones."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from marsys_core.models import Caching

__all__ = ["mark"]

_MOST = 4  # places that the API takes
_SHORT = 300.0  # seconds that it keeps a place for, where it is not paid to keep it for an hour
_UNMARKED = frozenset({"thinking", "redacted_thinking"})


def mark(body: dict[str, Any], caching: Caching) -> None:
    """Put marks on the ends of what is worth keeping, as many as the request has room for.

    The conversation gets two: at its end, and at the end of the user's turn before, where the last request had its
    own: the API looks back from a mark over a few blocks only.

    Args:
        body: The request; what has marks already keeps them.
        caching: What is worth keeping.
    """
    control = {"type": "ephemeral"}
    if caching.seconds is not None:
        control["ttl"] = "5m" if caching.seconds <= _SHORT else "1h"
    room = _MOST - sum("cache_control" in block for block in _marked(body))
    places: list[list[dict[str, Any]]] = []
    if caching.instruction:
        places += [body.get("system") or [], body.get("tools") or []]
    if caching.conversation:
        said = [turn["content"] for turn in body["messages"] if turn["role"] == "user"]
        places[:0] = said[:-3:-1]
    for blocks in places:
        if room <= 0:
            return
        room -= _mark_last(blocks, control)


def _mark_last(blocks: list[dict[str, Any]], control: dict[str, str]) -> bool:
    for index in range(len(blocks) - 1, -1, -1):
        block = blocks[index]
        if block.get("type") not in _UNMARKED:
            if "cache_control" in block:
                return False
            blocks[index] = {**block, "cache_control": control}
            return True
    return False


def _marked(body: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield whatever may have a mark."""
    yield body
    yield from body.get("tools") or ()
    yield from body.get("system") or ()
    for turn in body["messages"]:
        yield from turn["content"]
