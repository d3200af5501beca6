"""Reading the arguments that a model sent, and saying what is wrong with them. Imported on first use."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

from marsys_core.errors import ToolError
from marsys_core.messages import shown

__all__ = ["Mismatch", "Problem", "decode", "expected", "parse_object", "sentence", "shown"]

Problem = tuple[str, tuple[str | int, ...], str]
"""What comes before the path, the path within the arguments, and what comes after it."""

_MAX_PROBLEMS = 10  # a list of a thousand wrong items is one mistake, not a thousand


class Mismatch(Exception):
    """A value that is not what its annotation says; every problem in it, each with its path.

    `inside` tells a problem within the value from a value of the wrong kind altogether.
    """

    def __init__(self, problems: list[Problem], *, inside: bool = True) -> None:
        super().__init__(problems)
        self.problems = problems
        self.inside = inside

    def under(self, key: str | int) -> list[Problem]:
        """Return the problems as they are called one level further out."""
        return [(lead, (key, *path), rest) for lead, path, rest in self.problems]


def expected(noun: str, value: Any) -> Mismatch:
    """Make the mismatch of a value that should have been `noun`."""
    return Mismatch([("", (), f" should be {noun}, not {shown(value)}")], inside=False)


def sentence(problems: Sequence[Problem]) -> str:
    """Return the problems as one line for a model."""
    told = [f"{lead}{_spell(path)!r}{rest}" for lead, path, rest in problems[:_MAX_PROBLEMS]]
    if len(problems) > _MAX_PROBLEMS:
        told.append(f"and {len(problems) - _MAX_PROBLEMS} more")
    return "; ".join(told)


def _spell(path: tuple[str | int, ...]) -> str:
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.removeprefix(".")


def parse_object(text: str) -> dict[str, Any]:
    """Read a JSON object, strictly. Blank text is an empty one: some models send it for a tool without parameters.

    Raises:
        ToolError: It is not JSON, not an object, has a key twice, or a number that JSON does not know.
    """
    try:
        value = _DECODER.decode(text) if text and not text.isspace() else {}
    except RecursionError:
        msg = "the arguments are nested too deeply"
        raise ToolError(msg) from None
    except ValueError as error:  # a syntax error, one of the refusals below, or a number with too many digits
        msg = f"the arguments are not valid JSON: {error}"
        raise ToolError(msg) from None
    if type(value) is not dict:
        msg = f"the arguments should be a JSON object, not {shown(value)}"
        raise ToolError(msg)
    return value


def decode(text: str) -> Any:
    """Read JSON, strictly.

    Raises:
        ValueError: It is not JSON, has a key twice, or a number that JSON does not know or nobody can hold.
        RecursionError: It is nested too deeply.
    """
    return _DECODER.decode(text)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        msg = f"the key {twice!r} is there twice"
        raise ValueError(msg)
    return value


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):  # NaN and Infinity by name, and 1e999, which Python reads as infinite
        msg = f"{text} is not a number in JSON"
        raise ValueError(msg)
    return value


_DECODER = json.JSONDecoder(object_pairs_hook=_once, parse_float=_finite, parse_constant=_finite)
