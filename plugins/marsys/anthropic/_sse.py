"""Server-sent events, read from bytes that are cut anywhere."""

from __future__ import annotations

import attrs

__all__ = ["EventReader"]


@attrs.define(eq=False)
class EventReader:
    """Puts the data of events together. The name of an event is left out: its data says what it is."""

    _pieces: list[bytes] = attrs.field(factory=list)
    _data: list[bytes] = attrs.field(factory=list)
    _held: bytes = b""

    def feed(self, chunk: bytes) -> list[bytes]:
        """Take more bytes, and return the data of the events that they complete."""
        if self._held:
            chunk, self._held = self._held + chunk, b""
        if b"\r" in chunk:
            if chunk.endswith(b"\r"):  # the other half of the end of a line may come yet
                chunk, self._held = chunk[:-1], b"\r"
            chunk = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        first, *rest = chunk.split(b"\n")
        self._pieces.append(first)
        if not rest:  # a line may be long: its pieces are joined once
            return []
        last = rest.pop()
        found: list[bytes] = []
        self._line(b"".join(self._pieces), found)
        for line in rest:
            self._line(line, found)
        self._pieces = [last]
        return found

    def _line(self, line: bytes, found: list[bytes]) -> None:
        if line.startswith(b"data:"):
            self._data.append(line[6:] if line[5:6] == b" " else line[5:])
        elif not line and self._data:
            found.append(b"\n".join(self._data))
            self._data = []
