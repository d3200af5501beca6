"""What a node may be called, and how a name that is not known is reported.

A name holds letters, digits, ``_``, ``-``, ``.``, ``:`` and spaces inside it. The set is closed on purpose:
names stand in branch names, in drawings, in messages to models and in the text form, and none of these can
be broken, or made to say something else, by a name.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from itertools import islice

from marsys_core.errors import TopologyError, nearest

__all__ = [
    "END",
    "MAX_NAME",
    "RESERVED",
    "START",
    "USER",
    "canonical",
    "clip",
    "flaw",
    "is_gather",
    "listed",
    "refuse_unknown_fields",
    "spelled",
    "unknown_nodes",
]

START = "start"
END = "end"
USER = "user"
RESERVED = frozenset({START, END, USER})
MAX_NAME = 100
"""The longest name, in characters."""

_ORDINARY = re.compile(r"[A-Za-z0-9_.:-]{1,100}")
_GATHER = re.compile(r"gather:[1-9][0-9]{0,8}")
_HINTS = 20  # difflib compares every pair: a thousand wrong names beside a thousand right ones take seconds
_COMPARED = 1000


def canonical(name: object) -> str:
    """Return `name` as the graph knows it: reserved names in lower case, any other as it is.

    Raises:
        TopologyError: It is not a name.
    """
    if not isinstance(name, str):
        msg = f"a node's name is a string, not {clip(name)} ({type(name).__name__})"
        raise TopologyError(msg)
    if (found := flaw(name)) is not None:
        msg = f"{clip(name)} cannot be a node's name: {found[1]}"
        raise TopologyError(msg)
    lowered = name.lower()
    return lowered if lowered in RESERVED else name


def flaw(name: str) -> tuple[int, str] | None:
    """Return where `name` breaks the rules and how, or None where it is a good name."""
    if _ORDINARY.fullmatch(name):
        return None
    if not name:
        return 0, "it is empty"
    if len(name) > MAX_NAME:
        return MAX_NAME, f"it has {len(name)} characters, and {MAX_NAME} are allowed"
    for index, char in enumerate(name):
        # "a" + char is an identifier for the letters, marks and digits of every script, and for nothing else.
        if char not in "-.: " and not ("a" + char).isidentifier():
            return index, f"{char!r} is not a letter, a digit, a space or one of _ - . :"
    if name[0] == " " or name[-1] == " ":
        return 0 if name[0] == " " else len(name) - 1, "it begins or ends with a space"
    return None


def is_gather(name: str) -> bool:
    """Return whether `name` has the form that is kept for gather nodes, ``gather:<n>``."""
    return _GATHER.fullmatch(name) is not None


def spelled(name: str) -> str:
    """Return `name` as the text form writes it: in quotes where it needs them."""
    return name if _ORDINARY.fullmatch(name) else f'"{name}"'


def clip(value: object, limit: int = 80) -> str:
    """Return the repr of `value`, cut so that a message stays readable."""
    # Cut before repr: the repr of a megabyte is as slow as it is useless.
    text = repr(value[: limit + 1]) if isinstance(value, str) else repr(value)
    return text if len(text) <= limit else f"{text[:limit]}..."


def listed(names: Iterable[str], limit: int = 20) -> str:
    """Return `names` as a list to read, the first of them where there are many."""
    some = list(islice(names, limit + 1))
    text = ", ".join(some[:limit]) or "none"
    return f"{text}, ..." if len(some) > limit else text


def unknown_nodes(names: Iterable[str], known: Collection[str]) -> Iterator[str]:
    """Yield one problem for each of `names` that is not in `known`, with the nearest that are."""
    hints = 0
    for name in names:
        if name in known:
            continue
        near = nearest(name, islice(known, _COMPARED)) if hints < _HINTS else ""
        hints += 1
        yield f"no node is called {name!r}; there are: {listed(known)}.{near}"


def refuse_unknown_fields(what: str, given: Iterable[object], known: Collection[str]) -> None:
    """Raise for the fields in `given` that `what` does not have, naming the nearest that it has.

    Raises:
        TopologyError: At least one field is not known.
    """
    strange = [field for field in given if field not in known]
    if not strange:
        return
    problems = [
        f"{what} has no field {clip(field)}; it has: {', '.join(sorted(known))}."
        f"{nearest(str(field)[:MAX_NAME], known)}"
        for field in strange[:_HINTS]
    ]
    raise TopologyError(problems[0]) if len(problems) == 1 else TopologyError("", problems)
