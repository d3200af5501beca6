"""What may stand as the condition of an edge: an expression, or a function of the facts."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from marsys_core.errors import TopologyError
from marsys_core.topology.names import clip
from marsys_core.topology.reducers import name_of_function

__all__ = ["MAX_CONDITION", "Condition", "condition_name", "condition_of", "conditions_joined"]

Condition = str | Callable[[Any], Any]
"""An expression, or a function of the facts."""

MAX_CONDITION = 1000
"""The longest expression, in characters."""

_FUNCTION = re.compile(r"[\w.<>]*[\w>]:[\w.<>]+")


def condition_of(value: object, metadata: Mapping[str, Any]) -> Condition | None:
    """Return the condition of an edge: the one that is given, or the one in its metadata.

    Raises:
        TopologyError: It is none, or the two differ.
    """
    noted = metadata.get("condition")
    if noted is not None:
        if value is not None and value != noted:
            msg = f"the edge has the condition {clip(value)}, and {clip(noted)} in its metadata; give one of them"
            raise TopologyError(msg)
        value = noted
    if value is None:
        return None
    if isinstance(value, str):
        return _expression(value)
    if not callable(value):
        msg = f"a condition is an expression or a function of the facts, not {clip(value)} ({type(value).__name__})"
        raise TopologyError(msg)
    import inspect

    if inspect.iscoroutinefunction(value):
        msg = f"the condition {name_of_function(value)!r} is async; a condition is judged at once, so make it a plain function"
        raise TopologyError(msg)
    return value


def _expression(value: str) -> str:
    text = value.strip()
    if not text:
        msg = "a condition is an expression such as 'visits < 3', not an empty text"
        raise TopologyError(msg)
    if len(text) > MAX_CONDITION:
        msg = f"a condition has at most {MAX_CONDITION} characters, and {clip(text)} has {len(text)}; give a function"
        raise TopologyError(msg)
    if _FUNCTION.fullmatch(text):
        msg = f"the condition {clip(text)} is a function, which cannot be read back from its name; give the function itself in Python: Edge(..., condition=...)"
        raise TopologyError(msg)
    return text


def condition_name(condition: Condition) -> str:
    """Return the expression, or ``module:qualname`` of the function."""
    return condition if isinstance(condition, str) else name_of_function(condition)


def conditions_joined(one: Condition | None, other: Condition | None, edge: object) -> Condition | None:
    """Return the condition of an edge that is written twice.

    Raises:
        TopologyError: Each time with another one.
    """
    if one is not None and other is not None and one != other:
        msg = (
            f"edge {edge} has two conditions, {clip(condition_name(one))} and {clip(condition_name(other))}; "
            "write it once, with 'or' between them"
        )
        raise TopologyError(msg)
    return one if one is not None else other
