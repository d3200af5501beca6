from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.plugins.cli.conftest import Call
from tests.plugins.cli.keeping import ONE, TWO, kept, listed
from tests.plugins.storage.talking import turn

Write = Callable[[str], str]


def test_a_run_moves_from_one_store_to_another_and_can_be_read_there(
    call: Call, team: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = kept(call, team(ONE))
    file = tmp_path / "run.jsonl"
    before = listed(call)
    moved = call("store", "export", run_id[:5], str(file))
    assert (moved.code, moved.out) == (0, f"{run_id} was written to {str(file)!r}\n")
    monkeypatch.setenv("MARSYS_HOME", str(tmp_path / "elsewhere"))
    taken = call("store", "import", str(file))
    assert (taken.code, taken.out) == (0, f"{run_id} was taken from {str(file)!r}\n")
    assert listed(call) == before
    assert call("resume", run_id, "-q").out == "Forty-two.\n"


def test_a_run_that_is_there_already_is_not_taken_again(call: Call, team: Write, tmp_path: Path) -> None:
    run_id = kept(call, team(ONE))
    call("store", "export", run_id, str(tmp_path / "run.jsonl"))
    said = call("store", "import", str(tmp_path / "run.jsonl"))
    assert (said.code, said.out) == (1, "")
    assert said.err.startswith(f"marsys: StoreError: there is a run {run_id!r} already")


def test_what_is_no_exported_run_is_refused(call: Call, tmp_path: Path) -> None:
    (tmp_path / "x").write_text("{}")
    said = call("store", "import", str(tmp_path / "x"))
    assert said.code == 1
    assert "is not a run that was exported" in said.err


def test_a_home_that_cannot_be_made_takes_nothing(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MARSYS_HOME", str(tmp_path / "file"))
    said = call("store", "import", str(tmp_path / "x"))
    assert said.code == 2
    assert said.err == f"marsys: {str(tmp_path / 'file')!r} cannot be made: File exists\n"


@pytest.mark.parametrize(("age", "left"), [("1h", 1), ("1.5d", 1), ("2w", 1), ("0s", 0), ("0m", 0)])
def test_runs_that_ended_long_ago_are_removed(call: Call, team: Write, age: str, left: int) -> None:
    kept(call, team(ONE))
    said = call("store", "expire", "--older-than", age)
    assert said.code == 0
    assert said.out == ("1 run was removed\n" if not left else "0 runs were removed\n")
    assert len(listed(call)) == left


@pytest.mark.parametrize("age", ["", "30", "d", "-1d", "1y", "nand", "1e3d"])
def test_an_age_that_is_none_is_a_mistake_in_the_call(call: Call, team: Write, age: str) -> None:
    kept(call, team(ONE))
    said = call("store", "expire", "--older-than", age)
    assert said.code == 2
    assert f"{age!r} is no age; write a number and s, m, h, d or w, as in 30d\n" in said.err
    assert len(listed(call)) == 1


def test_room_is_given_back(call: Call, team: Write, tmp_path: Path) -> None:
    path = team(ONE)
    for _ in range(3):
        kept(call, path, task="t" * 100_000)
    file = tmp_path / "home" / "runs.db"
    call("store", "expire", "--older-than", "0s")
    before = file.stat().st_size
    said = call("store", "vacuum")
    assert (said.code, said.out, said.err) == (0, "", "")
    assert file.stat().st_size < before


def test_what_is_not_as_it_was_written_is_found(call: Call, team: Write, tmp_path: Path) -> None:
    run_id = kept(call, team(TWO))
    said = call("store", "check")
    assert (said.code, said.out) == (0, "1 runs, 11 entries and 0 large values can be read\n")
    with sqlite3.connect(tmp_path / "home" / "runs.db") as database:
        database.execute("UPDATE entries SET data = '{}' WHERE kind = 'BranchMoved'")
    database.close()
    said = call("store", "check")
    assert (said.code, said.out) == (1, "0 runs, 4 entries and 0 large values can be read\n")
    assert said.err.startswith(f"run {run_id}, entry 4: ")


@pytest.mark.parametrize(
    "command",
    [["vacuum"], ["check"], ["expire", "--older-than", "1d"], ["export", "x", "y"], ["forget", "s"]],
)
def test_a_store_that_is_not_there_is_not_made(call: Call, tmp_path: Path, command: list[str]) -> None:
    said = call("store", *command)
    assert said.code == 2
    assert "there is no such file; name another with --storage FILE" in said.err
    assert not (tmp_path / "home").exists()


def test_a_session_is_forgotten(call: Call, tmp_path: Path) -> None:
    turn(tmp_path / "runs.db", "first")
    said = [call("store", "forget", "s", "--storage", str(tmp_path / "runs.db")) for _ in range(2)]
    assert [(each.code, each.out) for each in said] == [
        (0, "session 's' is forgotten\n"),
        (0, "session 's' was not remembered\n"),
    ]
    assert turn(tmp_path / "runs.db", "second") == ["second", "answer to second"]


def test_an_unknown_task_suggests_the_nearest(call: Call) -> None:
    assert "Did you mean 'export'" in call("store", "exprot").err
