from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from marsys_core.errors import CriticalError, ErrorClass, ValueRefused
from marsys_core.messages import (
    DataPart,
    Message,
    NativePart,
    ReasoningPart,
    RefusalPart,
    TextPart,
    ToolCall,
)
from marsys_core.values import (
    MAX_DEPTH,
    REF_BYTES,
    Converter,
    Detached,
    Failure,
    JoinInput,
    JoinItem,
    Ref,
    exceeds,
    failure_of,
    render,
)

text = st.text(max_size=8)
atoms = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), text
)
natives = st.none() | st.dictionaries(text, text | st.integers(), max_size=2)
parts = st.one_of(
    st.builds(TextPart, text, natives),
    st.builds(DataPart, text, text, text, text, natives),
    st.builds(ReasoningPart, text, text, st.booleans(), natives),
    st.builds(RefusalPart, text),
    st.builds(NativePart, st.dictionaries(text, text | st.lists(text, max_size=2), max_size=2)),
)
calls = st.builds(ToolCall, text, text, text, st.none() | st.integers(0, 3), natives)
messages = st.builds(
    Message,
    role=st.sampled_from(["system", "user", "assistant", "tool"]),
    content=st.one_of(text, st.lists(parts, max_size=3).map(tuple)),
    tool_calls=st.lists(calls, max_size=2).map(tuple),
    tool_call_id=text,
    name=text,
    is_error=st.booleans(),
    provider=text,
)
failures = st.builds(
    Failure, text, text, st.sampled_from(ErrorClass), st.one_of(st.none(), st.just(ValueError("live")))
)
leaves = st.one_of(
    atoms,
    messages,
    parts,
    calls,
    failures,
    st.builds(Detached, st.lists(text).map(tuple)),
)
keys = st.one_of(text, st.just("$type"))
values = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(keys, inner, max_size=4),
        st.lists(st.tuples(text, text, inner), max_size=3).map(JoinInput),
    ),
    max_leaves=12,
)


@attrs.frozen
class Point:
    x: int
    label: str = ""


def shape(value: Any) -> Any:
    """What two equal values have in common: messages and parts compare by identity."""
    if isinstance(value, JoinInput):
        return ("join", [(node, branch, shape(inner)) for node, branch, inner in value])
    if isinstance(value, list | tuple):
        return [type(value).__name__, *map(shape, value)]
    if isinstance(value, dict):
        return {key: shape(inner) for key, inner in value.items()}
    if attrs.has(type(value)):
        fields = [field.name for field in attrs.fields(type(value)) if field.name != "exception"]
        return (type(value).__name__, [shape(getattr(value, name)) for name in fields])
    return (type(value).__name__, repr(value))


@pytest.mark.slow
@given(values)
def test_a_plain_value_comes_back_from_json_as_it_was(value: Any) -> None:
    converter = Converter()
    plain = converter.plain(value)
    assert shape(plain) == shape(value)
    data = json.loads(json.dumps(converter.encode(plain), allow_nan=False))
    assert shape(converter.decode(data)) == shape(plain)


@given(values)
def test_making_a_plain_value_plain_changes_nothing(value: Any) -> None:
    converter = Converter()
    once = converter.plain(value)
    assert shape(converter.plain(once)) == shape(once)


@given(values)
def test_every_plain_value_can_be_rendered_for_a_model(value: Any) -> None:
    assert isinstance(render(Converter().plain(value)), str)


@pytest.mark.slow
@given(values, st.integers(0, 200))
def test_exceeds_grows_with_the_value(value: Any, limit: int) -> None:
    if exceeds(value, limit):
        assert exceeds([value], limit)
        assert exceeds({"k": value}, limit)


def test_registered_types_keep_their_type() -> None:
    converter = Converter([Point])
    data = json.loads(json.dumps(converter.encode([Point(1, "a")])))
    assert converter.decode(data) == [Point(1, "a")]
    with pytest.raises(ValueRefused, match="cannot be read"):
        Converter().decode(data)


def test_only_attrs_classes_can_be_registered() -> None:
    with pytest.raises(
        ValueRefused, match="^only attrs classes can keep their type in a journal, not 'dict'$"
    ):
        Converter([dict])


def test_a_registered_type_is_looked_into() -> None:
    converter = Converter([Point])
    with pytest.raises(ValueRefused, match=r"nan has no place in JSON @ \$\[0\]\.x"):
        converter.plain([Point(float("nan"))])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "data", [{"$type": "Nothing"}, {"$type": "Message"}, {"$type": "Ref", "sha": 1}, {"$type": "JoinInput"}]
)
def test_a_tag_that_does_not_fit_is_refused(data: Any) -> None:
    with pytest.raises(ValueRefused, match=f"^a recorded value tagged '{data['$type']}' cannot be read: "):
        Converter().decode(data)


