"""Bounds at an annotation, such as ``Annotated[int, Ge(1)]``: in the schema, and checked. Imported on first use.

They are known by what they have, not by who made them: attributes `gt`, `ge`, `lt`, `le`, `multiple_of`,
`min_length`, `max_length` and `pattern`, as `annotated_types` and `pydantic.Field` have. What has none of
them means something to somebody else.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import attrs

from marsys_core.messages import shown
from marsys_core.tools._arguments import Mismatch, Problem
from marsys_core.tools._kinds import Kind

__all__ = ["bounded", "described", "limits"]

Check = Callable[[Any], bool]

_NUMBER = {"integer": "number", "number": "number"}
_LENGTHS = {"string": "Length", "array": "Items", "object": "Properties"}
_UNITS = {"string": "characters", "array": "items", "object": "keys"}
_JSON_TYPES = {str: "string", int: "integer", float: "number", list: "array", tuple: "array", dict: "object"}
_KEYWORDS = {
    "gt": "exclusiveMinimum",
    "ge": "minimum",
    "lt": "exclusiveMaximum",
    "le": "maximum",
    "multiple_of": "multipleOf",
}
_NOUNS = {"gt": "above", "ge": "at least", "lt": "below", "le": "at most", "multiple_of": "a multiple of"}


@attrs.frozen(kw_only=True)
class _Bound:
    """One bound: what the schema says of it, and of each type that it is about the noun and the check."""

    keywords: Mapping[str, Mapping[str, Any]]
    nouns: Mapping[str, str]
    check: Check


def described(metadata: Iterable[Any]) -> str | None:
    """Return the first description among what stands at an annotation: a text, or an object that has one."""
    for item in metadata:
        for text in (item, getattr(item, "description", None), getattr(item, "documentation", None)):
            if isinstance(text, str):
                return text
    return None


def limits(metadata: Iterable[Any]) -> list[tuple[str, Any]]:
    """Return the bounds among what stands at an annotation, as pairs of name and value."""
    return list(_limits(metadata))


def _limits(metadata: Iterable[Any]) -> Iterator[tuple[str, Any]]:
    for item in metadata:
        inner = getattr(item, "metadata", None)
        if isinstance(inner, list | tuple):
            yield from _limits(inner)
        for name in (*_KEYWORDS, "min_length", "max_length", "pattern"):
            value = getattr(item, name, None)
            fits = str if name == "pattern" else int if name.endswith("length") else int | float
            if isinstance(value, fits) and not isinstance(value, bool):
                yield name, value


def bounded(kind: Kind, found: Iterable[tuple[str, Any]]) -> Kind:
    """Return `kind` within bounds.

    Raises:
        ValueError: A bound that says nothing of such values, or is none.
    """
    types = _types_of(kind)
    bounds: list[_Bound] = []
    added: dict[str, Any] = {}
    for name, value in found:
        bound = _bound(name, value)
        about = [each for each in bound.keywords if types is None or each in types]
        if not about:
            msg = f"{name}={value!r} says nothing of {kind.noun}"
            raise ValueError(msg)
        for each in about:
            added.update(bound.keywords[each])
        bounds.append(bound)
    inner = kind.structure

    def structure(sent: Any) -> Any:
        value = inner(sent)
        told = _JSON_TYPES.get(type(sent), "")
        problems: list[Problem] = [
            ("", (), f" should {bound.nouns[told]}, not {shown(sent)}")
            for bound in bounds
            if told in bound.nouns and not bound.check(sent)
        ]
        if problems:
            raise Mismatch(problems)
        return value

    # A union within bounds is no longer the sum of its members.
    return attrs.evolve(kind, schema={**kind.schema, **added}, structure=structure, members=())


def _types_of(kind: Kind) -> set[str] | None:
    """Return the names that JSON Schema has for what may be sent, or None where anything may."""
    types = kind.types
    return None if types is None else {_JSON_TYPES[each] for each in types if each in _JSON_TYPES}


def _bound(name: str, value: Any) -> _Bound:
    if name == "pattern":
        return _pattern(value)
    if name in _KEYWORDS:
        return _numeric(name, value)
    least = name == "min_length"
    side, more = ("min", "at least") if least else ("max", "at most")
    return _Bound(
        keywords={each: {f"{side}{what}": value} for each, what in _LENGTHS.items()},
        nouns={each: f"have {more} {value} {unit}" for each, unit in _UNITS.items()},
        check=(lambda sent: len(sent) >= value) if least else (lambda sent: len(sent) <= value),
    )


def _numeric(name: str, value: float) -> _Bound:
    checks: dict[str, Check] = {
        "gt": lambda sent: sent > value,
        "ge": lambda sent: sent >= value,
        "lt": lambda sent: sent < value,
        "le": lambda sent: sent <= value,
        "multiple_of": lambda sent: _divides(value, sent),
    }
    if not math.isfinite(value) or (name == "multiple_of" and value <= 0):
        msg = f"{name}={value!r} is no bound"
        raise ValueError(msg)
    keyword, noun = {_KEYWORDS[name]: value}, f"be {_NOUNS[name]} {value}"
    return _Bound(
        keywords=dict.fromkeys(_NUMBER, keyword), nouns=dict.fromkeys(_NUMBER, noun), check=checks[name]
    )


def _divides(value: float, sent: float) -> bool:
    if isinstance(value, int) and isinstance(sent, int):
        return sent % value == 0
    try:
        ratio = sent / value
    except OverflowError:  # an integer beyond the range of a double: no float is known to divide it
        return False
    return math.isclose(ratio, round(ratio), rel_tol=1e-9, abs_tol=1e-9) if math.isfinite(ratio) else False


def _pattern(text: str) -> _Bound:
    try:
        compiled = re.compile(text)
    except re.error as error:
        msg = f"pattern={text!r} is no regular expression: {error}"
        raise ValueError(msg) from None
    return _Bound(
        keywords={"string": {"pattern": text}},
        nouns={"string": f"match {text!r}"},
        check=lambda sent: compiled.search(sent) is not None,
    )
