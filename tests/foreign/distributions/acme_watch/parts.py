"""The memory, the guard, the sink and the middleware."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs

from marsys_core.errors import GuardRefused
from marsys_core.events import StepFinished
from marsys_core.messages import Message
from marsys_core.protocols.guard import GuardSubject
from marsys_core.protocols.middleware import Proceed

__all__ = ["Counter", "LabelMemory", "Stamp", "WordGuard"]


class LabelMemory:
    """Recalls everything, after a label."""

    def recall(self, conversation: Sequence[Message]) -> Sequence[Message]:
        """Return the label and the conversation."""
        return [Message("user", "this is acme's"), *conversation]


@attrs.frozen
class WordGuard:
    """Lets no task with a word pass."""

    word: str
    name: str = "acme-word"

    async def check(self, subject: GuardSubject) -> None:
        """Return to let `subject` pass."""
        if subject.kind == "task" and self.word in str(subject.value):
            msg = f"a task may not speak of {self.word}"
            raise GuardRefused(msg)


class Counter:
    """Counts steps of the process."""

    steps = 0

    def on_step_finished(self, _event: StepFinished) -> None:
        """Count one."""
        Counter.steps += 1


@attrs.frozen
class Stamp:
    """Puts a stamp after every answer."""

    stamp: str
    name: str = "acme-stamp"

    async def model_call(self, call: Any, proceed: Proceed) -> Any:
        """Make the call, and stamp what came of it."""
        response = await proceed(call)
        return attrs.evolve(response, content=f"{response.text} {self.stamp}")
