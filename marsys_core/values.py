"""Values that travel between agents: plain data, made so once, and never lost on the way.

A value is JSON data, a `Message` or content part, a `JoinInput`, or an instance of a type that the
converter was told of. Everything else that has fields (attrs, dataclasses, pydantic) becomes a dict, live
too, so that a resumed run sees what the first one saw.
"""

from __future__ import annotations

import enum
import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, overload

import attrs

from marsys_core.errors import ErrorClass, ValueRefused, class_of, told
from marsys_core.messages import (
    DataPart,
    Message,
    NativePart,
    Part,
    ReasoningPart,
    RefusalPart,
    TextPart,
    ToolCall,
    shown,
)

__all__ = [
    "MAX_DEPTH",
    "REF_BYTES",
    "Converter",
    "Detached",
    "Failure",
    "JoinInput",
    "JoinItem",
    "Ref",
    "exceeds",
    "failure_of",
    "render",
]

MAX_DEPTH = 64
REF_BYTES = 4096
_TAG = "$type"
_MOST_BITS = 3322  # of an int: a thousand digits; Python itself writes and reads no more than 4,300
_ROLES = frozenset({"system", "user", "assistant", "tool"})


@attrs.frozen
class Ref:
    """Stands in an event for a value over 4 kB; the journal's blobs hold the value under `sha256`."""

    sha256: str
    size: int


@attrs.frozen
class Failure:
    """A child of a fork that failed, as the branch that goes on sees it.

    Args:
        error: The name of the error's class.
        message: What it said, with the place.
        error_class: What it means for the caller of the run.
        exception: The exception itself, in the process where it was raised; never journaled.
    """

    error: str
    message: str
    error_class: ErrorClass = ErrorClass.FAILURE
    exception: BaseException | None = attrs.field(default=None, eq=False, repr=False)

    def __str__(self) -> str:
        return f"failed: {self.error}: {self.message}" if self.message else f"failed: {self.error}"


def failure_of(error: BaseException) -> Failure:
    """Return what is recorded of `error`."""
    return Failure(type(error).__name__, told(error), class_of(error), error)


@attrs.frozen
class Detached:
    """What a step gets back from ``Invoke(..., wait=False)``: the ids of the branches it started."""

    branches: tuple[str, ...]


class JoinItem(NamedTuple):
    """One contribution to a join: whose step delivered it, on which branch, and the value."""

    node: str
    branch_id: str
    value: Any


class JoinInput(Sequence[JoinItem]):
    """What several branches delivered to the node at which they met.

    Iterates `(node, branch_id, value)` in the order of the calls, and within one call in branch order.
    The value of a child that failed is a `Failure`. Nested joins stay nested.
    """

    __slots__ = ("_items",)

    def __init__(self, items: Iterable[tuple[str, str, Any]] = ()) -> None:
        self._items = tuple(JoinItem(*item) for item in items)

    def __len__(self) -> int:
        return len(self._items)

    @overload
    def __getitem__(self, index: int) -> JoinItem: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[JoinItem]: ...
    def __getitem__(self, index: Any) -> Any:
        return self._items[index]

    def __iter__(self) -> Iterator[JoinItem]:
        return iter(self._items)

    def __eq__(self, other: object) -> bool:
        return self._items == other._items if isinstance(other, JoinInput) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._items)

    def __repr__(self) -> str:
        return f"JoinInput({list(map(tuple, self._items))!r})"

    @property
    def values(self) -> list[Any]:
        """The values that arrived, without the failures, in order; nested joins as they are."""
        return [item.value for item in self._items if not isinstance(item.value, Failure)]

    @property
    def failures(self) -> list[JoinItem]:
        """The contributions that are failures, labelled, in order."""
        return [item for item in self._items if isinstance(item.value, Failure)]

    def flat(self) -> list[JoinItem]:
        """Return the leaves, nested joins opened, failures included."""
        leaves: list[JoinItem] = []
        for item in self._items:
            if isinstance(item.value, JoinInput):
                leaves += item.value.flat()
            else:
                leaves.append(item)
        return leaves


