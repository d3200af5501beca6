"""Rows of the application are there exactly once, wherever the process was killed."""

from __future__ import annotations

import json
import os

import pytest

from tests.plugins.storage.test_crash import program

POINTS = 1_000 if os.environ.get("MARSYS_SIMULATE") == "1" else 25


@pytest.mark.slow
@pytest.mark.parametrize("how", ["inline", "thread"])
def test_a_ledger_has_each_line_once_wherever_its_process_is_killed(in_memory, how):
    sweep = "import sys; from tests.plugins.storage import ledger as s; s.main(s.Path(sys.argv[1]), sys.argv[2] == 'inline', int(sys.argv[3]))"
    process = program(sweep, in_memory, how, POINTS)
    out, err = process.communicate(timeout=120 + POINTS)
    assert process.returncode == 0, err
    found = json.loads(out)

    assert found["wrong"] == [], err
    assert found["tried"] >= min(POINTS, found["of"])
    assert {"begin", "begun", "statements", "entries", "commit", "committed"} <= set(found["kinds"])
