"""Bounds and descriptions at annotations: in the schema, checked, and told all at once."""

from __future__ import annotations

import re
import types
from typing import Annotated, Any

import attrs
import pytest

from marsys_core.errors import ConfigError, ToolError
from marsys_core.tools import Tool, tool


class bound(types.SimpleNamespace):
    """Stands for what other packages write at annotations."""

    __hash__ = object.__hash__  # type: ignore[assignment] - a member of a union has to have one


@attrs.frozen
class Point:
    x: Annotated[int, bound(ge=0)]


def taking(annotation: Any) -> Tool:
    def function(x: Any) -> None: ...

    function.__annotations__["x"] = annotation
    return tool(function)


def schema(annotation: Any) -> Any:
    return taking(annotation).parameters["properties"]["x"]


@pytest.mark.parametrize(
    ("annotation", "expected"),
    [
        (Annotated[int, bound(ge=1, le=9)], {"type": "integer", "minimum": 1, "maximum": 9}),
        (Annotated[float, bound(gt=0), bound(lt=1.5)], {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1.5}),
        (Annotated[int, bound(multiple_of=5)], {"type": "integer", "multipleOf": 5}),
        (Annotated[str, bound(min_length=1, max_length=3)], {"type": "string", "minLength": 1, "maxLength": 3}),
        (Annotated[str, re.compile("^a")], {"type": "string", "pattern": "^a"}),
        (Annotated[list[int], bound(min_length=1)], {"type": "array", "items": {"type": "integer"}, "minItems": 1}),
        (Annotated[dict[str, int], bound(max_length=2)], {"type": "object", "additionalProperties": {"type": "integer"}, "maxProperties": 2}),
        (Annotated[int | None, bound(ge=1)], {"anyOf": [{"type": "integer"}, {"type": "null"}], "minimum": 1}),
        (Annotated[Any, bound(ge=1)], {"minimum": 1}),
        (Annotated[int, bound(metadata=[bound(ge=1)], description="How many.")], {"type": "integer", "minimum": 1, "description": "How many."}),
        (Annotated[int, bound(documentation="How many.")], {"type": "integer", "description": "How many."}),
        (Annotated[int, bound(gt=None, ge=1, description=None), "How many."], {"type": "integer", "minimum": 1, "description": "How many."}),
        (Annotated[int, bound(ge=True), bound(pattern=3), 7, None], {"type": "integer"}),
    ],
)  # fmt: skip
def test_a_bound_is_in_the_schema(annotation: Any, expected: Any) -> None:
    assert schema(annotation) == expected


@pytest.mark.parametrize(
    ("annotation", "value", "problem"),
    [
        (Annotated[int, bound(ge=1)], 0, "'x' should be at least 1, not 0"),
        (Annotated[int, bound(gt=1, multiple_of=2)], 1, "'x' should be above 1, not 1; 'x' should be a multiple of 2, not 1"),
        (Annotated[float, bound(lt=1)], 1, "'x' should be below 1, not 1"),
        (Annotated[float, bound(le=1)], 1.5, "'x' should be at most 1, not 1.5"),
        (Annotated[float, bound(multiple_of=0.1)], 0.25, "'x' should be a multiple of 0.1, not 0.25"),
        (Annotated[str, bound(min_length=2)], "a", "'x' should have at least 2 characters, not 'a'"),
        (Annotated[list[int], bound(max_length=1)], [1, 2], "'x' should have at most 1 items, not [1, 2]"),
        (Annotated[set[int], bound(min_length=3)], [1, 1], "'x' should have at least 3 items, not [1, 1]"),
        (Annotated[dict[str, Any], bound(min_length=1)], {}, "'x' should have at least 1 keys, not {}"),
        (Annotated[str, bound(pattern="^a")], "ba", "'x' should match '^a', not 'ba'"),
        (Annotated[int | None, bound(ge=1)], 0, "'x' should be at least 1, not 0"),
        (Annotated[int, bound(ge=1)] | str, 0, "'x' should be at least 1, not 0"),
        (Annotated[int, bound(ge=1)], "1", "'x' should be an integer, not '1'"),
        (list[Annotated[int, bound(ge=1)]], [0, 1, "a"], "'x[0]' should be at least 1, not 0; 'x[2]' should be an integer, not 'a'"),
        (dict[str, Point], {"a": {"x": -1}}, "'x.a.x' should be at least 0, not -1"),
    ],
)  # fmt: skip
def test_a_value_out_of_bounds_is_refused(annotation: Any, value: Any, problem: str) -> None:
    with pytest.raises(ToolError) as caught:
        taking(annotation).bind({"x": value})
    assert str(caught.value) == f"function: {problem}"


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (Annotated[int | None, bound(ge=1)], None),
        (Annotated[int, bound(ge=1)] | Annotated[int, bound(le=-1)], -3),
        (Annotated[float, bound(multiple_of=0.1)], 0.3),
        (Annotated[int, bound(multiple_of=3)], 3 * 10**400),
        (Annotated[str, bound(pattern="b")], "abc"),
        (Annotated[Any, bound(ge=1)], "text"),
    ],
)
def test_a_value_within_bounds_is_taken(annotation: Any, value: Any) -> None:
    assert taking(annotation).bind({"x": value}) == {"x": value}


def test_an_integer_that_no_double_holds_is_no_multiple_of_a_fraction() -> None:
    with pytest.raises(ToolError, match=r"^function: 'x' should be a multiple of 0\.5, not 1"):
        taking(Annotated[int, bound(multiple_of=0.5)]).bind({"x": 10**400})


@pytest.mark.parametrize(
    ("annotation", "why"),
    [
        (Annotated[str, bound(ge=1)], "ge=1 says nothing of a string"),
        (Annotated[int, bound(min_length=1)], "min_length=1 says nothing of an integer"),
        (Annotated[list[int], bound(pattern="a")], "pattern='a' says nothing of an array"),
        (Annotated[str, bound(pattern="(")], "pattern='(' is no regular expression: missing ), unterminated subpattern at position 0"),
        (Annotated[int, bound(multiple_of=0)], "multiple_of=0 is no bound"),
        (Annotated[float, bound(ge=float("nan"))], "ge=nan is no bound"),
    ],
)  # fmt: skip
def test_a_bound_that_cannot_hold_is_refused(annotation: Any, why: str) -> None:
    with pytest.raises(ConfigError) as caught:
        schema(annotation)
    assert caught.value.problems[0].endswith(f"has no JSON Schema: {why}")