def test_depth_and_size_are_bounded() -> None:
    deep: Any = []
    for _ in range(MAX_DEPTH - 1):
        deep = {"a": deep}
    assert Converter().plain(deep) == deep
    with pytest.raises(ValueRefused, match=f"deeper than {MAX_DEPTH}"):
        Converter().plain([deep])
    assert Converter().plain("ä" * 50, 100) == "ä" * 50
    with pytest.raises(ValueRefused, match=r"larger than max_value_bytes \(99\)"):
        Converter().plain("ä" * 50, 99)
    with pytest.raises(ValueRefused, match="larger than"):
        Converter().plain({"k" * 200: 1}, 100)


@pytest.mark.parametrize(
    "large",
    [
        "x" * (REF_BYTES + 1),
        ["x" * 100] * 50,
        {"x" * 5000: 1},
        Message("user", "x" * 5000),
        Message("assistant", "", (ToolCall("1", "t", "x" * 5000),)),
        (TextPart("x" * 5000),),
        DataPart("image/png", "x" * 5000),
        JoinInput([("A", "0.0", "x" * 5000)]),
        Point(1, "x" * 5000),
        list(range(600)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_over_4_kb_is_seen_in_any_value(large: Any) -> None:
    assert exceeds(large, REF_BYTES)
    assert not exceeds("x" * REF_BYTES, REF_BYTES)


def test_a_join_is_a_sequence_of_labelled_values() -> None:
    failure = failure_of(CriticalError("no key"))
    inner = JoinInput([("C", "0.1.0", 3), ("D", "0.1.1", failure)])
    join = JoinInput([("A", "0.0", 1), ("B", "0.1", inner)])
    assert len(join) == 2
    assert join[0] == JoinItem("A", "0.0", 1)
    assert join[0:1] == (JoinItem("A", "0.0", 1),)
    assert join.values == [1, inner]
    assert join.failures == []
    assert inner.failures == [JoinItem("D", "0.1.1", failure)]
    assert [item.node for item in join.flat()] == ["A", "C", "D"]
    assert join == JoinInput(join)
    assert hash(JoinInput([("A", "0.0", 1)])) == hash(JoinInput([("A", "0.0", 1)]))
    assert join != [("A", "0.0", 1)]
    assert repr(JoinInput([("A", "0.0", 1)])) == "JoinInput([('A', '0.0', 1)])"


@pytest.mark.parametrize(
    ("value", "rendered"),
    [
        ("text", "text"),
        (Message("user", (TextPart("a"), DataPart("image/png"), TextPart("b"))), "ab"),
        ({"a": [1, None, "ä"]}, '{"a": [1, null, "ä"]}'),
        (failure_of(ValueError("no")), "failed: ValueError: no"),
        (failure_of(ValueError()), "failed: ValueError"),
        (Detached(("0.0", "0.1")), "started: 0.0, 0.1"),
        (
            JoinInput([("A", "0.0", "a"), ("B", "0.1", [1])]),
            "[from A (branch 0.0)]\na\n\n[from B (branch 0.1)]\n[1]",
        ),
        (JoinInput(), ""),
    ],
)
def test_values_are_rendered_as_a_model_reads_them(value: Any, rendered: str) -> None:
    assert render(value) == rendered


def test_a_failure_keeps_its_class_and_the_live_exception() -> None:
    error = CriticalError("no key")
    failure = failure_of(error)
    assert (failure.error, failure.message, failure.error_class) == (
        "CriticalError",
        "no key",
        ErrorClass.CRITICAL,
    )
    assert failure.exception is error
    assert failure == Failure("CriticalError", "no key", ErrorClass.CRITICAL)


def test_a_reference_is_for_events_only() -> None:
    ref = Ref("abc", 5000)
    assert Converter().decode(json.loads(json.dumps(Converter().encode(ref)))) == ref
    with pytest.raises(
        ValueRefused, match=r"stands for a value in a journal; return the value itself @ \$\.a"
    ):
        Converter().plain({"a": ref})


def test_a_number_of_more_than_a_thousand_digits_is_refused() -> None:
    converter = Converter()
    assert converter.plain([10**999]) == [10**999]
    assert json.loads(json.dumps(converter.encode([10**999]))) == [10**999]
    with pytest.raises(
        ValueRefused,
        match=r"^an int of more than a thousand digits \(33220 bits\) cannot be recorded; return it as text @ \$\[0\]$",
    ):
        converter.plain([10**10000, "x" * 5000])
    with pytest.raises(ValueRefused, match=r"^a key must be text, not a whole number of 33220 bits \(int\)"):
        converter.plain({10**10000: 1})


def test_a_large_number_weighs_what_it_takes() -> None:
    assert exceeds([10**900] * 11, REF_BYTES)
    assert not exceeds([1] * 11, REF_BYTES)
    with pytest.raises(ValueRefused, match="larger than"):
        Converter().plain([10**900] * 4, 1000)


@attrs.frozen
class Pair:
    left: Any
    right: Any


@pytest.mark.parametrize("leaf", ["", None, ()])
@pytest.mark.parametrize(
    "pair", [Pair, lambda left, right: [left, right], lambda left, right: {"": left, "b": right}]
)
def test_the_size_bounds_the_walk_over_what_is_shared(pair: Any, leaf: Any) -> None:
    for _ in range(MAX_DEPTH - 2):  # would take longer than anybody can wait
        leaf = pair(leaf, leaf)
    with pytest.raises(ValueRefused, match=r"^the value is larger than max_value_bytes \(20000\) @ "):
        Converter([Pair]).plain(leaf, 20_000)


class Endless(Mapping[str, int]):
    def __getitem__(self, key: str) -> int:
        return 1

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Iterator[str]:
        while True:
            yield ""


def test_a_mapping_without_an_end_is_refused() -> None:
    with pytest.raises(ValueRefused, match="larger than"):
        Converter().plain(Endless(), 1000)


class Broken(Mapping[str, int]):
    def __getitem__(self, key: str) -> int:
        msg = f"no {key}"
        raise KeyError(msg)

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Iterator[str]:
        return iter(["a"])


class Prickly:
    def __getattr__(self, name: str) -> Any:
        msg = f"keep off {name}"
        if name == "__name__":  # pytest asks for it
            raise AttributeError(msg)
        raise RuntimeError(msg)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Broken(), r"^reading the value raised KeyError\('no a'\) @ \$\.x\[1\]$"),
        (Prickly(), r"^reading the value raised RuntimeError\('keep off model_dump'\) @ \$\.x\[1\]$"),
    ],
)
def test_a_value_whose_own_code_raises_is_refused(value: Any, text: str) -> None:
    with pytest.raises(ValueRefused, match=text) as caught:
        Converter().plain({"x": [1, value]})
    assert isinstance(caught.value.__cause__, KeyError | RuntimeError)


