"""Unions: which member a value is, also when several would take it, and what is said when none does."""

from __future__ import annotations

import dataclasses
import datetime
import enum
import json
import pathlib
import time
import typing
from collections import namedtuple
from typing import Annotated, Any, Literal, NamedTuple, TypedDict

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from marsys_core.errors import ToolError
from marsys_core.tools import Tool, tool


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


@attrs.frozen
class Cat:
    name: str
    kind: Literal["cat"] = "cat"


@dataclasses.dataclass
class Dog:
    name: str
    bones: int = 0
    kind: Literal["dog", "hound"] = "dog"


class Bird(TypedDict):
    kind: Literal["bird"]
    wings: int


class Spot(NamedTuple):
    x: int
    y: float = 0.0


Loose = namedtuple("Loose", ["a", "b"])


@attrs.frozen
class Whole:
    n: int


@attrs.frozen
class Part:
    n: float


@attrs.frozen
class Named:
    name: str
    age: int = 0


@attrs.frozen
class Titled:
    name: str
    title: str = ""


@attrs.frozen
class Left:
    child: Left | Right | None = None


@attrs.frozen
class Right:
    child: Left | Right | None = None
    only: int = 0


class Options(TypedDict, total=False):
    limit: int


def taking(annotation: Any) -> Tool:
    def function(x: Any) -> None: ...

    function.__annotations__["x"] = annotation
    return tool(function)


def structured(annotation: Any, value: Any) -> Any:
    return taking(annotation).bind({"x": value})["x"]


def refusal(annotation: Any, value: Any) -> str:
    with pytest.raises(ToolError) as caught:
        structured(annotation, value)
    return str(caught.value).removeprefix("function: ")


@pytest.mark.parametrize(
    ("annotation", "value", "result"),
    [
        # The very type, wherever it stands.
        (float | int, 1, 1),
        (float | int | str, 1.0, 1.0),
        (datetime.date | str, "2000-01-31", "2000-01-31"),
        (pathlib.Path | Literal["-"], "-", "-"),
        (pathlib.Path | Literal["-"], "a", pathlib.Path("a")),
        (bool | int, 1, 1),
        (Any | int, 1, 1),
        # Of several that list or are of this type, and of several that read it, the first.
        (Colour | str, "red", Colour.RED),
        (str | Colour, "red", "red"),
        (Colour | str, "green", "green"),
        (datetime.date | pathlib.Path, "2000-01-31", datetime.date(2000, 1, 31)),
        (pathlib.Path | datetime.date, "2000-01-31", pathlib.Path("2000-01-31")),
        (Literal["a", "b"] | Literal["b", "c"] | int, "c", "c"),
        # A wider one last.
        (float | datetime.date, 1, 1.0),
        # Arrays: as the items are met.
        (list[float] | list[int], [1, 2], [1, 2]),
        (list[float] | list[int], [1, 2.5], [1.0, 2.5]),
        (set[int] | list[int], [1], [1]),
        (set[int] | tuple[int, ...], [1], {1}),
        (list[datetime.date] | list[str], [], []),
        (list[str] | list[int], [1], [1]),
        # Objects: the tag.
        (Cat | Dog, {"name": "a", "kind": "dog"}, Dog("a")),
        (Cat | Dog | Bird | None, {"kind": "bird", "wings": 2}, {"kind": "bird", "wings": 2}),
        (dict[str, Any] | Dog | Cat, {"name": "a", "kind": "hound"}, Dog("a", kind="hound")),
        (dict[str, Any] | Dog | Cat, {"kind": "fish"}, {"kind": "fish"}),
        # Objects without one: the class that has the fields, before a dict.
        (Cat | Dog, {"name": "a", "bones": 1}, Dog("a", 1)),
        (dict[str, Any] | Whole, {"n": 1}, Whole(1)),
        (dict[str, Any] | Whole, {"n": "1"}, {"n": "1"}),
        (Any | Whole, {"n": 1}, Whole(1)),
        # Of several classes the one that is met more exactly.
        (Part | Whole, {"n": 1}, Whole(1)),
        (Whole | Part, {"n": 1.5}, Part(1.5)),
        (list[Part | Whole] | list[Part], [{"n": 1}, {"n": 1.5}], [Whole(1), Part(1.5)]),
        (dict[str, int] | dict[str, float], {"a": 1.5}, {"a": 1.5}),
        (Spot | Whole, {"x": 1, "y": 2}, Spot(1, 2.0)),
        (Left | Right, {"child": {"only": 1}, "only": 2}, Right(Right(None, 1), 2)),
        (Annotated[Cat | Dog, "A pet."] | None, {"name": "a", "kind": "cat"}, Cat("a")),
    ],
)
def test_a_value_that_several_take_goes_to_the_one_that_the_rule_names(
    annotation: Any, value: Any, result: Any
) -> None:
    bound = structured(annotation, value)

    assert bound == result
    assert type(bound) is type(result)
    assert [type(item) for item in bound] == [type(item) for item in result] if type(bound) is list else True


