from __future__ import annotations

import inspect

import attrs
import pytest

from marsys_core import events as e
from marsys_core.events import KINDS, Event, identity


def test_every_kind_is_listed_once_and_exported() -> None:
    assert set(KINDS) == set(e.__all__) - {"KINDS", "STREAMED", "Event", "EventId", "ModelDelta", "identity"}
    assert all(issubclass(kind, Event) for kind in KINDS.values())
    assert e.__all__ == sorted(e.__all__, key=lambda name: (not name.isupper(), name.islower(), name))


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_every_kind_says_what_it_means(kind: type[Event]) -> None:
    assert inspect.getdoc(kind)
    assert kind.__doc__ != Event.__doc__


def test_the_identity_of_an_event_is_its_branch_and_its_place_there() -> None:
    assert e.Warned("0.1", 7, ("0", 3), "careful").id == ("0.1", 7)


def test_equal_events_differ_at_most_in_when_and_where_they_were_recorded() -> None:
    one, two = (e.StepFailed("0", 1, ("0", 0), "A", "error", duration) for duration in (1.0, 2.0))
    one.seq, one.time, two.seq, two.time = 1, 1.0, 9, 9.0
    assert identity(one) == identity(two)
    assert identity(one) != identity(e.StepFailed("0", 1, ("0", 0), "B", "error"))
    assert identity(one) != identity(attrs.evolve(one, cause=("0", 1)))


def test_events_of_different_kinds_are_never_equal() -> None:
    assert identity(e.Stuck("0", 1, ("0", 0), "A", "x")) != identity(
        e.StepSteered("0", 1, ("0", 0), "A", 1, "x")
    )


def test_runs_differ_in_their_id_and_date_only() -> None:
    def started(run_id: str, date: float, task: str) -> Event:
        return e.RunStarted("", 0, ("", -1), run_id, run_id, task, "f", (), (), {}, 1, date)

    assert identity(started("a", 1.0, "x")) == identity(started("b", 2.0, "x"))
    assert identity(started("a", 1.0, "x")) != identity(started("a", 1.0, "y"))
