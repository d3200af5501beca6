"""Ways to a person: the terminal, a queue that the application answers, and questions as text."""

from __future__ import annotations

from marsys.people._queue import QueueChannel
from marsys.people._terminal import TerminalChannel
from marsys.people._text import read, shown

__all__ = ["QueueChannel", "TerminalChannel", "read", "shown"]
