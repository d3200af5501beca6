"""The blocks of a text: paragraphs, list items, headings, table rows and code, and where each one lies."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from typing import Literal

import attrs

__all__ = ["BLOCK_END", "Block", "closed_fences", "split_blocks"]

BLOCK_END = "\u2029"
"""The paragraph separator: between two blocks of an HTML page that no blank line keeps apart."""

_LINE = re.compile(rf"[^\n{BLOCK_END}]*[\n{BLOCK_END}]?")
_FENCE = re.compile(r"^ {0,3}(?P<mark>`{3,}|~{3}(?!~))(?P<info>[^`\n]*)$", re.MULTILINE)
_HEADING = re.compile(r"\s*#{1,6}\s+\S")
_ITEM = re.compile(r"\s*(?:[-*+•]|\d{1,3}[.)])\s+\S")
_ROW = re.compile(r"\s*\|.*\|\s*$")
_UNDERLINE = re.compile(r"\s*(?:={3,}|-{3,})\s*$")
_NOWHERE = (sys.maxsize, sys.maxsize)


@attrs.define(eq=False)
class Block:
    """A block, and where it starts and ends in its text. Of code, each line is one."""

    start: int
    end: int
    kind: Literal["text", "heading", "code"] = "text"


def closed_fences(text: str) -> list[tuple[int, int]]:
    """Return where the fenced code of a Markdown text lies, the fences included; an open fence is none."""
    return [pair for pair in _fences(text) if pair[1] >= 0]


def split_blocks(text: str) -> list[Block]:
    """Return the blocks of `text` in order; all that lies between them is white space.

    Blank lines, list items, headings, table rows and fences of code keep blocks apart; any other line goes
    on where the one before it ended, as wrapped text does. Where only one end of some fenced code is in the
    text, the code runs on from there to the end or, when no language is named, was open from the beginning.
    """
    found: list[Block] = []
    is_open = False  # whether the next line may go on where the last one ended
    code = iter(_code(text))
    first, last = next(code, _NOWHERE)
    for line in _LINE.finditer(text):
        while line.start() >= last:
            first, last = next(code, _NOWHERE)
        if line.start() >= first:
            found.append(Block(line.start(), line.end(), "code"))
            is_open = False
        else:
            is_open = _add(found, line, is_open) and not line[0].endswith(BLOCK_END)
    return found


def _add(found: list[Block], line: re.Match[str], is_open: bool) -> bool:
    """Put a line where it belongs, and tell whether the next one may belong there as well."""
    told = line[0].rstrip()
    if not told:
        return False
    if _HEADING.match(told):
        found.append(Block(line.start(), line.end(), "heading"))
        return False
    if is_open and _UNDERLINE.match(told):
        _underline(found[-1], line)
        return False
    is_row = _ROW.match(told) is not None
    if is_open and not is_row and not _ITEM.match(told):
        found[-1].end = line.end()
    else:
        found.append(Block(line.start(), line.end()))
    return not is_row


def _underline(block: Block, line: re.Match[str]) -> None:
    """Take the line under a block into it; what was one line is a heading."""
    if "\n" not in line.string[block.start : block.end].strip():
        block.kind = "heading"
    block.end = line.end()


def _code(text: str) -> list[tuple[int, int]]:
    """Return where code lies, also where only one of its fences is in the text."""
    found = []
    for start, end in _fences(text):
        if end >= 0:
            found.append((start, end))
        elif fence := _FENCE.match(text, start):
            found.append((start, len(text)) if fence["info"].strip() else (0, fence.end()))
    return found


def _fences(text: str) -> Iterator[tuple[int, int]]:
    """Yield where each piece of fenced code starts and ends; -1 for the end of one that is left open."""
    opened: re.Match[str] | None = None
    for fence in _FENCE.finditer(text):
        if opened is None:
            opened = fence
        elif fence["mark"].startswith(opened["mark"]) and not fence["info"].strip():
            yield opened.start(), fence.end()
            opened = None
    if opened is not None:
        yield opened.start(), -1
