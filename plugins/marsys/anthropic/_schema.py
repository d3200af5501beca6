"""A JSON Schema as the API takes one for an answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["answer_schema"]

_KEPT = frozenset(
    {"type", "description", "title", "enum", "const", "default", "$ref", "required", "nullable"}
)
_SCHEMAS = frozenset({"properties", "$defs", "definitions"})
_LISTS = {"anyOf": "anyOf", "oneOf": "anyOf", "allOf": "allOf"}
_FORMATS = frozenset(
    {"date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"}
)


def answer_schema(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return `schema` with no more in it than the API can hold an answer to.

    Objects have no other properties than those that are named. What it does not know, such as the least number,
    stands in the description, where the model can read it; the engine looks at the answer by the whole schema.
    """
    found: dict[str, Any] = {}
    told: list[str] = []
    for key, value in schema.items():
        if key in _SCHEMAS and isinstance(value, Mapping):
            found[key] = {name: _inner(each) for name, each in value.items()}
        elif key in _LISTS and isinstance(value, list | tuple):
            found[_LISTS[key]] = [_inner(each) for each in value]
        elif key == "items" and isinstance(value, Mapping):
            found[key] = _inner(value)
        elif (
            key in _KEPT or (key == "format" and value in _FORMATS) or (key == "minItems" and value in (0, 1))
        ):
            found[key] = value
        elif key not in ("additionalProperties", "$schema", "$id"):
            told.append(f"{key}: {value}")
    if schema.get("type") == "object" or "properties" in schema:
        found["additionalProperties"] = False
    if told:
        before = f"{found['description']}\n\n" if found.get("description") else ""
        found["description"] = f"{before}({', '.join(told)})"
    return found


def _inner(schema: Any) -> Any:
    return answer_schema(schema) if isinstance(schema, Mapping) else schema
