"""Reading a stream of server-sent events, whatever way its bytes are cut."""

from __future__ import annotations

import json
from typing import Any, TypeAlias

__all__ = ["Event", "EventReader"]

Event: TypeAlias = tuple[str, Any]
"""The name of an event, often an empty text, and its data, read as JSON."""

_DONE = "[DONE]"


class EventReader:
    """Makes events of the bytes of a stream.

    Attributes:
        done: Whether the stream said that it is complete, with ``data: [DONE]``; what comes after it is passed over.
    """

    __slots__ = ("_data", "_event", "_partial", "_skip_newline", "_started", "done")

    def __init__(self) -> None:
        self.done = False
        self._partial = bytearray()
        self._skip_newline = False
        self._started = False
        self._event = ""
        self._data: list[bytes] = []

    def feed(self, chunk: bytes) -> list[Event]:
        """Take bytes, and return the events that they complete.

        Raises:
            ValueError: An event is not JSON, or not UTF-8.
        """
        if self._skip_newline and chunk:
            self._skip_newline = False
            chunk = chunk.removeprefix(b"\n")
        if b"\r" in chunk:
            self._skip_newline = chunk.endswith(b"\r")
            chunk = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        if b"\n" not in chunk:
            self._partial += chunk
            return []
        if self._partial:
            chunk = bytes(self._partial) + chunk
            self._partial.clear()
        if not self._started:
            self._started = True
            chunk = chunk.removeprefix(b"\xef\xbb\xbf")
        lines = chunk.split(b"\n")
        self._partial += lines.pop()
        return self._read(lines)

    def finish(self) -> list[Event]:
        """Return the event that the end of the stream completes, where it has no empty line after it.

        Raises:
            ValueError: The stream ended in the middle of an event.
        """
        return self.feed(b"\n\n") if self._partial or self._data else []

    def _read(self, lines: list[bytes]) -> list[Event]:
        found: list[Event] = []
        for line in lines:
            if line.startswith(b"data:"):
                self._data.append(line[6:] if line[5:6] == b" " else line[5:])
            elif not line:
                if self._data and not self.done:
                    self._complete(found)
                self._event = ""
                self._data.clear()
            elif line.startswith(b"event:"):
                self._event = line[6:].strip().decode()
            # comments, ids and times to wait before a new connection say nothing of the answer
        return found

    def _complete(self, found: list[Event]) -> None:
        data = self._data
        text = (data[0] if len(data) == 1 else b"\n".join(data)).decode()
        if text.startswith(_DONE):
            self.done = True
        elif text:
            found.append((self._event, json.loads(text)))
