from __future__ import annotations

import inspect
import pickle
from typing import Any

import pytest

from marsys_core import errors
from marsys_core.errors import (
    ConfigError,
    ConvergenceError,
    CriticalError,
    ErrorClass,
    MarsysError,
    ModelError,
    ModelErrorKind,
    Place,
    RecoverableError,
    UnknownName,
    nearest,
    worst,
)

TYPES = [each for each in vars(errors).values() if inspect.isclass(each) and issubclass(each, MarsysError)]


@pytest.mark.parametrize("kind", TYPES, ids=lambda kind: kind.__name__)
def test_every_error_takes_any_message_or_none(kind: type[MarsysError]) -> None:
    assert str(kind("what went wrong")).startswith("what went wrong")
    assert isinstance(str(kind()), str)
    assert kind().place is None


@pytest.mark.parametrize("kind", TYPES, ids=lambda kind: kind.__name__)
def test_every_error_stands_in_the_drawing(kind: type[MarsysError]) -> None:
    assert kind.__name__ in (errors.__doc__ or "")
    assert kind.__name__ in errors.__all__


def test_the_place_is_added_to_the_message() -> None:
    error = MarsysError("broken")
    error.place = Place("0.1", "A", 3)
    assert str(error) == "broken (at branch 0.1, node 'A', step 3)"
    assert str(Place()) == ""
    assert repr(Place("0", "A", 1)) == "Place('0', 'A', 1)"
    assert Place("0") == Place("0")
    assert hash(Place("0")) == hash(Place("0"))
    assert Place("0") != "0"
    error = MarsysError()
    error.place = Place(node="A")
    assert str(error) == "at node 'A'"
    error.place = Place()
    assert str(error) == ""


@pytest.mark.parametrize(
    ("classes", "gravest"),
    [
        ([], ErrorClass.FAILURE),
        ([ErrorClass.FAILURE, ErrorClass.RECOVERABLE], ErrorClass.RECOVERABLE),
        ([ErrorClass.CRITICAL, ErrorClass.RECOVERABLE], ErrorClass.CRITICAL),
    ],
)
def test_the_gravest_class_wins(classes: list[ErrorClass], gravest: ErrorClass) -> None:
    assert worst(classes) is gravest


def test_a_join_is_as_grave_as_its_worst_failure() -> None:
    assert ConvergenceError("x", [ValueError(), RecoverableError()]).error_class is ErrorClass.RECOVERABLE
    assert ConvergenceError("x", [RecoverableError(), CriticalError()]).error_class is ErrorClass.CRITICAL
    assert ConvergenceError().error_class is ErrorClass.FAILURE


@pytest.mark.parametrize("kind", ModelErrorKind, ids=lambda kind: kind.value)
def test_a_model_error_is_recoverable_where_another_attempt_makes_sense(kind: ModelErrorKind) -> None:
    error = ModelError("x", kind=kind)
    assert (error.error_class is ErrorClass.RECOVERABLE) is error.retryable
    assert ModelError("x", kind=kind, retryable=True).error_class is ErrorClass.RECOVERABLE
    assert ModelError("x", kind=kind, retryable=False).error_class is not ErrorClass.RECOVERABLE


def test_configuration_errors_come_all_at_once() -> None:
    error = ConfigError("two problems:", ["a @ $.a", "b @ $.b"])
    assert str(error) == "two problems:\n  - a @ $.a\n  - b @ $.b"
    assert error.problems == ("a @ $.a", "b @ $.b")


def test_an_unknown_name_lists_the_known_ones_and_the_nearest() -> None:
    error = UnknownName("model", "gtp", ["gpt", "claude"], "Install it.")
    assert str(error) == "no model is called 'gtp'; there are: claude, gpt. Did you mean 'gpt'? Install it."
    assert "there are: none." in str(UnknownName("model", "x"))
    assert nearest("zzz", ["a"]) == ""


def test_errors_are_exceptions_that_survive_being_raised_from_others() -> None:
    def fail() -> Any:
        try:
            raise KeyError("inner")
        except KeyError as inner:
            raise CriticalError("outer") from inner

    with pytest.raises(CriticalError, match="^outer$") as raised:
        fail()
    assert isinstance(raised.value.__cause__, KeyError)
    assert str(pickle.loads(pickle.dumps(CriticalError("outer")))) == "outer"
