"""Entries of a journal: one text for each event."""

from __future__ import annotations

from typing import Any

import attrs

from marsys_core.errors import FormatError, nearest
from marsys_core.events import KINDS, Event, EventId
from marsys_core.format.actions import ACTION, CALLS, POLICY
from marsys_core.format.data import (
    FROZEN_OBJECT,
    FROZEN_VALUE,
    MESSAGE,
    OBJECT,
    TOOL_CALL,
    USAGE,
    VALUE,
    read_value,
    write_value,
)
from marsys_core.format.failures import FAILURE
from marsys_core.format.fields import (
    DEEPEST,
    FLAG,
    ID,
    NUMBER,
    TEXT,
    WHOLE,
    Codec,
    each,
    optional,
    row,
    several,
)
from marsys_core.format.records import Record
from marsys_core.format.text import dumps, loads
from marsys_core.format.texts import Texts
from marsys_core.format.usual import usual
from marsys_core.format.version import check_format
from marsys_core.format.wrong import Wrong
from marsys_core.values import Converter

__all__ = ["decode", "decode_value", "encode", "encode_value"]

_VALUE = "a value"
_COLUMNS = frozenset({"branch", "n", "cause", "seq", "time", "run_id"})


def _write_writes(value: Any, converter: Converter, room: int) -> Any:
    return [each(_write_cell, write, converter, room) for write in value]


def _write_cell(value: Any, converter: Converter, room: int) -> Any:
    return value if type(value) is str else FROZEN_VALUE.write(value, converter, room)  # type: ignore[misc]


_SET = row(TEXT, TEXT, FROZEN_VALUE)
_CALLED = row(TEXT, TEXT, FROZEN_VALUE, FROZEN_VALUE)


def _read_write(data: Any, converter: Converter, room: int) -> Any:
    return (_CALLED if type(data) is list and len(data) == 4 else _SET).read(data, converter, room)


_WRITES = Codec(_write_writes, several(Codec(None, _read_write)).read)
_LIMITS = frozenset({"max_steps", "max_tokens", "max_cost", "max_tool_calls"})


def _read_words(data: Any, converter: Converter, room: int) -> Any:
    found = OBJECT.read(data, converter, room)
    if all(type(value) is str for value in found.values()):
        return found
    raise Wrong("an object of texts", data)


def _read_budget(data: Any, converter: Converter, room: int) -> Any:
    found = OBJECT.read(data, converter, room)
    if found.keys() <= _LIMITS and all(type(most) in (int, float) for most in found.values()):
        return found
    raise Wrong(f"numbers by name: {', '.join(sorted(_LIMITS))}", data)


_BY_TYPE: dict[str, Codec] = {
    "Any": VALUE,
    "str": TEXT,
    "int": WHOLE,
    "float": NUMBER,
    "bool": FLAG,
    "str | None": optional(TEXT),
    "int | None": optional(WHOLE),
    "float | None": optional(NUMBER),
    "EventId": ID,
    "Usage": USAGE,
    "Usage | None": optional(USAGE),
    "dict[str, str]": Codec(OBJECT.write, _read_words),
    "dict[str, Any]": OBJECT,
    "dict[str, Any] | None": optional(FROZEN_OBJECT),
    "Mapping[str, float] | None": optional(Codec(OBJECT.write, _read_budget)),
    "tuple[str, ...]": several(TEXT),
    "tuple[int, ...]": several(WHOLE),
    "tuple[str, int]": ID,
    "tuple[str, int] | None": optional(ID),
    "tuple[str, str, int, str] | None": optional(row(TEXT, TEXT, WHOLE, TEXT)),
    "tuple[EventId, ...]": several(ID),
    "tuple[Message, ...]": several(MESSAGE),
    "tuple[tuple[str, int], ...]": several(ID),
    "tuple[tuple[str, bool], ...]": several(row(TEXT, FLAG)),
    "tuple[tuple[str, Any], ...]": CALLS,
    "tuple[tuple[Any, ...], ...]": _WRITES,
    "tuple[Any, ...]": several(TOOL_CALL),
}
_BY_NAME = {"action": ACTION, "policy": POLICY, "error": FAILURE, "reason": FAILURE}
_ALWAYS = {"RunStarted": ("format",)}


_RECORDS: dict[type[Event], Record] = {}


def _record(kind: type[Event]) -> Record:
    """Return how events of this kind are written; made when the first one is."""
    if kind in _RECORDS:
        return _RECORDS[kind]
    fields = [field for field in attrs.fields(kind) if field.name not in _COLUMNS]
    codecs = {
        field.name: _BY_NAME.get(field.name, VALUE) if field.type == "Any" else _BY_TYPE[str(field.type)]
        for field in fields
    }
    made = _RECORDS[kind] = Record(kind, codecs, always=_ALWAYS.get(kind.__name__, ()))
    return made


