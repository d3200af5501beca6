"""How a model is told what its answers, and what it hands to others, have to be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from marsys_core.models import ToolSpec
from marsys_core.shapes import Shape

__all__ = ["instructed", "shaped_specs"]

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


def _answering(spec: ToolSpec, field: str, answer: Mapping[str, Any]) -> ToolSpec:
    # What refers to the root of its own schema is another thing within the tool's; definitions are moved up.
    if '"#"' in (text := _short(answer)) or '"#/' in text.replace('"#/$defs/', ""):
        return ToolSpec(spec.name, f"{spec.description} It is JSON that meets: {text}", spec.parameters)
    own = {key: value for key, value in answer.items() if key != "$defs"}
    parameters = {**spec.parameters, "properties": {field: own}}
    if "$defs" in answer:
        parameters["$defs"] = answer["$defs"]
    return ToolSpec(spec.name, spec.description, parameters)


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
