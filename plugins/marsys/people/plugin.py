"""The plugin that offers ways to a person."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from marsys_core import Provider, hookimpl

if TYPE_CHECKING:
    from marsys_core.plugins.providers import OpenContext
    from marsys_core.protocols.channel import Channel

__all__ = ["marsys_channels"]


def _make_terminal(_context: OpenContext, _settings: object) -> Channel:
    from marsys.people._terminal import TerminalChannel

    return TerminalChannel()


def _make_queue(_context: OpenContext, _settings: object) -> Channel:
    from marsys.people._queue import QueueChannel

    return QueueChannel()


@hookimpl
def marsys_channels() -> Iterable[Provider[Channel]]:
    """Offer the channels that ``channel="terminal"`` and ``channel="queue"`` name."""
    return [
        Provider("terminal", make=_make_terminal, summary="Asks on standard error, and reads standard input"),
        Provider(
            "queue",
            make=_make_queue,
            features=frozenset({"application"}),
            summary="Keeps questions open until the application answers",
        ),
    ]