def encode(event: Event, converter: Converter, texts: Texts | None = None) -> str:
    """Return the text of an entry: everything of `event` but its kind, run, seq, time, branch, n and cause.

    It is one line of JSON. Events that are equal, and come after the same ones, have equal texts.

    Args:
        event: What happened.
        converter: Knows the types that keep their type, as given to ``Orchestra(types=[...])``.
        texts: Remembers the long texts of the entries before; what they have is only referred to. Without it every
            text is written in full.

    Raises:
        FormatError: A value in it that cannot be written down; `plain` refuses such values beforehand.
    """
    text = usual()(event, texts)
    if text is not None:
        return text
    kind = type(event)
    try:
        data = (_RECORDS.get(kind) or _record(kind)).write(event, converter, DEEPEST)
        if texts is not None:
            texts.shorten(kind.__name__, data, event.seq)
        return dumps(data)
    except (Wrong, RecursionError) as error:
        raise _told(error, "written", kind.__name__, getattr(event, "run_id", ""), event.seq) from error


def decode(
    kind: str,
    text: str,
    converter: Converter,
    *,
    branch: str,
    n: int,
    cause: EventId,
    seq: int,
    time: float,
    run_id: str,
    texts: Texts | None = None,
) -> Event:
    """Return the event that an entry stands for.

    Args:
        kind: The name of its class, one of `KINDS`.
        text: What `encode` gave.
        converter: Knows the types that keep their type; a type that it was not told of is refused.
        branch: The branch.
        n: Its number within the branch.
        cause: The id of the event that led to it.
        seq: Its place in the journal.
        time: Seconds since the run started.
        run_id: The run.
        texts: Remembers the long texts of the entries before; without it no entry may refer to one of them.

    Raises:
        FormatError: The text is no entry of that kind, whatever it is; or the journal is in a newer format.
    """
    try:
        cls = _kind(kind)
        data = loads(text)
        if kind == "RunStarted" and type(data) is dict and "format" in data:
            check_format(data["format"], run_id)
        if texts is not None:
            texts.restore(kind, data, seq)
        found = _record(cls).fields(data, converter, DEEPEST)
    except (Wrong, RecursionError) as error:
        raise _told(error, "read", kind, run_id, seq) from error
    if kind == "RunStarted":
        found["run_id"] = run_id
    event = cls(branch, n, cause, **found)
    event.seq, event.time, event.run_id = seq, time, run_id
    return event


def encode_value(value: Any, converter: Converter) -> str:
    """Return the text of a value that a journal keeps by its hash, for which a `Ref` stands in its entries.

    Args:
        value: Any value that an event may carry.
        converter: Knows the types that keep their type.

    Raises:
        FormatError: It cannot be written down.
    """
    try:
        return dumps(write_value(value, converter, DEEPEST))
    except (Wrong, RecursionError) as error:
        raise _told(error, "written", _VALUE, "", -1) from error


def decode_value(text: str, converter: Converter, *, run_id: str = "") -> Any:
    """Return the value that `encode_value` was given.

    Args:
        text: What `encode_value` gave.
        converter: Knows the types that keep their type.
        run_id: Whose value it is, for the message.

    Raises:
        FormatError: The text stands for no value.
    """
    try:
        return read_value(loads(text), converter, DEEPEST)
    except (Wrong, RecursionError) as error:
        raise _told(error, "read", _VALUE, run_id, -1) from error


def _kind(name: str) -> type[Event]:
    cls = KINDS.get(name) if type(name) is str else None
    if cls is None:
        hint = nearest(str(name)[:40], KINDS)
        raise Wrong(f"a kind of event{hint and ';' + hint}", name)
    return cls


def _told(error: Wrong | RecursionError, what: str, kind: str, run_id: str, seq: int) -> FormatError:
    if isinstance(error, RecursionError):
        error = Wrong("values that are nested less deep", error)
    kind, path, expected = str(kind)[:80], error.path[:400], error.expected[:400]
    if kind == _VALUE:
        whose = f"a value of run {run_id!r}" if run_id else kind
    else:
        whose = f"entry {seq} of run {run_id!r} ({kind})" if run_id else f"an entry ({kind})"
    msg = f"{whose} cannot be {what} @ {path}: expected {expected}, found {error.found}"
    return FormatError(
        msg, run_id=run_id, seq=seq, kind=kind, path=path, expected=expected, found=error.found
    )
