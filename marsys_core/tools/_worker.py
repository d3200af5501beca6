"""The process of one isolated call: it reads what to do, does it, and answers. Started, never imported.

Its standard output is the standard error of whoever started it, so that what a tool prints is not taken for
an answer. It answers as the last thing it does, after all clean-up at exit: what has answered has ended.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import sys
import threading
import traceback
from typing import Any

from marsys_core import errors
from marsys_core.tools._isolation import HEAD, decode, encode, function_of, length_of

_MOST_TEXT = 20_000


class _Answer:
    """What is answered at exit: nothing, where the tool ended the process by itself, or in a fork of it."""

    def __init__(self, to: int) -> None:
        self.to = to
        self.frame = b""
        self.process = os.getpid()

    def send(self) -> None:
        if not self.frame or os.getpid() != self.process:
            return
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(
                OSError, ValueError, AttributeError
            ):  # closed, or taken away by the tool
                stream.flush()
        left = memoryview(self.frame)
        with contextlib.suppress(BrokenPipeError):  # nobody waits for it any more
            while left:
                left = left[os.write(self.to, left) :]
        os._exit(0)


def main() -> None:
    """Carry out the one call that is asked for."""
    asked, answer = _take_pipes()
    request = decode(_read(asked, length_of(_read(asked, HEAD))))
    threading.Thread(target=_end_with_parent, args=(asked,), daemon=True).start()
    atexit.register(answer.send)  # first, so that it is called last
    sys.path[:] = request["path"]
    os.environ.pop("PYTHONPATH", None)
    if request["pythonpath"] is not None:
        os.environ["PYTHONPATH"] = request["pythonpath"]
    try:
        answer.frame = encode({"result": _call(request)})
    except Exception as error:
        answer.frame = encode({"error": _told(error)})


def _take_pipes() -> tuple[int, _Answer]:
    """Keep the pipes to ourselves: what the tool, or a program that it starts, reads and prints is not for them."""
    asked, answer = os.dup(0), _Answer(os.dup(1))
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    try:
        os.dup2(2, 1)
    except OSError:  # there is no standard error
        os.dup2(nothing, 1)
    os.close(nothing)
    return asked, answer


def _read(source: int, length: int) -> bytes:
    parts = []
    while length:
        part = os.read(source, min(length, 1 << 20))
        if not part:
            sys.exit("the process of a tool was told nothing to do")
        parts.append(part)
        length -= len(part)
    return b"".join(parts)


def _end_with_parent(asked: int) -> None:
    """Wait until the other end is closed while this process still runs: whoever started it is gone."""
    with contextlib.suppress(OSError):
        os.read(asked, 1)
    if hasattr(os, "killpg") and os.getpgrp() == os.getpid():
        os.killpg(os.getpid(), signal.SIGKILL)
    os._exit(1)


def _call(request: dict[str, Any]) -> Any:
    """Run the function, and return its result as JSON data."""
    from marsys_core.tools._signature import read
    from marsys_core.values import Converter

    function, name = function_of(request["module"], request["name"]), request["tool"]
    result = function(**read(function, name).bind(name, request["arguments"]))
    if hasattr(result, "__await__"):
        result = _wait_for(result)
    converter = Converter()
    return converter.encode(converter.plain(result, request["max_bytes"]))


def _wait_for(result: Any) -> Any:
    import trio

    async def wait() -> Any:
        return await result

    return trio.run(wait)


def _told(error: Exception) -> dict[str, str]:
    """Describe an error; `base` is the nearest of its classes that both sides know."""
    known = [cls.__name__ for cls in type(error).__mro__ if cls.__module__ == errors.__name__]
    text = errors.told(error)
    return {
        "type": type(error).__name__,
        "base": known[0] if known else "",
        "message": text[:_MOST_TEXT],
        "class": errors.class_of(error).value,
        "traceback": "".join(traceback.format_exception(error))[-_MOST_TEXT:],
    }


if __name__ == "__main__":
    main()
