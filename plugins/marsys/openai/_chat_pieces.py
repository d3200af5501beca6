"""What the pieces of an answer hold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from marsys_core.messages import DataPart

__all__ = ["image_of", "merge", "text_of", "thinking_of"]


def text_of(value: Any) -> str:
    """Return a text; what is none counts as nothing."""
    return value if type(value) is str else ""


def thinking_of(part: Mapping[str, Any]) -> str:
    """Return what is thought in a part of a content."""
    told = part.get("thinking", part.get("text"))
    if isinstance(told, list):
        return "".join(text_of(each.get("text")) for each in told if isinstance(each, dict))
    return text_of(told)


def merge(details: list[dict[str, Any]], new: dict[str, Any]) -> None:
    """Add a piece of a thought to the one that it goes on with: of the same type and index."""
    last = details[-1] if details else None
    if last is None or last.get("type") != new.get("type") or last.get("index") != new.get("index"):
        details.append(dict(new))
        return
    for key, value in new.items():
        if key in ("text", "summary", "data", "signature") and isinstance(value, str):
            last[key] = f"{last.get(key) or ''}{value}"
        elif value is not None:
            last[key] = value


def image_of(part: Any) -> DataPart | None:
    """Return an image, by value or by address; None where there is none."""
    if type(part) is not dict:
        return None
    given = part.get("image_url")
    url = text_of(given.get("url")) if type(given) is dict else text_of(given)
    if not url.startswith("data:"):
        return DataPart("image/*", url=url) if url else None
    head, _, data = url[5:].partition(",")
    return DataPart(head.partition(";")[0] or "image/png", data)
