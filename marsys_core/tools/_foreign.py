"""Classes that bring a schema and a validation of their own, as pydantic's models do. Imported on first use.

They are known by their methods: nothing of theirs is imported here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Set
from typing import Any

from marsys_core.tools._arguments import Mismatch, Problem, expected
from marsys_core.tools._kinds import Kind, Record

__all__ = ["brings_schema", "foreign_kind"]

_REFERENCE = "#/$defs/"


def brings_schema(annotation: Any) -> bool:
    """Whether this class has a JSON Schema and reads JSON by itself."""
    return callable(getattr(annotation, "model_json_schema", None)) and callable(
        getattr(annotation, "model_validate_json", None)
    )


def foreign_kind(model: Any, definitions: dict[str, dict[str, Any]], taken: Set[str]) -> Kind:
    """Make the kind of such a class; what its schema refers to is added to `definitions`, under names not `taken`."""
    schema = _adopt(model.model_json_schema(), definitions, taken)
    shape = _shape(schema, definitions)
    fields: Mapping[str, Any] = shape.get("properties", {})
    record = Record(
        name=model.__name__,
        required=frozenset(shape.get("required", ())),
        choices={name: _choices(field) for name, field in fields.items()},
    )
    return Kind(
        schema=schema,
        noun="an object",
        structure=_structure(model),
        types=frozenset({dict}),
        weigh=lambda value: 2 + 5 * len(fields.keys() & value.keys()),
        record=record,
    )


def _structure(model: Any) -> Callable[[Any], Any]:
    def structure(value: Any) -> Any:
        if type(value) is not dict:
            raise expected("an object", value)
        import json

        try:
            text = json.dumps(value, allow_nan=False)
        except (TypeError, ValueError):
            raise expected("an object of JSON data", value) from None
        try:
            # Strict as everywhere, but as JSON: a date is text there.
            return model.model_validate_json(text, strict=True)
        except Exception as error:  # its own validators may raise anything; the model is told
            raise Mismatch(list(_problems(model, error))) from error

    return structure


def _problems(model: Any, error: Exception) -> Iterator[Problem]:
    listed = error.errors() if callable(getattr(error, "errors", None)) else ()  # type: ignore[attr-defined]
    if not listed:
        yield "", (), f" is no valid {model.__name__}: {error}"
    for each in listed:
        path = tuple([part if isinstance(part, int) else str(part) for part in each.get("loc", ())])
        kind = each.get("type")
        if kind == "missing":
            yield "missing ", path, ""
        elif kind == "extra_forbidden":
            yield "unknown ", path, ""
        else:
            yield "", path, f": {each.get('msg', 'is wrong')}"


def _adopt(
    schema: Mapping[str, Any], definitions: dict[str, dict[str, Any]], taken: Set[str]
) -> dict[str, Any]:
    """Move the definitions of a schema among ours, under names that are free or mean the same."""
    own: Mapping[str, Any] = schema.get("$defs", {})
    names: dict[str, str] = {}
    for name in own:
        free = name
        while (
            free in taken
            or free in names.values()
            or (free in definitions and definitions[free] != own[name])
        ):
            free += "_"
        names[name] = free
    for name, inner in own.items():
        definitions[names[name]] = _renamed(inner, names)
    body = {key: value for key, value in schema.items() if key != "$defs"}
    adopted: dict[str, Any] = _renamed(body, names)
    return adopted


def _renamed(schema: Any, names: Mapping[str, str]) -> Any:
    if isinstance(schema, list):
        return [_renamed(each, names) for each in schema]
    if not isinstance(schema, dict):
        return schema
    changed = {key: _renamed(value, names) for key, value in schema.items()}
    reference = schema.get("$ref")
    if isinstance(reference, str) and reference.startswith(_REFERENCE):
        name = reference.removeprefix(_REFERENCE)
        changed["$ref"] = _REFERENCE + names.get(name, name)
    return changed


def _shape(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the schema that has the properties, where the outer one only refers to it."""
    reference = str(schema.get("$ref", ""))
    found: Mapping[str, Any] = definitions.get(reference.removeprefix(_REFERENCE), schema)
    return found


def _choices(field: Mapping[str, Any]) -> frozenset[tuple[type, Any]] | None:
    listed = [field["const"]] if "const" in field else field.get("enum")
    try:
        return frozenset((type(each), each) for each in listed) if listed else None
    except TypeError:  # an array or an object is no tag
        return None
