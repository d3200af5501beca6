"""Classes that bring a schema and a validation of their own: taken as they are, with their problems as ours."""

from __future__ import annotations

import json
from typing import Any

import attrs
import pytest

from marsys_core.errors import ConfigError, ToolError
from marsys_core.tools import Tool, tool


class Wrong(Exception):
    def __init__(self, *found: dict[str, Any]) -> None:
        super().__init__("wrong")
        self.found = found

    def errors(self) -> list[dict[str, Any]]:
        return list(self.found)


class Model:
    """A class with the methods that models of validation packages have, and fields that are integers."""

    schema: dict[str, Any] = {}
    fields: tuple[str, ...] = ("n",)

    def __init__(self, **values: Any) -> None:
        self.values = values

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other.values == self.values

    @classmethod
    def model_json_schema(cls) -> dict[str, Any]:
        fields = {name: {"type": "integer"} for name in cls.fields}
        return cls.schema or {"type": "object", "properties": fields, "required": list(cls.fields)}

    @classmethod
    def model_validate_json(cls, text: str, *, strict: bool) -> Any:
        assert strict
        given = json.loads(text)
        found = [{"type": "missing", "loc": (name,)} for name in cls.fields if name not in given]
        found += [{"type": "extra_forbidden", "loc": (name,)} for name in given.keys() - set(cls.fields)]
        found += [
            {"type": "int_type", "loc": (name,), "msg": "Input should be a valid integer"}
            for name, value in given.items()
            if name in cls.fields and type(value) is not int
        ]
        if found:
            raise Wrong(*found)
        return cls(**given)


class Amount(Model):
    pass


class Size(Model):
    fields = ("wide", "high")


class Linked(Model):
    schema = {
        "$defs": {"Linked": {"type": "object", "properties": {"next": {"anyOf": [{"$ref": "#/$defs/Linked"}]}}}},
        "$ref": "#/$defs/Linked",
    }  # fmt: skip


class Broken(Model):
    @classmethod
    def model_json_schema(cls) -> dict[str, Any]:
        raise TypeError("no schema for bytes")


class Raising(Model):
    @classmethod
    def model_validate_json(cls, text: str, *, strict: bool) -> Any:
        raise RuntimeError("its own validator")


@attrs.frozen
class Order:
    amount: Amount
    sizes: list[Size]


def taking(annotation: Any) -> Tool:
    def function(x: Any) -> None: ...

    function.__annotations__["x"] = annotation
    return tool(function)


def refusal(annotation: Any, value: Any) -> str:
    with pytest.raises(ToolError) as caught:
        taking(annotation).bind({"x": value})
    return str(caught.value).removeprefix("function: ")


def test_the_schema_is_the_classes_own() -> None:
    assert taking(Amount).parameters["properties"]["x"] == Amount.model_json_schema()


def test_the_value_is_what_the_class_makes_of_it() -> None:
    bound = taking(Order).bind({"x": {"amount": {"n": 1}, "sizes": [{"wide": 1, "high": 2}]}})

    assert bound["x"] == Order(Amount(n=1), [Size(wide=1, high=2)])


def test_all_its_problems_are_told_with_their_paths_among_ours() -> None:
    wrong = {"amount": {"n": "1"}, "sizes": [{"wide": 1, "deep": 2}, 3], "more": 1}

    assert refusal(Order, wrong) == (
        "'x.amount.n': Input should be a valid integer; missing 'x.sizes[0].high'; unknown 'x.sizes[0].deep'; "
        "'x.sizes[1]' should be an object, not 3; unknown 'x.more'"
    )
    assert refusal(Raising, {}) == "'x' is no valid Raising: its own validator"
    assert refusal(Amount, {"n": {1}}) == "'x' should be an object of JSON data, not {'n': {1}}"


def test_in_a_union_it_is_told_from_others_by_its_fields() -> None:
    made = taking(Amount | Size | None)

    assert made.bind({"x": {"n": 1}}) == {"x": Amount(n=1)}
    assert made.bind({"x": {"wide": 1, "high": 1}}) == {"x": Size(wide=1, high=1)}
    assert made.bind({"x": None}) == {"x": None}
    assert refusal(Amount | Size, {"wide": 1}) == "missing 'x.high'"
    assert refusal(Amount | Size, {}) == "'x' should be Amount or Size, not {}"


class Yes(Model):
    schema = {"type": "object", "properties": {"kind": {"const": "yes"}, "n": {}}, "required": ["kind"]}
    fields = ("n",)


class No(Model):
    schema = {
        "type": "object",
        "properties": {"kind": {"enum": ["no", "never"]}, "n": {}},
        "required": ["kind"],
    }
    fields = ("n",)


def test_a_tag_of_its_schema_decides() -> None:
    assert (
        refusal(Yes | No, {"kind": "maybe"}) == "'x.kind' should be one of 'yes', 'never', 'no', not 'maybe'"
    )
    assert refusal(Yes | No, {"kind": "never", "n": 1}) == "unknown 'x.kind'"  # asked of the one it names
    assert refusal(Yes | No, {}) == "missing 'x.kind', one of 'yes', 'never', 'no'"


def test_what_its_schema_refers_to_keeps_its_names_apart() -> None:
    other = type(
        "Linked", (Linked,), {"schema": {"$defs": {"Linked": {"type": "string"}}, "$ref": "#/$defs/Linked"}}
    )

    def function(a: Any, b: Any, c: Any) -> None: ...

    function.__annotations__.update(a=Linked, b=other, c=Linked)
    parameters = tool(function).parameters
    assert [parameters["properties"][name] for name in "abc"] == [
        {"$ref": "#/$defs/Linked"},
        {"$ref": "#/$defs/Linked_"},
        {"$ref": "#/$defs/Linked"},
    ]
    assert parameters["$defs"] == {"Linked": Linked.schema["$defs"]["Linked"], "Linked_": {"type": "string"}}


def test_a_class_that_has_no_schema_after_all_is_refused() -> None:
    with pytest.raises(ConfigError, match="Broken has no JSON Schema: TypeError: no schema for bytes$"):
        taking(Broken).spec  # noqa: B018
