"""Ctrl-C and SIGTERM while a run goes on: they cancel it, and it ends in order.

Some code never ends: an agent that loops without a pause, one that swallows its cancellation, a write to a pipe
that nobody reads. For these the third signal, or a second one that comes 5 s or more after the first, ends the
process at once, with nothing tidied up.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

import attrs
import trio

__all__ = ["Interruption", "Interruptions"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_PATIENCE = 5.0  # seconds that a run has to end in order before a second signal ends it at once
_LAST_WORDS = 0.3  # seconds that writing has, before the process ends without
_SHOW_CURSOR = "\x1b[?25h"


class Interruption(KeyboardInterrupt):
    """A signal that came while there was nothing to cancel."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.exit_code = 128 + number


@attrs.define(eq=False)
class Interruptions:
    """Listens to Ctrl-C and SIGTERM for the length of a ``with`` block.

    The first one calls what `cancel_with` was given, inside Trio. The second one changes nothing: what is
    being cancelled comes to its end. The third one, or a second one 5 s or more after the first, ends the
    process at once: it says so in one line where standard error takes it, and no ``finally`` is run. Where
    there is nothing to cancel, the first one raises `Interruption`.

    Once there was a signal, they are listened to also after the block, as the process is on its way out.

    Attributes:
        first: The signal that came, or 0.
        again: How many came after it.
    """

    first: int = 0
    again: int = 0
    _cancel: Callable[[], object] | None = None
    _token: trio.lowlevel.TrioToken | None = None
    _before: dict[int, Any] = attrs.field(factory=dict)
    _since: float = 0.0
    _ending: bool = False

    @property
    def exit_code(self) -> int:
        """What a process ends with that such a signal has ended."""
        return 128 + self.first

    def cancel_with(self, cancel: Callable[[], object]) -> None:
        """Say what a signal is to call; called from within Trio. One that has come already calls it now."""
        self._token = trio.lowlevel.current_trio_token()
        self._cancel = cancel
        if self.first:
            cancel()

    def __enter__(self) -> Interruptions:
        for number in _SIGNALS:
            self._before[number] = signal.signal(number, self._heard)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self.first:
            # The process is on its way out: another Ctrl-C must not trip it, and a third one still ends it, until
            # all threads have ended. What the interpreter does then is short, and not to be interrupted.
            for each in _SIGNALS:
                atexit.register(signal.signal, each, signal.SIG_IGN)
            return
        for number, before in self._before.items():
            signal.signal(number, before)

    def _heard(self, number: int, _frame: FrameType | None) -> None:
        if self.first:
            self._heard_again()
            return
        self.first, self._since = number, time.monotonic()
        if self._token is None:
            raise Interruption(number)
        try:
            self._token.run_sync_soon(self._call)
        except trio.RunFinishedError:
            raise Interruption(number) from None

    def _heard_again(self) -> None:
        self.again += 1
        if self._ending or (self.again < 2 and time.monotonic() - self._since < _PATIENCE):
            return
        self._ending = True
        _end_at_once(self.exit_code)

    def _call(self) -> None:
        assert self._cancel is not None  # set together with the token
        self._cancel()


def _end_at_once(code: int) -> None:
    # The streams may be blocked, and by the very code that the signal came in between: in threads of their own
    # the last words can wait for a stream, and the process does not wait for them.
    try:
        speaking = [threading.Thread(target=each, daemon=True) for each in (_say_last_words, _flush_answer)]
        for thread in speaking:
            thread.start()
        until = time.monotonic() + _LAST_WORDS
        for thread in speaking:
            thread.join(max(until - time.monotonic(), 0))
    except RuntimeError:  # from 3.12 on no thread is started while the interpreter shuts down
        _speak_where_there_is_room()
    finally:
        os._exit(code)


def _speak_where_there_is_room() -> None:
    import select

    with contextlib.suppress(OSError, ValueError):
        for descriptor, speak in ((2, _say_last_words), (1, _flush_answer)):
            if select.select([], [descriptor], [], 0)[1]:
                speak()


def _say_last_words() -> None:
    if (stream := sys.stderr) is None:
        return
    with contextlib.suppress(OSError, ValueError):  # closed or without room: nobody is left to be told
        shown = _SHOW_CURSOR if stream.isatty() and os.environ.get("TERM", "dumb") != "dumb" else ""
        stream.write(f"{shown}marsys: interrupted again; ended at once, and what was going on was cut off\n")
        stream.flush()


def _flush_answer() -> None:
    if sys.stdout is not None:
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
