"""How values of any kind are written: JSON data as it is, the rest as objects that say their type."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import attrs

from marsys_core.errors import ErrorClass
from marsys_core.format.fields import (
    FLAG,
    NUMBER,
    TEXT,
    WHOLE,
    Codec,
    each,
    optional,
    read_int,
    read_number,
    row,
    several,
    write_int,
    write_number,
)
from marsys_core.format.records import Record
from marsys_core.format.text import TAG
from marsys_core.format.wrong import Wrong
from marsys_core.frozen import freeze
from marsys_core.messages import (
    DataPart,
    Message,
    NativePart,
    ReasoningPart,
    RefusalPart,
    TextPart,
    ToolCall,
    Usage,
    shown,
)
from marsys_core.values import Converter, Detached, Failure, JoinInput, Ref

__all__ = [
    "ERROR_CLASS",
    "FAILURE_FIELDS",
    "FROZEN_OBJECT",
    "FROZEN_VALUE",
    "MESSAGE",
    "OBJECT",
    "TOOL_CALL",
    "USAGE",
    "VALUE",
    "lenient",
    "read_value",
    "write_value",
]


def write_value(value: Any, converter: Converter, room: int) -> Any:
    """Return JSON data for any value that an event may carry."""
    kind = type(value)
    if kind is str or value is None or kind is bool:
        return value
    if kind is int:
        return write_int(value)
    if kind is float:
        return write_number(value)
    if room <= 0:
        raise Wrong("values that are nested less deep", value)
    if isinstance(value, dict):
        return _write_dict(value, converter, room - 1)
    if isinstance(value, list):
        return each(write_value, value, converter, room - 1)
    return _write_tagged(value, converter, room - 1)


def _write_dict(value: Mapping[Any, Any], converter: Converter, room: int) -> Any:
    data: dict[str, Any] = {}
    for key, inner in value.items():
        if type(key) is not str:
            return {TAG: "map", "items": each(_PAIRS.write, value.items(), converter, room)}  # type: ignore[arg-type]
        try:
            data[key] = write_value(inner, converter, room)
        except Wrong as wrong:
            raise wrong.inside(f".{key}")  # noqa: B904 - the same error, with its place
    return {TAG: "dict", "items": data} if TAG in data else data


def _write_tagged(value: Any, converter: Converter, room: int) -> Any:
    if isinstance(value, JoinInput):
        return {TAG: "JoinInput", "items": each(_JOINED.write, value, converter, room)}  # type: ignore[arg-type]
    if isinstance(value, tuple):
        return {TAG: "tuple", "items": each(write_value, value, converter, room)}
    for cls, record in _RECORDS.items():
        if isinstance(value, cls):
            return record.write(value, converter, room)
    if type(value) in converter.types:
        try:
            return converter.encode(value)
        except Exception as error:  # the fields are of the user's making
            raise Wrong("a value that the converter can write", error) from error
    if isinstance(value, Mapping):
        return _write_dict(value, converter, room)
    for base in (str, int, float):
        if isinstance(value, base):
            return write_value(base(value), converter, room)
    raise Wrong("a value that can be recorded", value)


def lenient(value: Any, converter: Converter, room: int) -> Any:
    """The same for a value of unknown making: what cannot be written stands as its representation."""
    try:
        return write_value(value, converter, room)
    except Wrong:
        if isinstance(value, dict) and room > 0:
            return {
                str(key): lenient(inner, converter, room - 1) for key, inner in value.items() if key != TAG
            }
        return shown(value, 200)


def read_value(data: Any, converter: Converter, room: int) -> Any:
    """Return the value that `write_value` was given."""
    kind = type(data)
    if kind is str or kind is int or data is None or kind is bool:
        return data
    if kind is float:
        return read_number(data)
    if room <= 0:
        raise Wrong("values that are nested less deep", data)
    if kind is list:
        return each(read_value, data, converter, room - 1)
    if TAG not in data:
        return _read_dict(data, converter, room - 1)
    tag = data[TAG]
    reader = _READERS.get(tag) if type(tag) is str else None
    if reader is not None:
        return reader(data, converter, room - 1)
    try:
        found = converter.decode(data)
        converter.plain(found, sys.maxsize)  # what came of it can be written down again
        return found
    except Exception as error:  # a tag that nobody registered, or what a class of the user's raised
        raise Wrong("a value of a type that is registered", error) from error


def _read_dict(data: dict[str, Any], converter: Converter, room: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    key = ""
    try:
        for key, inner in data.items():
            found[key] = read_value(inner, converter, room)
    except Wrong as wrong:
        raise wrong.inside(f".{key[:80]}")  # noqa: B904 - the same error, with its place
    return found


def _items(data: dict[str, Any], kind: type) -> Any:
    items = data.get("items")
    if type(items) is not kind or len(data) != 2:
        raise Wrong(f"items, {'an object' if kind is dict else 'a list'}", data, ".items")
    return items


def _read_escaped(data: Any, converter: Converter, room: int) -> Any:
    return _read_dict(_items(data, dict), converter, room)


def _read_map(data: Any, converter: Converter, room: int) -> Any:
    try:
        return dict(each(_PAIRS.read, _items(data, list), converter, room))
    except TypeError as error:
        raise Wrong("keys that can be keys", error, ".items") from error


def _read_tuple(data: Any, converter: Converter, room: int) -> Any:
    return tuple(each(read_value, _items(data, list), converter, room))


def _read_join(data: Any, converter: Converter, room: int) -> Any:
    return JoinInput(each(_JOINED.read, _items(data, list), converter, room))


def _write_content(value: Any, converter: Converter, room: int) -> Any:
    if type(value) is str:
        return value
    return (
        each(write_value, value, converter, room)
        if isinstance(value, list | tuple)
        else write_value(value, converter, room)
    )


def _read_content(data: Any, converter: Converter, room: int) -> Any:
    if type(data) is str:
        return data
    if type(data) is list:
        return tuple(each(_read_part, data, converter, room))
    return _read_one(data, converter, room, Ref)


def _read_part(data: Any, converter: Converter, room: int) -> Any:
    return _read_one(data, converter, room, *_PARTS)


def _read_arguments(data: Any, converter: Converter, room: int) -> Any:
    return data if type(data) is str else _read_one(data, converter, room, Ref)


def _read_put_away(data: Any, converter: Converter, room: int) -> Any:
    found = read_value(data, converter, room)
    if isinstance(found, Ref) or (type(found) is dict and all(type(key) is str for key in found)):
        return found
    raise Wrong("an object or a Ref", data)


def _read_one(data: Any, converter: Converter, room: int, *kinds: type) -> Any:
    tag = data.get(TAG) if type(data) is dict else None
    for kind in kinds:
        if tag == kind.__name__:
            return _RECORDS[kind].read(data, converter, room)
    raise Wrong("text or " + " or ".join(kind.__name__ for kind in kinds), data)


def _read_role(data: Any, *_: Any) -> str:
    if type(data) is str and data in ("system", "user", "assistant", "tool"):
        return data
    raise Wrong("system, user, assistant or tool", data)


def _read_class(data: Any, *_: Any) -> ErrorClass:
    for each_class in ErrorClass:
        if data == each_class.value:
            return each_class
    raise Wrong("failure, recoverable or critical", data)


def _write_class(value: Any, *_: Any) -> Any:
    return value.value


def _object(read: Any) -> Codec:
    def read_object(data: Any, converter: Converter, room: int) -> Any:
        found = read(data, converter, room)
        if type(found) is dict and all(type(key) is str for key in found):
            return found
        raise Wrong("an object", data)

    return Codec(write_value, read_object)


def _read_frozen(data: Any, converter: Converter, room: int) -> Any:
    return freeze(read_value(data, converter, room))


def _freeze_inside(data: Any, converter: Converter, room: int) -> Any:
    found = read_value(data, converter, room)
    return {key: freeze(inner) for key, inner in found.items()} if type(found) is dict else found


VALUE = Codec(write_value, read_value)
FROZEN_VALUE = Codec(write_value, _read_frozen)
OBJECT = _object(read_value)
FROZEN_OBJECT = _object(_freeze_inside)
ERROR_CLASS = Codec(_write_class, _read_class)

_PAIRS = row(VALUE, VALUE)
_JOINED = row(TEXT, TEXT, VALUE)
_ARGUMENTS = Codec(
    lambda value, *given: value if type(value) is str else write_value(value, *given), _read_arguments
)

_NATIVE = optional(OBJECT)
_PUT_AWAY = optional(Codec(write_value, _read_put_away))
_TOOL_CALL = {
    "id": TEXT,
    "name": TEXT,
    "arguments": _ARGUMENTS,
    "after": optional(WHOLE),
    "native": _PUT_AWAY,
}
TOOL_CALL = Record(ToolCall, _TOOL_CALL).codec
_REASONING = {"text": TEXT, "signature": TEXT, "redacted": FLAG, "native": _NATIVE}
_DATA = {"media_type": TEXT, "data": TEXT, "url": TEXT, "name": TEXT, "native": _NATIVE}
_MESSAGE = {
    "role": Codec(None, _read_role),
    "content": Codec(_write_content, _read_content),
    "tool_calls": several(TOOL_CALL),
    "tool_call_id": TEXT,
    "name": TEXT,
    "is_error": FLAG,
    "provider": TEXT,
}
MESSAGE = Record(Message, _MESSAGE).codec
USAGE = Record(Usage, {field.name: NUMBER for field in attrs.fields(Usage)}).codec
FAILURE_FIELDS = {"error": TEXT, "message": TEXT, "error_class": ERROR_CLASS}

_RECORDS: dict[type, Record] = {
    Message: Record(Message, _MESSAGE, "Message"),
    TextPart: Record(TextPart, {"text": TEXT, "native": _NATIVE}, "TextPart"),
    DataPart: Record(DataPart, _DATA, "DataPart"),
    ReasoningPart: Record(ReasoningPart, _REASONING, "ReasoningPart"),
    RefusalPart: Record(RefusalPart, {"refusal": TEXT}, "RefusalPart"),
    NativePart: Record(NativePart, {"item": OBJECT}, "NativePart"),
    ToolCall: Record(ToolCall, _TOOL_CALL, "ToolCall"),
    Ref: Record(Ref, {"sha256": TEXT, "size": WHOLE}, "Ref"),
    Failure: Record(Failure, FAILURE_FIELDS, "Failure"),
    Detached: Record(Detached, {"branches": several(TEXT)}, "Detached"),
    Usage: Record(Usage, {field.name: NUMBER for field in attrs.fields(Usage)}, "Usage"),
}
_PARTS = (TextPart, DataPart, ReasoningPart, RefusalPart, NativePart)
_READERS: dict[str, Any] = {
    **{record.tag: record.read for record in _RECORDS.values()},
    "dict": _read_escaped,
    "map": _read_map,
    "tuple": _read_tuple,
    "JoinInput": _read_join,
    "int": read_int,
    "float": read_number,
}
