"""From an annotation to its kind. Imported on first use."""

from __future__ import annotations

import collections.abc
import enum
import inspect
import types
import typing
from collections.abc import Callable
from typing import Any, Literal

import attrs

from marsys_core.tools._arguments import Mismatch
from marsys_core.tools._constraints import bounded, described, limits
from marsys_core.tools._docstring import describe
from marsys_core.tools._foreign import brings_schema, foreign_kind
from marsys_core.tools._kinds import (
    ANY,
    SIMPLE,
    Field,
    Kind,
    array,
    as_it_is,
    choice,
    fixed,
    is_scalar,
    object_kind,
    table,
)
from marsys_core.tools._unions import union

__all__ = ["Compiler", "Unsupported", "signature_of"]


class Unsupported(Exception):
    """An annotation that has no JSON Schema; the text says which and why."""

    def __init__(self, annotation: Any, why: str = "") -> None:
        super().__init__(f"{inspect.formatannotation(annotation)} has no JSON Schema{why and ': ' + why}")


def signature_of(function: Callable[..., Any]) -> inspect.Signature:
    """Return the signature without evaluating annotations, which may name what is imported for typing only."""
    import sys

    if sys.version_info >= (3, 14):
        import annotationlib

        return inspect.signature(function, annotation_format=annotationlib.Format.FORWARDREF)
    return inspect.signature(function)


