"""Memories that recall a conversation as it was said, whole or from some turn on."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from marsys_core.messages import Message

__all__ = ["FullMemory", "WindowMemory"]


@attrs.frozen
class FullMemory:
    """Recalls everything, which is what an agent without a memory of its own sees too.

    Name it where a configuration has to name something; the cost of a step then grows with the conversation.
    """

    def recall(self, conversation: Sequence[Message]) -> Sequence[Message]:
        """Return `conversation` as it is."""
        return conversation


@attrs.frozen
class WindowMemory:
    """Recalls the newest turns, so that a long conversation keeps costing the same and fits the model.

    A turn begins at a user's message and has all that follows up to the next one. More than `turns` are
    recalled where a tool result would otherwise be parted from its call. System messages at the very
    beginning of a conversation are always recalled. What lies further back is not summed up: the model
    does not know of it.

    Args:
        turns: How many turns, at least 1.
    """

    turns: int = attrs.field(default=20, validator=attrs.validators.ge(1))

    def recall(self, conversation: Sequence[Message]) -> Sequence[Message]:
        """Return the newest turns of `conversation`, in order; never nothing where there is something."""
        start = self._start(conversation)
        system = _leading_system(conversation, start)
        if start <= system:
            return conversation
        return [*conversation[:system], *conversation[start:]]

    def _start(self, conversation: Sequence[Message]) -> int:
        """Where the window begins; 0 where the conversation has no more turns than that."""
        turns, unmatched = 0, set[str]()
        for index in range(len(conversation) - 1, -1, -1):
            message = conversation[index]
            if message.role == "tool":
                unmatched.add(message.tool_call_id)
            elif message.tool_calls:
                unmatched.difference_update([call.id for call in message.tool_calls])
            elif message.role == "user":
                turns += 1
                if turns >= self.turns and not unmatched:
                    return index
        return 0


def _leading_system(conversation: Sequence[Message], stop: int) -> int:
    count = 0
    while count < stop and conversation[count].role == "system":
        count += 1
    return count