def render(value: Any) -> str:
    """Return `value` as a model reads it: text as it is, a join as labelled blocks, the rest as JSON."""
    if isinstance(value, str):
        return value
    if isinstance(value, Message):
        return value.text
    if isinstance(value, JoinInput):
        return "\n\n".join(
            f"[from {node} (branch {branch})]\n{render(inner)}" for node, branch, inner in value
        )
    if isinstance(value, Failure):
        return str(value)
    if isinstance(value, Detached):
        return "started: " + ", ".join(value.branches)
    import json

    return json.dumps(value, ensure_ascii=False, default=str)


def exceeds(value: Any, limit: int) -> bool:
    """Whether plain `value` takes more than about `limit` bytes; looks no further than it has to."""
    return _weigh(value, limit) > limit


def _weigh(value: Any, limit: int) -> int:
    if isinstance(value, str):
        return len(value) if value.isascii() else len(value.encode("utf-8", "surrogatepass"))
    inner: Iterable[Any]
    if isinstance(value, Mapping):
        inner = itertools.chain(value, value.values())
    elif isinstance(value, JoinInput):
        inner = (item.value for item in value)
    elif isinstance(value, list | tuple):
        inner = value
    elif attrs.has(type(value)) and not isinstance(value, Failure):
        inner = (getattr(value, field.name) for field in attrs.fields(type(value)))
    else:
        return _atom_bytes(value)
    total = 0
    for each in inner:
        total += 8 + _weigh(each, limit)
        if total > limit:
            break
    return total