class Compiler:
    """Compiles the annotations of one function.

    `definitions` are the schemas of the types that refer to themselves; they belong under ``$defs``.
    """

    def __init__(self) -> None:
        self.definitions: dict[str, dict[str, Any]] = {}
        self._done: dict[Any, Kind] = {}
        self._open: dict[Any, str] = {}  # what is being compiled, and its name once it refers to itself

    def compile(self, annotation: Any) -> Kind:
        """Return the kind of an annotation.

        Raises:
            Unsupported: It, or something within it, has no JSON Schema.
        """
        origin = typing.get_origin(annotation)
        if origin is not None:
            return self._generic(annotation, origin, typing.get_args(annotation))
        if isinstance(annotation, typing.NewType):
            return self.compile(annotation.__supertype__)
        if type(annotation).__name__ == "InitVar":
            return self.compile(annotation.type)
        try:
            simple = SIMPLE.get(annotation)
        except TypeError:  # not hashable, so no type
            raise Unsupported(annotation) from None
        return simple or self._named(annotation)

    def _generic(self, annotation: Any, origin: Any, arguments: tuple[Any, ...]) -> Kind:
        if origin is typing.Annotated:
            return self._annotated(arguments[0], arguments[1:])
        if origin is Literal:
            return self._literal(annotation, arguments)
        if origin in _QUALIFIERS:
            return self.compile(arguments[0])
        if origin in (typing.Union, types.UnionType):
            return union([self.compile(member) for member in arguments])
        return self._container(annotation, origin, arguments)

    def _annotated(self, annotation: Any, metadata: tuple[Any, ...]) -> Kind:
        kind = self.compile(annotation)
        if found := limits(metadata):
            try:
                kind = bounded(kind, found)
            except ValueError as error:
                raise Unsupported(annotation, f"{error}") from error
        text = described(metadata)
        return kind if text is None else attrs.evolve(kind, schema={**kind.schema, "description": text})

    def _literal(self, annotation: Any, values: tuple[Any, ...]) -> Kind:
        choices = [(value.value if isinstance(value, enum.Enum) else value, value) for value in values]
        if not all(is_scalar(sent) for sent, _ in choices):
            raise Unsupported(annotation, "JSON has no such value")
        return choice(choices)

    def _container(self, annotation: Any, origin: Any, arguments: tuple[Any, ...]) -> Kind:
        if origin is tuple and arguments[-1:] != (...,) and (arguments or annotation == tuple[()]):
            return fixed([self.compile(member) for member in arguments])
        if origin in _TABLES:
            if arguments and arguments[0] is not str:
                raise Unsupported(annotation, "the keys of a JSON object are strings")
            return table(self.compile(arguments[1]) if arguments else ANY)
        if (make := _ARRAYS.get(origin)) is None:
            raise Unsupported(annotation)
        more = {"uniqueItems": True} if make in (set, frozenset) else {}
        return array(self.compile(arguments[0]) if arguments else ANY, make, **more)

    def _named(self, annotation: Any) -> Kind:
        """Compile a class or an alias, which may refer to itself."""
        if annotation in self._done:
            return self._done[annotation]
        if annotation in self._open:
            return self._reference(annotation)
        self._open[annotation] = ""
        try:
            kind = self._plain_class(annotation)
        finally:
            name = self._open.pop(annotation)
        if name:
            self.definitions[name] = kind.schema
            kind = attrs.evolve(kind, schema={"$ref": f"#/$defs/{name}"})
        self._done[annotation] = kind
        return kind

    def _reference(self, annotation: Any) -> Kind:
        taken = set(self._open.values()) | self.definitions.keys()
        name = self._open[annotation] or annotation.__name__
        while not self._open[annotation] and name in taken:
            name += "_"
        self._open[annotation] = name

        def later(value: Any) -> Any:  # its own structure is there once it is compiled
            return self._done[annotation].structure(value)

        def weigh(value: Any) -> int:
            return self._done[annotation].weigh(value)

        return Kind(
            schema={"$ref": f"#/$defs/{name}"},
            noun="an object",
            structure=later,
            types=frozenset({dict}) if isinstance(annotation, type) else None,
            weigh=weigh,
            target=lambda: self._done[annotation],
        )

    def _plain_class(self, annotation: Any) -> Kind:
        if type(annotation).__name__ == "TypeAliasType":
            return self.compile(annotation.__value__)
        if annotation in _TABLES or annotation in _ARRAYS:
            return self._container(annotation, annotation, ())
        if not isinstance(annotation, type):
            raise Unsupported(annotation)
        if issubclass(annotation, enum.Enum):
            return self._enum(annotation)
        if hasattr(annotation, "__required_keys__"):
            return self._typed_dict(annotation)
        if brings_schema(annotation):
            return self._foreign(annotation)
        named_tuple = issubclass(annotation, tuple) and hasattr(annotation, "_fields")
        if attrs.has(annotation) or hasattr(annotation, "__dataclass_fields__") or named_tuple:
            return self._record(annotation)
        raise Unsupported(annotation)

    def _foreign(self, annotation: Any) -> Kind:
        try:
            return foreign_kind(annotation, self.definitions, set(self._open.values()))
        except Exception as error:  # its own code: a field of a type that it has no schema for, for example
            raise Unsupported(annotation, f"{type(error).__name__}: {error}") from error

    def _enum(self, annotation: type[enum.Enum]) -> Kind:
        members = list(annotation)
        if not members:
            raise Unsupported(annotation, "it has no members")
        by_value = all(is_scalar(member.value) for member in members)
        return choice([(member.value if by_value else member.name, member) for member in members])

    def _typed_dict(self, annotation: Any) -> Kind:
        _, descriptions = describe(annotation.__doc__)
        fields: dict[str, Field] = {}
        for name, hint in _hints(annotation).items():
            # The class itself does not see these two where annotations are strings.
            marked = {typing.Required: True, typing.NotRequired: False}.get(typing.get_origin(hint))
            required = name in annotation.__required_keys__ if marked is None else marked
            fields[name] = Field(
                kind=self.compile(hint), required=required, description=descriptions.get(name, "")
            )
        return object_kind(fields, name=annotation.__name__)

    def _record(self, annotation: type) -> Kind:
        """Compile an attrs class, a dataclass or a named tuple: what its constructor takes."""
        hints = _hints(annotation)
        if attrs.has(annotation):
            hints = {
                field.alias or field.name: hints.get(field.name, Any) for field in attrs.fields(annotation)
            }
        _, descriptions = describe(annotation.__doc__)
        fields: dict[str, Field] = {}
        for name, parameter in signature_of(annotation).parameters.items():
            if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
                raise Unsupported(annotation, f"its constructor takes {str(parameter)!r}")
            kind = self.compile(hints.get(name, Any))
            fields[name] = Field.of(parameter, kind, descriptions.get(name, ""))
        return object_kind(fields, _constructor(annotation), annotation.__name__)


_QUALIFIERS = {
    typing.Required,
    typing.NotRequired,
    typing.Final,
    getattr(typing, "ReadOnly", typing.Required),
}
_TABLES = frozenset({dict, collections.abc.Mapping, collections.abc.MutableMapping})
_ARRAYS: dict[Any, Callable[[list[Any]], Any]] = {
    list: as_it_is,
    collections.abc.Sequence: as_it_is,
    collections.abc.MutableSequence: as_it_is,
    collections.abc.Collection: as_it_is,
    collections.abc.Iterable: as_it_is,
    tuple: tuple,
    set: set,
    collections.abc.MutableSet: set,
    frozenset: frozenset,
    collections.abc.Set: frozenset,
}


def _hints(annotation: Any) -> dict[str, Any]:
    try:
        return typing.get_type_hints(annotation, include_extras=True)
    except Exception as error:  # evaluating what somebody wrote as a string can raise anything
        raise Unsupported(annotation, f"its annotations cannot be read: {error}") from error


def _constructor(record: type) -> Callable[[dict[str, Any]], Any]:
    def build(values: dict[str, Any]) -> Any:
        try:
            return record(**values)
        except Exception as error:  # a validator of the class may raise anything; the model is told
            raise Mismatch([("", (), f" is no valid {record.__name__}: {error}")]) from error

    return build
