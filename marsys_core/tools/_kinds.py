"""Kinds of values: a JSON Schema, and a function that structures a value. Imported on first use.

A kind is made once for an annotation, of plain closures: a call then costs a function call for each value
in it and looks at no annotation again.
"""

from __future__ import annotations

import datetime
import enum
import inspect
import math
import pathlib
import types
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import count, repeat
from typing import Any

import attrs

from marsys_core.errors import nearest
from marsys_core.tools._arguments import Mismatch, Problem, expected

__all__ = [
    "ANY",
    "SIMPLE",
    "Field",
    "Kind",
    "Record",
    "Structure",
    "array",
    "as_it_is",
    "choice",
    "fixed",
    "is_scalar",
    "object_kind",
    "table",
]

Structure = Callable[[Any], Any]


@attrs.frozen(kw_only=True)
class Kind:
    """What an annotation comes to.

    Attributes:
        schema: Its JSON Schema.
        noun: Its name in a sentence.
        structure: Makes the value of what was sent, or raises `Mismatch`.
        types: The types of what it may be sent, or None for any.
        weigh: How exactly what was sent, and fits, is met: 2 for its very type, 1 for another form of it,
            0 where it was widened; of an array or an object the sum over what is in it. It decides between
            the members of a union.
        choices: What may be sent, each with its type, where that is a list.
        record: What is known of an object with known fields.
        members: The members of a union.
        target: Gives the kind that a reference stands for, once that is compiled.
    """

    schema: dict[str, Any]
    noun: str
    structure: Structure
    types: frozenset[type] | None
    weigh: Callable[[Any], int]
    choices: frozenset[tuple[type, Any]] | None = None
    record: Record | None = None
    members: tuple[Kind, ...] = ()
    target: Callable[[], Kind] | None = None

    def resolved(self) -> Kind:
        """Return the kind, or what it refers to."""
        return self if self.target is None else self.target()


@attrs.frozen(kw_only=True)
class Record:
    """An object with known fields, as a union tells it from others.

    Attributes:
        name: The name of its class.
        required: The fields that have to be sent.
        choices: Of each field what may be sent for it, each with its type, or None where that is no list.
    """

    name: str
    required: frozenset[str]
    choices: Mapping[str, frozenset[tuple[type, Any]] | None]


@attrs.frozen(kw_only=True)
class Field:
    """A parameter of a function or a field of a class; `default` is the part of the schema that shows it."""

    kind: Kind
    required: bool
    description: str = ""
    default: Mapping[str, Any] = types.MappingProxyType({})

    @classmethod
    def of(cls, parameter: inspect.Parameter, kind: Kind, description: str) -> Field:
        """Make the field of a parameter, of a function or of a constructor."""
        if parameter.default is parameter.empty:
            return cls(kind=kind, required=True, description=description)
        return cls(
            kind=kind, required=False, description=description, default=_plain_default(parameter.default)
        )

    @property
    def schema(self) -> dict[str, Any]:
        """The schema of the kind with what is known of the field; a description at the annotation wins."""
        described = {"description": self.description} if self.description else {}
        return {**described, **self.kind.schema, **self.default}


def _plain_default(value: Any) -> dict[str, Any]:
    """Return what the schema says of a default: only plain ones are shown."""
    if value is attrs.NOTHING:  # a factory makes it; NOTHING is itself a member of an enumeration
        return {}
    if isinstance(value, enum.Enum):
        value = value.value
    return {"default": value} if is_scalar(value) else {}


def is_scalar(value: Any) -> bool:
    """Return whether JSON holds this value, and it is neither an array nor an object."""
    return type(value) in _SCALAR_NAMES and not (type(value) is float and not math.isfinite(value))


def as_it_is(value: Any) -> Any:
    """Return the value."""
    return value


def _exact(value: Any) -> int:
    return 2


def _in_other_form(value: Any) -> int:
    return 1


def _number(value: Any) -> float:
    if type(value) is float and math.isfinite(value):
        return value
    if type(value) is int:
        try:
            return float(value)
        except OverflowError:
            raise expected("a number in the range of a double", value) from None
    raise expected("a number", value)


