"""Text as PostgreSQL takes it: its `text` cannot hold the character U+0000, and everything else that UTF-8 has."""

from __future__ import annotations

import psycopg
from psycopg.adapt import Buffer, Dumper, Loader

__all__ = ["kept", "register", "told"]

_TEXT = 25
"""The number of the type `text`."""

# U+001A is there to stand for what cannot be said; nearly no text has it.
_SUBSTITUTE = "\x1a"


def kept(text: str) -> str:
    """Return `text` as it is kept: the same, unless it has one of two characters that hardly any text has."""
    if "\0" in text or _SUBSTITUTE in text:
        return text.replace(_SUBSTITUTE, f"{_SUBSTITUTE}1").replace("\0", f"{_SUBSTITUTE}0")
    return text


def told(text: str) -> str:
    """Return what `kept` was given."""
    if _SUBSTITUTE in text:
        return text.replace(f"{_SUBSTITUTE}0", "\0").replace(f"{_SUBSTITUTE}1", _SUBSTITUTE)
    return text


class _Dumper(Dumper):
    oid = _TEXT

    def dump(self, obj: str) -> Buffer:
        return kept(obj).encode()


class _Loader(Loader):
    def load(self, data: Buffer) -> str:
        return told(bytes(data).decode())


def register(connection: psycopg.Connection) -> None:
    """Let a connection write and read text so."""
    connection.adapters.register_dumper(str, _Dumper)
    connection.adapters.register_loader("text", _Loader)
