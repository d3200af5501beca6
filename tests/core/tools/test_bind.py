"""Arguments from JSON: structured by their annotations, and every mistake told at once."""

import dataclasses
import datetime
import enum
import json
import pathlib
import timeit
import uuid
from typing import Annotated, Any, Literal, Optional, TypedDict

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marsys_core.errors import ToolError
from marsys_core.tools import Tool, tool


class Colour(enum.Enum):
    RED = "red"
    ONE = 1


@attrs.frozen
class Point:
    x: int
    y: float = attrs.field(default=0.0)

    @y.validator
    def _positive(self, attribute: Any, value: float) -> None:
        if value < 0:
            msg = "y is negative"
            raise KeyError(msg)


@dataclasses.dataclass
class Tree:
    name: str
    children: "list[Tree]" = dataclasses.field(default_factory=list)


class Query(TypedDict, total=False):
    text: str


@tool
def add(a: int, b: int) -> int:
    return a + b


def taking(annotation: Any) -> Tool:
    def function(x: Any) -> None: ...

    function.__annotations__["x"] = annotation
    return tool(function)


def structured(annotation: Any, value: Any) -> Any:
    return taking(annotation).bind({"x": value})["x"]


def refusal(made: Tool, arguments: Any) -> str:
    with pytest.raises(ToolError) as caught:
        made.bind(arguments)
    assert caught.value.__cause__ is None
    return str(caught.value)


def test_all_problems_come_in_one_error() -> None:
    assert refusal(add, '{"a": "x", "c": 1}') == (
        "add: 'a' should be an integer, not 'x'; missing 'b'; unknown 'c', did you mean 'b'?"
    )


def test_an_unknown_name_is_compared_with_those_that_are_free() -> None:
    def search(query: str, limit: int = 3) -> None: ...

    assert refusal(tool(search), {"query": "x", "limt": 1}) == "search: unknown 'limt', did you mean 'limit'?"
    assert refusal(tool(search), {"query": "x", "zzz": 1}) == "search: unknown 'zzz'"


def test_defaults_are_left_to_the_function() -> None:
    def search(query: str, limit: int = 3) -> None: ...

    assert tool(search).bind('{"query": "x"}') == {"query": "x"}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            "{",
            "the arguments are not valid JSON: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)",
        ),
        ("[1]", "the arguments should be a JSON object, not [1]"),
        ("null", "the arguments should be a JSON object, not None"),
        ('{"a": 1, "a": 2}', "the arguments are not valid JSON: the key 'a' is there twice"),
        ('{"a": {"b": 1, "b": 2}}', "the arguments are not valid JSON: the key 'b' is there twice"),
        ('{"a": NaN}', "the arguments are not valid JSON: NaN is not a number in JSON"),
        ('{"a": -Infinity}', "the arguments are not valid JSON: -Infinity is not a number in JSON"),
        ('{"a": 1e999}', "the arguments are not valid JSON: 1e999 is not a number in JSON"),
        ("[" * 100_000, "the arguments are nested too deeply"),
        ("", "missing 'a'; missing 'b'"),
    ],
)
def test_text_that_is_no_json_object_is_refused(text: str, problem: str) -> None:
    assert refusal(add, text) == f"add: {problem}"


def test_blank_text_is_an_empty_object() -> None:
    def now() -> None: ...

    assert tool(now).bind(" ") == {}


@pytest.mark.parametrize(
    ("annotation", "value", "result"),
    [
        (float, 1, 1.0),
        (float | int, 1, 1),
        (int | float, 1.5, 1.5),
        (int | str, "1", "1"),
        (str | None, None, None),
        (bool | int, True, True),
        (list[int] | int, [1], [1]),
        (tuple[int, str], [1, "a"], (1, "a")),
        (tuple[int, ...], [1, 2], (1, 2)),
        (set[int], [1, 1], {1}),
        (frozenset[int], [1], frozenset({1})),
        (list[int], (1, 2), [1, 2]),
        (dict[str, float], {"a": 1}, {"a": 1.0}),
        (Colour, "red", Colour.RED),
        (Colour, 1, Colour.ONE),
        (Literal[Colour.RED, "x"], "red", Colour.RED),
        (Point, {"x": 1}, Point(1)),
        (Point | Query, {"text": "a"}, {"text": "a"}),
        (
            datetime.datetime,
            "2000-01-31T12:00:00Z",
            datetime.datetime(2000, 1, 31, 12, tzinfo=datetime.UTC),
        ),
        (datetime.datetime | datetime.date, "2000-01-31", datetime.date(2000, 1, 31)),
        (Annotated[int, "How many."], 3, 3),
        (Any, {"a": [None]}, {"a": [None]}),
    ],
)
def test_a_value_is_structured(annotation: Any, value: Any, result: Any) -> None:
    bound = structured(annotation, value)

    assert bound == result
    assert type(bound) is type(result)


