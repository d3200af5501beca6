"""Ways to a person: the terminal, and a queue that the application answers."""

from __future__ import annotations

from marsys.people._queue import QueueChannel
from marsys.people._terminal import TerminalChannel

__all__ = ["QueueChannel", "TerminalChannel"]