def test_the_parts_of_a_message_become_its_own() -> None:
    parts = [TextPart("a")]
    calls = [ToolCall("1", "t")]
    given: Any = Message("assistant", parts, calls, "id", "name", is_error=True)  # type: ignore[arg-type]
    plain = Converter().plain(given)
    parts.clear()
    calls.clear()
    assert plain.text == "a"
    assert type(plain.content) is tuple
    assert [call.id for call in plain.tool_calls] == ["1"]
    assert (plain.tool_call_id, plain.name, plain.is_error) == ("id", "name", True)
    assert Converter().plain(plain) is plain


def test_a_message_of_a_subclass_is_a_message() -> None:
    class Mine(Message):
        pass

    plain = Converter().plain([Mine("user", "a")])
    assert type(plain[0]) is Message
    assert Converter().decode(Converter().encode(plain))[0].content == "a"


@pytest.mark.parametrize(
    ("message", "text"),
    [
        (Message("user", 5), r"^the content of a Message is text or a tuple of parts \(TextPart, DataPart\), not 5 @ \$$"),  # type: ignore[arg-type]
        (Message("user", ("a",)), r"^the content of a Message .*, not \('a',\) @ \$$"),  # type: ignore[arg-type]
        (Message("user", {"a": 1}), r"^the content of a Message .*, not \{'a': 1\} @ \$$"),  # type: ignore[arg-type]
        (Message("user", "", (5,)), r"^the tool_calls of a Message are a tuple of ToolCall, not \(5,\) @ \$$"),  # type: ignore[arg-type]
        (Message("bot", ""), r"^the role of a Message is one of assistant, system, tool, user, not 'bot' @ \$$"),  # type: ignore[arg-type]
    ],
)  # fmt: skip
def test_a_message_made_of_something_else_is_refused(message: Message, text: str) -> None:
    with pytest.raises(ValueRefused, match=text):
        Converter().plain(message)
