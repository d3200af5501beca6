"""Contents of messages as Chat Completions has them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from marsys.openai._presets import Preset
from marsys_core.errors import ModelError, ModelErrorKind
from marsys_core.messages import DataPart, NativePart, Part, ReasoningPart, RefusalPart, TextPart

__all__ = ["data_part", "user_content"]

_AUDIO = {
    "audio/wav": "wav",
    "audio/x-wav": "wav",
    "audio/wave": "wav",
    "audio/mpeg": "mp3",
    "audio/mp3": "mp3",
}
_TEXTUAL = frozenset({"application/json", "application/xml", "application/yaml", "application/toml"})


def user_content(content: str | Iterable[Part], preset: Preset) -> str | list[dict[str, Any]]:
    """Return what a person, or another agent, says.

    Raises:
        ModelError: There is something in it that the provider does not take.
    """
    if isinstance(content, str):
        return content
    parts: list[dict[str, Any]] = []
    for part in content:
        if isinstance(part, TextPart):
            parts.append({"type": "text", "text": part.text})
        elif isinstance(part, DataPart):
            parts.append(data_part(part, preset))
        elif isinstance(part, RefusalPart):
            parts.append({"type": "text", "text": part.refusal})
        elif isinstance(part, NativePart | ReasoningPart):
            continue  # a model's own; nobody else says such things
    if all(part["type"] == "text" for part in parts):
        return "".join(part["text"] for part in parts)
    return parts


def data_part(part: DataPart, preset: Preset) -> dict[str, Any]:
    """Return an image, a sound or a document.

    Raises:
        ModelError: The provider does not take such a thing.
    """
    media = part.media_type.partition(";")[0].strip().lower()
    if media.startswith("image/"):
        image: dict[str, Any] = {"url": part.url or f"data:{media};base64,{part.data}"}
        if part.native and isinstance(part.native.get("detail"), str):
            image["detail"] = part.native["detail"]
        return {"type": "image_url", "image_url": image}
    if media in _AUDIO and part.data:
        return {"type": "input_audio", "input_audio": {"data": part.data, "format": _AUDIO[media]}}
    if part.data and (media.startswith("text/") or media in _TEXTUAL):
        return {"type": "text", "text": _text(part)}
    if preset.pdf == "file" and part.data:
        address = f"data:{media or 'application/octet-stream'};base64,{part.data}"
        return {"type": "file", "file": {"filename": part.name or "document", "file_data": address}}
    if preset.pdf == "url":
        document: dict[str, Any] = {
            "type": "document_url",
            "document_url": part.url or f"data:{media};base64,{part.data}",
        }
        if part.name:
            document["document_name"] = part.name
        return document
    what = "address of a document" if part.url else "document"
    msg = f"{preset.name} takes no {what} of type {part.media_type!r} ({part.name or part.url or 'by value'})"
    raise ModelError(msg, kind=ModelErrorKind.BAD_REQUEST, provider=preset.name)


def _text(part: DataPart) -> str:
    import base64

    text = base64.b64decode(part.data).decode("utf-8", "replace")
    return f"{part.name}:\n{text}" if part.name else text