def _atom_bytes(value: Any) -> int:
    return max(8, value.bit_length() // 8 + 1) if type(value) is int else 8


_ATOMS = frozenset({str, int, float, bool, type(None)})
_PARTS = (TextPart, DataPart, ReasoningPart, RefusalPart, NativePart)
_OWN = (Message, *_PARTS, ToolCall, Failure, Detached, Ref)
_LATER = {
    "native": (TextPart, DataPart, ReasoningPart, ToolCall),
    "name": (DataPart,),
    "after": (ToolCall,),
    "provider": (Message,),
}
"""Fields that these classes had not always: at their default they are not written."""


def _fields_of(value: Any) -> Mapping[str, Any] | None:
    """The fields of an instance of a class that declares them, or None."""
    cls = type(value)
    if attrs.has(cls):
        return {field.name: getattr(value, field.name) for field in attrs.fields(cls)}
    if hasattr(cls, "__dataclass_fields__"):
        return {name: getattr(value, name) for name in cls.__dataclass_fields__}
    dump = getattr(value, "model_dump", None)
    if callable(dump) and hasattr(cls, "model_fields"):
        dumped: Mapping[str, Any] = dump(mode="json")
        return dumped
    return None


@attrs.define(eq=False)
class _Walk:
    """One walk over a value: counts its bytes, and knows where it is for the error."""

    converter: Converter
    max_bytes: int
    size: int = 0
    path: list[str] = attrs.field(factory=list)

    def refuse(self, why: str) -> ValueRefused:
        return ValueRefused(f"{why} @ $" + "".join(self.path))

    def count(self, size: int) -> None:
        self.size += size
        if self.size > self.max_bytes:
            msg = f"the value is larger than max_value_bytes ({self.max_bytes})"
            raise self.refuse(msg)

    def visit(self, value: Any, depth: int) -> Any:
        cls = type(value)
        if cls is str:
            size = len(value) if value.isascii() else len(value.encode("utf-8", "surrogatepass"))
            self.count(max(2, size))  # nothing is free, so that the bytes bound the walk too
            return value
        if cls in _ATOMS:
            return self.atom(value)
        if depth >= MAX_DEPTH:
            msg = f"the value is nested deeper than {MAX_DEPTH}"
            raise self.refuse(msg)
        return self.container(value, depth + 1)

    def atom(self, value: Any) -> Any:
        if type(value) is float and not math.isfinite(value):
            msg = f"{value!r} has no place in JSON"
            raise self.refuse(msg)
        if type(value) is int and value.bit_length() > _MOST_BITS:
            msg = f"an int of more than a thousand digits ({value.bit_length()} bits) cannot be recorded; return it as text"
            raise self.refuse(msg)
        self.count(_atom_bytes(value))
        return value

    def container(self, value: Any, depth: int) -> Any:
        if isinstance(value, Mapping):
            return self.mapping(value, depth)
        if isinstance(value, JoinInput):
            self.count(8)
            return JoinInput(
                (node, branch, self.inside(f"[{i}]", inner, depth))
                for i, (node, branch, inner) in enumerate(value)
            )
        if isinstance(value, list | tuple):
            self.count(8)
            return [self.inside(f"[{i}]", inner, depth) for i, inner in enumerate(value)]
        if isinstance(value, Ref):
            msg = f"{shown(value)} stands for a value in a journal; return the value itself"
            raise self.refuse(msg)
        if isinstance(value, Message):
            return self.message(value, depth)
        if isinstance(value, _OWN) or type(value) in self.converter.types:
            return self.known(value, depth)
        return self.declared(value, depth)

    def inside(self, step: str, value: Any, depth: int) -> Any:
        self.path.append(step)
        plain = self.visit(value, depth)
        self.path.pop()
        return plain

    def mapping(self, value: Mapping[Any, Any], depth: int) -> dict[str, Any]:
        self.count(8)
        for key in value:
            if type(key) is not str:
                msg = f"a key must be text, not {shown(key)} ({type(key).__name__})"
                raise self.refuse(msg)
            self.count(max(2, len(key)))
        return {key: self.inside(f".{key}", inner, depth) for key, inner in value.items()}

    def message(self, value: Message, depth: int) -> Message:
        """A message, with tuples of its own where somebody gave lists."""
        if value.role not in _ROLES:
            msg = f"the role of a Message is one of {', '.join(sorted(_ROLES))}, not {shown(value.role)}"
            raise self.refuse(msg)
        content, calls = value.content, value.tool_calls
        if not isinstance(content, str) and not _all(content, _PARTS):
            msg = f"the content of a Message is text or a tuple of parts (TextPart, DataPart), not {shown(content)}"
            raise self.refuse(msg)
        if not _all(calls, ToolCall):
            msg = f"the tool_calls of a Message are a tuple of ToolCall, not {shown(calls)}"
            raise self.refuse(msg)
        self.known(value, depth)
        if type(value) is Message and type(content) in (str, tuple) and type(calls) is tuple:
            return value
        given = content if isinstance(content, str) else tuple(content)
        return Message(
            value.role, given, tuple(calls), value.tool_call_id, value.name, value.is_error, value.provider
        )

    def known(self, value: Any, depth: int) -> Any:
        """A type that is given back as it is; its fields are walked for their size and depth."""
        self.count(16)  # the tag, about
        for field in attrs.fields(type(value)):
            if field.name == "exception":
                continue  # live only
            self.inside(f".{field.name}", _unwrap(getattr(value, field.name)), depth)
        return value

    def declared(self, value: Any, depth: int) -> Any:
        if isinstance(value, enum.Enum):
            return self.visit(value.value, depth)
        if isinstance(value, str | int | float):  # subclasses with methods of their own
            return self.visit(_base(value), depth)
        if (fields := _fields_of(value)) is not None:
            return self.mapping(fields, depth)
        if hasattr(value, "__await__"):
            if hasattr(value, "close"):
                value.close()
            msg = f"a value of type {type(value).__qualname__!r} is still to be awaited; is an await missing?"
            raise self.refuse(msg)
        msg = (
            f"a value of type {type(value).__qualname__!r} cannot be recorded; return JSON data, a Message, "
            "an attrs, dataclass or pydantic object, or name the type in Orchestra(types=[...])"
        )
        raise self.refuse(msg)


def _all(value: Any, kind: Any) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(each, kind) for each in value)


def _base(value: Any) -> Any:
    for cls in (str, int, float):
        if isinstance(value, cls):
            return cls(value)
    return value


def _unwrap(value: Any) -> Any:
    return value.value if isinstance(value, ErrorClass) else value


