"""A run of the command line goes on in another process."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from marsys.cli.account import Account
from marsys_core import events as e
from marsys_core.protocols.store import RunInfo
from tests.plugins.cli.conftest import Call
from tests.plugins.cli.keeping import ONE, kept, listed, write_agents
from tests.plugins.cli.test_runs import fill

Write = Callable[[str], str]
COMMAND = [sys.executable, "-m", "marsys.cli"]
AGENTS = """
import time
from pathlib import Path

HERE = Path(__file__).parent


def note(what):
    with (HERE / "done.txt").open("a") as file:
        file.write(what + "\\n")


def first(task):
    note("first")
    return task + ", begun"


def second(text):
    note("second")
    while not (HERE / "go").exists():
        time.sleep(0.01)
    return text + ", ended"


def third(text):
    note("third")
    return text + "."
"""
CRASHING = """
[agents]
First.function = "crashing:first"
Second.function = "crashing:second"
Third.function = "crashing:third"
Editor.model = "scripted"
Editor.instruction = "Write for {reader}."
[topology]
flows = ["First -> Second -> Third -> Editor"]
[plugins.models]
replies = ["The end."]
"""
FAILED_ONCE = """
from pathlib import Path

def work(task):
    if not (Path(__file__).parent / "go").exists():
        raise ValueError("not yet")
    return task
