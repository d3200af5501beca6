"""A run of the command line parts from another one."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from marsys_core.protocols.store import RunInfo
from tests.plugins.cli.conftest import Call
from tests.plugins.cli.keeping import TWO, kept, listed, write_agents
from tests.plugins.cli.test_runs import fill

Write = Callable[[str], str]
AGENTS = """
from pathlib import Path

HERE = Path(__file__).parent


def note(what):
    with (HERE / "done.txt").open("a") as file:
        file.write(what + "\\n")


def first(task):
    note("first")
    return f"{task} one"


def second(text):
    note("second")
    return f"{text} two"


def third(text):
    note("third")
    return f"{text} three"
"""
TEAM = """
[agents]
First.function = "MODULE:first"
Second.function = "MODULE:second"
Third.function = "MODULE:third"
[topology]
flows = ["First -> Second -> Third"]
"""


@pytest.fixture
def run_id(call: Call, team: Write, tmp_path: Path) -> str:
    name = f"forking_{tmp_path.name}"  # a module is imported once in a process
    write_agents(tmp_path, name, AGENTS)
    found = kept(call, team(TEAM.replace("MODULE", name)), task="It is")
    (tmp_path / "done.txt").unlink()
    return found


def done(tmp_path: Path) -> list[str]:
    path = tmp_path / "done.txt"
    return path.read_text().split() if path.exists() else []


def test_a_step_is_given_something_else_and_what_follows_is_done_anew(
    call: Call, run_id: str, tmp_path: Path
) -> None:
    said = call("fork", run_id[:6], "--at", "2", "--edit", '"It was"', "-q")
    assert (said.code, said.out) == (0, "It was two three\n")
    assert done(tmp_path) == ["second", "third"]
    new, old = listed(call)
    assert (
        said.err.splitlines()[0] == f"marsys: run {new['run_id']} parts from run {run_id} before its step 2"
    )
    assert (old["run_id"], old["status"], old["steps"]) == (run_id, "succeeded", 3)
    assert (new["status"], new["steps"], new["forked_from"][0]) == ("succeeded", 3, run_id)
    assert new["team"] == old["team"]
    assert call("resume", new["run_id"], "-q").out == "It was two three\n"


@pytest.mark.parametrize("at", [1, 2, 3])
def test_without_an_edit_nothing_is_done(call: Call, run_id: str, tmp_path: Path, at: int) -> None:
    said = call("fork", run_id, "--at", str(at), "--json")
    data = json.loads(said.out)
    assert (data["success"], data["response"], data["steps"]) == (True, "It is one two three", 3)
    assert data["run_id"] == listed(call)[0]["run_id"] != run_id
    assert done(tmp_path) == []


def test_the_steps_are_counted_as_show_does(call: Call, run_id: str) -> None:
    steps = json.loads(call("show", run_id, "--json").out)["steps"]
    assert [(step["number"], step["node"]) for step in steps] == [(1, "First"), (2, "Second"), (3, "Third")]
    shown = call("show", run_id).out.split("\n\n")[1]
    assert re.findall(r"^ +(\d) ", shown, re.MULTILINE) == ["1", "2", "3"]


def test_the_edit_may_be_in_a_file(call: Call, run_id: str, tmp_path: Path) -> None:
    (tmp_path / "edit.json").write_text('\ufeff{"a": "ü"}', "utf-8")
    said = call("fork", run_id, "--at", "3", "--edit", f"@{tmp_path / 'edit.json'}", "-q")
    assert said.out == "{'a': 'ü'} three\n"


@pytest.mark.parametrize(
    ("edit", "problem"),
    [
        ("a poem", r"--edit takes JSON, or @FILE with JSON in it, and this is none: .*; a text is written \"a poem\""),
        ("NaN", r"--edit takes JSON, .*: NaN is no number in JSON; a text is written \"NaN\""),
        ("[" * 99999, "--edit takes JSON, "),
        ("@nowhere.json", "--edit '@nowhere.json': the file cannot be read: No such file or directory"),
        ("@", "--edit '@': the file cannot be read: "),
    ],
)  # fmt: skip
def test_an_edit_that_cannot_be_read_is_a_mistake_in_the_call(
    call: Call, run_id: str, edit: str, problem: str
) -> None:
    said = call("fork", run_id, "--at", "1", "--edit", edit)
    assert (said.code, said.out) == (2, "")
    assert re.search(f"^Error: {problem}", said.err, re.MULTILINE)
    assert len(listed(call)) == 1


def test_a_step_that_there_is_not_is_a_mistake(call: Call, run_id: str) -> None:
    said = call("fork", run_id, "--at", "4")
    assert said.code == 2
    assert said.err.endswith(f"run {run_id!r} has taken 3 steps; at= is one of them, from 1, not 4\n")
    assert call("fork", run_id, "--at", "0").code == 2
    assert call("fork", run_id).code == 2
    assert len(listed(call)) == 1


def test_a_changed_team_is_refused_unless_that_is_meant(call: Call, run_id: str, tmp_path: Path) -> None:
    path = Path(listed(call)[0]["team"])
    path.write_text(path.read_text() + "[limits]\nmax_steps = 50\n")
    said = call("fork", run_id, "--at", "1", "-q")
    assert (said.code, said.out) == (2, "")
    assert "--accept-changes goes on all the same:" in said.err
    assert "parts from" not in said.err
    assert call("fork", run_id, "--at", "1", "-q", "--accept-changes").out == "It is one two three\n"


def test_a_model_is_asked_where_the_edit_reaches_it(call: Call, team: Write) -> None:
    run_id = kept(call, team(TWO))
    assert call("fork", run_id, "--at", "2", "-q").out == "x\n"
    assert [len(calls) for calls in made(call)] == [0, 0]
    assert call("fork", run_id, "--at", "2", "--edit", '"y"', "-q").out == "x\n"
    assert [len(calls) for calls in made(call)] == [0, 1]
    assert call("show", listed(call)[0]["run_id"]).out.count("(counts no more)") == 1


def made(call: Call) -> list[Any]:
    """Return the calls of each step of the newest run that holds."""
    steps = json.loads(call("show", listed(call)[0]["run_id"], "--json").out)["steps"]
    return [step["calls"] for step in steps if not step["void"]]


def test_a_run_of_a_program_is_not_the_command_lines_to_fork(call: Call, tmp_path: Path) -> None:
    fill(tmp_path / "home" / "runs.db", RunInfo(run_id="mine"))
    said = call("fork", "mine", "--at", "1")
    assert (said.code, said.out) == (2, "")
    assert "was not begun by 'marsys run'" in said.err
