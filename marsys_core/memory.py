"""The conversation that an agent keeps along a branch, and what of it a model is shown.

The conversation itself is a fold of the journal: the messages that a step adds are part of its
`StepFinished`, and a step that failed, or is taken again, adds none. So a `Memory` decides only what to
recall of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import attrs

from marsys_core.errors import LifecycleError
from marsys_core.messages import Conversation, Message

__all__ = ["ConversationLog", "ConversationMemory", "Memory", "Shared"]


class Memory(Protocol):
    """Chooses what of a conversation a model is shown."""

    def recall(self, conversation: Sequence[Message]) -> Sequence[Message]:
        """Return the messages to show, in order; `conversation` is a view and is not to be changed.

        What is returned has to be acceptable to a provider: no answer to a tool call without the call.
        """


@attrs.define(eq=False)
class ConversationLog:
    """One agent's conversation along one branch, across steps.

    `open_calls` are the tool calls at its end that nobody has answered yet, because the branch may come
    back with the answers.
    """

    messages: list[Message] = attrs.field(factory=list)
    open_calls: tuple[str, ...] = ()
    handed_to: str = ""

    def closings(self) -> list[Message]:
        """Return the messages that answer the open calls, where the answers will not come."""
        text = f"handed over to {self.handed_to}" if self.handed_to else "interrupted"
        return [Message("tool", text, tool_call_id=call) for call in self.open_calls]


class Shared(Protocol):
    """What others said beside the agent's own conversation."""

    def with_added(self, added: Sequence[Message], closings: Sequence[Message] = ()) -> Sequence[Message]:
        """Return all of it, with what the agent has `added` in this step, and answers to its open calls."""


@attrs.define(eq=False)
class ConversationMemory:
    """A step's hold on its agent's conversation: what was said before, and what this step adds.

    `messages` is a view: handing it to a model costs nothing, however long the conversation is. At any
    moment it is a history that providers accept.
    """

    _log: ConversationLog
    _base: int = 0
    _memory: Memory | None = None
    _shared: Shared | None = None
    _closed: bool = False

    @property
    def messages(self) -> Sequence[Message]:
        """The conversation so far, with what this step has added."""
        log = self._log
        view: Sequence[Message] = Conversation(log.messages)
        if self._shared is not None:
            view = self._shared.with_added(self.added, log.closings())
        elif log.open_calls:
            view = [*log.messages, *log.closings()]
        return view if self._memory is None else self._memory.recall(view)

    @property
    def added(self) -> tuple[Message, ...]:
        """What this step has added."""
        return tuple(self._log.messages[self._base :])

    def add(self, message: Message) -> None:
        """Say something more. It counts once the step has finished; a failed step leaves no trace."""
        if self._closed:
            msg = "the step that this conversation was handed to is over"
            raise LifecycleError(msg)
        self._log.messages.append(message)

    def close(self) -> None:
        """The step is over: nothing more can be said through this."""
        self._closed = True

    def __len__(self) -> int:
        return len(self._log.messages)
