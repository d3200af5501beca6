"""A stream that one can write to whatever becomes of it."""

from __future__ import annotations

from typing import Any

import attrs

__all__ = ["SafeStream"]


@attrs.define(eq=False, slots=False)
class SafeStream:
    """Writes to a text stream until that fails, and then to nothing.

    What is shown of a run is never a reason for the run to fail: standard error may be closed, be a pipe
    that nobody reads any more, or be None, as in programs without a console.

    Args:
        stream: Where to, or None for nowhere.
    """

    stream: Any

    @property
    def encoding(self) -> str:
        """What the stream writes characters as."""
        return getattr(self.stream, "encoding", None) or "utf-8"

    def isatty(self) -> bool:
        """Whether a person is looking."""
        try:
            return bool(self.stream is not None and self.stream.isatty())
        except (AttributeError, OSError, ValueError):
            return False  # closed, or not quite a file

    def fileno(self) -> int:
        """Return the descriptor.

        Raises:
            OSError: There is none.
        """
        if self.stream is None:
            msg = "there is no stream"
            raise OSError(msg)
        return int(self.stream.fileno())

    def write(self, text: str) -> int:
        """Write `text`, with what the encoding lacks as escapes; never fails."""
        if self.stream is not None:
            try:
                self.stream.write(text)
            except UnicodeEncodeError:
                self.write(text.encode("ascii", "backslashreplace").decode())
            except (OSError, ValueError):
                self.stream = None  # nobody is left to be told
        return len(text)

    def flush(self) -> None:
        """Pass on what was written; never fails."""
        if self.stream is not None:
            try:
                self.stream.flush()
            except (OSError, ValueError):
                self.stream = None