def test_a_self_referring_value_is_structured() -> None:
    assert structured(Tree, {"name": "a", "children": [{"name": "b"}]}) == Tree("a", [Tree("b")])


@pytest.mark.parametrize(
    ("annotation", "value", "problem"),
    [
        (int, "1", "'x' should be an integer, not '1'"),
        (int, True, "'x' should be an integer, not True"),
        (int, 1.0, "'x' should be an integer, not 1.0"),
        (float, True, "'x' should be a number, not True"),
        (float, float("nan"), "'x' should be a number, not nan"),
        (float, 10**400, f"'x' should be a number in the range of a double, not 1{'0' * 79}…"),
        (str, None, "'x' should be a string, not None"),
        (bool, 1, "'x' should be true or false, not 1"),
        (int | str, [], "'x' should be an integer or a string, not []"),
        (Point | None, {"x": "1"}, "'x.x' should be an integer, not '1'"),
        (Point | Tree, {"y": "1"}, "'x.y' should be a number, not '1'; missing 'x.x'"),
        (Point | Tree, {}, "'x' should be Point or Tree, not {}"),
        (Point, [], "'x' should be an object, not []"),
        (Point, {"x": 1, "y": -1}, "'x' is no valid Point: 'y is negative'"),
        (list[int], {}, "'x' should be an array, not {}"),
        (
            list[int],
            [1, "2", None],
            "'x[1]' should be an integer, not '2'; 'x[2]' should be an integer, not None",
        ),
        (set[Any], [[]], "'x' should be an array of values that a set can hold, not [[]]"),
        (tuple[int, str], [1], "'x' should be an array of length 2, not [1]"),
        (tuple[int, str], ["a", 1], "'x[0]' should be an integer, not 'a'; 'x[1]' should be a string, not 1"),
        (dict[str, int], [], "'x' should be an object, not []"),
        (dict[str, int], {"a": "b"}, "'x.a' should be an integer, not 'b'"),
        (dict[str, int], {1: 1}, "'x' should be an object whose keys are strings, not {1: 1}"),
        (list[Tree], [{"name": "a", "children": [{}]}], "missing 'x[0].children[0].name'"),
        (Literal[1], True, "'x' should be one of 1, not True"),
        (Colour, [], "'x' should be one of 'red', 1, not []"),
        (
            datetime.datetime,
            "2000-01-31",
            "'x' should be a date and time such as '2000-01-31T12:00:00Z', not '2000-01-31'",
        ),
        (datetime.date, "soon", "'x' should be a date such as '2000-01-31', not 'soon'"),
        (uuid.UUID, 3, "'x' should be a UUID, not 3"),
    ],
)
def test_a_value_that_does_not_fit_is_refused(annotation: Any, value: Any, problem: str) -> None:
    assert refusal(taking(annotation), {"x": value}) == f"function: {problem}"


def test_a_long_list_of_mistakes_is_cut() -> None:
    text = refusal(taking(list[int]), {"x": ["a"] * 1000})

    assert text.count(";") == 10
    assert text.endswith("'x[9]' should be an integer, not 'a'; and 990 more")


def test_a_value_nested_beyond_the_stack_is_refused() -> None:
    value: dict[str, Any] = {"name": "leaf"}
    for _ in range(5000):
        value = {"name": "a", "children": [value]}

    assert refusal(taking(Tree), {"x": value}) == "function: the arguments are nested too deeply"


def test_binding_never_runs_the_function() -> None:
    def explode(a: int) -> None:
        raise AssertionError

    assert tool(explode).bind({"a": 1}) == {"a": 1}


def test_binding_small_arguments_is_cheap() -> None:
    add.bind('{"a": 1, "b": 2}')  # read once, outside the measurement
    best = min(timeit.repeat(lambda: add.bind('{"a": 1, "b": 2}'), number=200, repeat=20)) / 200

    assert best < 10e-6


