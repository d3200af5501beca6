"""Programs that run beside a test: started, listened to line by line, and gone when the test is over."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["EXAMPLES", "LONG", "OBSERVED", "PATIENCE", "Program", "run", "running"]

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "embed"
PATIENCE = 60.0
"""After how many seconds a test gives up; what it waits for takes a tenth of it on a slow machine."""
LONG = "word " * 1_000
"""A question that the examples' model, at ten words a second, takes longer over than any test waits."""

OBSERVED = """
def observed(program):
    generate = program.Typist.generate

    async def told(self, request):
        text = request.messages[-1].text
        print(f"typing {text:.20}")
        try:
            return await generate(self, request)
        finally:
            print(f"done with {text:.20}")

    program.Typist.generate = told
"""
"""What the beginning of a program may be: a function that makes an example's model tell when it works."""


class Program:
    """A Python program that is running, and the lines that it has written."""

    def __init__(self, *arguments: str, **variables: str) -> None:
        self.lines: list[str] = []
        self.over = False
        self._news = threading.Condition()
        self._process = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=EXAMPLES,
            env={**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1", **variables},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    @property
    def text(self) -> str:
        """All that it has written so far."""
        return "\n".join(self.lines)

    def says(self, pattern: str) -> re.Match[str]:
        """Wait until a line matches, and return the match."""
        with self._news:
            self._news.wait_for(lambda: self.over or self._found(pattern), PATIENCE)
            found = self._found(pattern)
            assert found is not None, f"no line matches {pattern!r} in:\n{self.text}"
            return found

    def stop(self) -> int:
        """Ask it to end as a person at the keyboard would, and return its exit code."""
        self._process.send_signal(signal.SIGINT)
        return self.wait()

    def wait(self) -> int:
        """Wait for its end and return its exit code."""
        code = self._process.wait(PATIENCE)
        self._reader.join()
        return code

    def kill(self) -> None:
        """End it, whatever it does."""
        self._process.kill()
        self.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def _found(self, pattern: str) -> re.Match[str] | None:
        return next((found for line in self.lines if (found := re.search(pattern, line))), None)

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with self._news:
                self.lines.append(line.rstrip("\n"))
                self._news.notify_all()
        with self._news:
            self.over = True
            self._news.notify_all()


@contextmanager
def running(*arguments: str, **variables: str) -> Iterator[Program]:
    """Run a Python program for the length of the block, in the folder of the examples."""
    program = Program(*arguments, **variables)
    try:
        yield program
    finally:
        program.kill()


def run(*arguments: str, **variables: str) -> str:
    """Run a Python program to its good end and return what it wrote."""
    with running(*arguments, **variables) as program:
        assert program.wait() == 0, program.text
        return program.text
