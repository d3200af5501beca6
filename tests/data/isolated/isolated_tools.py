"""Tools for processes of their own: a module that such a process finds by its name."""

import atexit
import ctypes
import datetime
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import attrs
import trio

from marsys_core.errors import CriticalError, ModelError, ModelErrorKind, RecoverableError, ToolError
from marsys_core.messages import Message
from marsys_core.tools import ToolContext, tool


@attrs.frozen
class Order:
    day: datetime.date
    count: int = 1


class Mine(ToolError):
    pass


@tool(isolation="process")
def double(number: int) -> int:
    """Double a number.

    Args:
        number: What to double.
    """
    return number * 2


@tool(isolation="process")
async def later(text: str) -> str:
    """Wait a little."""
    await trio.sleep(0)
    return f"{text}!"


def awaitable(text: str) -> Any:
    return later(text)


@tool(isolation="process", timeout=0.2)
def spin() -> None:
    """Never end."""
    while True:
        pass


@tool(isolation="process")
def spin_for_ever(mark: str = "") -> None:
    """Never end; say so in a file."""
    if mark:
        Path(mark).write_text(str(os.getpid()))
    while True:
        pass


@tool(isolation="process")
def order(what: Order) -> dict[str, Any]:
    """Say what arrived."""
    return {
        "type": type(what).__name__,
        "day": what.day.isoformat(),
        "next": what.day.replace(day=2).isoformat(),
    }


@tool(isolation="process")
def give(what: str) -> Any:
    """Return something."""
    values = {
        "message": Message("user", "hi"),
        "order": {"count": Order(datetime.date(2000, 1, 1)).count, "tag": {"$type": "x"}},
        "surrogate": "\ud800",
        "nothing": None,
        "text": "ä" * 10,
        "object": object(),
        "large": "\0" * 3_000_000,
    }
    return values[what]


@tool(isolation="process")
def fail(how: str) -> None:
    """Raise something."""
    errors = {
        "value": ValueError("no such thing"),
        "told": ToolError("try 7"),
        "mine": Mine("try 8"),
        "critical": CriticalError("no key"),
        "recoverable": RecoverableError("busy"),
        "model": ModelError("slow down", kind=ModelErrorKind.RATE_LIMIT),
        "long": ValueError("x" * 100_000),
    }
    raise errors[how]


@tool(isolation="process")
def die(how: str) -> None:
    """End the process."""
    if how == "exit":
        os._exit(7)
    if how == "sys.exit":
        sys.exit(5)
    if how == "crash":
        sys.stderr = None
        ctypes.string_at(0)
    os.kill(os.getpid(), signal.SIGTERM)


@tool(isolation="process")
def write_to_everything() -> str:
    """Print, write to descriptor 1, read the input, and start a program that prints."""
    print("printed")
    os.write(1, b"written\n")
    subprocess.run([sys.executable, "-c", "print('by a child')"], check=True)
    return sys.stdin.read()


@tool(isolation="process")
def garble(what: str) -> None:
    """Write to descriptors that are not its own."""
    for descriptor in range(3, 20):
        try:
            os.write(descriptor, what.encode())
        except OSError:
            continue


@tool(isolation="process")
def surroundings() -> dict[str, Any]:
    """Say where it runs."""
    return {
        "pid": os.getpid(),
        "session": os.getsid(0),
        "path": sys.path,
        "pythonpath": os.environ.get("PYTHONPATH"),
        "trio": "trio" in sys.modules,
        "thread": threading.current_thread() is threading.main_thread(),
        "main": sys.modules["__main__"].__spec__.name,
    }


@tool(isolation="process")
def leave_children(mark: str, then: str) -> str:
    """Start programs that never end, and leave them."""
    loop = "import time\nwhile True: time.sleep(1)"
    started = [subprocess.Popen([sys.executable, "-c", loop]) for _ in range(2)]
    Path(mark).write_text(json.dumps([child.pid for child in started]))
    while then == "spin":
        time.sleep(0.01)
    return "left"


@tool(isolation="process")
def clean_up(mark: str) -> str:
    """Leave work for the end: a function at exit, and a thread."""
    atexit.register(lambda: Path(mark).write_text(Path(mark).read_text() + " exit"))
    threading.Thread(target=lambda: (time.sleep(0.05), Path(mark).write_text("thread"))).start()
    return "done"


@tool(isolation="process")
def wants_context(context: ToolContext) -> str:
    """Ask for what stays behind."""
    return context.node


def rebound(number: int) -> int:
    return number


lost = tool(isolation="process")(rebound)
rebound = None  # type: ignore[assignment]


class Holder:
    @staticmethod
    @tool(isolation="process")
    def static(number: int) -> int:
        """Stand in a class."""
        return number + 1

    @tool(isolation="process")
    def method(self, number: int) -> int:
        """Belong to an object."""
        return number


@tool(isolation="process")
def fork(how: str) -> str:
    """Fork, and let the child end as this function does, before the parent does.

    Args:
        how: ``return`` or ``raise``.
    """
    child = os.fork()
    if not child and how == "raise":
        raise ValueError("of the child")
    if not child:
        return "of the child"
    os.waitpid(child, 0)
    return "of the parent"
