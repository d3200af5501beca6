"""Values against JSON Schemas, with the library `jsonschema`. Imported only when a schema is used."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jsonschema
import jsonschema.validators
import referencing
import referencing.exceptions
import referencing.jsonschema
from jsonschema_specifications import REGISTRY

from marsys_core.errors import ConfigError

__all__ = ["JsonSchemaChecker"]

_DATA = frozenset({"const", "enum", "default", "examples"})
_REFERENCES = ("$ref", "$dynamicRef")


class JsonSchemaChecker:
    """Checks plain data against JSON Schemas; ``$schema`` says the draft, 2020-12 where it is left out.

    References within a schema are followed, and those to the drafts of JSON Schema itself. Nothing is ever
    fetched: any other reference is an error when the schema is prepared.
    """

    name = "jsonschema"

    def prepare(self, schema: Mapping[str, Any], whose: str) -> Callable[[Any], list[str]]:
        """Return a function that says what is wrong with a value, every problem with its path.

        Raises:
            ConfigError: It is no JSON Schema, or refers to something elsewhere.
        """
        plain = _as_json(schema, whose)
        cls = jsonschema.validators.validator_for(plain, default=jsonschema.Draft202012Validator)
        try:
            cls.check_schema(plain)
        except jsonschema.SchemaError as error:
            msg = f"{whose} is no JSON Schema: {error.message} @ {error.json_path}"
            raise ConfigError(msg) from error
        _refuse_elsewhere(plain, whose)
        validator = cls(plain, registry=REGISTRY)  # with a registry of its own, the library fetches nothing

        def check(value: Any) -> list[str]:
            try:
                found = sorted(
                    validator.iter_errors(value), key=lambda error: list(map(str, error.absolute_path))
                )
                return [_told(error) for error in found]
            except referencing.exceptions.Unresolvable as error:
                msg = f"{whose} refers to something that is not in it, and nothing is fetched: {error}"
                raise ConfigError(msg) from error
            except RecursionError as error:
                msg = f"{whose} refers to itself without end"
                raise ConfigError(msg) from error

        return check


def _as_json(schema: Mapping[str, Any], whose: str) -> dict[str, Any]:
    """Return a copy of its own: the caller's may change, and be of any kind of mapping."""
    import json

    try:
        copied: dict[str, Any] = json.loads(json.dumps(schema, default=dict))
    except (TypeError, ValueError, RecursionError) as error:
        msg = f"{whose} is no JSON: {error}"
        raise ConfigError(msg) from error
    return copied


def _refuse_elsewhere(schema: dict[str, Any], whose: str) -> None:
    resource = referencing.Resource.from_contents(
        schema, default_specification=referencing.jsonschema.DRAFT202012
    )
    resolver = REGISTRY.resolver_with_root(resource)
    inner = set(_ids(schema)) - {schema.get("$id")}
    problems = []
    for reference in dict.fromkeys(_references(schema)):
        if inner:
            break  # relative to schemas within this one: they are looked up when they are used
        try:
            resolver.lookup(reference)
        except referencing.exceptions.Unresolvable:
            problems.append(f"{reference!r} is not in the schema")
    if problems:
        msg = f"{whose} refers to something elsewhere, which is never fetched:"
        raise ConfigError(msg, problems)


def _references(schema: Any) -> Iterator[str]:
    for each in _objects(schema):
        yield from (each[key] for key in _REFERENCES if isinstance(each.get(key), str))


def _ids(schema: Any) -> Iterator[str]:
    yield from (each["$id"] for each in _objects(schema) if isinstance(each.get("$id"), str))


def _objects(schema: Any) -> Iterator[dict[str, Any]]:
    """Yield the objects in a schema that can be schemas themselves."""
    if isinstance(schema, dict):
        yield schema
        inner = [value for key, value in schema.items() if key not in _DATA]
    else:
        inner = schema if isinstance(schema, list) else []
    for each in inner:
        yield from _objects(each)


def _told(error: jsonschema.ValidationError) -> str:
    message = error.message if len(error.message) <= 300 else f"{error.message[:300]}..."
    return f"{error.json_path}: {message}"
