"""Watches a whole process: what it opens, reads of its environment, starts, and changes about itself.

Imported before anything that is watched. Nothing here imports the engine.
"""

from __future__ import annotations

import atexit
import gc
import locale
import logging
import os
import random
import signal
import socket
import sys
import threading
import warnings
from types import FrameType
from typing import Any

__all__ = ["Watch", "handlers", "modules_of", "of_this_moment", "ours", "snapshot"]

NEVER = (
    *("socket.connect", "socket.bind", "socket.sendto", "socket.sendmsg", "socket.get", "urllib.", "http."),
    *("ftplib.", "smtplib.", "poplib.", "imaplib.", "ssl.", "webbrowser."),
    *("os.chdir", "os.fchdir", "os.putenv", "os.unsetenv", "os.mkdir", "os.rmdir", "os.remove", "os.rename"),
    *("os.link", "os.symlink", "os.truncate", "os.chmod", "os.chown", "os.utime", "shutil.", "tempfile."),
    *("os.system", "os.exec", "os.fork", "os.spawn", "os.posix_spawn", "os.kill", "pty.", "signal."),
    *("builtins.input", "sys.setprofile", "sys.settrace", "sys.addaudithook", "cpython.", "resource."),
)
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
KILLS = "marsys_core.engine.processes"  # the group of the process that it has started


def modules_of(frame: FrameType | None) -> list[str]:
    """The modules of the frames from the inside out, without this one and without repeating."""
    found: list[str] = []
    while frame is not None:
        name = frame.f_globals.get("__name__", "?")
        if name != __name__ and found[-1:] != [name]:
            found.append(name)
        frame = frame.f_back
    return found


def ours(name: str) -> bool:
    return name.partition(".")[0] in ("marsys", "marsys_core")


class Watch:
    """Records from `begin` to `end`; `report` is plain data.

    Attributes:
        offences: Audit events that should never come.
        written: Files that were opened for writing, and the modules on the stack.
        started: Programs that were started, and the modules on the stack.
        signals: Changes of handlers, the wake-up descriptor and timers: the function and the modules on the stack.
        variables: The environment: what was read, by the module that read.
        threads: Who started a thread: the modules on the stack.
        at_exit: What was to be called at exit by something of ours, and still is.
    """

    def __init__(self) -> None:
        self.on = False
        self.offences: list[list[Any]] = []
        self.written: list[list[Any]] = []
        self.started: list[list[Any]] = []
        self.signals: list[list[Any]] = []
        self.variables: set[tuple[str, str]] = set()
        self.threads: list[list[str]] = []
        self.at_exit: list[Any] = []
        self.begun: list[threading.Thread] = []

    def begin(self) -> None:
        """Install everything. It stays for the life of the process."""
        sys.addaudithook(self._hook)
        for name in ("signal", "set_wakeup_fd", "setitimer", "siginterrupt", "pthread_sigmask", "alarm"):
            if hasattr(signal, name):
                self._wrap(signal, name)
        start = threading.Thread.start

        def started(thread: threading.Thread) -> None:
            if self.on:
                self.threads.append(modules_of(sys._getframe(1)))
                self.begun.append(thread)
            start(thread)

        threading.Thread.start = started  # type: ignore[method-assign]
        self._wrap_at_exit()
        os.environ.__class__ = _recording(self)
        self.on = True

    def end(self) -> None:
        self.on = False

    def _wrap(self, module: Any, name: str) -> None:
        function = getattr(module, name)

        def called(*arguments: Any, **named: Any) -> Any:
            # Trio asks for the main thread by setting a handler to what it is, which only works there.
            asking = name == "signal" and signal.getsignal(arguments[0]) == arguments[1]
            if self.on and not asking:
                self.signals.append([name, modules_of(sys._getframe(1))])
            return function(*arguments, **named)

        setattr(module, name, called)

    def _wrap_at_exit(self) -> None:
        register, unregister = atexit.register, atexit.unregister

        def registered(function: Any, *arguments: Any, **named: Any) -> Any:
            if self.on and any(map(ours, modules_of(sys._getframe(1)))):
                self.at_exit.append(function)
            return register(function, *arguments, **named)

        def unregistered(function: Any) -> None:
            self.at_exit = [each for each in self.at_exit if each != function]
            unregister(function)

        atexit.register, atexit.unregister = registered, unregistered  # type: ignore[assignment]

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.on:
            return
        if event == "open":
            path, mode, flags = arguments
            if (isinstance(mode, str) and set(mode) & set("wax+")) or (flags or 0) & WRITING:
                self.written.append([str(path), modules_of(sys._getframe(1))])
        elif event == "subprocess.Popen":
            command = [str(each) for each in arguments[1]]
            self.started.append([command, modules_of(sys._getframe(1))])
        elif event.startswith(NEVER) and event != "socket.gethostname":
            stack = modules_of(sys._getframe(1))
            if not (event == "os.killpg" and stack[0] == KILLS):
                self.offences.append([event, repr(arguments), stack])

    def report(self) -> dict[str, Any]:
        return {
            "offences": self.offences,
            "written": self.written,
            "started": self.started,
            "signals": self.signals,
            "variables": sorted(self.variables),
            "threads": self.threads,
            "at exit": [repr(each) for each in self.at_exit],
        }


