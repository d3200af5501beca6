"""Checking values against JSON Schemas: the plugin `schema`, with the extra of that name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from marsys.schema._checker import JsonSchemaChecker

__all__ = ["JsonSchemaChecker"]


def __getattr__(name: str) -> Any:
    if name != "JsonSchemaChecker":
        msg = f"module 'marsys.schema' has no attribute {name!r}"
        raise AttributeError(msg)
    from marsys.schema._checker import JsonSchemaChecker

    return JsonSchemaChecker
