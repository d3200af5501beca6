"""What a model is told: schemas of annotations, descriptions from docstrings."""

import collections.abc
import dataclasses
import datetime
import enum
import pathlib
import typing
import uuid
from typing import Annotated, Any, Literal, NotRequired, Required, TypedDict

import attrs
import pytest

from marsys_core.errors import ConfigError
from marsys_core.tools import tool


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Shape(enum.Enum):
    DOT = (0, 0)


class Empty(enum.Enum):
    pass


@attrs.frozen
class Point:
    """A point.

    Attributes:
        x: To the right.
    """

    x: int
    _y: Annotated[int, "Up."] = 0
    tags: list[str] = attrs.Factory(list)


@dataclasses.dataclass
class Tree:
    name: str
    children: "list[Tree]" = dataclasses.field(default_factory=list)


class Query(TypedDict, total=False):
    """A query.

    Args:
        text: What to look for.
    """

    text: Required[str]
    limit: "NotRequired[int]"


UserId = typing.NewType("UserId", int)


def schema(annotation: Any) -> Any:
    def function(x: Any) -> None: ...

    function.__annotations__["x"] = annotation
    return tool(function).parameters["properties"]["x"]


@pytest.mark.parametrize(
    ("annotation", "expected"),
    [
        (str, {"type": "string"}),
        (int, {"type": "integer"}),
        (float, {"type": "number"}),
        (bool, {"type": "boolean"}),
        (None, {"type": "null"}),
        (Any, {}),
        (object, {}),
        (UserId, {"type": "integer"}),
        (int | None, {"anyOf": [{"type": "integer"}, {"type": "null"}]}),
        (typing.Optional[str], {"anyOf": [{"type": "string"}, {"type": "null"}]}),  # noqa: UP045 - the old spelling
        (float | int, {"anyOf": [{"type": "number"}, {"type": "integer"}]}),
        (list, {"type": "array"}),
        (list[int], {"type": "array", "items": {"type": "integer"}}),
        (tuple, {"type": "array"}),
        (tuple[int, ...], {"type": "array", "items": {"type": "integer"}}),
        (
            tuple[int, str],
            {
                "type": "array",
                "prefixItems": [{"type": "integer"}, {"type": "string"}],
                "minItems": 2,
                "maxItems": 2,
            },
        ),
        (tuple[()], {"type": "array", "minItems": 0, "maxItems": 0}),
        (set[str], {"type": "array", "items": {"type": "string"}, "uniqueItems": True}),
        (collections.abc.Sequence[int], {"type": "array", "items": {"type": "integer"}}),
        (collections.abc.Sequence, {"type": "array"}),
        (dict, {"type": "object"}),
        (dict[str, int], {"type": "object", "additionalProperties": {"type": "integer"}}),
        (collections.abc.Mapping[str, Any], {"type": "object"}),
        (Literal["a", "b"], {"type": "string", "enum": ["a", "b"]}),
        (Literal["a", 1, None], {"enum": ["a", 1, None]}),
        (Literal[Colour.RED], {"type": "string", "enum": ["red"]}),
        (Colour, {"type": "string", "enum": ["red", "blue"]}),
        (Shape, {"type": "string", "enum": ["DOT"]}),
        (datetime.datetime, {"type": "string", "format": "date-time"}),
        (datetime.date, {"type": "string", "format": "date"}),
        (uuid.UUID, {"type": "string", "format": "uuid"}),
        (pathlib.Path, {"type": "string", "format": "path"}),
        (Annotated[int, "How many."], {"type": "integer", "description": "How many."}),
        (Annotated[int, 3], {"type": "integer"}),
        (
            list[Annotated[int, "One."]],
            {"type": "array", "items": {"type": "integer", "description": "One."}},
        ),
        (
            Point,
            {
                "type": "object",
                "properties": {
                    "x": {"type": "integer", "description": "To the right."},
                    "y": {"type": "integer", "description": "Up.", "default": 0},
                    "tags": {"type": "array", "items": {"type": "string"}},
                },
                "required": ["x"],
                "additionalProperties": False,
            },
        ),
        (
            Query,
            {
                "type": "object",
                "properties": {
                    "text": {"type": "string", "description": "What to look for."},
                    "limit": {"type": "integer"},
                },
                "required": ["text"],
                "additionalProperties": False,
            },
        ),
    ],
)
def test_the_schema_of_an_annotation(annotation: Any, expected: Any) -> None:
    assert schema(annotation) == expected


def test_a_type_that_refers_to_itself_is_defined_once() -> None:
    def grow(tree: Tree, other: Tree) -> None: ...

    parameters = tool(grow).parameters
    assert parameters["properties"] == {"tree": {"$ref": "#/$defs/Tree"}, "other": {"$ref": "#/$defs/Tree"}}
    assert parameters["$defs"]["Tree"] == {
        "type": "object",
        "properties": {
            "name": {"type": "string"},
            "children": {"type": "array", "items": {"$ref": "#/$defs/Tree"}},
        },
        "required": ["name"],
        "additionalProperties": False,
    }


