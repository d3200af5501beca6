"""What plugins log and print while a command works, for people."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout

import attrs
import click

__all__ = ["notes_on_stderr", "prints_on_stderr"]

_SHOWN = 5


@attrs.define(eq=False)
class _Notes:
    """Writes the first warnings of each logger, and counts the rest."""

    all: bool
    held_back: dict[str, int] = attrs.field(factory=dict)
    _seen: dict[str, int] = attrs.field(factory=dict)

    def write(self, record: logging.LogRecord) -> None:
        seen = self._seen[record.name] = self._seen.get(record.name, 0) + 1
        if seen > _SHOWN and not self.all and record.levelno < logging.ERROR:
            self.held_back[record.name] = seen - _SHOWN
            return
        # A traceback is for whoever asked for more; others are told what it comes to.
        raised = record.exc_info[1] if record.exc_info else None
        because = f": {type(raised).__name__}: {raised}" if raised is not None else ""
        click.echo(f"{record.name}: {record.getMessage()}{because}", err=True)
        if raised is not None and self.all:
            import traceback

            click.echo("".join(traceback.format_exception(raised)), err=True, nl=False)

    def close(self) -> None:
        for name, count in self.held_back.items():
            click.echo(f"{name}: and {count} more like these; -v shows them", err=True)


class _Handler(logging.Handler):
    def __init__(self, notes: _Notes) -> None:
        super().__init__(logging.WARNING)
        self.notes = notes

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self.notes.write(record)
        except Exception:
            self.handleError(record)


@contextmanager
def notes_on_stderr(*, verbose: bool) -> Iterator[None]:
    """Write warnings and errors of the ``marsys`` loggers to standard error, a few of each.

    Args:
        verbose: Whether to write all of them, with tracebacks.
    """
    logger, notes = logging.getLogger("marsys"), _Notes(verbose)
    handler = _Handler(notes)
    propagate, logger.propagate = logger.propagate, False
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagate
        notes.close()


@contextmanager
def prints_on_stderr() -> Iterator[None]:
    """Send what plugins and agents print to standard error, away from a command's answer."""
    with redirect_stdout(sys.stderr):
        yield
