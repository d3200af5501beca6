"""Operators and functions that do a bounded amount of work, whatever they are given."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["FUNCTIONS", "MAX_BITS", "MAX_ITEMS", "OPERATORS", "Refused"]

MAX_BITS = 4096
"""The largest whole number that is worked out, in bits."""
MAX_ITEMS = 10_000
"""The longest text or list that is made, in characters or items."""


class Refused(ValueError):
    """An operation that would take too much work, or that makes no sense in a condition."""


def _bits(value: Any) -> int:
    return value.bit_length() if isinstance(value, int) else 0


def _numbers(sign: str, *values: Any) -> None:
    for value in values:
        if not isinstance(value, int | float):
            msg = f"{sign} takes numbers, not {type(value).__name__}"
            raise Refused(msg)


def _checked(bits: int) -> None:
    if bits > MAX_BITS:
        msg = f"the result would have more than {MAX_BITS} bits"
        raise Refused(msg)


def _added(left: Any, right: Any) -> Any:
    if isinstance(left, str | list | tuple) and isinstance(right, str | list | tuple):
        if len(left) + len(right) > MAX_ITEMS:
            msg = f"the result would be longer than {MAX_ITEMS}"
            raise Refused(msg)
        return left + right  # type: ignore[operator]  # of two kinds it raises, as it should
    _numbers("+", left, right)
    _checked(max(_bits(left), _bits(right)))
    return left + right


def _times(left: Any, right: Any) -> Any:
    for sequence, count in ((left, right), (right, left)):
        if isinstance(sequence, str | list | tuple):
            if not isinstance(count, int) or len(sequence) * max(count, 0) > MAX_ITEMS:
                msg = f"a text or a list is repeated by a whole number, to at most {MAX_ITEMS}"
                raise Refused(msg)
            return sequence * count
    _numbers("*", left, right)
    _checked(_bits(left) + _bits(right))
    return left * right


def _power(left: Any, right: Any) -> Any:
    _numbers("**", left, right)
    if isinstance(left, int) and isinstance(right, int):
        _checked(abs(right) if abs(left) > 1 else 0)
        _checked(_bits(left) * abs(right))
    result = left**right
    if isinstance(result, complex):
        msg = f"{left!r} ** {right!r} is no real number"
        raise Refused(msg)
    return result


def _arithmetic(sign: str, plain: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    def bounded(left: Any, right: Any) -> Any:
        # '%' of a text would format, to any width.
        _numbers(sign, left, right)
        _checked(max(_bits(left), _bits(right)))
        return plain(left, right)

    return bounded


def _negated(value: Any) -> Any:
    _numbers("-", value)
    return -value


def _positive(value: Any) -> Any:
    _numbers("+", value)
    return +value


OPERATORS: Mapping[type[ast.AST], Callable[..., Any]] = {
    ast.Add: _added,
    ast.Sub: _arithmetic("-", operator.sub),
    ast.Mult: _times,
    ast.Div: _arithmetic("/", operator.truediv),
    ast.FloorDiv: _arithmetic("//", operator.floordiv),
    ast.Mod: _arithmetic("%", operator.mod),
    ast.Pow: _power,
    ast.USub: _negated,
    ast.UAdd: _positive,
    ast.Not: operator.not_,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.In: lambda item, whole: item in whole,
    ast.NotIn: lambda item, whole: item not in whole,
    ast.Is: operator.is_,
    ast.IsNot: operator.is_not,
}
"""What an expression may do, by the kind of its operator."""


def _sum(values: Any) -> Any:
    if not isinstance(values, list | tuple):
        msg = f"sum takes a list of numbers, not {type(values).__name__}"
        raise Refused(msg)
    _numbers("sum", *values)
    return sum(values)


def _round(value: Any, digits: int = 0) -> Any:
    _numbers("round", value, digits)
    if abs(digits) > 1000:
        msg = "round takes at most a thousand digits"
        raise Refused(msg)
    return round(value, digits) if digits else round(value)


def _lower(text: Any) -> str:
    if not isinstance(text, str):
        msg = f"lower takes a text, not {type(text).__name__}"
        raise Refused(msg)
    return text.lower()


FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "abs": abs,
    "all": all,
    "any": any,
    "len": len,
    "lower": _lower,
    "max": max,
    "min": min,
    "round": _round,
    "sum": _sum,
}
"""What an expression may call."""
