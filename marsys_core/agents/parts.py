"""Images and files within values, as parts of what a model is shown."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs

from marsys_core.messages import DataPart, Message, Part, TextPart
from marsys_core.values import JoinInput

__all__ = ["as_content", "spoken"]


def as_content(value: Any, render: Callable[[Any], str]) -> str | tuple[Part, ...]:
    """Return what a model is shown of `value`: its text, and the images and files that are in it.

    A list of texts and parts is these parts, in order. Of anything else, images and files come after the text, which
    says where they belong by their numbers.

    Args:
        value: Plain data.
        render: Makes text of it.
    """
    if type(value) is str:
        return value
    if (
        isinstance(value, list | tuple)
        and value
        and all(isinstance(each, str | TextPart | DataPart) for each in value)
    ):
        if any(not isinstance(each, str) for each in value):
            return tuple(TextPart(each) if isinstance(each, str) else each for each in value)
        return render(value)
    found: list[DataPart] = []
    text = render(_marked(value, found))
    return (TextPart(text), *found) if found else text


def _marked(value: Any, found: list[DataPart]) -> Any:
    """Return `value` with a mark in the place of each image or file, which is put into `found`."""
    if isinstance(value, DataPart):
        found.append(value)
        name = f", {value.name}" if value.name else ""
        return f"[attachment {len(found)}: {value.media_type}{name}]"
    if isinstance(value, JoinInput):
        return JoinInput((node, branch, _marked(inner, found)) for node, branch, inner in value)
    if isinstance(value, dict):
        return {key: _marked(inner, found) for key, inner in value.items()}
    if isinstance(value, list):
        return [_marked(inner, found) for inner in value]
    if isinstance(value, Message) and not isinstance(value.content, str):
        shown = [
            TextPart(each) if isinstance(each := _marked(part, found), str) else each
            for part in value.content
        ]
        return attrs.evolve(value, content=tuple(shown))
    return value


def spoken(content: str | tuple[Part, ...]) -> Message | None:
    """Return an answer that holds images or files as the value that is handed on; None where there are none."""
    if isinstance(content, str) or not any(isinstance(part, DataPart) for part in content):
        return None
    parts = [attrs.evolve(part, native=None) for part in content if isinstance(part, TextPart | DataPart)]
    return Message("assistant", tuple(parts))
