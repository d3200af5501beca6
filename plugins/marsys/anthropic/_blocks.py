"""From parts of messages to the blocks of the Messages API."""

from __future__ import annotations

from typing import Any

from marsys_core.errors import ModelError, ModelErrorKind
from marsys_core.messages import (
    DataPart,
    Message,
    NativePart,
    Part,
    ReasoningPart,
    RefusalPart,
    TextPart,
)

__all__ = ["block_of", "data_block", "result_content", "text_block"]

_IMAGES = ("image/jpeg", "image/png", "image/gif", "image/webp")


def text_block(text: str) -> dict[str, Any]:
    """Return a text as a block."""
    return {"type": "text", "text": text}


def block_of(part: Part, own: bool) -> dict[str, Any] | None:
    """Return a part as a block, or None where there is nothing in it that the API takes.

    Args:
        part: The part.
        own: Whether what is opaque in it is of this provider.
    """
    if isinstance(part, TextPart):
        if not part.text.strip():  # the API refuses a text of white space
            return None
        block = text_block(part.text)
        return {**block, **part.native} if own and part.native else block
    if isinstance(part, DataPart):
        return data_block(part, own)
    if isinstance(part, ReasoningPart):
        return _thinking(part) if own and part.signature else None
    if isinstance(part, NativePart):
        return dict(part.item) if own and part.item.get("type") else None
    return text_block(part.refusal) if isinstance(part, RefusalPart) and part.refusal.strip() else None


def _thinking(part: ReasoningPart) -> dict[str, Any]:
    """What was thought goes back as it came: the API checks its signature."""
    if part.redacted:
        return {"type": "redacted_thinking", "data": part.signature}
    return {"type": "thinking", "thinking": part.text, "signature": part.signature}


def data_block(part: DataPart, own: bool) -> dict[str, Any]:
    """Return an image or a file as a block.

    Raises:
        ModelError: The API takes nothing of its kind.
    """
    media_type, data, url = _source_of(part)
    source: dict[str, Any]
    if own and part.native and "type" in part.native:  # such as a file that was uploaded before
        return dict(part.native)
    if media_type in _IMAGES or (media_type.startswith("image/") and url):
        source = {"type": "base64", "media_type": media_type, "data": data}
        block = {"type": "image", "source": {"type": "url", "url": url} if url else source}
    elif media_type == "application/pdf":
        source = {"type": "base64", "media_type": media_type, "data": data}
        block = {"type": "document", "source": {"type": "url", "url": url} if url else source}
    elif (media_type.startswith("text/") or media_type == "application/json") and not url:
        source = {"type": "text", "media_type": "text/plain", "data": _text_in(part, data)}
        block = {"type": "document", "source": source}
    else:
        where = " by its address" if url else ""
        msg = (
            f"a Claude model cannot be shown {part.name or 'a file'!r} of type {media_type!r}{where}: it takes "
            f"{', '.join(_IMAGES)} and application/pdf, by value or address, and text by value"
        )
        raise ModelError(msg, kind=ModelErrorKind.BAD_REQUEST, provider="anthropic")
    if part.name and block["type"] == "document":
        block["title"] = part.name
    return {**block, **part.native} if own and part.native else block


def _source_of(part: DataPart) -> tuple[str, str, str]:
    """Return type, data and address; an address that holds the data itself is read."""
    url = part.url
    if url.startswith("data:") and ";base64," in url:
        head, data = url.split(";base64,", 1)
        return part.media_type or head.removeprefix("data:"), data, ""
    return part.media_type, part.data, url


def _text_in(part: DataPart, data: str) -> str:
    import base64

    try:
        return base64.b64decode(data, validate=True).decode("utf-8")
    except ValueError as error:
        msg = f"{part.name or 'a file'!r} is said to be {part.media_type!r}, and is no UTF-8 text in base64: {error}"
        raise ModelError(msg, kind=ModelErrorKind.BAD_REQUEST, provider="anthropic") from error


def result_content(message: Message) -> str | list[dict[str, Any]]:
    """Return what a tool gave as the content of its result."""
    content = message.content
    if isinstance(content, str):
        return content if content.strip() else ""
    own = message.provider == "anthropic"
    return [block for part in content if (block := block_of(part, own)) is not None]
