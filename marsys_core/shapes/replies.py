"""Reading the JSON in what a model wrote. Imported on first use."""

from __future__ import annotations

from typing import Any

from marsys_core.tools._arguments import decode

__all__ = ["read_json"]


def read_json(text: str) -> Any:
    """Return the JSON value that `text` is, or that its one fenced block is.

    It is read strictly: a key that is there twice, or a number that JSON does not know, is refused.

    Raises:
        ValueError: There is none, or several blocks; the text says which.
    """
    whole = text.strip()
    try:
        return decode(whole)
    except RecursionError:
        msg = "it is nested too deeply"
        raise ValueError(msg) from None
    except ValueError:
        blocks = _fenced(whole)
        if not blocks:
            raise
    if len(blocks) > 1:
        msg = f"there are {len(blocks)} fenced blocks; give one"
        raise ValueError(msg)
    try:
        return decode(blocks[0].strip())
    except RecursionError:
        msg = "it is nested too deeply"
        raise ValueError(msg) from None


def _fenced(text: str) -> list[str]:
    """Return what stands in fences, line by line: a pattern could take quadratic time on a hostile text."""
    if "```" not in text:
        return []
    if "\n" not in text and text.startswith("```") and text.endswith("```"):
        return [text.strip("`").lstrip("abcdefghijklmnopqrstuvwxyzJSON")]
    blocks: list[str] = []
    inside: list[str] | None = None
    for line in text.splitlines(keepends=True):
        if not line.lstrip(" \t").startswith("```"):
            if inside is not None:
                inside.append(line)
        elif inside is None:
            inside = []
        else:
            blocks.append("".join(inside))
            inside = None
    return blocks
