"""How a model is told what its answers, and what it hands to others, have to be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from marsys_core.models import ToolSpec
from marsys_core.shapes import Shape

__all__ = ["as_parameters", "instructed", "shaped_specs"]

_ANSWER_IN = {"return_result": "result", "finish": "answer"}


def instructed(system: str, schema: Mapping[str, Any]) -> str:
    """Return an instruction that asks for `schema`, for a model that cannot be held to one."""
    asked = f"Answer with JSON alone, no other text, that meets this JSON Schema:\n{_short(schema)}"
    return f"{system}\n\n{asked}" if system else asked


def _short(schema: Mapping[str, Any]) -> str:
    import json

    return json.dumps(schema, ensure_ascii=False, separators=(",", ":"))


def shaped_specs(
    specs: Sequence[ToolSpec], answer: Mapping[str, Any] | None, takes: Mapping[str, Shape]
) -> Sequence[ToolSpec]:
    """Return the reserved tools with what an answer has to be, and what other agents take."""
    made = []
    for spec in specs:
        if answer is not None and spec.name in _ANSWER_IN:
            spec = _answering(spec, _ANSWER_IN[spec.name], answer)
        elif spec.name == "invoke_agent":
            spec = _asking(spec, takes)
        made.append(spec)
    return made


def as_parameters(field: str, schema: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the parameters of a tool that takes `schema`: itself where it is an object, else as the one `field`.

    None where it cannot be put there.
    """
    if schema.get("type") == "object":
        return schema
    within = _within(field, schema)
    return (
        None
        if within is None
        else {"type": "object", **within, "required": [field], "additionalProperties": False}
    )


def _within(field: str, schema: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return what an object has for its one `field` to meet `schema`; None where that refers to its own root."""
    # What refers to the root of its own schema is another thing within the tool's; definitions are moved up.
    if '"#"' in (text := _short(schema)) or '"#/' in text.replace('"#/$defs/', ""):
        return None
    own = {key: value for key, value in schema.items() if key != "$defs"}
    defined = {"$defs": schema["$defs"]} if "$defs" in schema else {}
    return {"properties": {field: own}, **defined}


def _answering(spec: ToolSpec, field: str, answer: Mapping[str, Any]) -> ToolSpec:
    within = _within(field, answer)
    if within is None:
        told = f"{spec.description} It is JSON that meets: {_short(answer)}"
        return ToolSpec(spec.name, told, spec.parameters)
    return ToolSpec(spec.name, spec.description, {**spec.parameters, **within})


def _asking(spec: ToolSpec, takes: Mapping[str, Shape]) -> ToolSpec:
    items = spec.parameters["properties"]["invocations"]["items"]
    names = items["properties"]["agent_name"]["enum"]
    told = [
        f" The request to {name!r} is JSON that meets: {_short(shape.schema)}"
        for name, shape in takes.items()
        if name in names and shape.schema is not None
    ]
    if not told:
        return spec
    request = {"description": items["properties"]["request"]["description"]}
    items = {**items, "properties": {**items["properties"], "request": request}}
    invocations = {**spec.parameters["properties"]["invocations"], "items": items}
    parameters = {**spec.parameters, "properties": {"invocations": invocations}}
    return ToolSpec(spec.name, spec.description + "".join(told), parameters)
