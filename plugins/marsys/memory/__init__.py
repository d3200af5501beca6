"""What of its conversation an agent is shown: all of it, or the newest turns."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from marsys.memory._recall import FullMemory, WindowMemory

__all__ = ["FullMemory", "WindowMemory"]


def __getattr__(name: str) -> object:
    # Imported on first use: the plugin is asked at every start, and the classes are needed only when opened.
    if name in __all__:
        from marsys.memory import _recall

        found: object = getattr(_recall, name)
        return found
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)
