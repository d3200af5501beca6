"""From a type to its schema and its structure, as for the parameters of tools. Imported on first use."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from marsys_core.tools._arguments import Problem
from marsys_core.tools._compiler import Compiler, Unsupported

__all__ = ["Unsupported", "compiled", "spelled"]

_MOST = 20  # a list of a thousand wrong items is one mistake, not a thousand


def compiled(wanted: Any) -> tuple[Mapping[str, Any], Callable[[Any], Any]]:
    """Return the JSON Schema of a type, and what makes an instance of plain data, or raises `Mismatch`.

    Raises:
        Unsupported: It, or something within it, has no JSON Schema.
    """
    compiler = Compiler()
    kind = compiler.compile(wanted)
    defined = {"$defs": compiler.definitions} if compiler.definitions else {}
    return {**kind.schema, **defined}, kind.structure


def spelled(problems: Sequence[Problem]) -> list[str]:
    """Return the problems in words, each with its path from ``$``."""
    told = [f"{lead}{_path(path)}{rest}" for lead, path, rest in problems[:_MOST]]
    if len(problems) > _MOST:
        told.append(f"and {len(problems) - _MOST} more")
    return told


def _path(path: tuple[str | int, ...]) -> str:
    return "$" + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
