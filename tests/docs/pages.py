"""Reading Markdown: fenced blocks, headings and links."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import attrs

__all__ = ["ROOT", "Block", "blocks", "pages"]

ROOT = Path(__file__).resolve().parents[2]
_FENCE = re.compile(r"^(```+)([\w-]*)[^\n]*\n(.*?)^\1[ \t]*$", re.MULTILINE | re.DOTALL)


@attrs.frozen(kw_only=True)
class Block:
    """A fenced block.

    Args:
        language: The word after the fence, or an empty string.
        text: What stands between the fences.
        line: The line of its first line, from 1.
        follows: Whether nothing but blank lines stands between it and the block before.
    """

    language: str
    text: str
    line: int
    follows: bool


def blocks(text: str) -> Iterator[Block]:
    end = 0
    for found in _FENCE.finditer(text):
        between = text[end : found.start()]
        yield Block(
            language=found[2],
            text=found[3],
            line=text.count("\n", 0, found.start(3)) + 1,
            follows=end > 0 and not between.strip(),
        )
        end = found.end()


def pages() -> list[Path]:
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
