import pytest

from marsys.openai._responses_strict import is_strict


def closed(**properties):
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


@pytest.mark.parametrize(
    "schema",
    [
        closed(),
        closed(city={"type": "string"}),
        closed(at={"type": "string", "format": "date-time", "description": "When"}),
        closed(places={"type": "array", "items": closed(x={"type": "number", "minimum": 0})}),
        closed(unit={"anyOf": [{"type": "string", "enum": ["C", "F"]}, {"type": "null"}]}),
        closed(unit={"type": ["string", "null"]}),
        {**closed(next={"$ref": "#/$defs/step"}), "$defs": {"step": closed(name={"type": "string"})}},
    ],
)
def test_a_closed_schema_without_options_is_held_to(schema):
    assert is_strict(schema)


@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"type": "array", "items": {"type": "string"}},
        {"type": "object", "properties": {}, "required": []},
        {**closed(city={"type": "string"}), "required": []},
        {**closed(city={"type": "string"}), "anyOf": [closed()]},
        closed(anything={}),
        closed(size={"type": "integer", "default": 1}),
        closed(names={"type": "object", "additionalProperties": {"type": "string"}}),
        closed(names={"type": ["object", "null"]}),
        closed(pair={"type": "array", "prefixItems": [{"type": "string"}]}),
        closed(many={"type": "array"}),
        closed(x={"allOf": [{"type": "string"}]}),
        closed(where={"type": "string", "format": "uri"}),
        closed(x={"anyOf": [{"type": "string"}, {"type": "object"}]}),
        {**closed(next={"$ref": "#/$defs/step"}), "$defs": {"step": {"type": "object"}}},
        closed(x={"type": "array", "items": True}),
    ],
)
def test_a_schema_with_anything_open_in_it_is_not(schema):
    assert not is_strict(schema)


def test_a_schema_may_not_be_too_deep():
    schema = closed()
    for _ in range(11):
        schema = closed(inner=schema)

    assert not is_strict(schema)
    assert is_strict(schema["properties"]["inner"])
