"""The plain form of an instance: the JSON data that its type is made of again. Imported on first use."""

from __future__ import annotations

import datetime
import enum
import pathlib
import uuid
from collections.abc import Mapping
from typing import Any

import attrs

from marsys_core.messages import Message
from marsys_core.tools._kinds import is_scalar
from marsys_core.values import Failure, JoinInput

__all__ = ["plain_form"]


def plain_form(value: Any) -> Any:
    """Return `value` as JSON data by the names that its types' constructors take.

    attrs classes and dataclasses become what they were made with, pydantic models what they dump, sets lists
    in an order that does not depend on hashes, a `JoinInput` the list of its values, a `Message` its text.
    What is none of these is returned as it is.
    """
    if type(value) in (str, int, float, bool, type(None)):
        return value
    if isinstance(value, enum.Enum):
        by_value = all(is_scalar(member.value) for member in type(value))
        return value.value if by_value else value.name
    if isinstance(value, Mapping):
        return {key: plain_form(inner) for key, inner in value.items()}
    if isinstance(value, JoinInput):
        return [plain_form(inner) for inner in value.values]
    if isinstance(value, list | tuple):
        return [plain_form(inner) for inner in value]
    if isinstance(value, set | frozenset):
        return sorted((plain_form(inner) for inner in value), key=repr)
    return _of_class(value)


def _of_class(value: Any) -> Any:
    cls = type(value)
    if isinstance(value, datetime.date):  # a datetime is one
        return value.isoformat()
    if isinstance(value, uuid.UUID | pathlib.PurePath):
        return str(value)
    if isinstance(value, Message):
        return value.text
    if isinstance(value, Failure):
        return str(value)
    if attrs.has(cls):
        made_of = [(field.alias or field.name, field.name) for field in attrs.fields(cls) if field.init]
        return {alias: plain_form(getattr(value, name)) for alias, name in made_of}
    if hasattr(cls, "__dataclass_fields__"):
        import dataclasses

        fields = [field.name for field in dataclasses.fields(value) if field.init]
        return {name: plain_form(getattr(value, name)) for name in fields}
    if callable(getattr(cls, "model_json_schema", None)):
        return value.model_dump(mode="json", by_alias=True)
    return value
