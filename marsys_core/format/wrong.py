"""What is wrong with an entry, on its way up to where its place is known."""

from __future__ import annotations

from typing import Any

from marsys_core.messages import shown

__all__ = ["Wrong"]


class Wrong(Exception):
    """Something in an entry is not what it has to be. `decode` and `encode` make a `FormatError` of it.

    Args:
        expected: What would have been right.
        found: What is there.
        steps: Where, innermost last.
    """

    def __init__(self, expected: str, found: Any, *steps: str) -> None:
        super().__init__(expected)
        self.expected, self.found = expected, shown(found)
        self.steps = list(reversed(steps))

    def inside(self, step: str) -> Wrong:
        """Add the step that leads here, for example ``.messages`` or ``[0]``."""
        self.steps.append(step)
        return self

    @property
    def path(self) -> str:
        """The whole way from the entry, ``$``."""
        return "$" + "".join(reversed(self.steps))
