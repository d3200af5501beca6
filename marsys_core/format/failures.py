"""How errors are written: their class where it is one of MARSYS' own, and otherwise what it is called.

What comes back of another class is a stand-in: an exception of the same name, with the same text, that is an
instance of the nearest class that MARSYS has. No code of the class that was raised runs, and none is looked for.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from marsys_core import errors
from marsys_core.errors import ErrorClass, MarsysError, ModelErrorKind, Place, told
from marsys_core.format.data import (
    ERROR_CLASS,
    FAILURE_FIELDS,
    USAGE,
    lenient,
    read_value,
    write_value,
)
from marsys_core.format.fields import (
    FLAG,
    NUMBER,
    TEXT,
    WHOLE,
    Codec,
    optional,
    row,
    several,
    write_int,
)
from marsys_core.format.records import Record
from marsys_core.format.text import TAG
from marsys_core.format.wrong import Wrong
from marsys_core.values import Converter, Failure

__all__ = ["ERROR", "FAILURE"]

_LEVEL = 12
"""What an error takes of the depth: causes, and failures of failures, are followed sixteen times."""
_SHORT = 200
_UNFIT = re.compile("[\x00\ud800-\udfff]")

_OURS: dict[str, type[MarsysError]] = {
    name: found
    for name in errors.__all__
    if isinstance(found := getattr(errors, name), type) and issubclass(found, MarsysError)
}


class _Told(Exception):
    """Says what was recorded, whatever its arguments are."""

    _text: str

    def __str__(self) -> str:
        return self._text


_STAND_INS = 256
_MADE = {"__module__": __name__, "__doc__": "Read from a journal."}
_stand_ins: dict[tuple[str, str, bool], type[Exception]] = {}


def _stand_in(base: type[Exception], name: str, with_text: bool) -> type[Exception]:
    """Return a class that is called `name`; nothing but its name comes from what was read."""
    key = (base.__name__, name, with_text)
    if key in _stand_ins:
        return _stand_ins[key]
    if len(_stand_ins) >= _STAND_INS:  # what is read never fills the memory
        _stand_ins.clear()
    bases: tuple[type[Exception], ...] = (base,)
    if with_text:
        bases = (_Told,) if base is Exception else (_Told, base)
    made = _stand_ins[key] = type(name, bases, dict(_MADE))
    return made


def _base_of(error: BaseException) -> type[Exception]:
    if isinstance(error, BaseExceptionGroup):
        return ExceptionGroup
    for cls in type(error).__mro__:
        if _OURS.get(cls.__name__) is cls:
            return cls
    return Exception


def _name_of(error: BaseException) -> str:
    return _UNFIT.sub("?", type(error).__name__[:_SHORT]) or "?"


def _write_error(error: BaseException, converter: Converter, room: int) -> dict[str, Any]:
    base, name = _base_of(error), _name_of(error)
    if base is ExceptionGroup and room < _LEVEL:
        return {"error": "Exception", "called": name, "args": [told(error)]}
    data: dict[str, Any] = {"error": base.__name__}
    if name != base.__name__:
        data["called"] = name
    if isinstance(error, BaseExceptionGroup):
        data["message"] = str(error.message)
        data["errors"] = _write_several(error.exceptions, converter, room)
    else:
        data["args"] = _write_args(error)
    if told(error) != _default_text(base, data, getattr(error, "place", None)):
        data["text"] = told(error)
    if isinstance(error, MarsysError):
        _write_ours(error, base, data, converter, room)
    notes = getattr(error, "__notes__", None)
    if isinstance(notes, list | tuple) and notes:
        data["notes"] = [note for note in notes if isinstance(note, str)]
    if error.__cause__ is not None and room >= _LEVEL:
        data["cause"] = _write_error(error.__cause__, converter, room - _LEVEL)
    return data


def _write_several(errors: Iterable[Any], converter: Converter, room: int) -> list[Any]:
    if room < _LEVEL:
        return []
    return [
        _write_error(error, converter, room - _LEVEL) for error in errors if isinstance(error, BaseException)
    ]


def _write_args(error: BaseException) -> list[Any]:
    args = error.args
    if all(type(arg) in (str, int, bool, float, type(None)) for arg in args):
        return [write_value(arg, _PLAIN, 1) for arg in args]
    return [told(error) if not isinstance(error, MarsysError) else _bare_text(error)]


def _bare_text(error: MarsysError) -> str:
    try:
        return Exception.__str__(error)
    except Exception:  # the arguments are of the user's making
        return told(error)


def _default_text(base: type[Exception], data: dict[str, Any], place: Any) -> str:
    if base is ExceptionGroup:
        count = len(data["errors"])
        return f"{data['message']} ({count} sub-exception{'s' * (count != 1)})"
    made = base.__new__(base)
    made.args = tuple(read_value(arg, _PLAIN, 1) for arg in data["args"])
    if isinstance(made, MarsysError) and isinstance(place, Place):
        made.place = place
    return told(made)


def _write_ours(
    error: MarsysError, base: type[Exception], data: dict[str, Any], converter: Converter, room: int
) -> None:
    if isinstance(error.place, Place):
        data["place"] = [error.place.branch, error.place.node, write_int(error.place.step)]
    default = getattr(base, "error_class", None)
    if error.error_class is not default and isinstance(error.error_class, ErrorClass):
        data["error_class"] = error.error_class.value
    for name, codec in _fields_of(base).items():
        value = getattr(error, name, None)
        if name in _ADDED and (value is None or value == ""):
            continue
        try:
            written = value if codec.write is None else codec.write(value, converter, room)
            written = list(written) if type(written) is tuple else written  # as it will be read
            if name != "failures":
                codec.read(written, converter, room)
        except (Wrong, TypeError, AttributeError):  # somebody has made something else of it
            continue
        data[name] = written


def _read_error(data: Any, converter: Converter, room: int) -> BaseException:
    if type(data) is not dict:
        raise Wrong("an error", data)
    if room < 0:
        raise Wrong("errors that are nested less deep", data)
    found = _read_common(data, converter, room)
    if "error" not in found:
        raise Wrong("the field 'error'", sorted(data))
    base = _base_named(found["error"])
    fields = _fields_of(base)
    for name in data:
        if name in fields:
            found[name] = _inside(fields[name], data[name], name, converter, room)
        elif name not in _COMMON:
            raise Wrong(f"a field of {base.__name__}", name)
    return _made(base, found)


def _read_inner(data: Any, converter: Converter, room: int) -> BaseException:
    return _read_error(data, converter, room - _LEVEL)


def _read_common(data: dict[str, Any], converter: Converter, room: int) -> dict[str, Any]:
    return {
        name: _inside(codec, data[name], name, converter, room)
        for name, codec in _COMMON.items()
        if name in data
    }


def _inside(codec: Codec, data: Any, name: str, converter: Converter, room: int) -> Any:
    try:
        return codec.read(data, converter, room)
    except Wrong as wrong:
        raise wrong.inside(f".{name}")  # noqa: B904 - the same error, with its place


def _base_named(name: str) -> type[Exception]:
    if name == "Exception":
        return Exception
    if name == "ExceptionGroup":
        return ExceptionGroup
    if name in _OURS:
        return _OURS[name]
    raise Wrong("an error of MARSYS, Exception or ExceptionGroup", name, ".error")


def _made(base: type[Exception], found: dict[str, Any]) -> BaseException:
    name, text = found.get("called", base.__name__), found.get("text")
    cls = base if name == base.__name__ and text is None else _stand_in(base, name, text is not None)
    if base is ExceptionGroup:
        if not found.get("errors"):
            raise Wrong("at least one error in a group", found.get("errors"), ".errors")
        error = cls.__new__(cls, found.get("message", ""), list(found["errors"]))
    else:
        error = cls.__new__(cls)
        error.args = found.get("args", ())
    if issubclass(base, MarsysError):
        names = (*_fields_of(base), "place", "error_class")
        error.__dict__.update(vars(base()))  # what is not told is as in an error that was told nothing
        error.__dict__.update({name: found[name] for name in names if name in found})
    if text is not None:
        error.__dict__["_text"] = text
    for note in found.get("notes", ()):
        error.add_note(note)
    if "cause" in found:
        error.__cause__ = found["cause"]
    return error


def _read_place(data: Any, converter: Converter, room: int) -> Place:
    return Place(*_PLACE.read(data, converter, room))


def _read_name(data: Any, *_: Any) -> str:
    if type(data) is str and 0 < len(data) <= _SHORT and _UNFIT.search(data) is None:
        return data
    raise Wrong("the name of a class", data)


def _read_atom(data: Any, converter: Converter, room: int) -> Any:
    return read_value(data, converter, min(room, 1))


def _read_kind(data: Any, *_: Any) -> ModelErrorKind:
    for kind in ModelErrorKind:
        if data == kind.value:
            return kind
    raise Wrong("a kind of model error", data)


ERROR = Codec(_write_error, _read_error)
_PLAIN = Converter()
_PLACE = row(TEXT, TEXT, WHOLE)
_INNER = Codec(None, _read_inner)
_SEVERAL = Codec(_write_several, several(_INNER).read)
_COMMON: dict[str, Codec] = {
    "error": TEXT,
    "called": Codec(None, _read_name),
    "args": several(Codec(None, _read_atom)),
    "text": TEXT,
    "message": TEXT,
    "errors": _SEVERAL,
    "place": Codec(None, _read_place),
    "error_class": ERROR_CLASS,
    "notes": several(TEXT),
    "cause": _INNER,
}
_FIELDS: dict[str, dict[str, Codec]] = {
    "ConfigError": {"problems": several(TEXT)},
    "UnknownName": {"kind": TEXT, "name": TEXT, "known": several(TEXT), "hint": TEXT},
    "FormatError": {
        "run_id": TEXT,
        "seq": WHOLE,
        "kind": TEXT,
        "path": TEXT,
        "expected": TEXT,
        "found": TEXT,
    },
    "ActionError": {"reply": Codec(lenient, read_value)},
    "ConvergenceError": {"failures": _SEVERAL},
    "StateError": {"key": TEXT},
    "ConditionError": {"edge": TEXT, "condition": TEXT},
    "LimitError": {"limit": TEXT},
    "Timeout": {"limit": TEXT, "seconds": NUMBER},
    "RuleBlocked": {"rule": TEXT, "reason": TEXT},
    "RuleStopped": {"rule": TEXT, "reason": TEXT},
    "RuleError": {"rule": TEXT},
    "ModelError": {
        "kind": Codec(lambda value, *_: value.value, _read_kind),
        "retryable": FLAG,
        "retry_after": optional(NUMBER),
        "provider": TEXT,
        "status": optional(WHOLE),
        "code": TEXT,
        "type": TEXT,
        "said": TEXT,
        "request_id": TEXT,
        "usage": optional(USAGE),
    },
}

_ADDED = frozenset({"provider", "status", "code", "type", "said", "request_id", "usage"})
"""Fields that errors had not always: at their default they are not written."""


def _fields_of(base: type[Exception]) -> Mapping[str, Codec]:
    found: dict[str, Codec] = {}
    for cls in reversed(base.__mro__):
        found.update(_FIELDS.get(cls.__name__, {}))
    return found


_WITH_EXCEPTION = Record(Failure, {**FAILURE_FIELDS, "exception": optional(ERROR)}, "Failure")


def _write_failure(value: Any, converter: Converter, room: int) -> Any:
    if isinstance(value, Failure):
        return _WITH_EXCEPTION.write(value, converter, room)
    return value if type(value) is str else write_value(value, converter, room)


def _read_failure(data: Any, converter: Converter, room: int) -> Any:
    if type(data) is dict and data.get(TAG) == "Failure":
        return _WITH_EXCEPTION.read(data, converter, room)
    return read_value(data, converter, room)


FAILURE = Codec(_write_failure, _read_failure)
