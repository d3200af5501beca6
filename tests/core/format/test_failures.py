from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given

from marsys_core import events as e
from marsys_core.errors import (
    ActionError,
    AgentError,
    ConvergenceError,
    CriticalError,
    ErrorClass,
    FormatError,
    MarsysError,
    ModelError,
    ModelErrorKind,
    Place,
    RecoverableError,
    UnknownName,
    class_of,
    told,
)
from marsys_core.format import encode
from marsys_core.orchestrator import exception_of
from marsys_core.values import Converter, failure_of
from tests.core.examples import examples
from tests.core.format.reading import again, read
from tests.core.format.strategies import ERRORS, exceptions
from tests.core.format.test_golden import assert_same


def through(error: BaseException) -> Any:
    """The error that a journal gives back for this one."""
    return exception_of(again(e.StepFailed("0", 1, ("0", 0), "A", failure_of(error))).error)


def reading(data: str) -> Any:
    return read(
        "StepFailed",
        f'{{"node":"A","error":{{"$type":"Failure","error":"E","message":"m","exception":{data}}}}}',
    )


@pytest.mark.slow
@examples(200)
@given(exceptions)
def test_an_error_comes_back_the_same_as_far_as_anybody_is_told(error: BaseException):
    back = through(error)

    assert_same(back, error)
    assert failure_of(back) == failure_of(error)


@pytest.mark.parametrize("kind", ERRORS, ids=lambda kind: kind.__name__)
def test_every_error_of_marsys_comes_back_as_its_class_with_all_that_it_knows(kind: type[MarsysError]):
    error = kind("what went wrong")
    error.place = Place("0.1", "A", 3)
    back = through(error)

    assert type(back) is kind
    assert back.place == error.place
    assert vars(back) == vars(error)
    assert repr(back) == repr(error)


def test_what_an_error_was_told_comes_back():
    error = ModelError("busy", kind=ModelErrorKind.OVERLOADED, retry_after=3)
    back = through(error)
    assert (back.kind, back.retryable, back.retry_after) == (ModelErrorKind.OVERLOADED, True, 3)
    assert back.error_class is ErrorClass.RECOVERABLE

    unknown = through(UnknownName("agent", "Bob", ["Rob", "Ann"], "(team x)"))
    assert (unknown.kind, unknown.name, unknown.known, unknown.hint) == (
        "agent",
        "Bob",
        ("Ann", "Rob"),
        "(team x)",
    )
    assert through(ActionError("no", {"a": [1]})).reply == {"a": [1]}
    assert through(ActionError("no", object)).reply == "<class 'object'>"


def test_a_foreign_error_comes_back_as_a_stand_in_of_its_name_and_text():
    back = through(OSError(2, "No such file", "x.txt"))

    assert type(back).__name__ == "FileNotFoundError"
    assert str(back) == "[Errno 2] No such file: 'x.txt'"
    assert not isinstance(back, OSError)
    assert isinstance(back, Exception)
    assert repr(through(ValueError("a", 1))) == "ValueError('a', 1)"


def test_an_error_below_one_of_ours_stands_below_it_again():
    class Broke(CriticalError):
        """No money left."""

    back = through(Broke("no money"))

    assert type(back).__name__ == "Broke"
    assert isinstance(back, CriticalError)
    assert class_of(back) is ErrorClass.CRITICAL
    assert back.result is None


def test_an_error_whose_own_code_raises_is_written_all_the_same():
    class Sly(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    error = Sly(object())
    assert told(through(error)) == told(error)


def test_causes_notes_and_groups_come_back():
    error = AgentError("agent 'A' raised")
    error.__cause__ = ExceptionGroup("several", [ValueError("a"), ExceptionGroup("in it", [KeyError("k")])])
    error.add_note("beside it: no")
    back = through(error)

    assert back.__notes__ == ["beside it: no"]
    assert isinstance(back.__cause__, ExceptionGroup)
    assert str(back.__cause__) == "several (2 sub-exceptions)"
    assert [type(each).__name__ for each in back.__cause__.exceptions] == ["ValueError", "ExceptionGroup"]
    assert through(ValueError()).__suppress_context__ is False


def test_a_chain_without_end_is_cut():
    error = AgentError("round")
    error.__cause__ = error
    back, length = through(error), 0
    while back is not None:
        back, length = back.__cause__, length + 1
    assert length == 17

    nested: BaseException = ValueError("the first")
    for _ in range(50):
        nested = ConvergenceError("join", [nested])
    assert told(through(nested)) == "join"
    for _ in range(50):
        nested = ExceptionGroup("group", [nested])  # type: ignore[type-var, list-item]
    assert told(through(nested)) == "group (1 sub-exception)"


def test_an_error_with_attributes_of_other_types_is_written_without_them():
    error = ModelError("odd")
    error.kind, error.retry_after = "busy", object()  # type: ignore[assignment]
    back = through(error)

    assert (back.kind, back.retry_after) == (ModelErrorKind.MALFORMED, None)
    assert "object" not in encode(e.StepFailed("0", 1, ("0", 0), "A", failure_of(error)), Converter())


@pytest.mark.parametrize(
    ("data", "path", "expected"),
    [
        ('{"error":"eval"}', ".error", "an error of MARSYS, Exception or ExceptionGroup"),
        ("{}", "", "the field 'error'"),
        ("[]", "", "an error"),
        ('{"error":"LimitError","rule":"x"}', "", "a field of LimitError"),
        ('{"error":"LimitError","limit":1}', ".limit", "text"),
        ('{"error":"Exception","called":""}', ".called", "the name of a class"),
        ('{"error":"Exception","called":"a\\u0000"}', ".called", "the name of a class"),
        ('{"error":"ExceptionGroup","errors":[]}', ".errors", "at least one error in a group"),
        ('{"error":"ModelError","kind":"bad"}', ".kind", "a kind of model error"),
        ('{"error":"AgentError","error_class":"bad"}', ".error_class", "failure, recoverable or critical"),
        ('{"error":"AgentError","place":["0","A"]}', ".place", "a list of 3"),
        ('{"error":"AgentError","cause":{"error":1}}', ".cause.error", "text"),
    ],
)
def test_what_is_no_error_is_refused(data: str, path: str, expected: str):
    with pytest.raises(FormatError) as caught:
        reading(data)

    assert (caught.value.path, caught.value.expected) == (f"$.error.exception{path}", expected)


def test_names_that_are_read_do_not_fill_the_memory():
    from marsys_core.format import failures

    for number in range(600):
        reading(f'{{"error":"Exception","called":"E{number}"}}')

    assert len(failures._stand_ins) <= 256


def test_a_recoverable_error_of_a_user_is_raised_again_as_what_it_was():
    back = through(RecoverableError(404))

    assert type(back) is RecoverableError
    assert back.args == (404,)
