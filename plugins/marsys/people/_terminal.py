"""A channel that asks on the terminal."""

from __future__ import annotations

import os
import sys
from typing import Any, TextIO

import trio

from marsys.people._text import read, shown
from marsys_core.errors import AnswerRefused, UserUnavailable
from marsys_core.questions import Question

__all__ = ["TerminalChannel"]

_CHUNK = 4096


class TerminalChannel:
    """Asks on standard error and reads the answers from standard input, one question at a time.

    It reads only where standard input is a terminal, or a stream was given: in a server, a pipeline or a
    test it says at once that nobody is there, and reads nothing. An answer that is none of the options is
    asked for again; an option may be given by its number. A question with a schema other than text takes
    JSON.

    Reading can be cancelled and leaves no thread behind on POSIX, where the stream has a file descriptor. A
    stream without one, and Windows, are read by a worker thread: on cancellation that thread is left to its
    line.

    Args:
        stream: Where answers come from, instead of standard input.
        output: Where questions go, instead of standard error.
    """

    name = "terminal"

    def __init__(self, stream: TextIO | None = None, output: TextIO | None = None) -> None:
        self._stream, self._output = stream, output
        self._lock = trio.Lock()
        self._read = b""

    async def ask(self, question: Question) -> Any:
        """Show `question`, and read until an answer fits.

        Raises:
            UserUnavailable: Standard input is no terminal, or has come to its end.
        """
        stream = self._input()
        async with self._lock:
            if question.kind == "approval":
                self._forget_what_is_typed(stream)
            self._say(f"{shown(question)}\n> ")
            while True:
                line = await self._line(stream)
                if not line:
                    msg = "the terminal was asked, and its input has come to an end"
                    raise UserUnavailable(msg)
                try:
                    return read(question, line.strip())
                except AnswerRefused as error:
                    self._say(f"{error}\n> ")

    def _forget_what_is_typed(self, stream: TextIO) -> None:
        """Nobody has approved what they had not seen: at a terminal a line typed before does not count."""
        descriptor = _descriptor(stream)
        if descriptor is not None and os.isatty(descriptor):
            import termios

            termios.tcflush(descriptor, termios.TCIFLUSH)
            self._read = b""

    async def read_line(self) -> str:
        """Return the next line that is typed, or an empty text at the end of the input.

        For whoever reads the same stream between questions: what is read ahead stays with the channel.

        Raises:
            UserUnavailable: Standard input is no terminal.
        """
        stream = self._input()
        async with self._lock:
            return await self._line(stream)

    def _input(self) -> TextIO:
        if self._stream is not None:
            return self._stream
        stdin = sys.stdin
        if stdin is None or stdin.closed or not stdin.isatty():
            msg = "the terminal was asked, and standard input is none; give a run another channel"
            raise UserUnavailable(msg)
        return stdin

    def _say(self, text: str) -> None:
        output = self._output or sys.stderr
        output.write(text)
        output.flush()

    async def _line(self, stream: TextIO) -> str:
        """Return the next line, or an empty text at the end."""
        descriptor = _descriptor(stream)
        if descriptor is None:
            return await trio.to_thread.run_sync(stream.readline, abandon_on_cancel=True)
        # A duplicate is ours alone: whoever closes the stream meanwhile does not close it under our feet.
        own = os.dup(descriptor)
        try:
            while b"\n" not in self._read:
                await _readable(own)
                more = os.read(own, _CHUNK)
                if not more:
                    break
                self._read += more
        finally:
            os.close(own)
        line, newline, self._read = self._read.partition(b"\n")
        return (line + newline).decode("utf-8", "replace")


def _descriptor(stream: TextIO) -> int | None:
    if sys.platform == "win32":
        return None
    try:
        return stream.fileno()
    except OSError:  # io.UnsupportedOperation is one
        return None


async def _readable(descriptor: int) -> None:
    try:
        await trio.lowlevel.wait_readable(descriptor)
    except PermissionError:  # a regular file, which never keeps anybody waiting
        await trio.lowlevel.checkpoint()
