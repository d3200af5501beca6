"""What became of each plugin that was found."""

from __future__ import annotations

import enum

import attrs

__all__ = ["API", "OLDEST_API", "Record", "Status"]

API = 1
"""The version of the hook contract. It changes when an existing implementation has to do something else."""

OLDEST_API = 1
"""The oldest version that this engine still speaks."""


class Status(enum.Enum):
    """What became of a plugin."""

    LOADED = "loaded"
    """It is there, and its declarations are in use."""
    BLOCKED = "blocked"
    """A knob keeps it out; it was not imported."""
    UNAVAILABLE = "unavailable"
    """It lacks something, and its reason says how to get it."""
    INCOMPATIBLE = "incompatible"
    """It is written for a version of the hook contract that this engine does not speak."""
    BROKEN = "broken"
    """It failed: at import, at registration or in a hook."""
    SHADOWED = "shadowed"
    """Another plugin has its name."""


@attrs.frozen(kw_only=True, eq=False)
class Record:
    """One plugin, and what became of it.

    Args:
        name: The name of its entry point, or the one the application gave it.
        status: What became of it.
        distribution: What it was installed with; empty where the application handed it over.
        version: The version of that distribution.
        target: Where its code is, as the entry point says.
        path: The file it was loaded from, or where its distribution lies.
        reason: Why it is not loaded; empty where it is.
        knob: Which setting blocked it, for example ``"MARSYS_BLOCK_PLUGINS"``; empty otherwise.
        hooks: The hooks it implements, sorted; empty where it was never registered.
        error: What it raised.
        seconds: How long its import took.
    """

    name: str
    status: Status = Status.LOADED
    distribution: str = ""
    version: str = ""
    target: str = ""
    path: str = ""
    reason: str = ""
    knob: str = ""
    hooks: tuple[str, ...] = ()
    error: BaseException | None = None
    seconds: float = 0.0

    @property
    def source(self) -> str:
        """Who brought it: ``"marsys-x 1.2"``, or that the application did."""
        return f"{self.distribution} {self.version}".strip() or "the application"

    @property
    def cause(self) -> str:
        """One phrase for messages: ``"plugin 'x' is unavailable: pip install marsys-core[x]"``."""
        text = f"plugin {self.name!r} is {self.status.value}"
        return f"{text}: {self.reason}" if self.reason else text