def _exactly(kind: type, noun: str) -> Kind:
    def structure(value: Any) -> Any:
        if type(value) is kind:
            return value
        raise expected(noun, value)

    return Kind(
        schema={"type": _SCALAR_NAMES[kind]},
        noun=noun,
        structure=structure,
        types=frozenset({kind}),
        weigh=_exact,
    )


def _written(read: Callable[[str], Any], form: str, noun: str) -> Kind:
    def structure(value: Any) -> Any:
        if type(value) is str:
            try:
                return read(value)
            except ValueError:
                raise expected(noun, value) from None
        raise expected(noun, value)

    return Kind(
        schema={"type": "string", "format": form},
        noun=noun,
        structure=structure,
        types=_TEXT,
        weigh=_in_other_form,
    )


def _moment(text: str) -> datetime.datetime:
    if len(text) <= len(
        "2000-01-01"
    ):  # a date alone is not a moment, though fromisoformat takes it for midnight
        msg = "there is no time"
        raise ValueError(msg)
    return datetime.datetime.fromisoformat(text)


_SCALAR_NAMES: dict[type, str] = {
    str: "string",
    int: "integer",
    float: "number",
    bool: "boolean",
    type(None): "null",
}
_TEXT = frozenset({str})
_OBJECT = frozenset({dict})
_ARRAY = frozenset({list, tuple})
ANY = Kind(schema={}, noun="anything", structure=as_it_is, types=None, weigh=_in_other_form)
_NULL = _exactly(type(None), "null")
SIMPLE: dict[Any, Kind] = {
    Any: ANY,
    object: ANY,
    inspect.Parameter.empty: ANY,
    None: _NULL,
    type(None): _NULL,
    str: _exactly(str, "a string"),
    int: _exactly(int, "an integer"),
    bool: _exactly(bool, "true or false"),
    float: Kind(
        schema={"type": "number"},
        noun="a number",
        structure=_number,
        types=frozenset({int, float}),
        weigh=lambda value: 2 if type(value) is float else 0,  # an integer stays one where both are allowed
    ),
    datetime.datetime: _written(_moment, "date-time", "a date and time such as '2000-01-31T12:00:00Z'"),
    datetime.date: _written(datetime.date.fromisoformat, "date", "a date such as '2000-01-31'"),
    uuid.UUID: _written(uuid.UUID, "uuid", "a UUID"),
    pathlib.Path: _written(pathlib.Path, "path", "a path"),
    pathlib.PurePath: _written(pathlib.PurePath, "path", "a path"),
}


def choice(choices: Sequence[tuple[Any, Any]]) -> Kind:
    """Make the kind of a value out of several: pairs of what is sent and what it stands for."""
    # Invariant: keyed by type too, since True == 1 == 1.0 in a dictionary.
    table = {(type(sent), sent): meant for sent, meant in choices}
    types = frozenset(kind for kind, _ in table)
    noun = "one of " + ", ".join(repr(sent) for sent, _ in choices)

    def structure(value: Any) -> Any:
        try:
            return table[type(value), value]
        except (KeyError, TypeError):  # TypeError: an array or an object cannot be looked up
            raise expected(noun, value) from None

    schema: dict[str, Any] = {"enum": [sent for sent, _ in choices]}
    if len(names := {_SCALAR_NAMES[type(sent)] for sent, _ in choices}) == 1:
        schema = {"type": names.pop(), **schema}
    return Kind(
        schema=schema, noun=noun, structure=structure, types=types, weigh=_exact, choices=frozenset(table)
    )


def _each(entries: Iterable[tuple[str | int, Structure, Any]]) -> list[Any]:
    """Structure values, each with its key and its function, and collect what is wrong with any of them."""
    values: list[Any] = []
    problems: list[Problem] = []
    for key, structure, value in entries:
        try:
            values.append(structure(value))
        except Mismatch as fault:
            problems += fault.under(key)
    if problems:
        raise Mismatch(problems)
    return values