def _recording(watch: Watch) -> type:
    """Make the class of an environment that tells the watch who reads what; `*` is all of it."""

    class Recording(type(os.environ)):  # type: ignore[misc]
        def __getitem__(self, name: str) -> str:
            watch.on and watch.variables.add((_reader(), name))
            return super().__getitem__(name)  # type: ignore[no-any-return]

        def __iter__(self) -> Any:
            watch.on and watch.variables.add((_reader(), "*"))
            return super().__iter__()

    Recording.__name__ = "_Environ"
    return Recording


def _reader() -> str:
    passed = {"os", "_collections_abc", "collections.abc"}
    return next(name for name in modules_of(sys._getframe(2)) if name not in passed)


def snapshot() -> dict[str, Any]:
    """What a process has only one of, as far as code in it can change it."""
    mask = os.umask(0)
    os.umask(mask)
    root = logging.getLogger()
    loggers = {
        name: each
        for name, each in logging.root.manager.loggerDict.items()
        if ours(name) and isinstance(each, logging.Logger)
    }
    return {
        "handlers of the root logger": [repr(each) for each in root.handlers],
        "root logger": (root.level, root.disabled, len(root.filters), logging.root.manager.disable),
        "logging": (logging.lastResort, logging.getLoggerClass(), logging.raiseExceptions),
        "own loggers that are set up": [
            name
            for name, each in loggers.items()
            if each.level or not each.propagate or {type(h) for h in each.handlers} - {logging.NullHandler}
        ],
        "streams": (sys.stdin, sys.stdout, sys.stderr),
        "hooks": (sys.excepthook, sys.unraisablehook, sys.displayhook, threading.excepthook),
        "tracing": (sys.gettrace(), sys.getprofile()),
        "sys.path": list(sys.path),
        "importing": (list(sys.meta_path), list(sys.path_hooks)),
        "limits": (sys.getrecursionlimit(), sys.getswitchinterval(), threading.stack_size()),
        "directory": os.getcwd(),
        "umask": mask,
        "locale": locale.setlocale(locale.LC_ALL),
        "warnings": (list(warnings.filters), warnings.showwarning),
        "random numbers": random.getstate(),
        "environment": dict(os.environ),
        "time limit of sockets": socket.getdefaulttimeout(),
        "garbage collection": (gc.isenabled(), gc.get_threshold()),
    }


def of_this_moment() -> dict[str, Any]:
    """What a loop may change while it runs, and has to put back."""
    return {
        "signal handlers": handlers(),
        "wake-up descriptor": _wakeup(),
        "timer": signal.getitimer(signal.ITIMER_REAL),
        "hooks of generators": tuple(sys.get_asyncgen_hooks()),
        "open files": _open_files(),
        "children": _children(),
    }


def handlers() -> dict[int, Any]:
    return {int(number): signal.getsignal(number) for number in sorted(signal.valid_signals())}


def _open_files() -> list[str]:
    folder = "/proc/self/fd"
    if not os.path.isdir(folder):
        return []
    # The one that the listing itself was read from is closed by now.
    return sorted(each for each in os.listdir(folder) if os.path.lexists(f"{folder}/{each}"))


def _wakeup() -> int:
    before = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(before)
    return before


def _children() -> str:
    try:
        return f"one that ended or runs: {os.waitpid(-1, os.WNOHANG)}"
    except ChildProcessError:
        return "none"
