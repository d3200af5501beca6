"""Where `marsys run` keeps its runs."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from marsys.cli.place import Place, place_of
from marsys_core.errors import ConfigError
from tests.plugins.cli.conftest import Call
from tests.plugins.cli.keeping import ONE, listed

Write = Callable[[str], str]


@pytest.fixture
def here(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, with nothing said of where runs are kept."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.delenv("MARSYS_HOME")
    return folder


def test_a_run_is_kept_in_the_working_directory(call: Call, team: Write, here: Path) -> None:
    said = call("run", team(ONE), "--task", "Think.")
    assert (said.code, said.out) == (0, "Forty-two.\n")
    assert os.listdir(here) == [".marsys"]
    assert os.listdir(here / ".marsys") == ["runs.db"]
    assert [(info["status"], info["steps"]) for info in listed(call)] == [("succeeded", 1)]


def test_a_variable_says_where_instead(
    call: Call, team: Write, here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MARSYS_HOME", str(tmp_path / "a" / "b"))
    assert call("run", team(ONE), "--task", "Think.").code == 0
    assert os.listdir(here) == []
    assert (tmp_path / "a" / "b" / "runs.db").is_file()
    assert len(listed(call)) == 1


def test_an_option_names_another_file(call: Call, team: Write, here: Path) -> None:
    assert call("run", team(ONE), "--task", "Think.", "--storage", "mine.db").code == 0
    assert os.listdir(here) == ["mine.db"]
    assert len(listed(call, "--storage", "mine.db")) == 1


def test_the_team_file_may_name_one(call: Call, team: Write, here: Path, tmp_path: Path) -> None:
    path = team(ONE + '[plugins.storage]\npath = "theirs.db"\n')
    assert call("run", path, "--task", "Think.").code == 0
    assert os.listdir(here) == []
    assert len(listed(call, "--storage", str(tmp_path / "theirs.db"))) == 1
    assert call("run", path, "--task", "Think.", "--storage", "mine.db").code == 0
    assert os.listdir(here) == ["mine.db"]


def test_a_run_need_not_be_kept(call: Call, team: Write, here: Path) -> None:
    said = call("run", team(ONE), "--task", "Think.", "--no-storage")
    assert (said.code, said.out) == (0, "Forty-two.\n")
    assert os.listdir(here) == []


def test_to_keep_and_not_to_keep_contradict_each_other(call: Call, team: Write, here: Path) -> None:
    said = call("run", team(ONE), "--task", "Think.", "--no-storage", "--storage", "a.db")
    assert said.code == 2
    assert said.err.endswith("Error: --storage and --no-storage contradict each other; leave one out\n")


def test_where_nobody_asked_a_run_that_cannot_be_kept_says_so_and_runs(
    call: Call, team: Write, here: Path
) -> None:
    (here / ".marsys").write_text("no folder")
    said = call("run", team(ONE), "--task", "Think.", "-q")
    assert (said.code, said.out) == (0, "Forty-two.\n")
    assert said.err.splitlines()[0] == (
        "marsys: this run is not kept: '.marsys' cannot be made: File exists; "
        "--storage FILE keeps it elsewhere, --no-storage nowhere"
    )
    assert said.err.count("not kept") == 1


def test_a_store_that_is_none_is_told_once_and_left_as_it_is(call: Call, team: Write, here: Path) -> None:
    (here / ".marsys").mkdir()
    (here / ".marsys" / "runs.db").write_bytes(b"something else" * 100)
    said = call("run", team(ONE), "--task", "Think.", "-q")
    assert (said.code, said.out) == (0, "Forty-two.\n")
    assert said.err.startswith("marsys: this run is not kept: could not open the store in ")
    assert (here / ".marsys" / "runs.db").read_bytes() == b"something else" * 100


def test_without_the_plugin_that_keeps_runs_that_is_said_once(call: Call, team: Write, here: Path) -> None:
    said = call("-p", "no:storage", "run", team(ONE), "--task", "Think.", "-q")
    assert (said.code, said.out) == (0, "Forty-two.\n")
    assert said.err.startswith("marsys: this run is not kept: no journal provider is called 'sqlite'")


def test_a_run_is_gone_on_with_where_it_is_or_not_at_all(call: Call, team: Write, here: Path) -> None:
    assert call("run", team(ONE), "--task", "Think.", "-q").code == 0
    (run_id,) = [each["run_id"] for each in json.loads(call("runs", "--json").out)]
    said = call("-p", "no:storage", "resume", run_id)
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith("marsys: no journal provider is called 'sqlite'")


@pytest.mark.parametrize("by", ["the option", "the variable"])
def test_where_somebody_asked_a_run_that_cannot_be_kept_does_not_run(
    call: Call, team: Write, here: Path, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    (here / "runs.db").write_bytes(b"something else" * 100)
    if by == "the variable":
        monkeypatch.setenv("MARSYS_HOME", str(here))
    asked = ["--storage", "runs.db"] if by == "the option" else []
    said = call("run", team(ONE), "--task", "Think.", *asked)
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith("marsys: the run cannot be kept: could not open the store in ")


def test_a_home_that_cannot_be_made_is_a_mistake(
    call: Call, team: Write, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "file").write_text("")
    monkeypatch.setenv("MARSYS_HOME", str(here / "file" / "home"))
    said = call("run", team(ONE), "--task", "Think.")
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith("marsys: the run cannot be kept: ")


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ("", "--storage takes a file, or the name of a store, and not an empty text"),
        ("nowhere/runs.db", "--storage 'nowhere/runs.db': there is no folder '{here}/nowhere'"),
        ("./", "--storage './' is a folder; name a file"),
        ("sqlight", "no journal provider is called 'sqlight'; there are: sqlite. Did you mean 'sqlite'?"),
    ],
)
def test_a_place_that_cannot_be_is_a_mistake_in_the_call(
    call: Call, team: Write, here: Path, given: str, problem: str
) -> None:
    said = call("run", team(ONE), "--task", "Think.", "--storage", given)
    assert (said.code, said.out) == (2, "")
    assert said.err == f"marsys: {problem.format(here=here)}\n"


def test_a_name_is_the_store_of_a_plugin(call: Call, team: Write, here: Path) -> None:
    path = team(ONE + '[plugins.storage]\npath = "theirs.db"\n')
    assert call("run", path, "--task", "Think.", "--storage", "sqlite").code == 0
    assert os.listdir(here) == []


def test_the_place_is_named_to_the_next_command_where_it_is_not_the_ordinary_one(
    here: Path,
) -> None:
    assert place_of(None, {}) == Place(
        storage=Path(".marsys/runs.db"), directory=Path(".marsys"), asked=False
    )
    assert place_of("a b.db", {}).option == " --storage 'a b.db'"
    assert place_of(None, {"storage": {"path": "/x/y.db"}}).option == " --storage /x/y.db"
    with pytest.raises(ConfigError):
        place_of("", {"storage": {"path": "/x/y.db"}})


def test_what_is_kept_can_be_read_with_any_tool(call: Call, team: Write, here: Path) -> None:
    call("run", team(ONE), "--task", "Think.")
    with sqlite3.connect(here / ".marsys" / "runs.db") as database:
        assert database.execute("SELECT status, task FROM run_list").fetchall() == [("succeeded", "Think.")]
    database.close()
