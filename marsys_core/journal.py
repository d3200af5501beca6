"""Where a run's events are kept: the protocol, and the journal in memory.

A journal is the truth about a run: everything is appended before anybody acts on it, and everything else
(status, metrics, debugging, replay) only reads it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from operator import is_not
from typing import Any, Protocol

import attrs

from marsys_core.events import Event
from marsys_core.messages import Message, ToolCall
from marsys_core.values import REF_BYTES, Converter, JoinInput, JoinItem, Ref, exceeds

__all__ = ["Journal", "MemoryJournal", "pack", "pack_calls", "pack_message", "unpack", "unpack_call"]


class Journal(Protocol):
    """An append-only sequence of events, and the large values they refer to."""

    def append(self, event: Event) -> None:
        """Take `event`; never waits, and never fails for lack of room in memory only."""

    def read(self, start: int = 0) -> Sequence[Event]:
        """Return the events from the one at index `start` on, in the order of appending."""

    def put(self, value: Any) -> Ref:
        """Keep a large value, once however often it is put, and return what stands for it."""

    def get(self, ref: Ref) -> Any:
        """Return the value behind `ref`.

        Raises:
            KeyError: The journal does not hold it.
        """


@attrs.define(eq=False)
class MemoryJournal:
    """A journal that lives as long as its run. Nothing is written to disk.

    Args:
        converter: Turns values into JSON for their hash.
    """

    converter: Converter = attrs.field(factory=Converter)
    events: list[Event] = attrs.field(factory=list)
    _blobs: dict[str, Any] = attrs.field(factory=dict)

    def append(self, event: Event) -> None:
        """Take `event`."""
        self.events.append(event)

    def read(self, start: int = 0) -> Sequence[Event]:
        """Return the events from index `start` on."""
        return self.events[start:]

    def put(self, value: Any) -> Ref:
        """Keep a large value under its hash."""
        ref, _ = self.weighed(value)
        self._blobs.setdefault(ref.sha256, value)
        return ref

    def weighed(self, value: Any) -> tuple[Ref, bytes]:
        """Return what stands for `value`, and its written form, which that is the hash of."""
        import json

        data = json.dumps(self.converter.encode(value), sort_keys=True).encode()
        return Ref(hashlib.sha256(data).hexdigest(), len(data)), data

    def get(self, ref: Ref) -> Any:
        """Return the value behind `ref`."""
        return self._blobs[ref.sha256]


def pack(journal: Journal, value: Any) -> Any:
    """Return what an event carries for `value`: itself, or a `Ref` where it is over 4 kB."""
    if type(value) is str and len(value) <= REF_BYTES // 4:
        return value
    return journal.put(unpack(journal, value)) if exceeds(value, REF_BYTES) else value


def pack_message(journal: Journal, message: Message) -> Message:
    """Return `message` as an event carries it, with content and arguments over 4 kB put away."""
    content, calls = message.content, message.tool_calls
    kept: Any = content
    if type(content) is not str or len(content) > REF_BYTES // 4:
        packed = pack(journal, content if type(content) is str else list(content))
        kept = packed if isinstance(packed, Ref) else content
    if calls:
        calls = pack_calls(journal, calls)
    if kept is content and calls is message.tool_calls:
        return message
    return attrs.evolve(message, content=kept, tool_calls=calls)


def pack_calls(journal: Journal, calls: tuple[ToolCall, ...]) -> tuple[ToolCall, ...]:
    """Return `calls` as an event carries them, with arguments, and what is the provider's own, over 4 kB put away."""
    return (
        tuple(kept)
        if any(map(is_not, kept := [_pack_call(journal, each) for each in calls], calls))
        else calls
    )


def _pack_call(journal: Journal, call: ToolCall) -> ToolCall:
    arguments: Any = pack(journal, call.arguments)
    native: Any = call.native
    if native is not None:
        native = pack(journal, native)
    if not (isinstance(arguments, Ref) or isinstance(native, Ref)):
        return call
    return attrs.evolve(call, arguments=arguments, native=native)


def unpack_call(journal: Journal, call: ToolCall) -> ToolCall:
    """Return the call that `pack_calls` was given."""
    arguments, native = call.arguments, call.native
    if not (isinstance(arguments, Ref) or isinstance(native, Ref)):
        return call
    return attrs.evolve(call, arguments=unpack(journal, arguments), native=unpack(journal, native))


def unpack(journal: Journal, value: Any) -> Any:
    """Return the value that `pack` was given: the taker's own, so that changing it changes no record."""
    if type(value) is str:
        return value
    if isinstance(value, Ref):
        return unpack(journal, journal.get(value))
    if isinstance(value, JoinInput):
        return JoinInput(JoinItem(node, branch, unpack(journal, inner)) for node, branch, inner in value)
    if type(value) is list:
        return [unpack(journal, inner) for inner in value]
    if type(value) is dict:
        return {key: unpack(journal, inner) for key, inner in value.items()}
    return value
