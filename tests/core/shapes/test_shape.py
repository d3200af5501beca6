"""What has a shape, what does not, and what travels of it."""

from __future__ import annotations

import dataclasses
import datetime
import enum
import json
import pathlib
import typing
import uuid
from collections.abc import Mapping
from typing import Any, Literal, TypedDict

import attrs
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from marsys_core.errors import ConfigError
from marsys_core.messages import Message
from marsys_core.shapes import Misfit, Shape
from marsys_core.shapes.plain import plain_form
from marsys_core.values import Converter, Failure, JoinInput


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Opaque(enum.Enum):
    ONE = (1, object())
    TWO = (2, object())


@attrs.frozen
class Line:
    name: str
    count: int = 1
    colours: frozenset[Colour] = frozenset()
    _note: str | None = None


@dataclasses.dataclass
class Bill:
    lines: list[Line]
    due: datetime.date
    at: datetime.datetime
    id: uuid.UUID
    place: pathlib.Path | None = None
    total: float = 0.0
    tags: tuple[str, ...] = ()
    computed: int = dataclasses.field(default=7, init=False)


class Inner(pydantic.BaseModel):
    when: datetime.date
    sizes: set[int] = set()


class Outer(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(strict=True)
    inner: Inner
    others: list[Inner] = []
    colour: Colour = Colour.RED
    text: str = ""


@attrs.frozen
class Mixed:
    model: Inner
    models: dict[str, Inner]
    kind: Opaque = Opaque.ONE


lines = st.builds(
    Line,
    name=st.text(),
    count=st.integers(-(2**70), 2**70),
    colours=st.frozensets(st.sampled_from(Colour)),
    note=st.none() | st.text(),
)
bills = st.builds(
    Bill,
    lines=st.lists(lines, max_size=3),
    due=st.dates(),
    at=st.datetimes(),
    id=st.uuids(),
    total=st.floats(allow_nan=False, allow_infinity=False),
    tags=st.lists(st.text(), max_size=3).map(tuple),
)
texts = st.text(st.characters(exclude_categories=["Cs"]))
inners = st.builds(Inner, when=st.dates(), sizes=st.sets(st.integers(-(2**60), 2**60), max_size=4))
outers = st.builds(
    Outer, inner=inners, others=st.lists(inners, max_size=3), colour=st.sampled_from(Colour), text=texts
)
mixed = st.builds(
    Mixed, model=inners, models=st.dictionaries(texts, inners, max_size=2), kind=st.sampled_from(Opaque)
)


@pytest.mark.slow
@given(lines | bills | outers | mixed)
def test_an_instance_comes_back_from_its_plain_form_and_from_its_text(value: Any) -> None:
    shape, plain = Shape.of_type(type(value)), Converter().plain
    travels = shape.fit(value, plain)

    assert shape.instance(travels) == value
    text = json.dumps(travels)
    for written in (text, f"```json\n{text}\n```", f"Here it is:\n\n```\n{text}\n```\nThat is all."):
        assert shape.instance(shape.fit(written, plain)) == value


json_data = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.slow
@given(st.sampled_from([Line, Bill, Outer, Mixed, list[int], dict[str, Line], int | str]), json_data)
def test_whatever_is_said_fits_or_is_a_misfit_with_problems(wanted: Any, data: Any) -> None:
    shape = Shape.of_type(wanted)
    for said in (data, json.dumps(data), f"```\n{json.dumps(data)}\n```"):
        try:
            travels = shape.fit(said, Converter().plain)
        except Misfit as misfit:
            assert misfit.problems  # noqa: PT017
        else:
            instance = shape.instance(travels)
            assert shape.instance(shape.fit(travels, Converter().plain)) == instance


@pytest.mark.slow
@given(st.text(st.sampled_from('`{}[]":,\\ \n\tjson1eE+-.a"')))
def test_whatever_text_is_said_is_read_or_refused(text: str) -> None:
    shape = Shape.of_type(dict[str, Any])
    try:
        assert isinstance(shape.fit(text, Converter().plain), dict)
    except Misfit as misfit:
        assert misfit.problems  # noqa: PT017


def problems(wanted: Any, said: Any) -> tuple[str, ...]:
    with pytest.raises(Misfit) as caught:
        Shape.of_type(wanted).fit(said, Converter().plain)
    return caught.value.problems


def test_every_problem_is_told_with_its_path() -> None:
    said = {
        "lines": [{"name": 1, "cuont": 2}, {"count": "x"}],
        "due": "soon",
        "at": "2000-01-01T00:00",
        "id": 5,
    }

    assert problems(Bill, said) == (
        "$.lines[0].name should be a string, not 1",
        "unknown $.lines[0].cuont, did you mean 'count'?",
        "$.lines[1].count should be an integer, not 'x'",
        "missing $.lines[1].name",
        "$.due should be a date such as '2000-01-31', not 'soon'",
        "$.id should be a UUID, not 5",
    )


def test_the_problems_of_a_pydantic_model_are_its_own_with_their_paths() -> None:
    found = problems(list[Outer], [{"inner": {"when": "x"}, "text": 5}])

    assert [problem.split(":")[0] for problem in found] == ["$[0].inner.when", "$[0].text"]


def test_a_thousand_problems_are_twenty_and_a_number() -> None:
    assert problems(list[int], ["x"] * 1000)[19:] == ("$[19] should be an integer, not 'x'", "and 980 more")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "$ is not JSON: Expecting value: line 1 column 1 (char 0)"),
        ("sorry, no", "$ is not JSON: Expecting value: line 1 column 1 (char 0)"),
        ('{"a": 1, "a": 2}', "$ is not JSON: the key 'a' is there twice"),
        ('{"a": NaN}', "$ is not JSON: NaN is not a number in JSON"),
        ('{"a": 1e999}', "$ is not JSON: 1e999 is not a number in JSON"),
        ('{"a": ' * 100_000, "$ is not JSON: it is nested too deeply"),
        ("```json\n" + "[" * 100_000 + "\n```", "$ is not JSON: it is nested too deeply"),
        ('{"a": ' * 65 + "1" + "}" * 65, "the value is nested deeper than 64 @ $" + ".a" * 64),
        ("```\n{}\n```\nor\n```\n{}\n```", "$ is not JSON: there are 2 fenced blocks; give one"),
        ("[1]", "$ should be an object, not [1]"),
    ],
)
def test_hostile_texts_are_misfits(text: str, why: str) -> None:
    assert problems(dict, text) == (why,)