def dumped(value: Any) -> Any:
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, datetime.date):
        return value.isoformat()
    if isinstance(value, uuid.UUID | pathlib.PurePath):
        return str(value)
    if isinstance(value, list | tuple | set):
        return [dumped(item) for item in value]
    if isinstance(value, dict):
        return {key: dumped(item) for key, item in value.items()}
    if attrs.has(type(value)):
        return {"x": value.x, "y": value.y}
    if isinstance(value, Tree):
        return {"name": value.name, "children": dumped(value.children)}
    return value


FINITE = st.floats(allow_nan=False, allow_infinity=False)
TREES = st.recursive(
    st.builds(Tree, st.text()), lambda inner: st.builds(Tree, st.text(), st.lists(inner, max_size=3))
)
LEAVES: list[tuple[Any, st.SearchStrategy[Any]]] = [
    (str, st.text()),
    (int, st.integers()),
    (float, FINITE),
    (bool, st.booleans()),
    (None, st.none()),
    (Colour, st.sampled_from(Colour)),
    (Literal["a", 1, None], st.sampled_from(["a", 1, None])),
    (datetime.datetime, st.datetimes(timezones=st.none() | st.just(datetime.UTC))),
    (datetime.date, st.dates()),
    (uuid.UUID, st.uuids()),
    (pathlib.Path, st.text(st.characters(exclude_categories=["Cs"])).map(pathlib.Path)),
    (int | str | None, st.integers() | st.text() | st.none()),
    (float | int, FINITE | st.integers()),
]
RECORDS: list[tuple[Any, st.SearchStrategy[Any]]] = [
    (Point, st.builds(Point, st.integers(), FINITE.map(abs))),
    (Tree, TREES),
    (Query, st.fixed_dictionaries({}, optional={"text": st.text()})),
]


# Typed as Any, since these annotations are made while the tests run.
LIST: Any = list
TUPLE: Any = tuple
DICT: Any = dict
SET: Any = set
OPTIONAL: Any = Optional


def containers(inner: Any) -> Any:
    """Make pairs of an annotation and its values out of such pairs."""
    return st.one_of(
        inner.map(lambda pair: (LIST[pair[0]], st.lists(pair[1], max_size=4))),
        inner.map(lambda pair: (TUPLE[pair[0], ...], st.lists(pair[1], max_size=4).map(tuple))),
        inner.map(lambda pair: (DICT[str, pair[0]], st.dictionaries(st.text(), pair[1], max_size=4))),
        inner.map(lambda pair: (OPTIONAL[pair[0]], pair[1] | st.none())),
        st.tuples(inner, inner).map(
            lambda two: (TUPLE[two[0][0], two[1][0]], st.tuples(two[0][1], two[1][1]))
        ),
        st.sampled_from(LEAVES).map(lambda pair: (SET[pair[0]], st.sets(pair[1], max_size=4))),
    )


TYPED = st.recursive(st.sampled_from(LEAVES + RECORDS), containers, max_leaves=6)


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(typed=TYPED, data=st.data())
def test_a_value_written_as_json_binds_back_to_itself(typed: Any, data: st.DataObject) -> None:
    annotation, values = typed
    value = data.draw(values)

    bound = taking(annotation).bind(json.dumps({"x": dumped(value)}))["x"]
    assert bound == value
    assert type(bound) is type(value)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["2000-01-01", "red"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["x", "y", "name", "children", "text"]) | st.text(max_size=3), inner, max_size=4
        )
    ),
    max_leaves=8,
)


@tool
def everything(
    name: str,
    x: Point | Tree | int | None = None,
    y: tuple[float, Colour] | set[Any] = (0.0, Colour.RED),
    text: list[Query] | datetime.datetime | uuid.UUID | pathlib.Path = (),  # type: ignore[assignment]
    children: dict[str, list[Tree]] | None = None,
) -> None: ...


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(
    value=JSON | st.dictionaries(st.sampled_from(["name", "x", "y", "text", "children"]), JSON),
    noise=st.text(max_size=2),
)
def test_arbitrary_json_raises_nothing_but_a_tool_error(value: Any, noise: str) -> None:
    for arguments in (
        json.dumps(value),
        json.dumps(value) + noise,
        value if isinstance(value, dict) else {"x": value},
    ):
        try:
            bound = everything.bind(arguments)
        except ToolError:
            continue
        assert bound.keys() <= everything.parameters["properties"].keys()
