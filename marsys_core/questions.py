"""Questions to people: what is asked, and which answers a question allows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from marsys_core.errors import AnswerRefused, nearest

__all__ = ["WITHIN_STEP", "Question", "refusal"]

WITHIN_STEP = frozenset({"approval", "uncertain"})
"""The kinds of questions that a step asks and waits for, itself."""


@attrs.frozen(kw_only=True)
class Question:
    """Something that a run waits for a person to answer.

    Args:
        request_id: What the answer is given under; the same whenever the run is carried out again.
        run_id: The run that asks.
        session_id: Its session, or an empty string.
        branch: The branch that waits, for example ``0.1``.
        node: The node at which it stands.
        prompt: What is asked: text, or data.
        options: The answers to choose from; empty for any.
        schema: A JSON Schema for the answer, or None.
        kind: ``question`` of an agent, ``approval`` of a tool call, ``uncertain`` of one that a crash cut off, ``error``
            of a step, ``policy`` of a join.
        default: The answer that a timeout gives; None where there is none.
        timeout: Seconds until then, or None.
    """

    request_id: str
    run_id: str = ""
    session_id: str = ""
    branch: str = ""
    node: str = ""
    prompt: Any = ""
    options: tuple[str, ...] = ()
    schema: Mapping[str, Any] | None = None
    kind: str = "question"
    default: Any = None
    timeout: float | None = None

    def check(self, value: Any) -> None:
        """Return if `value` is an answer to this; a channel can so ask again before it answers.

        Raises:
            AnswerRefused: It is none of the options, or does not fit the schema.
        """
        if wrong := refusal(value, self.options, self.schema, self.kind):
            raise AnswerRefused(f"{wrong} (question {self.request_id!r})")


def refusal(value: Any, options: Sequence[str], schema: Mapping[str, Any] | None, kind: str) -> str:
    """Say why `value` is no answer to a question with these options and this schema, or nothing.

    An approval may be a mapping, with the ``decision`` and a ``reason`` or other ``arguments``; the word on a call
    that was cut off one with the ``decision`` and, where that is ``done``, the ``result``.
    """
    if kind == "approval" and isinstance(value, Mapping):
        return _approval_problem(value, options)
    if kind == "uncertain" and isinstance(value, Mapping):
        return _outcome_problem(value, options)
    if options and not any(type(value) is str and value == option for option in options):
        listed = ", ".join(map(repr, options))
        hint = nearest(value, options) if isinstance(value, str) else ""
        return f"the answer is one of {listed}, not {value!r:.200}{hint and '.' + hint}"
    return "" if schema is None else _problem(value, schema, "the answer")


def _approval_problem(value: Mapping[Any, Any], options: Sequence[str]) -> str:
    known = {"decision", "reason", "arguments"}
    unknown = sorted(str(key) for key in value if key not in known)
    if unknown:
        return f"an approval has decision, reason and arguments, not {', '.join(map(repr, unknown))}"
    if not isinstance(value.get("arguments", {}), Mapping):
        return f"the arguments of an approval are a mapping, not {value['arguments']!r:.200}"
    if value.get("decision") == "reject" and "arguments" in value:
        return "a call that is rejected takes no arguments"
    return refusal(value.get("decision"), options, None, "question")


def _outcome_problem(value: Mapping[Any, Any], options: Sequence[str]) -> str:
    unknown = sorted(str(key) for key in value if key not in ("decision", "result"))
    if unknown:
        return f"the word on a call has decision and result, not {', '.join(map(repr, unknown))}"
    if value.get("decision") != "done" and "result" in value:
        return "only a call that is done has a result"
    return refusal(value.get("decision"), options, None, "question")


_TYPES: Mapping[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "array": (list,),
    "object": (Mapping,),
    "null": (type(None),),
}


def _is(value: Any, name: str) -> bool:
    if isinstance(value, bool) and name != "boolean":
        return False
    return isinstance(value, _TYPES.get(name, (object,)))


def _problem(value: Any, schema: Mapping[str, Any], where: str) -> str:
    """Check `type`, `enum`, `required`, `properties` and `items`; what else a schema says is the channel's."""
    wanted = schema.get("type")
    names = [wanted] if isinstance(wanted, str) else list(wanted) if isinstance(wanted, list | tuple) else []
    if names and not any(_is(value, name) for name in names):
        return f"{where} is of type {' or '.join(names)}, not {value!r:.200}"
    allowed = schema.get("enum")
    if isinstance(allowed, list | tuple) and value not in allowed:
        return f"{where} is one of {', '.join(map(repr, allowed))}, not {value!r:.200}"
    if isinstance(value, Mapping):
        return _object_problem(value, schema, where)
    if isinstance(value, list) and isinstance(items := schema.get("items"), Mapping):
        found = (_problem(item, items, f"item {index} of {where}") for index, item in enumerate(value))
        return next(filter(None, found), "")
    return ""


def _object_problem(value: Mapping[str, Any], schema: Mapping[str, Any], where: str) -> str:
    required = schema.get("required")
    missing = [name for name in required if name not in value] if isinstance(required, list | tuple) else []
    if missing:
        return f"{where} lacks {', '.join(map(repr, missing))}"
    properties = schema.get("properties")
    properties = properties if isinstance(properties, Mapping) else {}
    inner = (
        _problem(value[name], properties[name], f"{name!r} of {where}")
        for name in value
        if isinstance(properties.get(name), Mapping)
    )
    return next(filter(None, inner), "")
