"""Events of every kind, with whatever they may hold, made from the fields and types of their classes."""

from __future__ import annotations

import inspect
from typing import Any

import attrs
from hypothesis import strategies as st

from marsys_core import errors
from marsys_core.actions import (
    AskUser,
    CallTools,
    Content,
    EndConversation,
    Fail,
    Finish,
    Invoke,
    Malformed,
    Return,
)
from marsys_core.errors import ConvergenceError, ErrorClass, MarsysError, ModelError, ModelErrorKind, Place
from marsys_core.events import Event
from marsys_core.frozen import freeze
from marsys_core.messages import (
    DataPart,
    Message,
    NativePart,
    ReasoningPart,
    RefusalPart,
    TextPart,
    ToolCall,
    Usage,
)
from marsys_core.topology import ConvergencePolicy
from marsys_core.values import Converter, Detached, Failure, JoinInput, Ref, failure_of

__all__ = ["CONVERTER", "ERRORS", "Point", "actions", "events", "exceptions", "values"]


@attrs.frozen
class Point:
    """A type of the user's that keeps its type."""

    x: int
    y: float = 0.0
    tags: tuple[str, ...] = ()


CONVERTER = Converter([Point])
ERRORS = [
    found for found in vars(errors).values() if inspect.isclass(found) and issubclass(found, MarsysError)
]


class Odd(Exception):
    """An error of somebody's own, with a text of its own."""

    def __str__(self) -> str:
        return f"odd: {self.args}"


class Grave(errors.CriticalError):
    """A class of the user's below one of ours."""


# Surrogates on their own, pairs of them, and U+0000 are what JSON has trouble with.
texts = st.text(max_size=12) | st.text("\ud800\udc00\ud83d\ude00\0\u2028a", max_size=5)
names = st.sampled_from(["A", "B", "0.1", "", "ü"]) | texts
whole = st.integers(0, 9) | st.integers() | st.sampled_from([10**999, -(2**70)])
floats = st.floats(allow_nan=False) | st.sampled_from([0.0, -0.0, float("inf"), float("-inf"), float("nan")])
ids = st.tuples(names, whole)
keys = texts | st.sampled_from(["$type", "items", "surrogates", "parts"])

refs = st.builds(Ref, texts, whole)
items = st.dictionaries(keys, texts | whole | st.lists(texts, max_size=2), max_size=3)
natives = st.none() | items
parts = (
    st.builds(TextPart, texts, natives)
    | st.builds(DataPart, texts, texts, texts, texts, natives)
    | st.builds(ReasoningPart, texts, texts, st.booleans(), natives)
    | st.builds(RefusalPart, texts)
    | st.builds(NativePart, items)
)
calls = st.builds(ToolCall, texts, names, texts | refs, st.none() | st.integers(0, 3), natives | refs)
messages = st.builds(
    Message,
    st.sampled_from(["system", "user", "assistant", "tool"]),
    texts | st.lists(parts, max_size=3).map(tuple) | refs,
    st.lists(calls, max_size=2).map(tuple),
    texts,
    names,
    is_error=st.booleans(),
    provider=names,
)
usages = st.builds(Usage, whole, whole, whole, whole, whole, floats, whole)
atoms = st.none() | st.booleans() | whole | floats | texts


def _exceptions(inner: Any) -> Any:
    own = st.builds(_ours, st.sampled_from(ERRORS), texts, st.none() | st.builds(Place, names, names, whole))
    model = st.builds(
        ModelError,
        texts,
        kind=st.sampled_from(ModelErrorKind),
        retry_after=st.none() | floats,
        provider=names,
        status=st.none() | st.integers(400, 599),
        code=texts,
        type=texts,
        said=texts,
        request_id=texts,
        usage=st.none() | usages,
    )
    foreign = st.builds(
        lambda cls, args: cls(*args),
        st.sampled_from([ValueError, KeyError, Odd, Grave, OSError, KeyboardInterrupt]),
        st.lists(texts | st.integers(0, 5), max_size=3),
    )
    joined = (
        st.builds(ConvergenceError, texts, st.lists(inner, max_size=3)) if inner is not None else st.nothing()
    )
    groups = (
        st.builds(BaseExceptionGroup, texts, st.lists(inner, min_size=1, max_size=2))
        if inner is not None
        else st.nothing()
    )
    caused = st.builds(_caused, own | model | foreign, inner, texts) if inner is not None else st.nothing()
    return own | model | foreign | joined | groups | caused


def _ours(cls: type[MarsysError], text: str, place: Place | None) -> MarsysError:
    error = cls(text)
    error.place = place
    return error


def _caused(error: BaseException, cause: BaseException, note: str) -> BaseException:
    error.__cause__ = cause
    error.add_note(note)
    return error


def named(strategy: Any) -> Any:
    """The same, but short to print."""

    @st.composite
    def drawn(draw: st.DrawFn) -> Any:
        return draw(strategy)

    return drawn()


