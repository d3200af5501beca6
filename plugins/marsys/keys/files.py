"""Keys in files: lines of a name, ``=`` and a value, as in ``.env`` files."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import trio

from marsys_core.errors import ConfigError

__all__ = ["KeyFiles", "read_keys"]

_LINE = re.compile(r"(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=\s*(.*)")
_QUOTED = re.compile(r"""(['"])(.*?)\1\s*(?:#.*)?""")


class KeyFiles:
    """Finds keys in files, which are read each time that it is asked: in the first that has the name.

    Args:
        files: The files, in the order in which they are looked at.
    """

    def __init__(self, files: Sequence[str | Path]) -> None:
        self._files = tuple(Path(file) for file in files)

    async def secret(self, name: str) -> str | None:
        """Return the key called `name`, or None where no file has it.

        Raises:
            ConfigError: A file cannot be read, or holds something else.
        """
        for file in self._files:
            keys = await trio.to_thread.run_sync(_read, file)
            if name in keys:
                return keys[name]
        return None


def _read(file: Path) -> Mapping[str, str]:
    try:
        text = file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        msg = f"the keys in {str(file)!r} cannot be read: {reason}; mend it, or leave it out of plugins.keys.files"
        raise ConfigError(msg) from error
    return read_keys(text, str(file))


def read_keys(text: str, source: str = "") -> dict[str, str]:
    """Return the names and values in the text of a file of keys.

    Empty lines and those that begin with ``#`` count for nothing; ``export`` before a name, and quotes round a value,
    are left out; what follows an unquoted value after `` #`` is a comment.

    Args:
        text: The text.
        source: What errors call it.

    Raises:
        ConfigError: A line is something else; the error names its number and not what is in it.
    """
    found: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        bare = line.strip()
        if not bare or bare.startswith("#"):
            continue
        matched = _LINE.fullmatch(bare)
        if matched is None:
            msg = f"line {number} of {source or 'a file of keys'} is not of the form NAME=value"
            raise ConfigError(msg)
        name, value = matched.groups()
        quoted = _QUOTED.fullmatch(value)
        found[name] = quoted[2] if quoted else re.split(r"\s#", value, maxsplit=1)[0].strip()
    return found
