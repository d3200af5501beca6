"""Turning a plugin's section of the configuration into its settings class."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from marsys_core.errors import nearest

if TYPE_CHECKING:
    import cattrs

_PLAIN: tuple[type, ...] = (bool, int, float, str)

__all__ = ["Problem", "fields_of", "structured", "unknown_fields"]


@attrs.frozen
class Problem:
    """One thing that is wrong with a section.

    Args:
        text: What, with its path.
        missing: Whether it is only that something is not there.
    """

    text: str
    missing: bool = False


def fields_of(settings: type) -> tuple[str, ...]:
    """Return the names that a settings class understands."""
    return tuple(field.name for field in attrs.fields(settings) if field.init)


def unknown_fields(names: Iterable[str], known: Iterable[str], path: str) -> list[Problem]:
    """Return a problem for every name that is not known, with the nearest one that is."""
    known = tuple(known)
    return [_unknown(name, known, path) for name in sorted(names) if name not in known]


def structured(settings: type, section: Mapping[str, Any], path: str) -> tuple[Any, list[Problem]]:
    """Make an instance of `settings` from a section.

    Numbers, strings and truth values are taken as they are and never converted, except that an integer
    will do for a float.

    Returns:
        The instance and no problems, or None and all of them.
    """
    try:
        return _converter().structure(dict(section), settings), []
    except Exception as error:
        # Validators may raise anything, and all of it is about the section.
        return None, list(_problems(error, path))


@functools.cache
def _converter() -> cattrs.Converter:
    import cattrs

    converter = cattrs.Converter(detailed_validation=True, forbid_extra_keys=True)
    for kind in _PLAIN:
        converter.register_structure_hook(kind, _strict)
    converter.register_structure_hook(Path, _path)
    return converter


def _strict(value: object, kind: type) -> object:
    if type(value) is kind:
        return value
    if kind not in _PLAIN:
        return kind(value)  # a subclass, such as an enumeration of integers, which checks for itself
    if kind is float and type(value) is int:
        return float(value)
    msg = f"expected {kind.__name__}, got {value!r}"
    raise TypeError(msg)


def _path(value: object, _kind: type) -> Path:
    if isinstance(value, (str, Path)):
        return Path(value)
    msg = f"expected a path, got {value!r}"
    raise TypeError(msg)


def _unknown(name: str, known: tuple[str, ...], path: str) -> Problem:
    hint = nearest(name, known).removeprefix(" Did")
    return Problem(f"unknown field {name!r} @ {path}{f'; did{hint}' if hint else ''}")


def _problems(error: BaseException, path: str) -> Iterator[Problem]:
    from cattrs.errors import ClassValidationError, ForbiddenExtraKeysError, IterableValidationError

    if isinstance(error, (ClassValidationError, IterableValidationError)):
        placed, unplaced = error.group_exceptions()
        for inner, note in placed:
            step = f".{note.name}" if hasattr(note, "name") else f"[{note.index!r}]"
            yield from _problems(inner, path + step)
        for inner in unplaced:
            yield from _problems(inner, path)
    elif isinstance(error, ForbiddenExtraKeysError):
        yield from unknown_fields(error.extra_fields, fields_of(error.cl), path)
    elif isinstance(error, KeyError):
        yield Problem(f"required field missing @ {path}", missing=True)
    else:
        yield Problem(f"{error} @ {path}")