"""


def killed(tmp_path: Path, path: str, *arguments: str) -> None:
    """Run a team in a process of its own and kill it in the middle of its second step."""
    process = subprocess.Popen(
        [*COMMAND, "run", path, "--task", "It is", *arguments],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    done = tmp_path / "done.txt"
    try:
        deadline = time.monotonic() + 30
        while not (done.exists() and "second" in done.read_text()):
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.01)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait(20)


@pytest.mark.slow
def test_a_run_whose_process_was_killed_goes_on_where_it_was(call: Call, team: Write, tmp_path: Path) -> None:
    write_agents(tmp_path, "crashing", AGENTS)
    path = team(CRASHING)
    killed(tmp_path, path, "--var", "reader=all")
    (info,) = listed(call)
    assert (info["status"], info["team"]) == ("interrupted", path)
    shown = call("show", info["run_id"]).out
    assert re.search(r"^took +1 step, ", shown, re.MULTILINE)
    assert shown.endswith("said 'It is, begun'\n")
    (tmp_path / "go").touch()
    said = call("resume", info["run_id"][:6])
    assert (said.code, said.out) == (0, "The end.\n")
    assert (tmp_path / "done.txt").read_text().split() == ["first", "second", "second", "third"]
    assert "succeeded" in said.err.splitlines()[-1]
    data = json.loads(call("show", info["run_id"], "--json").out)
    assert (data["run"]["status"], data["run"]["steps"]) == ("succeeded", 4)
    assert [(step["node"], step["outcome"]) for step in data["steps"]] == [
        ("First", "done"),
        ("Second", "done"),
        ("Third", "done"),
        ("Editor", "done"),
    ]


@pytest.mark.slow
def test_a_run_that_goes_on_can_be_interrupted_and_tells_all_that_was_done(
    call: Call, team: Write, tmp_path: Path
) -> None:
    write_agents(tmp_path, "crashing", AGENTS)
    killed(tmp_path, team(CRASHING), "--var", "reader=all")
    (info,) = listed(call)
    (tmp_path / "done.txt").unlink()
    process = subprocess.Popen(
        [*COMMAND, "resume", info["run_id"]],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    while not (tmp_path / "done.txt").exists():
        time.sleep(0.01)
    held = call("resume", info["run_id"])
    assert held.code == 1
    assert re.search(r"RunHeld: run '\w+' is held by .*process \d+", held.err)
    process.send_signal(signal.SIGINT)
    time.sleep(0.1)
    (tmp_path / "go").touch()  # a thread cannot be interrupted
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out) == (130, "")
    assert "marsys: interrupted by Ctrl-C; 1 step was finished: First. At work then: Second." in err
    assert err.splitlines()[-1] == f"marsys: to go on with it: marsys resume {info['run_id']}"
    said = call("resume", info["run_id"], "-q")
    assert (said.code, said.out) == (0, "The end.\n")
    assert (tmp_path / "done.txt").read_text().split().count("first") == 0


@pytest.mark.slow
def test_of_two_commands_that_go_on_with_one_run_one_does_and_the_other_names_it(
    call: Call, team: Write, tmp_path: Path
) -> None:
    write_agents(tmp_path, "crashing", AGENTS)
    killed(tmp_path, team(CRASHING), "--var", "reader=all")
    (info,) = listed(call)
    both = [
        subprocess.Popen(
            [*COMMAND, "resume", info["run_id"], "-q"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for _ in range(2)
    ]  # fmt: skip
    deadline = time.monotonic() + 30
    while not (over := [process for process in both if process.poll() is not None]):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    (loser,) = over
    (winner,) = [process for process in both if process is not loser]
    out, err = loser.communicate(timeout=20)
    assert (loser.returncode, out) == (1, "")
    assert re.search(rf"^marsys: RunHeld: run '{info['run_id']}' is held by .*process {winner.pid} on ", err)
    (tmp_path / "go").touch()
    out, _ = winner.communicate(timeout=20)
    assert (winner.returncode, out) == (0, "The end.\n")
    assert (tmp_path / "done.txt").read_text().split() == ["first", "second", "second", "third"]


def test_a_run_that_failed_goes_on_at_the_step_that_did(call: Call, team: Write, tmp_path: Path) -> None:
    write_agents(tmp_path, "failing_once", FAILED_ONCE)
    path = team(
        """
        [agents]
        First.function = "json:dumps"
        Second.function = "failing_once:work"
        [topology]
        flows = ["First -> Second"]
        """
    )
    said = call("run", path, "--task", "x", "-q")
    (info,) = listed(call)
    assert said.err.splitlines()[-1] == f"marsys: to go on with it: marsys resume {info['run_id']}"
    again = call("resume", info["run_id"], "-q")
    assert again.code == 1
    assert again.err.splitlines()[-1] == said.err.splitlines()[-1]
    (tmp_path / "go").touch()
    said = call("resume", info["run_id"], "-q")
    assert (said.code, said.out) == (0, '"x"\n')
    steps = json.loads(call("show", info["run_id"], "--json").out)["steps"]
    assert [(step["node"], step["outcome"]) for step in steps if not step["void"]] == [
        ("First", "done"),
        ("Second", "done"),
    ]


def test_the_answer_of_a_run_that_has_succeeded_is_read_from_the_record(call: Call, team: Write) -> None:
    run_id = kept(call, team(ONE))
    before = listed(call)
    said = call("resume", run_id, "-q")
    assert (said.code, said.out) == (0, "Forty-two.\n")
    assert [info["steps"] for info in listed(call)] == [info["steps"] for info in before]


def test_the_answer_may_be_json_and_saved(call: Call, team: Write, tmp_path: Path) -> None:
    run_id = kept(call, team(ONE))
    said = call("resume", run_id, "--json", "--save", str(tmp_path / "answer.json"))
    assert json.loads(said.out)["run_id"] == run_id
    assert (tmp_path / "answer.json").read_text() == said.out


def test_a_changed_team_is_refused_unless_that_is_meant(call: Call, team: Write) -> None:
    run_id = kept(call, team(ONE))
    team(ONE.replace("[plugins.models]", 'instruction = "Think hard."\n[plugins.models]'))
    said = call("resume", run_id)
    assert (said.code, said.out) == (2, "")
    assert said.err.splitlines()[-2:] == [
        f"marsys: run {run_id!r} was begun with something else than is there now; --accept-changes goes on all the same:",
        "  - agents.A.instruction: is new",
    ]
    assert call("resume", run_id, "--accept-changes").out == "Forty-two.\n"


def test_a_team_that_has_moved_is_named(call: Call, team: Write, tmp_path: Path) -> None:
    path = team(ONE)
    run_id = kept(call, path)
    moved = tmp_path / "moved.toml"
    os.rename(path, moved)
    said = call("resume", run_id)
    assert said.code == 2
    assert said.err.startswith(f"marsys: team file {path!r} cannot be read: ")
    assert call("resume", run_id, "--team", str(moved)).out == "Forty-two.\n"


def test_the_plugins_are_those_that_the_run_was_begun_with(call: Call, team: Write) -> None:
    path = team(ONE)
    assert call("-p", "models", "-p", "storage", "run", path, "--task", "Think.").code == 0
    run_id = listed(call)[0]["run_id"]
    assert "no plugin offers to show it" in call("resume", run_id).err
    assert "no plugin offers to show it" not in call("-p", "no:search", "resume", run_id).err


def test_the_models_are_those_that_were_taken(call: Call, team: Write) -> None:
    run_id = kept(call, team(ONE.replace('"scripted"', '"extractive"')), "--model", "scripted")
    assert call("resume", run_id).out == "Forty-two.\n"


def test_a_run_of_a_program_is_not_the_command_lines_to_resume(call: Call, tmp_path: Path) -> None:
    fill(tmp_path / "home" / "runs.db", RunInfo(run_id="mine"), RunInfo(run_id="other", origin="not JSON"))
    for run_id in ("mine", "other"):
        said = call("resume", run_id)
        assert said.code == 2
        assert said.err == (
            f"marsys: run {run_id!r} was not begun by 'marsys run', and only the program that began it knows its "
            "agents; resume it there\n"
        )


def test_what_a_run_was_begun_from_may_be_damaged(call: Call, tmp_path: Path) -> None:
    fill(tmp_path / "home" / "runs.db", RunInfo(run_id="mine", origin='{"by": "marsys run", "team": 3}'))
    said = call("resume", "mine")
    assert said.code == 2
    assert said.err.startswith("marsys: what run 'mine' was begun from cannot be read: KeyError: ")


def test_where_to_go_on_is_named_with_its_place(call: Call, team: Write, tmp_path: Path) -> None:
    write_agents(tmp_path, "failing", FAILED_ONCE)
    said = call(
        "run",
        team('[agents.A]\nfunction = "failing:work"\n'),
        "--task",
        "x",
        "--storage",
        str(tmp_path / "a b.db"),
    )
    assert said.code == 1
    last = said.err.splitlines()[-1]
    assert re.fullmatch(rf"marsys: to go on with it: marsys resume \w+ --storage '{tmp_path}/a b\.db'", last)


def test_an_answer_that_cannot_be_saved_is_told_before_anything_runs(call: Call, team: Write) -> None:
    run_id = kept(call, team(ONE))
    assert call("resume", run_id, "--save", "nowhere/x").code == 2
    assert call("resume", run_id, "-qv").code == 2


def test_the_account_of_a_run_that_goes_on_knows_what_was_done_and_no_call_of_that_time() -> None:
    account = Account()
    account.catch_up(
        [
            e.StepStarted("0", 1, ("0", 0), "First", 1, ()),
            e.StepFinished("0", 2, ("0", 1), "First", None),
            e.StepStarted("0", 3, ("0", 2), "Second", 2, ()),
            e.ModelCalled("0", 4, ("0", 3), "Second", "slow", 1, 0),
        ]
    )
    assert account.taken() == "1 step was finished: First"
    assert account.going_on() == "Second"
