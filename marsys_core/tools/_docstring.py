"""Reading Google-style docstrings. Imported on first use."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable

__all__ = ["describe"]

_HEADER = re.compile(r"(Args|Arguments|Attributes|Example|Examples|Note|Notes|Raises|Returns|Yields):")
_ENTRY = re.compile(r"(?P<name>\w+)\s*(?:\([^)]*\))?:\s*(?P<text>.*)")


def describe(docstring: str | None) -> tuple[str, dict[str, str]]:
    """Return the first paragraph of a docstring, and what its sections say of each parameter or field."""
    lines = inspect.cleandoc(docstring or "").splitlines()
    return _first_paragraph(lines), _entries(lines)


def _first_paragraph(lines: list[str]) -> str:
    paragraph = []
    for line in lines:
        if not line.strip() or _HEADER.fullmatch(line):
            break
        paragraph.append(line.strip())
    return " ".join(paragraph)


def _entries(lines: Iterable[str]) -> dict[str, str]:
    found: dict[str, list[str]] = {}
    inside, indent, current = False, 0, ""
    for line in lines:
        depth = len(line) - len(line.lstrip())
        if line.strip() and depth == 0:
            inside, indent, current = line.rstrip() in {"Args:", "Arguments:", "Attributes:"}, 0, ""
        elif inside and line.strip():
            indent = indent or depth
            entry = _ENTRY.fullmatch(line.strip()) if depth <= indent else None
            if entry:
                current = entry["name"]
                found[current] = [entry["text"]]
            elif current:
                found[current].append(line.strip())
    return {name: " ".join(filter(None, text)) for name, text in found.items()}
