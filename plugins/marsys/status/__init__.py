"""What is going on in a run, for a person at a terminal or in a log file."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from marsys.status._console import Console

__all__ = ["Console"]


def __getattr__(name: str) -> object:
    if name == "Console":
        from marsys.status._console import Console

        return Console
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)