def test_two_self_referring_types_of_one_name_are_kept_apart() -> None:
    other = dataclasses.make_dataclass("Tree", [("value", int)])
    other.__annotations__["next"] = None
    other = dataclasses.make_dataclass("Tree", [("value", int), ("next", "Any", None)])
    other.__annotations__["next"] = other | None

    def grow(a: Tree, b: Any) -> None: ...

    grow.__annotations__["b"] = other
    made = tool(grow)
    assert list(made.parameters["$defs"]) == ["Tree", "Tree_"]
    assert made.parameters["properties"]["b"] == {"$ref": "#/$defs/Tree_"}
    bound = made.bind({"a": {"name": "x"}, "b": {"value": 1, "next": {"value": 2}}})
    assert bound["b"].next.value == 2


@pytest.mark.parametrize(
    ("annotation", "text"),
    [
        (bytes, "bytes has no JSON Schema"),
        (Empty, "Empty has no JSON Schema: it has no members"),
        (Literal[b"x"], "Literal[b'x'] has no JSON Schema: JSON has no such value"),
        (dict[int, str], "dict[int, str] has no JSON Schema: the keys of a JSON object are strings"),
        (collections.abc.Callable[[], int], "has no JSON Schema"),
        (type[int], "type[int] has no JSON Schema"),
        (typing.TypeVar("T"), "~T has no JSON Schema"),
        ([], "[] has no JSON Schema"),
        (3, "3 has no JSON Schema"),
        (list[bytes], "bytes has no JSON Schema"),
    ],
)
def test_an_annotation_without_a_schema_is_named(annotation: Any, text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        schema(annotation)
    (problem,) = caught.value.problems
    assert problem.startswith("'x' is annotated ")
    assert problem.endswith(text)


def test_a_constructor_without_names_has_no_schema() -> None:
    @attrs.define(init=False)
    class Loose:
        def __init__(self, *values: int) -> None: ...

    with pytest.raises(ConfigError, match=r"its constructor takes '\*values: int'$"):
        schema(Loose)


def test_fields_whose_annotations_cannot_be_read_are_refused() -> None:
    broken = attrs.make_class("Broken", {"x": attrs.field()})
    broken.__annotations__ = {"x": "Nowhere"}

    with pytest.raises(ConfigError, match="its annotations cannot be read: name 'Nowhere' is not defined$"):
        schema(broken)


def test_only_plain_defaults_are_shown() -> None:
    def function(
        a: int = 1,
        b: int | None = None,
        c: Colour = Colour.RED,
        d: list[int] = [],  # noqa: B006
        e: float = float("inf"),
        f: Any = attrs.NOTHING,
        g: Any = "x",
    ) -> None: ...

    parameters = tool(function).parameters
    shown = {name: field["default"] for name, field in parameters["properties"].items() if "default" in field}
    assert shown == {"a": 1, "b": None, "c": "red", "g": "x"}
    assert "required" not in parameters


def test_a_function_without_parameters_or_annotations() -> None:
    def nothing(): ...  # type: ignore[no-untyped-def]
    def bare(a, *, b=1): ...  # type: ignore[no-untyped-def]

    assert tool(nothing).parameters == {"type": "object", "properties": {}, "additionalProperties": False}
    assert tool(bare).parameters["properties"] == {"a": {}, "b": {"default": 1}}
    assert tool(nothing).description == ""


def test_descriptions_come_from_the_docstring_unless_the_annotation_has_one() -> None:
    def search(
        query: str, limit: Annotated[int, "At most."] = 3, *, odd: bool = False, bare: int = 0
    ) -> None:
        """Search the library
        for books.

        Slowly.

        Args:
            query (str): What to look for,
                in words: any.

                Even more.
            limit: Ignored.
            odd:
                Only odd ones.

        Returns:
            bare: nothing.
        """

    made = tool(search)
    fields = made.parameters["properties"]
    assert made.description == "Search the library for books."
    assert fields["query"]["description"] == "What to look for, in words: any. Even more."
    assert fields["limit"]["description"] == "At most."
    assert fields["odd"]["description"] == "Only odd ones."
    assert "description" not in fields["bare"]


def test_a_docstring_that_opens_with_a_section_has_no_description() -> None:
    def function(a: int) -> None:
        """Args:
        a: Not indented, so no entry.
        """

    assert tool(function).description == ""
    assert tool(function).parameters["properties"]["a"] == {"type": "integer"}


def test_an_alias_stands_for_its_value() -> None:
    class TypeAliasType:
        """What `type Name = ...` makes, where this Python has it not."""

        def __init__(self, name: str, value: Any) -> None:
            self.__name__, self.__value__ = name, value

    alias = getattr(typing, "TypeAliasType", TypeAliasType)("Ids", list[int])
    assert schema(alias) == {"type": "array", "items": {"type": "integer"}}
