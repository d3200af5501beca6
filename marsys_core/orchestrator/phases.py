"""Where a branch stands, and how it came to its end."""

from __future__ import annotations

import enum

__all__ = ["LOST", "Phase", "Settled"]


class Phase(enum.Enum):
    """Where a branch stands between two events."""

    READY = "ready"
    """It has a value and is about to take a step at its node."""
    RUNNING = "running"
    """Its step has started; only the engine can say how it ends."""
    ACTED = "acted"
    """Its step has ended in an action that was not yet carried out."""
    ARRIVED = "arrived"
    """Its value is dispatched as plain content, without a step: at a gather, or as a conversation is over."""
    OPENING = "opening"
    """It has forked, and some of the children are still to be opened."""
    SUSPENDED = "suspended"
    """It waits for its join."""
    JOINED = "joined"
    """Its join is complete, and where it goes on is still to be carried out."""
    WAITING = "waiting"
    """It has asked a person, and waits for the answer."""
    ANSWERED = "answered"
    """The answer has come, or never will, and what it does is still to be carried out."""
    DELIVERED = "delivered"
    """It has delivered, and is about to settle."""
    FAILED = "failed"
    """Its step has failed for good: it is about to settle, or to ask a person."""
    SETTLED = "settled"
    """It has come to its end."""


class Settled(enum.Enum):
    """How a branch came to its end."""

    DELIVERED = "delivered"
    RETURNED = "returned"
    FINISHED = "finished"
    LEFT = "left"
    FAILED = "failed"
    CANCELLED = "cancelled"


LOST = frozenset({Settled.FAILED, Settled.CANCELLED})
"""The ends of branches that came to nothing: what they wrote is dropped, and a person may have them made again."""
