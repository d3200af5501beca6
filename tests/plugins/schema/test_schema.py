"""The checker of JSON Schemas: what it says of values, and what it refuses to be given."""

from __future__ import annotations

import importlib.util
import socket
import urllib.request
from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from marsys import Agent, Orchestra, PluginSettings
from marsys.models import ScriptedModel
from marsys.schema import JsonSchemaChecker
from marsys.schema import plugin as schema_plugin
from marsys_core.errors import ConfigError, CriticalError, PluginUnavailable
from marsys_core.plugins import compose
from marsys_core.protocols.schema import SchemaChecker

ORDER = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "properties": {
        "items": {"type": "array", "items": {"$ref": "#/$defs/item"}, "minItems": 1},
        "to": {"type": "string", "pattern": "^[A-Z]"},
    },
    "required": ["items", "to"],
    "additionalProperties": False,
    "$defs": {"item": {"type": "object", "properties": {"count": {"type": "integer", "minimum": 1}}}},
}


def check(schema: Any, value: Any) -> list[str]:
    return JsonSchemaChecker().prepare(schema, "the output schema of agent 'A'")(value)


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError(f"something was fetched: {args}")

    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(urllib.request, "urlopen", refuse)


def test_it_is_what_the_engine_calls_a_schema_checker():
    assert isinstance(JsonSchemaChecker(), SchemaChecker)


def test_every_problem_is_told_with_its_path():
    assert check(ORDER, {"items": [{"count": 1}], "to": "Ahn"}) == []
    assert check(ORDER, {"items": [{"count": 0}, {"count": "x"}], "to": "ahn", "by": 1}) == [
        "$: Additional properties are not allowed ('by' was unexpected)",
        "$.items[0].count: 0 is less than the minimum of 1",
        "$.items[1].count: 'x' is not of type 'integer'",
        "$.to: 'ahn' does not match '^[A-Z]'",
    ]


def test_a_long_value_does_not_make_a_long_message():
    [problem] = check({"type": "integer"}, "x" * 10_000)
    assert len(problem) < 400


def test_what_is_no_schema_is_refused_when_it_is_prepared():
    with pytest.raises(
        ConfigError, match=r"^the output schema of agent 'A' is no JSON Schema: .* @ \$\.type$"
    ):
        check({"type": "text"}, 1)
    with pytest.raises(ConfigError, match=r"^the output schema of agent 'A' is no JSON: "):
        check({"const": object}, 1)


@pytest.mark.parametrize(
    "where", ["https://example.org/s.json", "other.json", "#/$defs/none", "file:///etc/passwd"]
)
def test_what_refers_to_something_elsewhere_is_refused_and_never_fetched(no_network, where):
    with pytest.raises(ConfigError) as caught:
        check({"properties": {"a": {"$ref": where}}}, {"a": 1})
    assert str(caught.value).startswith(
        "the output schema of agent 'A' refers to something elsewhere, which is never"
    )
    assert caught.value.problems == (f"{where!r} is not in the schema",)


def test_what_cannot_be_seen_before_is_refused_when_it_is_used(no_network):
    schema = {
        "$id": "https://example.org/root",
        "$defs": {"in": {"$id": "in", "$ref": "other"}},
        "$ref": "in",
    }
    prepared = JsonSchemaChecker().prepare(schema, "the schema")
    with pytest.raises(
        ConfigError, match="^the schema refers to something that is not in it, and nothing is fetched"
    ):
        prepared(1)
    with pytest.raises(ConfigError, match="^the schema refers to itself without end$"):
        JsonSchemaChecker().prepare({"$ref": "#"}, "the schema")(1)


def test_references_within_the_schema_and_to_the_drafts_are_followed(no_network):
    tree = {"$id": "https://example.org/tree", "type": "object", "properties": {"below": {"$ref": "#"}}}
    assert check(tree, {"below": {"below": 1}}) == ["$.below.below: 1 is not of type 'object'"]
    draft = {"$ref": "https://json-schema.org/draft/2020-12/schema"}
    assert check(draft, {"type": "nothing"})
    assert check(draft, {"type": "string"}) == []
    assert check({"const": {"$ref": "https://example.org"}}, {"$ref": "https://example.org"}) == []


def test_an_older_draft_is_checked_as_it_says():
    schema = {"$schema": "http://json-schema.org/draft-04/schema#", "minimum": 1, "exclusiveMinimum": True}
    assert check(schema, 1) == ["$: 1 is less than or equal to the minimum of 1"]


def test_the_callers_schema_may_change_afterwards():
    schema = {"type": "integer"}
    prepared = JsonSchemaChecker().prepare(schema, "the schema")
    schema["type"] = "string"
    assert prepared(1) == []


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.slow
@given(values)
def test_a_value_meets_the_schema_that_is_this_value(value):
    assert check({"const": value}, value) == []
    assert check({"not": {"const": value}}, value) != []


def test_an_agent_is_held_to_its_schema(no_network):
    model = ScriptedModel(['{"items": []}', '{"items": [{}], "to": "Belt"}'])
    agent = Agent("Clerk", model=model, output_schema=ORDER)
    result = trio.run(Orchestra.run, "order", "Clerk")
    assert agent.output_schema == ORDER
    assert result.unwrap() == {"items": [{}], "to": "Belt"}


def test_without_the_library_the_plugin_is_unavailable_and_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(PluginUnavailable, match=r"^pip install 'marsys-core\[schema\]'$"):
        schema_plugin.marsys_schema_checkers()

    plugins = PluginSettings(
        only=["schema", "health"]
    )  # a composition of its own: it is kept for the process
    clerk = Agent("Clerk", model=ScriptedModel(["{}"]), output_schema={})

    async def main():
        async with Orchestra(plugins=plugins) as orchestra:
            await orchestra.execute("order", "Clerk", agents=[clerk])

    with pytest.raises(CriticalError) as caught:
        trio.run(main)
    text = str(caught.value)
    assert text.startswith(
        "the output schema of agent 'Clerk' cannot be checked: there is no schema checker provider."
    )
    assert text.count("pip install 'marsys-core[schema]'") == 2


def test_the_plugin_offers_one_checker():
    composition = compose(PluginSettings(only=["schema"]))
    assert composition.names("schema checker") == ("jsonschema",)
    assert composition.choose("schema checker") == "jsonschema"