def test_huge_numbers_are_misfits() -> None:
    assert "digits" in problems(dict, '{"a": ' + "9" * 5000 + "}")[0]
    assert problems(dict, '{"a": ' + "9" * 2000 + "}")[0].startswith("an int of more than a thousand digits")


def test_a_fence_inside_a_string_is_part_of_the_string() -> None:
    code = {"code": "```py\nx\n```"}

    assert Shape.of_type(dict).fit(json.dumps(code)) == code
    assert Shape.of_type(dict).fit(f"```json\n{json.dumps(code)}\n```") == code


def test_a_fence_on_one_line_is_read() -> None:
    assert Shape.of_type(dict).fit('```json {"a": 1}```') == {"a": 1}


def test_a_hundred_thousand_fences_are_read_in_one_pass() -> None:
    assert problems(dict, "```\n" * 100_000)[0] == "$ is not JSON: there are 50000 fenced blocks; give one"


def test_the_members_of_a_union_are_told_apart_by_what_they_take() -> None:
    @attrs.frozen
    class Cat:
        name: str

    @attrs.frozen
    class Dog:
        name: str
        age: int = 0

    @attrs.frozen
    class Tagged:
        name: str
        kind: Literal["tagged"]

    for wanted in (Cat | Dog | Tagged, Tagged | Dog | Cat):
        shape = Shape.of_type(wanted)
        assert shape.instance(shape.fit('{"name": "Rex", "age": 3}')) == Dog("Rex", 3)
        assert shape.instance(shape.fit('{"name": "Rex", "kind": "tagged"}')) == Tagged("Rex", "tagged")


def test_json_is_tried_before_the_text_as_it_stands() -> None:
    either = Shape.of_type(int | str)
    assert (either.fit("5"), either.fit("five"), either.fit('"5"')) == (5, "five", "5")
    choice = Shape.of_type(Literal["yes", "no", "1"])
    assert [choice.fit(said) for said in ("yes", ' "no"\n', "yes\n", "1")] == ["yes", "no", "yes", "1"]
    assert problems(Literal["yes", "no"], "maybe") == ("$ should be one of 'yes', 'no', not 'maybe'",)


def test_a_text_is_taken_as_it_is() -> None:
    shape = Shape.of_type(str)
    assert [shape.fit(said) for said in ('"a"', "5", " x ")] == ['"a"', "5", " x "]
    assert problems(str, 5) == ("$ should be a string, not 5",)


