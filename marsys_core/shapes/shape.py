"""`Shape`: what a value has to be, made of a type or of a JSON Schema."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs

from marsys_core.errors import ConfigError, ValueRefused
from marsys_core.messages import Message
from marsys_core.values import JoinInput

__all__ = ["Misfit", "Shape"]

_SHOWN = 20


class Misfit(Exception):
    """A value that is not what it has to be: every problem, each with its path from ``$``."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = tuple(problems)


def _as_it_is(value: Any) -> Any:
    return value


@attrs.frozen(kw_only=True, eq=False)
class Shape:
    """What a value has to be.

    Args:
        called: What messages call it.
        schema: The JSON Schema of it; None for a text, which is taken as it is.
        structure: Makes of plain data what it stands for: an instance of the type, or the data itself
            where there is only a schema. Raises `Misfit`.
    """

    called: str
    schema: Mapping[str, Any] | None
    structure: Callable[[Any], Any]

    @classmethod
    def of_type(cls, wanted: Any, argument: str = "output_type") -> Shape:
        """Return the shape of a type: an attrs class, a dataclass, a pydantic model, ``list[int]``, ...

        Args:
            wanted: The type.
            argument: What messages call the argument that it was given as.

        Raises:
            ConfigError: It has no JSON Schema, or is no type.
        """
        # By identity and for classes only: `int | str` equals `str | int`, and is another shape.
        made = _made.get(wanted) if isinstance(wanted, type) else None
        if made is None:
            made = _of_type(wanted, argument)
            if isinstance(wanted, type):
                _made[wanted] = made
        return made

    @classmethod
    def of_schema(cls, schema: Mapping[str, Any], check: Callable[[Any], Sequence[str]]) -> Shape:
        """Return the shape of a JSON Schema.

        Args:
            schema: The schema.
            check: Returns what is wrong with plain data.
        """

        def structure(value: Any) -> Any:
            if problems := check(value):
                more = [f"and {len(problems) - _SHOWN} more"] if len(problems) > _SHOWN else []
                raise Misfit([*problems[:_SHOWN], *more])
            return value

        return cls(called=str(schema.get("title", "the schema")), schema=schema, structure=structure)

    def fit(self, value: Any, plain: Callable[[Any], Any] = _as_it_is) -> Any:
        """Return `value` as plain data that has this shape: what travels between agents.

        A text is read as JSON, with a fence or without; one that is no JSON is tried as it stands, so that a
        word out of several needs no quotes. Fields with defaults are filled in.

        Args:
            value: A text, plain data, or an instance.
            plain: Makes data plain, or raises `ValueRefused`.

        Raises:
            Misfit: It has another shape.
        """
        try:
            text = value.text if isinstance(value, Message) else value
            if type(text) is str:
                return self._read(text, plain)
            from marsys_core.shapes.plain import plain_form

            if isinstance(value, JoinInput):
                return self.fit_several(value.values, plain)
            return self._fitted(plain_form(value), plain)
        except RecursionError:
            raise Misfit(["$ is nested too deeply"]) from None

    def fit_several(self, values: Sequence[Any], plain: Callable[[Any], Any] = _as_it_is) -> Any:
        """Return the list of what several branches gave as plain data that has this shape.

        Where it does not fit as it stands, those of its texts that are JSON are read.

        Raises:
            Misfit: It has another shape.
        """
        try:
            return self.fit(list(values), plain)
        except Misfit:
            return self.fit([_read(each) for each in values], plain)

    def _read(self, text: str, plain: Callable[[Any], Any]) -> Any:
        if self.schema is None:
            return text
        from marsys_core.shapes.replies import read_json

        try:
            return self._fitted(read_json(text), plain)
        except ValueError as error:  # no JSON
            misfit = Misfit([f"$ is not JSON: {error}"])
        except Misfit as error:
            misfit = error
        try:
            return self._fitted(text.strip(), plain)
        except Misfit as worded:
            raise (worded if "enum" in self.schema else misfit) from None

    def _fitted(self, data: Any, plain: Callable[[Any], Any]) -> Any:
        try:
            data = plain(data)
        except ValueRefused as error:
            raise Misfit([str(error)]) from None
        instance = self.structure(data)
        if instance is data:
            return data
        from marsys_core.shapes.plain import plain_form

        try:
            normal = plain(plain_form(instance))
            self.structure(normal)
        except (Misfit, ValueRefused):  # a class that gives out what it does not take: what it took travels
            return data
        return normal

    def instance(self, value: Any) -> Any:
        """Return what the plain data that `fit` returned stands for.

        Raises:
            Misfit: It has another shape.
        """
        return self.structure(value)


def _read(value: Any) -> Any:
    """Return the JSON in a text, or what is no such text as it is."""
    from marsys_core.shapes.replies import read_json

    text = value.text if isinstance(value, Message) else value
    try:
        return read_json(text) if isinstance(text, str) else value
    except ValueError:
        return value


_made: weakref.WeakKeyDictionary[type, Shape] = weakref.WeakKeyDictionary()


def _of_type(wanted: Any, argument: str) -> Shape:
    from marsys_core.shapes.typed import Unsupported, compiled, spelled
    from marsys_core.tools._arguments import Mismatch

    called = wanted.__name__ if isinstance(wanted, type) else str(wanted)
    if isinstance(wanted, Mapping):
        msg = f"{argument} takes a type; write {argument.replace('_type', '_schema')} for a JSON Schema"
        raise ConfigError(msg)
    try:
        schema, inner = compiled(wanted)
    except Unsupported as error:
        msg = f"{argument}: {error}"
        raise ConfigError(msg) from error

    def structure(value: Any) -> Any:
        try:
            return inner(value)
        except Mismatch as fault:
            raise Misfit(spelled(fault.problems)) from None

    return Shape(called=called, schema=None if wanted is str else schema, structure=structure)