@pytest.mark.parametrize(
    ("annotation", "value", "problem"),
    [
        (Named | Titled, {"name": "a"}, "'x' fits Named and Titled alike; send a field that only one of them has"),
        (Cat | Dog, {"name": "a"}, "'x' fits Cat and Dog alike; send a field that only one of them has"),
        (list[Named | Titled], [{"name": "a", "age": 1}, {"name": "a"}], "'x[1]' fits Named and Titled alike; send a field that only one of them has"),
        (Options | Left | None, {}, "'x' fits Options and Left alike; send a field that only one of them has"),
        (Cat | Dog, {"name": 1, "kind": "dog", "bones": "2"}, "'x.name' should be a string, not 1; 'x.bones' should be an integer, not '2'"),
        (Cat | Dog, {"name": "a", "kind": "fish"}, "'x.kind' should be one of 'cat', 'dog', 'hound', not 'fish'"),
        (Cat | Dog, {"name": "a", "kind": ["cat"]}, "'x.kind' should be one of 'cat', 'dog', 'hound', not ['cat']"),
        (Cat | Dog, {"name": "a", "kind": {"a": 1}}, "'x.kind' should be one of 'cat', 'dog', 'hound', not {'a': 1}"),
        (Named | Titled, {"name": 1, "age": "x"}, "'x.name' should be a string, not 1; 'x.age' should be an integer, not 'x'"),
        (Named | Titled, {"nam": "a"}, "missing 'x.name'; unknown 'x.nam', did you mean 'name'?"),
        (Named | Whole, {}, "'x' should be Named or Whole, not {}"),
        (Named | Titled, [], "'x' should be Named or Titled, not []"),
        (Named | int | None, "a", "'x' should be Named or an integer or null, not 'a'"),
        (list[int] | set[str], [1, "a"], "'x' should be an array, not [1, 'a']"),
        (list[int] | str, [1, "a"], "'x[1]' should be an integer, not 'a'"),
        (int | str, True, "'x' should be an integer or a string, not True"),
        (Spot | None, {"x": 1, "z": 2}, "unknown 'x.z'"),
    ],
)  # fmt: skip
def test_a_value_that_none_takes_or_two_take_alike_is_refused(
    annotation: Any, value: Any, problem: str
) -> None:
    assert refusal(annotation, value) == problem


class Only(TypedDict):
    kind: Literal["only"]


class Other(TypedDict):
    kind: Literal["other"]


def test_a_missing_tag_that_has_no_default_is_asked_for() -> None:
    assert refusal(Only | Other, {}) == "missing 'x.kind', one of 'only', 'other'"
    assert (
        refusal(list[Only | Other], [{"kind": "only"}, {}]) == "missing 'x[1].kind', one of 'only', 'other'"
    )


