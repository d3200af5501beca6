from __future__ import annotations

from types import MappingProxyType
from typing import Any

import attrs
import pytest
from hypothesis import given

from marsys_core import events as e
from marsys_core.actions import Content
from marsys_core.errors import FormatError
from marsys_core.format import decode_value, encode, encode_value
from marsys_core.frozen import FrozenDict, FrozenList
from marsys_core.messages import Message, ToolCall
from marsys_core.values import Converter, Failure, JoinInput, Ref, failure_of
from tests.core.examples import examples
from tests.core.format.reading import again, entry, read
from tests.core.format.strategies import CONVERTER, Point, values


def through(value: Any, converter: Converter = CONVERTER) -> Any:
    return again(e.UserAnswered("0", 1, ("0", 0), "0:0", value), converter).value


def written(value: Any) -> Any:
    return entry(e.UserAnswered("0", 1, ("0", 0), "0:0", value), CONVERTER)["value"]


@pytest.mark.slow
@examples(150)
@given(values)
def test_a_value_comes_back_with_its_types(value: Any):
    back = through(value)

    assert repr(back) == repr(value)
    assert type(back) is type(value)


@pytest.mark.slow
@examples(100)
@given(values)
def test_a_value_that_stands_beside_the_entries_comes_back_with_its_types(value: Any):
    assert repr(decode_value(encode_value(value, CONVERTER), CONVERTER)) == repr(value)


def test_a_value_beside_the_entries_is_refused_like_one_in_them():
    with pytest.raises(
        FormatError, match=r"^a value of run 'r' cannot be read @ \$\[0\]: expected a value of a type"
    ):
        decode_value('[{"$type":"eval"}]', CONVERTER, run_id="r")
    with pytest.raises(
        FormatError, match=r"^a value cannot be written @ \$: expected a value that can be recorded, "
    ):
        encode_value(object(), CONVERTER)


def test_plain_data_stands_as_it_is():
    data = {"a": [1, 2.5, None, True, {"b": "c"}]}

    assert written(data) == data


def test_what_is_not_json_says_its_type():
    assert written((1, (2,))) == {"$type": "tuple", "items": [1, {"$type": "tuple", "items": [2]}]}
    assert written({1: "a"}) == {"$type": "map", "items": [[1, "a"]]}
    assert written({"$type": "os.system"}) == {"$type": "dict", "items": {"$type": "os.system"}}
    assert written(JoinInput([("A", "0.0", 1)])) == {"$type": "JoinInput", "items": [["A", "0.0", 1]]}
    assert written(float("nan")) == {"$type": "float", "name": "nan"}
    assert written(Message("user", "hi")) == {"$type": "Message", "role": "user", "content": "hi"}
    assert written(Point(1)) == {"$type": f"{Point.__module__}.Point", "x": 1, "y": 0.0, "tags": []}


def test_integers_of_any_size_come_back():
    for value in (10**4000, 2**13_000, -(2**100_000), 2**63, -1):
        assert through(value) == value
        assert again(e.JoinReopened("0", 1, ("0", 0), value, (value,), 0)).calls == (value,)


def test_the_exception_of_a_failure_that_is_a_value_stays_in_its_process():
    back = through([failure_of(ValueError("no"))])

    assert back == [Failure("ValueError", "no")]
    assert back[0].exception is None


def test_a_type_that_is_not_registered_is_refused():
    text = encode(e.UserAnswered("0", 1, ("0", 0), "0:0", Point(1)), CONVERTER)

    with pytest.raises(FormatError, match="expected a value of a type that is registered"):
        read("UserAnswered", text, Converter())


def test_a_class_that_refuses_what_was_read_makes_it_a_format_error():
    def never(*_: Any) -> None:
        raise SystemError

    @attrs.frozen
    class Picky:
        x: int = attrs.field(validator=never)

    converter = Converter([Picky])
    text = f'{{"request_id":"","value":{{"$type":"{Picky.__module__}.{Picky.__qualname__}","x":1}}}}'

    with pytest.raises(FormatError, match="a value of a type that is registered"):
        read("UserAnswered", text, converter)


def test_mappings_and_subclasses_of_plain_types_are_written_as_these():
    class Text(str):
        """A text with methods of its own."""

    assert through(MappingProxyType({"a": 1})) == {"a": 1}
    assert through(Text("a")) == "a"
    assert type(through([FrozenDict({"a": FrozenList([1])})])[0]) is dict


def test_what_is_shared_comes_back_so_that_it_cannot_be_changed():
    event = e.StepFinished(
        "0", 1, ("0", 0), "A", Content("x"), writes=(("k", "set", FrozenDict({"a": FrozenList([1])})),)
    )
    value = again(event).writes[0][2]

    assert type(value) is FrozenDict
    assert type(value["a"]) is FrozenList
    assert type(again(e.StateMerged("0", 1, ("0", 0), {"k": [1]})).state["k"]) is FrozenList


def test_long_contents_and_arguments_stand_as_references_in_messages():
    said = Message("assistant", Ref("aa", 9), (ToolCall("1", "f", Ref("bb", 9)),))  # type: ignore[arg-type]
    assert repr(through(said)) == repr(said)


@pytest.mark.parametrize(
    "data",
    [
        '{"$type":"tuple"}',
        '{"$type":"tuple","items":{}}',
        '{"$type":"tuple","items":[],"x":1}',
        '{"$type":"dict","items":[]}',
        '{"$type":"map","items":[[[],1]]}',
        '{"$type":"map","items":[[1]]}',
        '{"$type":"JoinInput","items":[["A",1,2]]}',
        '{"$type":"int","hex":"12"}',
        '{"$type":"int","hex":"0x"}',
        '{"$type":"float","name":"one"}',
        '{"$type":["Ref"]}',
        '{"$type":null}',
        '{"$type":"Ref","sha256":"a","size":1.0}',
        '{"$type":"Message","role":"user","content":[{"$type":"Ref"}]}',
        '{"$type":"Message","role":"user","content":{"$type":"TextPart"}}',
        '{"$type":"ToolCall","id":"1","name":"f","arguments":{"a":1}}',
        '{"$type":"Failure","error":"E","message":"m","exception":{"error":"LimitError"}}',
        "1e999",
        '{"a":[-1e999]}',
    ],
)
def test_values_that_are_none_are_refused(data: str):
    with pytest.raises(FormatError):
        read("UserAnswered", f'{{"request_id":"","value":{data}}}')
