"""What a request comes to: the question, the texts at hand, and what may be called."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import attrs

from marsys.search.passages import NO_PASSAGES, NO_SUBJECT, NOTHING_FOUND, Briefing, Passage, read_message
from marsys_core.messages import Message
from marsys_core.models import ModelRequest, ToolSpec

__all__ = ["Situation", "read_request"]

INVOKE = "invoke_agent"
_READ = frozenset({NOTHING_FOUND, NO_PASSAGES, NO_SUBJECT})  # who says so has had texts
_FAILURE = re.compile(r"failed: \w+")  # how the engine tells of an agent that failed


@attrs.define(eq=False, kw_only=True)
class Situation:
    """A request, read.

    Args:
        question: What is asked; ``""`` where nothing is.
        passages: The texts at hand.
        has_texts: Whether there are texts, here or where tools and other agents have looked.
        incomplete: Whether a tool or an agent has failed since the question.
        answered: Whether tools or other agents have answered since the question.
        retrieval: The name of a tool that takes a query, or ``""``.
        agents: The names of the agents that may be invoked.
    """

    question: str
    passages: list[Passage]
    has_texts: bool
    incomplete: bool
    answered: bool
    retrieval: str
    agents: tuple[str, ...]


def read_request(request: ModelRequest) -> Situation:
    """Read `request` as `ExtractiveModel` understands it."""
    messages = list(request.messages)
    last = max((n for n, message in enumerate(messages) if message.role == "user"), default=-1)
    briefings = [read_message(message.text) for message in messages[: last + 1] if message.role == "user"]
    *earlier, now = briefings or [Briefing()]
    is_reply = now.is_reply or _has_invoked(messages[: max(last, 0)])
    results = [message for message in messages[last + 1 :] if message.role == "tool"]
    question, rest = _question(earlier, now, request.system, is_reply=is_reply)
    told = [each for each in now.plain if each.source]
    told += [each for result in results for each in _texts(result)]
    failed = [each for each in told if _FAILURE.match(each.text)]
    passages = _given(earlier) + now.passages + [each for each in told if each not in failed]
    if not passages and rest:
        passages = [Passage(source="message", first=1, last=rest.count("\n") + 1, text=rest)]
    incomplete = bool(failed) or any(message.is_error for message in results)
    remarks = now.remarks.union(*(read_message(message.text).remarks for message in results))
    return Situation(
        question=question,
        passages=passages,
        has_texts=bool(passages) or incomplete or not _READ.isdisjoint(remarks),
        incomplete=incomplete,
        answered=is_reply or bool(results),
        retrieval=next((spec.name for spec in request.tools if _takes_query(spec)), ""),
        agents=tuple(name for spec in request.tools if spec.name == INVOKE for name in _agents(spec)),
    )


def _given(earlier: Iterable[Briefing]) -> list[Passage]:
    """Return the texts that came with earlier messages of a user; what agents quoted then had its question."""
    return [each for briefing in earlier for each in briefing.passages if not each.quoted]


def _has_invoked(messages: Sequence[Message]) -> bool:
    """Tell whether the last thing said was an invocation, so that what follows is what came of it."""
    said = [message for message in messages if message.role != "tool"]
    return bool(said) and any(call.name == INVOKE for call in said[-1].tool_calls)


def _question(earlier: Sequence[Briefing], now: Briefing, system: str, *, is_reply: bool) -> tuple[str, str]:
    """Return the question, and what the last message says besides, as text that may answer it.

    A reply of other agents is read for the question only where nobody else has asked one: each of them may
    have been asked something of its own.
    """
    if not is_reply and now.question:
        return now.question, now.unlabelled
    if not is_reply and now.unlabelled:
        return now.unlabelled, ""
    asked = [each.question or each.unlabelled for each in reversed(earlier) if not each.is_reply]
    question = next(filter(None, asked), "") or now.question or read_message(system).question
    return question, now.unlabelled


def _texts(result: Message) -> Iterable[Passage]:
    """Return what a tool found; text without a source is named for the tool."""
    if result.is_error:
        return []
    found = read_message(result.text)
    return found.passages + [
        attrs.evolve(each, source=each.source or result.name or "tool") for each in found.plain
    ]


def _takes_query(spec: ToolSpec) -> bool:
    query = spec.parameters.get("properties", {}).get("query", {})
    return query.get("type") == "string" and set(spec.parameters.get("required", ())) <= {"query"}


def _agents(spec: ToolSpec) -> Iterable[str]:
    """Return the agents that the schema of ``invoke_agent`` allows; a person is not asked unbidden."""
    found = _find_enum(spec.parameters, "agent_name")
    return dict.fromkeys(name for name in found if name != "user")


def _find_enum(schema: Any, name: str) -> Sequence[str]:
    """Return the choices for the property `name`, however deep it is in `schema`."""
    if isinstance(schema, Mapping):
        inner = schema.get(name)
        if isinstance(inner, Mapping) and "enum" in inner:
            return tuple(inner["enum"])
        return next((found for value in schema.values() if (found := _find_enum(value, name))), ())
    return ()