def test_named_tuples_are_objects() -> None:
    parameters = taking(Spot).parameters["properties"]["x"]

    assert parameters["properties"] == {
        "x": {"type": "integer"},
        "y": {"type": "number", "default": 0.0},
    }
    assert structured(Spot, {"x": 1}) == Spot(1)
    assert structured(Loose, {"a": 1, "b": "c"}) == Loose(1, "c")
    assert refusal(Spot, [1, 2.0]) == "'x' should be an object, not [1, 2.0]"


def test_the_fields_of_a_constructor_may_be_marked() -> None:
    @dataclasses.dataclass
    class Marked:
        a: typing.Final[int]
        b: dataclasses.InitVar[str]

    assert list(taking(Marked).parameters["properties"]["x"]["properties"]) == ["a", "b"]
    assert structured(Marked, {"a": 1, "b": "c"}).a == 1


def deep(levels: int) -> dict[str, Any]:
    value: dict[str, Any] = {"only": 1}
    for _ in range(levels):
        value = {"child": value}
    return value


def test_a_value_nested_in_unions_is_tried_once_at_each_level() -> None:
    """Each level fits both classes until its child is looked at: tried anew each time, 40 would be 10**12."""
    started = time.perf_counter()

    assert "alike" in refusal(Left | Right, deep(40))
    assert structured(Left | Right, {"only": 1, "child": {"child": None, "only": 2}}) == Right(
        Right(None, 2), 1
    )
    assert time.perf_counter() - started < 2
    assert refusal(Left | Right, deep(2000)) == "the arguments are nested too deeply"


def test_one_bind_knows_nothing_of_another() -> None:
    made = taking(Left | Right)
    value: dict[str, Any] = {"only": 1}

    assert made.bind({"x": value})["x"] == Right(None, 1)
    value["only"] = "no"
    with pytest.raises(ToolError, match="'x.only' should be an integer, not 'no'"):
        made.bind({"x": value})


MEMBERS: list[Any] = [
    *[int, float, str, bool, None, Colour, datetime.date, pathlib.Path, list[int], list[float], set[str]],
    *[tuple[int, str], dict[str, int], Cat, Dog, Bird, Spot, Whole, Part, Named, Titled, Left, Right, Any],
]
JSON = st.recursive(
    st.sampled_from([None, True, 1, 1.5, "a", "red", "cat", "dog", "bird", "2000-01-31"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["kind", "name", "wings", "bones", "n", "x", "y", "age", "child", "only"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=6,
)


def alone(member: Any, value: Any) -> bool:
    try:
        structured(member, value)
    except ToolError:
        return False
    return True


@pytest.mark.slow
@given(
    members=st.lists(st.sampled_from(MEMBERS), min_size=2, max_size=4, unique_by=str),
    value=JSON,
    data=st.data(),
)
def test_a_union_takes_what_its_members_take(members: list[Any], value: Any, data: st.DataObject) -> None:
    """And refuses what none takes, or what two classes take alike."""
    annotation = typing.Union[tuple(members)]  # noqa: UP007 - made while the test runs
    takers = [member for member in members if alone(member, value)]
    if not takers:
        refusal(annotation, value)
        return
    try:
        bound = structured(annotation, value)
    except ToolError as error:
        told = str(error)
    else:
        told = ""
        assert any(_equal(bound, structured(member, value)) for member in takers)
        if attrs.has(type(bound)):  # the order of the annotation says nothing of which class an object is
            turned = typing.Union[tuple(data.draw(st.permutations(members)))]  # noqa: UP007
            assert _equal(structured(turned, value), bound)
    # A tag that is there decides, also for a class that would have taken the rest.
    assert not told or (isinstance(value, dict) and ("alike" in told or "kind" in value))


def _equal(one: Any, other: Any) -> bool:
    return type(one) is type(other) and json.dumps(one, default=repr) == json.dumps(other, default=repr)
