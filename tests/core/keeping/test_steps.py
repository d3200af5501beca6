"""Counting the steps of a run by its entries."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marsys_core import events as e
from marsys_core.engine.rebuild import parted
from marsys_core.keeping.steps import COUNTED, steps_of, with_steps
from marsys_core.protocols.store import STATUSES, RunInfo


def team(steps: int) -> str:
    return json.dumps({"steps": steps})


def test_steps_and_those_of_nested_runs_count_and_nothing_else_does():
    entries = [
        (0, "RunStarted", "{}"),
        (1, "StepStarted", ""),
        (2, "TeamFinished", team(3)),
        (3, "StepFinished", team(7)),
        (4, "StepStarted", "{}"),
        (5, "TeamFailed", team(1)),
    ]

    assert steps_of(entries) == 6
    assert steps_of([]) == 0


@given(st.data())
def test_what_is_void_does_not_count(data):
    entries, events = [], []
    for seq in range(data.draw(st.integers(0, 12))):
        kind = data.draw(st.sampled_from(["StepStarted", "RunResumed"]))
        if kind == "StepStarted":
            event = e.StepStarted("0", seq, ("0", 0), "A", 1, ())
            entries.append((seq, kind, ""))
        else:
            event = e.RunResumed("", seq, ("", 0), at=data.draw(st.integers(0, seq)))
            entries.append((seq, kind, json.dumps({"at": event.at})))
        event.seq = seq
        events.append(event)

    assert steps_of(entries) == len(parted(events)[0])


@pytest.mark.parametrize(
    "data", ["", "{", "[]", '{"steps": "x"}', '{"steps": true}', '{"steps": -1}', "[" * 9999]
)
@pytest.mark.parametrize("kind", COUNTED[1:])
def test_what_is_damaged_counts_nothing(data, kind):
    assert steps_of([(0, "StepStarted", ""), (1, kind, data)]) == 1


@pytest.mark.parametrize("status", STATUSES)
def test_a_run_that_has_ended_is_not_counted_again(status):
    looked = []

    def entries():
        looked.append(status)
        return [(0, "StepStarted", ""), (1, "StepStarted", "")]

    info = RunInfo(run_id="r", status=status, steps=1)
    ended = status in ("succeeded", "failed", "cancelled")

    assert with_steps(info, entries).steps == (1 if ended else 2)
    assert bool(looked) is not ended


def test_more_steps_that_were_written_are_believed():
    assert with_steps(RunInfo(run_id="r", steps=5), lambda: [(0, "StepStarted", "")]).steps == 5
