"""How fields of simple types are written and read: each a pair of functions.

A writer gives JSON data for a value, a reader the value for JSON data, or it raises `Wrong`. Both take the
converter of the journal, and how much deeper values may be nested.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from marsys_core.format.text import TAG
from marsys_core.format.wrong import Wrong
from marsys_core.values import Converter

__all__ = [
    "DEEPEST",
    "FLAG",
    "ID",
    "NUMBER",
    "TEXT",
    "WHOLE",
    "Codec",
    "each",
    "optional",
    "read_int",
    "read_number",
    "read_text",
    "row",
    "several",
    "write_int",
    "write_number",
]

DEEPEST = 200
"""How deep values may be nested in an entry; joins in joins count, each as one."""

Write = Callable[[Any, Converter, int], Any]
Read = Callable[[Any, Converter, int], Any]

_LONG = 1 << 13_000  # Python reads and writes no longer decimals than this, about
_HEX = re.compile(r"-?0x[0-9a-f]+")


class Codec(NamedTuple):
    """A writer, None where values are JSON data as they are, and a reader."""

    write: Write | None
    read: Read


def write_int(value: int, *_: Any) -> Any:
    """A whole number: as it is, or in hexadecimal digits where it is longer than decimals may be."""
    return int(value) if -_LONG < value < _LONG else {TAG: "int", "hex": hex(value)}


def write_number(value: Any, *_: Any) -> Any:
    """A number: as it is, or by its name where it is infinite or none."""
    kind = type(value)
    if kind is int:
        return value if -_LONG < value < _LONG else write_int(value)
    if kind is float:
        return value if value - value == 0 else {TAG: "float", "name": repr(value)}
    if isinstance(value, bool) or value is None:
        return value
    return write_int(value) if isinstance(value, int) else write_number(float(value))


def read_text(value: Any, *_: Any) -> str:
    """Text, and nothing else."""
    if type(value) is str:
        return value
    raise Wrong("text", value)


def read_int(value: Any, *_: Any) -> int:
    """A whole number; True is none."""
    if type(value) is int:
        return value
    if type(value) is dict and value.get(TAG) == "int" and len(value) == 2:
        digits = value.get("hex")
        if type(digits) is str and _HEX.fullmatch(digits):
            return int(digits, 16)
    raise Wrong("a whole number", value)


def read_number(value: Any, *_: Any) -> int | float:
    """A whole number or a float, the infinite ones and NaN by name."""
    if type(value) is float:
        if value - value == 0:
            return value
    elif type(value) is dict and value.get(TAG) == "float":
        if len(value) == 2 and (name := value.get("name")) in ("nan", "inf", "-inf"):
            return float(name)
    elif type(value) is int or (type(value) is dict and value.get(TAG) == "int"):
        return read_int(value)
    raise Wrong("a number", value)


def _read_flag(value: Any, *_: Any) -> bool:
    if value is True or value is False:
        return value
    raise Wrong("true or false", value)


TEXT = Codec(None, read_text)
WHOLE = Codec(write_int, read_int)
NUMBER = Codec(write_number, read_number)
FLAG = Codec(None, _read_flag)


def each(what: Read, items: Iterable[Any], converter: Converter, room: int) -> list[Any]:
    """Read or write `items` one by one; what is wrong gets its index."""
    found: list[Any] = []
    try:
        for item in items:
            found.append(what(item, converter, room))  # noqa: PERF401 - its length is the index of what fails
    except Wrong as wrong:
        raise wrong.inside(f"[{len(found)}]")  # noqa: B904 - the same error, with its place
    return found


def _items(value: Any) -> list[Any]:
    if type(value) is list:
        return value
    raise Wrong("a list", value)


def optional(codec: Codec) -> Codec:
    """The same, or None."""
    write, read = codec

    def write_it(value: Any, converter: Converter, room: int) -> Any:
        return value if value is None or write is None else write(value, converter, room)

    def read_it(value: Any, converter: Converter, room: int) -> Any:
        return None if value is None else read(value, converter, room)

    return Codec(None if write is None else write_it, read_it)


def several(codec: Codec) -> Codec:
    """A tuple of any length."""
    write, read = codec

    def write_all(value: Any, converter: Converter, room: int) -> Any:
        return each(write, value, converter, room)  # type: ignore[arg-type]

    def read_all(value: Any, converter: Converter, room: int) -> Any:
        return tuple(each(read, _items(value), converter, room)) if value else _none(value)

    return Codec(None if write is None else write_all, read_all)  # JSON takes a tuple for a list


def _none(value: Any) -> tuple[Any, ...]:
    _items(value)
    return ()


def row(*codecs: Codec) -> Codec:
    """A tuple of as many things as there are codecs, each of its own type."""
    writers = [codec.write or _as_is for codec in codecs]
    readers = [codec.read for codec in codecs]

    def write_row(value: Any, converter: Converter, room: int) -> Any:
        if len(value) != len(writers):
            raise Wrong(f"{len(writers)} things", value)
        return [write(item, converter, room) for write, item in zip(writers, value, strict=True)]

    def read_row(value: Any, converter: Converter, room: int) -> Any:
        if type(value) is not list or len(value) != len(readers):
            raise Wrong(f"a list of {len(readers)}", value)
        found: list[Any] = []
        try:
            for read, item in zip(readers, value, strict=True):
                found.append(read(item, converter, room))
        except Wrong as wrong:
            raise wrong.inside(f"[{len(found)}]")  # noqa: B904 - the same error, with its place
        return tuple(found)

    return Codec(write_row, read_row)


def _read_id(value: Any, *_: Any) -> tuple[str, int]:
    if type(value) is list and len(value) == 2 and type(value[0]) is str and type(value[1]) is int:
        return (value[0], value[1])
    raise Wrong("an id: a text and a whole number", value)


ID = Codec(None, _read_id)


def _as_is(value: Any, *_: Any) -> Any:
    return value
