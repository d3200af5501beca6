"""The plugin that offers memories."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import attrs

from marsys_core import Provider, hookimpl

if TYPE_CHECKING:
    from marsys_core.memory import Memory
    from marsys_core.plugins.providers import OpenContext

__all__ = ["WindowSettings", "marsys_memory"]


@attrs.frozen(kw_only=True)
class WindowSettings:
    """How much the window recalls.

    Args:
        turns: How many of the newest turns; a turn begins at a user's message.
    """

    turns: int = attrs.field(default=20, validator=attrs.validators.ge(1))


def _make_conversation(_context: OpenContext, _settings: object) -> Memory:
    from marsys.memory._recall import FullMemory

    return FullMemory()


def _make_window(_context: OpenContext, settings: WindowSettings) -> Memory:
    from marsys.memory._recall import WindowMemory

    return WindowMemory(settings.turns)


@hookimpl
def marsys_memory() -> Iterable[Provider[Memory]]:
    """Offer the whole conversation, and a window on it."""
    return [
        Provider(
            "conversation", make=_make_conversation, summary="Everything that was said along the branch"
        ),
        Provider("window", make=_make_window, settings=WindowSettings, summary="The newest turns only"),
    ]