def array(item: Kind, make: Callable[[list[Any]], Any], **more: Any) -> Kind:
    """Make the kind of an array of any length; `make` makes the value of the list of its items."""
    inner = item.structure

    def structure(value: Any) -> Any:
        if type(value) is not list and type(value) is not tuple:
            raise expected("an array", value)
        items = _each(zip(count(), repeat(inner), value))
        try:
            return make(items)
        except TypeError:
            raise expected("an array of values that a set can hold", value) from None

    items = {"items": item.schema} if item.schema else {}
    own = 2 if make is as_it_is else 1
    return Kind(
        schema={"type": "array", **items, **more},
        noun="an array",
        structure=structure,
        types=_ARRAY,
        weigh=lambda value: own + sum(map(item.weigh, value)),
    )


def fixed(members: Sequence[Kind]) -> Kind:
    """Make the kind of an array with a kind for each place in it: a tuple."""
    length = len(members)
    noun = f"an array of length {length}"
    inner = [member.structure for member in members]

    def structure(value: Any) -> tuple[Any, ...]:
        if type(value) not in (list, tuple) or len(value) != length:
            raise expected(noun, value)
        return tuple(_each(zip(count(), inner, value)))

    prefix = {"prefixItems": [member.schema for member in members]} if members else {}
    return Kind(
        schema={"type": "array", **prefix, "minItems": length, "maxItems": length},
        noun=noun,
        structure=structure,
        types=_ARRAY,
        weigh=lambda value: 1 + sum(member.weigh(item) for member, item in zip(members, value, strict=True)),
    )


def table(item: Kind) -> Kind:
    """Make the kind of an object with any keys."""
    inner = item.structure

    def structure(value: Any) -> dict[str, Any]:
        if type(value) is not dict:
            raise expected("an object", value)
        if not all(type(key) is str for key in value):
            raise expected("an object whose keys are strings", value)
        items = _each(zip(value, repeat(inner), value.values()))
        return dict(zip(value, items, strict=True))

    values = {"additionalProperties": item.schema} if item.schema else {}
    return Kind(
        schema={"type": "object", **values},
        noun="an object",
        structure=structure,
        types=_OBJECT,
        weigh=lambda value: 1 + sum(map(item.weigh, value.values())),
    )


def object_kind(
    fields: Mapping[str, Field], build: Callable[[dict[str, Any]], Any] = as_it_is, name: str = ""
) -> Kind:
    """Make the kind of an object with known fields; `build` makes the value of what they hold."""
    structures = {name: field.kind.structure for name, field in fields.items()}
    required = [name for name, field in fields.items() if field.required]

    def structure(value: Any) -> Any:
        if type(value) is not dict:
            raise expected("an object", value)
        found: dict[str, Any] = {}
        problems: list[Problem] = []
        unknown: list[Any] = []
        for name, item in value.items():
            if (inner := structures.get(name)) is None:
                unknown.append(name)
                continue
            try:
                found[name] = inner(item)
            except Mismatch as fault:
                problems += fault.under(name)
        missing = [name for name in required if name not in value]
        if problems or unknown or missing:
            problems += [("missing ", (name,), "") for name in missing]
            free = [name for name in structures if name not in value]
            problems += [("unknown ", (name,), _meant(str(name), free, missing)) for name in unknown]
            raise Mismatch(problems)
        return build(found)

    schema: dict[str, Any] = {
        "type": "object",
        "properties": {name: field.schema for name, field in fields.items()},
    }
    if required:
        schema["required"] = required
    schema["additionalProperties"] = False
    record = Record(
        name=name,
        required=frozenset(required),
        choices={key: field.kind.choices for key, field in fields.items()},
    )
    return Kind(
        schema=schema,
        noun="an object",
        structure=structure,
        types=_OBJECT,
        weigh=lambda value: 2 + sum(3 + fields[key].kind.weigh(item) for key, item in value.items()),
        record=record,
    )


def _meant(name: str, free: Sequence[str], missing: Sequence[str]) -> str:
    """Suggest what an unknown name stood for: the nearest that is not taken, else the only one that is missing."""
    hint = nearest(name, free) or (nearest(missing[0], missing) if len(missing) == 1 else "")
    return f", {hint.strip().replace('Did', 'did', 1)}" if hint else ""
