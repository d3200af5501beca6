"""Which runs a session keeps."""

from __future__ import annotations

import pytest

from marsys_core.backend.document import KeptRun
from marsys_core.backend.pruning import pruned
from marsys_core.protocols.store import RunInfo


def run(name, status="succeeded", **known):
    return KeptRun(info=RunInfo(run_id=name, status=status, **known))


def names(runs, keep=1, held=()):
    return [each.info.run_id for each in pruned(runs, keep, held)]


@pytest.mark.parametrize(("keep", "left"), [(0, ""), (1, "c"), (2, "bc"), (3, "abc"), (9, "abc")])
def test_the_last_runs_that_ended_stay(keep, left):
    assert names([run("a"), run("b", "failed"), run("c", "cancelled")], keep) == list(left)


@pytest.mark.parametrize("status", ["running", "paused", "waiting"])
def test_a_run_that_has_not_ended_stays(status):
    assert names([run("a", status), run("b"), run("c")]) == ["a", "c"]


def test_a_run_that_somebody_has_stays():
    assert names([run("a"), run("b")], 0, {"a"}) == ["a"]


def test_a_run_that_another_was_forked_from_stays():
    assert names([run("a"), run("b", "running", forked_from=("a", 1))], 0) == ["a", "b"]


def test_nested_runs_go_and_stay_with_the_run_that_they_are_in():
    inner = [run("a.b.c", parent="a.b"), run("a.b", parent="a")]

    assert names([*inner, run("a"), run("d")], 1) == ["d"]
    assert names([*inner, run("a", "waiting"), run("d")], 0) == ["a.b.c", "a.b", "a"]
    assert names([*inner, run("a")], 0, {"a.b.c"}) == ["a.b.c"]
