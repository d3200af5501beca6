"""Guards: what may refuse a task or a tool call."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from marsys.security._input_size import InputSizeGuard

__all__ = ["InputSizeGuard"]


def __getattr__(name: str) -> object:
    if name == "InputSizeGuard":
        from marsys.security._input_size import InputSizeGuard

        return InputSizeGuard
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)
