"""Which answers a question allows."""

from __future__ import annotations

from typing import Any

import pytest

from marsys_core.errors import AnswerRefused
from marsys_core.questions import Question

PERSON = {
    "type": "object",
    "required": ["name"],
    "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
}


def question(**given: Any) -> Question:
    return Question(request_id="0:3", **given)


@pytest.mark.parametrize(
    "schema", [{"type": 3}, {"enum": 3}, {"required": 3}, {"properties": 3}, {"items": 3}]
)
def test_what_a_schema_says_in_a_way_of_its_own_is_left_to_the_channel(schema: dict[str, Any]) -> None:
    question(schema=schema).check({"a": 1})
    question(schema=schema).check([1])


@pytest.mark.parametrize(
    ("given", "value"),
    [
        ({}, object()),
        ({"options": ("a", "b")}, "a"),
        ({"schema": {"type": "integer"}}, 3),
        ({"schema": {"type": "number"}}, 3),
        ({"schema": {"type": ["string", "null"]}}, None),
        ({"schema": {"enum": [1, 2]}}, 2),
        ({"schema": PERSON}, {"name": "Ada", "age": 3, "else": 1}),
        ({"schema": {"type": "array", "items": {"type": "string"}}}, ["a"]),
        ({"kind": "approval", "options": ("approve", "reject")}, {"decision": "reject", "reason": "no"}),
        ({"kind": "approval", "options": ("approve", "reject")}, {"decision": "approve", "arguments": {}}),
    ],
)
def test_an_answer_that_fits_passes(given: dict[str, Any], value: Any) -> None:
    question(**given).check(value)


@pytest.mark.parametrize(
    ("given", "value", "told"),
    [
        (
            {"options": ("yes", "no")},
            "yess",
            "the answer is one of 'yes', 'no', not 'yess'. Did you mean 'yes'?",
        ),
        ({"options": ("yes", "no")}, True, "the answer is one of 'yes', 'no', not True"),
        ({"schema": {"type": "integer"}}, True, "the answer is of type integer, not True"),
        ({"schema": {"type": "integer"}}, "3", "the answer is of type integer, not '3'"),
        ({"schema": {"enum": [1, 2]}}, 3, "the answer is one of 1, 2, not 3"),
        ({"schema": PERSON}, {}, "the answer lacks 'name'"),
        ({"schema": PERSON}, {"name": "A", "age": "3"}, "'age' of the answer is of type integer, not '3'"),
        (
            {"schema": {"items": {"type": "string"}}},
            ["a", 1],
            "item 1 of the answer is of type string, not 1",
        ),
        (
            {"kind": "approval", "options": ("approve", "reject")},
            {"decision": "maybe"},
            "the answer is one of 'approve', 'reject', not 'maybe'",
        ),
        (
            {"kind": "approval", "options": ("approve", "reject")},
            {"decision": "approve", "args": {}},
            "an approval has decision, reason and arguments, not 'args'",
        ),
        (
            {"kind": "approval", "options": ("approve", "reject")},
            {"decision": "approve", "arguments": []},
            "the arguments of an approval are a mapping, not []",
        ),
        (
            {"kind": "approval", "options": ("approve", "reject")},
            {"decision": "reject", "arguments": {}},
            "a call that is rejected takes no arguments",
        ),
    ],
)
def test_an_answer_that_does_not_fit_is_refused_with_the_reason(
    given: dict[str, Any], value: Any, told: str
) -> None:
    with pytest.raises(AnswerRefused) as refused:
        question(**given).check(value)
    assert str(refused.value) == f"{told} (question '0:3')"
