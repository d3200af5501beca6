"""Which JSON Schemas OpenAI can hold a model to word for word: its strict mode takes a part of the language only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["is_strict"]

_KEYWORDS = frozenset(
    {
        "$defs", "$ref", "additionalProperties", "anyOf", "const", "definitions", "description", "enum",
        "exclusiveMaximum", "exclusiveMinimum", "format", "items", "maxItems", "maximum", "minItems", "minimum",
        "multipleOf", "pattern", "properties", "required", "title", "type",
    }
)  # fmt: skip
_FORMATS = frozenset({"date", "date-time", "duration", "email", "hostname", "ipv4", "ipv6", "time", "uuid"})
_DEEPEST = 10  # levels of objects and arrays
_MOST = 5000  # properties


def is_strict(schema: Mapping[str, Any]) -> bool:
    """Whether a schema can be used with ``strict: true``.

    Every object in it has to be closed (``additionalProperties: false``) and every property required, and there is
    nothing in it but what that mode knows.

    Args:
        schema: A JSON Schema; at its root there has to be an object.
    """
    if schema.get("type") != "object" or "anyOf" in schema:
        return False
    count = [0]
    return _fits(schema, 0, count) and count[0] <= _MOST


def _fits(schema: Any, depth: int, count: list[int]) -> bool:
    if not isinstance(schema, Mapping) or depth > _DEEPEST or not _KEYWORDS.issuperset(schema):
        return False
    if not (
        "type" in schema or "$ref" in schema or "anyOf" in schema or "enum" in schema or "const" in schema
    ):
        return False
    if schema.get("format", "date") not in _FORMATS:
        return False
    kinds = schema.get("type")
    kinds = kinds if isinstance(kinds, list) else [kinds]
    if ("object" in kinds or "properties" in schema) and not _closed(schema, depth, count):
        return False
    if "array" in kinds and "items" not in schema:
        return False
    within = [schema["items"]] if "items" in schema else []
    within += schema.get("anyOf", ())
    if not all(_fits(each, depth + ("items" in schema), count) for each in within):
        return False
    named = [*schema.get("$defs", {}).values(), *schema.get("definitions", {}).values()]
    return all(_fits(each, depth, count) for each in named)


def _closed(schema: Mapping[str, Any], depth: int, count: list[int]) -> bool:
    properties = schema.get("properties", {})
    required = schema.get("required", ())
    count[0] += len(properties)
    return (
        schema.get("additionalProperties") is False
        and set(required) == set(properties)
        and all(_fits(each, depth + 1, count) for each in properties.values())
    )
