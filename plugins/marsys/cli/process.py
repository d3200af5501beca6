"""The process round the commands: its streams, its signals, its exit code."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import sys
from collections.abc import Sequence

import click

from marsys.cli.clashes import with_toml
from marsys.cli.group import marsys
from marsys_core.errors import ConfigError, MarsysError

__all__ = ["run_process", "shut_ears"]

_FAILED = 1
_MISTAKE = 2
_BROKEN_PIPE = 141
_UNWRITABLE = (errno.EBADF, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.ENOSPC)


def run_process(arguments: Sequence[str] | None = None) -> int:
    """Carry out one command and return the exit code; what goes wrong is said on standard error.

    Args:
        arguments: What follows the name of the program; those of the process where left out.

    Raises:
        KeyboardInterrupt: Ctrl-C, where the command does not deal with it itself.
    """
    _tolerate_any_text()
    try:
        code = _carried_out(sys.argv[1:] if arguments is None else list(arguments))
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        _silence()
        return _BROKEN_PIPE
    except OSError as error:
        if not _is_of_output(error):
            raise
        with contextlib.suppress(OSError):  # it may be standard error that cannot be written
            click.echo(f"marsys: the output cannot be written: {error.strerror}", err=True)
        _silence()
        return _FAILED
    return code


def shut_ears() -> None:
    """Ignore Ctrl-C from here on: an impatient one would fill the interpreter's end with tracebacks.

    After an interrupted run it is still heard, and shows none: so a thread that never ends can be ended.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def _carried_out(arguments: list[str]) -> int:
    if "_MARSYS_COMPLETE" in os.environ:  # a shell asks how the line may go on
        marsys.main(arguments, prog_name="marsys")
    try:
        # Not `marsys.main`, which has its own mind about Ctrl-C and broken pipes.
        with marsys.make_context("marsys", arguments) as context:
            marsys.invoke(context)
    except click.exceptions.Exit as end:
        return end.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except ConfigError as error:
        click.echo(f"marsys: {with_toml(str(error))}", err=True)
        return _MISTAKE
    except MarsysError as error:
        click.echo(f"marsys: {type(error).__name__}: {error}", err=True)
        return _FAILED
    return 0


def _tolerate_any_text() -> None:
    """Write what the terminal's encoding lacks as an escape: an answer is not lost for a dash."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _is_of_output(error: OSError) -> bool:
    """Whether a stream, which has no name, could not be written."""
    return error.filename is None and error.errno in _UNWRITABLE


def _silence() -> None:
    """Let the interpreter's last flush go nowhere, since whoever was reading has left, or there is no room."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        if stream is None:
            continue
        try:
            stream.flush()
        except OSError:
            os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
