"""From a team file to its data, whatever lies where the file should be."""

from __future__ import annotations

import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from marsys_core.errors import ConfigError

__all__ = ["read_team_file"]

_SIZE = 1_000_000  # bytes
_DEPTH = 100
_INTEGERS = range(-(2**63), 2**63)
_POSITION = re.compile(r"(?P<what>.*) \(at line (?P<line>\d+), column (?P<column>\d+)\)", re.DOTALL)
# A key of more names than tables may be nested. To parse one takes time that grows with the square of their number.
_NAME = r"""(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')"""
_LONG_KEY = re.compile(rf"(?m)(?:^|[\[{{,])[ \t]*+(?:{_NAME}[ \t]*+\.[ \t]*+){{{_DEPTH}}}")


def read_team_file(path: Path) -> dict[str, Any]:
    """Read a team file, and return what it says.

    It is refused unread where it is no regular file, or has more than 1 MB (1,000,000 bytes). Tables and
    arrays are nested at most 100 deep, and integers have at most 64 bits.

    Args:
        path: The file.

    Raises:
        ConfigError: It cannot be read, or is not TOML.
    """
    called = f"team file {str(path)!r}"
    try:
        content = _content(path, called)
    except OSError as error:
        msg = f"{called} cannot be read: {error.strerror or error}"
        raise ConfigError(msg) from error
    try:
        data = _parsed(content.decode("utf-8-sig"), called)
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        msg = f"{called} is not UTF-8: line {line} has the byte {error.object[error.start]:#04x}; save it as UTF-8"
        raise ConfigError(msg) from error
    for problem in _excesses(data):
        msg = f"{called} cannot be read: {problem}"
        raise ConfigError(msg)
    return data


def _content(path: Path, called: str) -> bytes:
    # Looked at before it is opened: opening a pipe waits for a writer, and a device may have no end.
    found = path.stat()
    if not (stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode)):  # of a folder the system says so
        msg = f"{called} cannot be read: it is no regular file; name a file in which the team is written"
        raise ConfigError(msg)
    if found.st_size > _SIZE and stat.S_ISREG(found.st_mode):
        msg = (
            f"{called} cannot be read: it has {found.st_size:,} bytes, and a team file has at most {_SIZE:,}"
        )
        raise ConfigError(msg)
    return path.read_bytes()


def _parsed(text: str, called: str) -> dict[str, Any]:
    import tomllib

    nested = f"{called} cannot be read: it is nested too deeply"
    if _LONG_KEY.search(text):
        raise ConfigError(nested)
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise ConfigError(nested) from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{called} is not TOML: {_placed(str(error))}") from error
    except ValueError as error:
        # An integer with more digits than the interpreter converts; what follows the semicolon is for programs.
        raise ConfigError(f"{called} cannot be read: {str(error).partition(';')[0]}") from error


def _excesses(data: dict[str, Any]) -> Iterator[str]:
    """Yield what is valid TOML, and would break what works on it: messages could not even show it."""
    level: list[Any] = [data]
    for _ in range(_DEPTH):
        below: list[Any] = []
        for each in level:
            if isinstance(each, dict | list):
                below.extend(each.values() if isinstance(each, dict) else each)
            elif isinstance(each, int) and each not in _INTEGERS:
                yield "it has an integer of more than 64 bits"
        level = below
    if level:
        yield "it is nested too deeply"


def _placed(text: str) -> str:
    """Put line and column first, where an eye looks for them."""
    found = _POSITION.fullmatch(text)
    return text if found is None else f"line {found['line']}, column {found['column']}: {found['what']}"