def test_defaults_travel_and_what_is_not_made_with_does_not() -> None:
    assert Shape.of_type(Line).fit('{"name": "a"}') == {"name": "a", "count": 1, "colours": [], "note": None}
    bill = Bill([], datetime.date(2000, 1, 1), datetime.datetime(2000, 1, 1), uuid.UUID(int=1))  # noqa: DTZ001
    assert "computed" not in Shape.of_type(Bill).fit(bill)


def test_where_a_class_gives_out_what_it_does_not_take_what_it_took_travels() -> None:
    class Renamed(pydantic.BaseModel):
        wide: int = pydantic.Field(validation_alias="in", serialization_alias="out")

    shape = Shape.of_type(Renamed)
    travels = shape.fit('{"in": 5}')
    assert travels == {"in": 5}
    assert typing.cast("Renamed", shape.instance(travels)).wide == 5


def test_sets_have_one_order() -> None:
    assert plain_form({"b", "a", "c"}) == ["a", "b", "c"]


def test_the_texts_that_meet_are_read_where_they_do_not_fit_as_they_stand() -> None:
    met = JoinInput([("A", "0.0", "1"), ("B", "0.1", "```\n2\n```"), ("C", "0.2", Message("assistant", "3"))])
    assert Shape.of_type(list[int]).fit(met) == [1, 2, 3]
    assert Shape.of_type(list[str]).fit(met) == ["1", "```\n2\n```", "3"]
    with pytest.raises(Misfit, match=r"^\$\[0\] should be an integer, not 'one'$"):
        Shape.of_type(list[int]).fit_several(["one", "2"])


def test_what_meets_is_the_list_of_its_values() -> None:
    met = JoinInput([("A", "0.0", 1), ("B", "0.1", Failure("X", "y")), ("C", "0.2", 3)])
    assert Shape.of_type(list[int]).fit(met) == [1, 3]
    assert Shape.of_type(int).fit(Message("assistant", "5")) == 5


@pytest.mark.parametrize(
    ("wanted", "why"),
    [
        (object(), "has no JSON Schema"),
        (bytes, "bytes has no JSON Schema"),
        (list[bytes], "bytes has no JSON Schema"),
        ({"type": "object"}, "output_type takes a type; write output_schema for a JSON Schema"),
    ],
)
def test_what_has_no_schema_is_refused(wanted: Any, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        Shape.of_type(wanted)


def test_a_pydantic_field_that_json_has_no_place_for_is_refused() -> None:
    class Odd(pydantic.BaseModel):
        model_config = pydantic.ConfigDict(arbitrary_types_allowed=True)
        value: typing.Callable[[], int]

    with pytest.raises(ConfigError, match="Odd has no JSON Schema"):
        Shape.of_type(Odd)


def test_models_of_one_name_keep_their_definitions_apart() -> None:
    def made(kind: Any) -> Any:
        inner = pydantic.create_model("Inner", value=(kind, ...))
        return pydantic.create_model("Outer", inner=(inner, ...))

    @attrs.frozen
    class Both:
        one: Any
        two: Any

    one, two = made(int), made(str)
    Both.__annotations__.update(one=one, two=two)
    shape = Shape.of_type(Both)
    assert isinstance(shape.schema, Mapping)
    assert len(shape.schema["$defs"]) == 2
    assert shape.fit({"one": {"inner": {"value": 1}}, "two": {"inner": {"value": "x"}}})


def test_a_class_is_compiled_once_and_unions_by_their_order() -> None:
    assert Shape.of_type(Line) is Shape.of_type(Line)
    assert Shape.of_type(int | str).schema != Shape.of_type(str | int).schema


def test_a_typed_dict_is_a_mapping() -> None:
    class Point(TypedDict):
        x: int

    assert Shape.of_type(Point).fit('{"x": 1}') == {"x": 1}
    assert problems(Point, "{}") == ("missing $.x",)


def test_the_shape_of_a_schema_is_what_its_checker_says() -> None:
    shape = Shape.of_schema(
        {"title": "Small"}, lambda value: ["$: too large"] * (value if isinstance(value, int) else 0)
    )
    assert (shape.called, shape.fit("0"), shape.instance(0)) == ("Small", 0, 0)
    with pytest.raises(Misfit) as caught:
        shape.fit(25, lambda value: value)
    assert caught.value.problems[19:] == ("$: too large", "and 5 more")
