"""Entries as a journal keeps them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from marsys_core.events import Event
from marsys_core.format import decode, encode
from marsys_core.values import Converter

__all__ = ["again", "entry", "read", "rewritten"]


def read(kind: str, text: Any, converter: Converter | None = None, **columns: Any) -> Any:
    """Decode a text, as the third entry of a run."""
    given = {"branch": "0", "n": 2, "cause": ("0", 1), "seq": 3, "time": 1.5, "run_id": "r", **columns}
    return decode(kind, text, converter or Converter(), **given)


def again(event: Event, converter: Converter | None = None) -> Any:
    """Write `event` and read it."""
    return read(
        type(event).__name__,
        encode(event, converter or Converter()),
        converter,
        branch=event.branch,
        n=event.n,
        cause=event.cause,
        seq=event.seq,
        time=event.time,
        run_id=getattr(event, "run_id", "run"),
    )


def rewritten(events: Sequence[Event]) -> list[Event]:
    """Read a whole journal that was written, with one converter on each side."""
    return [again(event, Converter()) for event in events]


def entry(event: Event, converter: Converter | None = None) -> dict[str, Any]:
    """The data of an entry."""
    import json

    data: dict[str, Any] = json.loads(encode(event, converter or Converter()))
    return data
