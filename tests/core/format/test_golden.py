"""Journals of every format that was ever released can be read for ever."""

from __future__ import annotations

import json
from typing import Any

import attrs
import pytest

from marsys_core.errors import MarsysError, class_of, told
from marsys_core.events import KINDS, Event, identity
from marsys_core.format import decode
from marsys_core.values import Failure
from tests.core.format.golden import EVENTS, GOLDEN
from tests.core.format.strategies import CONVERTER

LINES = GOLDEN.read_text("utf-8").split("\n")[:-1]


def read_line(line: str) -> Event:
    given = json.loads(line)
    kind, data = given.pop("kind"), given.pop("entry")
    given["cause"] = tuple(given["cause"])
    return decode(kind, json.dumps(data), CONVERTER, **given)


def test_the_golden_file_has_every_event_and_every_kind():
    assert len(LINES) == len(EVENTS)
    assert {type(event).__name__ for event in EVENTS} == KINDS.keys()


@pytest.mark.parametrize("index", range(len(EVENTS)), ids=lambda i: f"{i}-{type(EVENTS[i]).__name__}")
def test_an_entry_of_format_1_is_read_as_it_was_meant(index: int):
    event, back = EVENTS[index], read_line(LINES[index])

    assert identity(back) == identity(event)
    assert (back.seq, back.time, back.run_id) == (3, 1.5, "r")
    for field in attrs.fields(type(event)):
        one, other = (getattr(each, field.name, None) for each in (event, back))
        if isinstance(one, Failure) and one.exception is not None:
            assert_same(other.exception, one.exception)


def assert_same(back: Any, error: BaseException) -> None:
    """Errors are the same as far as anybody is told."""
    assert type(back).__name__ == type(error).__name__
    assert told(back) == told(error)
    assert class_of(back) is class_of(error)
    assert getattr(back, "__notes__", []) == getattr(error, "__notes__", [])
    if type(error).__module__ == MarsysError.__module__:
        assert type(back) is type(error)
        known, told_again = ({**vars(e), "failures": (), "place": e.place} for e in (error, back))
        assert {key: repr(told_again[key]) for key in told_again} == {key: repr(known[key]) for key in known}
    for one, other in zip(getattr(error, "failures", ()), getattr(back, "failures", ()), strict=True):
        assert_same(other, one)
    if error.__cause__ is None:
        assert back.__cause__ is None
    else:
        assert_same(back.__cause__, error.__cause__)
