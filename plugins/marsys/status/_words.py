"""Values, sizes and durations in the few words that a line has room for."""

from __future__ import annotations

from typing import Any

from marsys_core.messages import Usage
from marsys_core.values import JoinInput, Ref, render

__all__ = ["ERROR", "counted", "one_line", "reason", "seconds", "shown", "tokens"]

ERROR = 300
"""How many characters of an error are shown: it is worth more of a line than a value."""


def one_line(text: str, limit: int) -> str:
    """Return `text` on one line of at most `limit` characters.

    What agents say may hold anything: line breaks, and control sequences that would take over a terminal.
    """
    cut = text[: limit * 4]
    flat = " ".join("".join(c if c.isprintable() or c.isspace() else "?" for c in cut).split())
    if len(flat) <= limit and len(cut) == len(text):
        return flat
    return flat[: limit - 3].rstrip() + "..."


def shown(value: Any, limit: int = 100) -> str:
    """Return the beginning of a value; of one that the journal put away, only its size."""
    if isinstance(value, Ref):
        return f"({value.size / 1024:.0f} kB)"
    if isinstance(value, JoinInput):
        return counted(len(value), "contribution")
    if isinstance(value, str):
        return one_line(value, limit)
    return one_line(render(value), limit)


def reason(error: object, *, place: bool = False) -> str:
    """Return what an error says, without its place unless that is wanted: a line has columns for it."""
    text = str(error).removeprefix("failed: ")
    if not place and text.endswith(")"):
        text = text.rpartition(" (at branch ")[0] or text
    return one_line(text, ERROR)


def seconds(duration: float) -> str:
    """Return a duration as people read it: ``12 ms``, ``3.4 s``, ``2 min 05 s``."""
    if duration < 0.0995:
        return f"{duration * 1000:.0f} ms"
    if duration < 59.95:
        return f"{duration:.1f} s"
    minutes, rest = divmod(round(duration), 60)
    return f"{minutes} min {rest:02} s"


def counted(number: int, noun: str) -> str:
    """Return ``1 step`` or ``12,345 steps``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def tokens(usage: Usage) -> str:
    """Return what model calls took and gave."""
    return f"{counted(usage.input_tokens, 'token')} in, {usage.output_tokens:,} out"