class Converter:
    """Makes values plain, and turns them into JSON data and back.

    Args:
        types: Further attrs classes whose instances keep their type; each is tagged with its qualified
            name and given back as that type.
    """

    def __init__(self, types: Iterable[type] = ()) -> None:
        self.types: Mapping[type, str] = {cls: f"{cls.__module__}.{cls.__qualname__}" for cls in types}
        for cls in self.types:
            if not attrs.has(cls):
                msg = f"only attrs classes can keep their type in a journal, not {cls.__qualname__!r}"
                raise ValueRefused(msg)
        self._tags = {cls.__name__: cls for cls in _OWN} | {tag: cls for cls, tag in self.types.items()}
        self._names = {cls: tag for tag, cls in self._tags.items()}
        self._structurer: Any = None

    def plain(self, value: Any, max_bytes: int = 4 * 1024 * 1024) -> Any:
        """Return `value` as plain data, sharing nothing that could still be changed.

        Raises:
            ValueRefused: A type, depth or size that cannot be recorded, or a value whose own code raises;
                names the place in the value.
        """
        if type(value) is str and len(value) * 4 <= max_bytes:
            return value
        walk = _Walk(self, max_bytes)
        try:
            return walk.visit(value, 0)
        except ValueRefused:
            raise
        except Exception as error:  # a property, a mapping or a dump of the value's own
            msg = f"reading the value raised {shown(error, 200)}"
            raise walk.refuse(msg) from error

    def encode(self, value: Any) -> Any:
        """Return plain `value` as JSON data; what is not JSON is tagged with its type."""
        if type(value) in _ATOMS:
            return value
        if isinstance(value, list):
            return [self.encode(inner) for inner in value]
        if isinstance(value, dict):
            encoded = {key: self.encode(inner) for key, inner in value.items()}
            return {_TAG: "dict", "items": encoded} if _TAG in value else encoded
        if isinstance(value, JoinInput):
            return {_TAG: "JoinInput", "items": [[n, b, self.encode(v)] for n, b, v in value]}
        return {_TAG: self._names[type(value)], **self._cattrs().unstructure(value)}

    def decode(self, data: Any) -> Any:
        """Give back what `encode` was given.

        Raises:
            ValueRefused: A tag that nobody registered, or fields that do not fit it.
        """
        if isinstance(data, list):
            return [self.decode(inner) for inner in data]
        if not isinstance(data, dict):
            return data
        if _TAG not in data:
            return {key: self.decode(inner) for key, inner in data.items()}
        return self._decode_tagged(data)

    def _decode_tagged(self, data: dict[str, Any]) -> Any:
        tag, fields = data[_TAG], {key: inner for key, inner in data.items() if key != _TAG}
        try:
            if tag == "dict":
                return {key: self.decode(inner) for key, inner in fields["items"].items()}
            if tag == "JoinInput":
                return JoinInput((n, b, self.decode(v)) for n, b, v in fields["items"])
            return self._cattrs().structure(fields, self._tags[tag])
        except Exception as error:
            msg = f"a recorded value tagged {tag!r} cannot be read: {type(error).__name__}: {error}"
            raise ValueRefused(msg) from error

    def _cattrs(self) -> Any:
        """The one cattrs converter, made on first use: importing cattrs costs more than a run."""
        if self._structurer is None:
            import cattrs
            import cattrs.gen

            converter = cattrs.Converter(forbid_extra_keys=True)
            live = cattrs.override(omit=True)  # the exception of a failure stays in its process
            converter.register_unstructure_hook(
                Failure, cattrs.gen.make_dict_unstructure_fn(Failure, converter, exception=live)
            )
            converter.register_structure_hook(
                Failure, cattrs.gen.make_dict_structure_fn(Failure, converter, exception=live)
            )
            for cls in (*_PARTS, ToolCall, Message):
                later = {
                    name: cattrs.override(omit_if_default=True) for name in _LATER if cls in _LATER[name]
                }
                write = cattrs.gen.make_dict_unstructure_fn(cls, converter, **later)  # type: ignore[arg-type]
                converter.register_unstructure_hook(cls, write)
            converter.register_structure_hook(
                str | tuple[Part, ...], lambda data, _: self._structure_content(data)
            )
            self._structurer = converter
        return self._structurer

    def _structure_content(self, data: Any) -> Any:
        if isinstance(data, str):
            return data
        return tuple(self._structurer.structure(part, _class_of_part(part)) for part in data)


def _class_of_part(fields: Mapping[str, Any]) -> type:
    """Which part has these fields; each has one that no other has."""
    for own, cls in (
        ("media_type", DataPart),
        ("signature", ReasoningPart),
        ("refusal", RefusalPart),
        ("item", NativePart),
    ):
        if own in fields:
            return cls
    return TextPart
