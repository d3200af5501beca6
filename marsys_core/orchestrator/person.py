"""What a branch has asked people, and how long it has waited for them."""

from __future__ import annotations

import attrs

from marsys_core import events as e

__all__ = ["Person"]


@attrs.define
class Person:
    """What a branch has asked people; made with its first question.

    Args:
        open: The questions that wait for an answer, by request id.
        kind: Why it waits, where it is not an approval.
        answer: How the question that it waited for came out.
        since: When it began to wait, in seconds since the run started; it counts while something is open.
        waited: How long it has waited before that.
        retried: How many times people have had a step of it taken again.
    """

    open: dict[str, e.UserAsked] = attrs.field(factory=dict)
    kind: str = ""
    answer: e.UserAnswered | None = None
    since: float = 0.0
    waited: float = 0.0
    retried: int = 0

    @property
    def in_order(self) -> list[e.UserAsked]:
        """The open questions, in the order of what they are asked about: calls at once ask as they come."""
        if len(self.open) < 2:
            return list(self.open.values())
        return sorted(self.open.values(), key=lambda asked: int(asked.request_id.rpartition(":")[2]))

    def close(self, time: float) -> None:
        """Nothing is asked any more."""
        if self.open:
            self.open.clear()
            self.waited += time - self.since