messages = named(messages)
exceptions = named(_exceptions(None) | _exceptions(named(_exceptions(None))))
failures = st.builds(Failure, names, texts, st.sampled_from(ErrorClass)) | exceptions.map(failure_of)
leaves = (
    atoms | refs | messages | failures | usages | parts | calls
    | st.builds(Detached, st.lists(names, max_size=2).map(tuple))
    | st.builds(Point, st.integers(0, 9), st.floats(0, 1), st.lists(texts, max_size=2).map(tuple))
)  # fmt: skip
values: Any = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(keys, inner, max_size=3)
        | st.dictionaries(st.integers(0, 9) | st.tuples(names), inner, max_size=2)
        | st.lists(st.tuples(names, names, inner), max_size=3).map(JoinInput)
    ),
    max_leaves=6,
)
values = named(values)
shared = values.map(freeze)
objects = st.dictionaries(keys, values, max_size=3)
policies = st.builds(
    ConvergencePolicy,
    min_ratio=st.floats(0, 1),
    early=st.booleans(),
    timeout=st.none() | st.integers(1, 9) | st.floats(1, 9),
    on_insufficient=st.sampled_from(["fail", "proceed", "user"]),
) | st.builds(ConvergencePolicy, quorum=st.integers(1, 9))
given_policies = policies | st.none() | st.floats() | texts | st.just({"quorum": 2})
budgets = st.dictionaries(
    st.sampled_from(["max_steps", "max_tokens", "max_tool_calls"]), st.integers(0, 9), max_size=2
)
replies = st.lists(st.tuples(texts, whole, whole), max_size=2).map(tuple)
actions = (
    st.builds(Content, values) | st.builds(Return, values) | st.builds(Finish, values)
    | st.builds(EndConversation, values)
    | st.builds(
        Invoke, st.lists(st.tuples(names, values), min_size=1, max_size=3), st.booleans(), policy=given_policies,
        replies=replies, budget=st.none() | st.floats(0.1, 1) | budgets,
    )
    | st.builds(
        AskUser, values, st.lists(texts, max_size=2), st.none() | objects,
        st.none() | st.integers(1, 9) | st.just(float("inf")), values, replies=replies,
    )
    | st.builds(Fail, texts | exceptions)
    | st.builds(CallTools, st.lists(st.tuples(names, values), max_size=2).map(tuple))
    | st.builds(Malformed, texts, values, note=texts)
)  # fmt: skip
actions = named(actions)
writes = st.tuples(texts, st.sampled_from(["set", "del", "append"]), shared) | st.tuples(
    texts, st.just("call"), shared, shared
)


def _tuples(of: Any) -> Any:
    return st.lists(of, max_size=3).map(tuple)


_OPTIONAL = " | None"
_BY_TYPE: dict[str, Any] = {
    "Any": values,
    "str": names,
    "int": whole,
    "float": floats | st.integers(0, 9),
    "bool": st.booleans(),
    "EventId": ids,
    "Usage": usages,
    "dict[str, str]": st.dictionaries(names, names, max_size=2),
    "dict[str, Any]": objects,
    "dict[str, Any] | None": st.none() | st.dictionaries(keys, shared, max_size=3),
    "Mapping[str, float]": budgets,
    "tuple[str, ...]": _tuples(names),
    "tuple[int, ...]": _tuples(whole),
    "tuple[str, int]": ids,
    "tuple[str, str, int, str]": st.tuples(names, names, whole, names),
    "tuple[EventId, ...]": _tuples(ids),
    "tuple[Message, ...]": _tuples(messages),
    "tuple[tuple[str, int], ...]": _tuples(ids),
    "tuple[tuple[str, bool], ...]": _tuples(st.tuples(names, st.booleans())),
    "tuple[tuple[str, Any], ...]": _tuples(st.tuples(names, values)),
    "tuple[tuple[Any, ...], ...]": _tuples(writes),
    "tuple[Any, ...]": _tuples(calls),
}
_BY_NAME = {
    "action": actions,
    "policy": st.none() | policies,
    "error": st.none() | failures,
    "reason": texts | failures,
    "format": st.just(1),
}


def of_type(kind: str) -> Any:
    if kind not in _BY_TYPE and kind.endswith(_OPTIONAL):
        return st.none() | _BY_TYPE[kind.removesuffix(_OPTIONAL)]
    return _BY_TYPE[kind]


def of_field(field: Any) -> Any:
    special = field.type == "Any" or field.name == "format"
    return _BY_NAME.get(field.name, values) if special else of_type(str(field.type))


def events(kind: type[Event]) -> Any:
    """Events of `kind`, as if recorded."""
    fields = {field.name: of_field(field) for field in attrs.fields(kind) if field.init}
    return named(st.builds(_recorded, st.builds(kind, **fields), whole, floats))


def _recorded(event: Event, seq: int, time: float) -> Event:
    event.seq, event.time = seq, time
    event.run_id = getattr(event, "run_id", "run")
    return event
