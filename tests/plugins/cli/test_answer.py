"""A run of the command line waits for people, and another process answers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.plugins.cli.conftest import Call
from tests.plugins.cli.keeping import listed, write_agents

Write = Callable[[str], str]
TEAM = '[agents.A]\nfunction = "asking:A"\n[topology]\nflows = ["A -> user"]\n'
ONE = """
from marsys import AskUser

async def A(prompt, context):
    return f"heard {prompt}" if context.answered else AskUser("Which?", ("red", "blue"))
"""
TWO = """
from marsys import AskUser, Invoke

async def A(prompt, context):
    return str(prompt) if context.step > 1 else Invoke([("B", "b"), ("C", "c")])

async def B(prompt, context):
    return f"B heard {prompt}" if context.answered else AskUser("B?")

async def C(prompt, context):
    return f"C heard {prompt}" if context.answered else AskUser("C?")
"""
TWO_TEAM = """
[agents]
A.function = "asking_two:A"
B.function = "asking_two:B"
C.function = "asking_two:C"
[topology]
flows = ["A <-> [B, C]", "B -> user", "C -> user"]
"""


@pytest.fixture
def waiting(call: Call, team: Write, tmp_path: Path) -> str:
    """A run that waits for an answer; returns its id."""
    write_agents(tmp_path, "asking", ONE)
    said = call("run", team(TEAM), "--task", "x", "-q")
    assert (said.code, said.out) == (3, "")
    (info,) = listed(call)
    assert info["status"] == "waiting"
    assert "the run is waiting" in said.err
    assert "0:3  Which?" in said.err
    assert f"to answer: marsys answer {info['run_id']} ANSWER" in said.err
    return str(info["run_id"])


def test_an_answer_lets_the_run_go_on(call: Call, waiting: str) -> None:
    said = call("answer", waiting[:6], "2", "-q")
    assert (said.code, said.out) == (0, "heard blue\n")
    assert [info["status"] for info in listed(call)] == ["succeeded"]


def test_without_an_answer_the_questions_are_listed(call: Call, waiting: str) -> None:
    said = call("answer", waiting)
    assert said.code == 0
    assert said.out == "  0:3  Which?\n        1. red\n        2. blue\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["green"], "the answer is one of 'red', 'blue', not 'green'"),
        (["red", "--question", "0:9"], "no open question is called '0:9'; there are:\n  0:3  Which?"),
    ],
)
def test_an_answer_that_is_none_leaves_the_run_waiting(
    call: Call, waiting: str, arguments: list[str], message: str
) -> None:
    said = call("answer", waiting, *arguments)
    assert said.code == 2
    assert message in said.err
    assert [info["status"] for info in listed(call)] == ["waiting"]


def test_a_run_that_waits_for_nothing_cannot_be_answered(call: Call, waiting: str) -> None:
    call("answer", waiting, "red")
    said = call("answer", waiting, "red")
    assert said.code == 2
    assert f"run '{waiting}' waits for no answer; it is succeeded" in said.err


def test_of_several_questions_one_is_named_and_the_run_waits_for_the_other(
    call: Call, team: Write, tmp_path: Path
) -> None:
    write_agents(tmp_path, "asking_two", TWO)
    path = team(TWO_TEAM)
    assert call("run", path, "--task", "x", "-q").code == 3
    (info,) = listed(call)
    said = call("answer", info["run_id"], "yes")
    assert said.code == 2
    assert "2 questions are open; say which with --question:" in said.err
    asked = [line.split()[0] for line in said.err.splitlines() if line.startswith("  0")]
    said = call("answer", info["run_id"], "one", "--question", asked[0])
    assert said.code == 3
    assert f"{asked[1]}  C?" in said.err
    said = call("answer", info["run_id"], "two", "-q")
    assert said.code == 0
    assert "B heard one" in said.out
    assert "C heard two" in said.out


def test_a_program_reads_the_questions_as_json(call: Call, team: Write, tmp_path: Path) -> None:
    write_agents(tmp_path, "asking", ONE)
    said = call("run", team(TEAM), "--task", "x", "-q", "--json")
    data = json.loads(said.out)
    assert (said.code, data["status"], data["success"]) == (3, "waiting", False)
    (asked,) = data["questions"]
    assert (asked["prompt"], asked["options"], asked["run_id"]) == ("Which?", ["red", "blue"], data["run_id"])


def test_a_run_that_is_resumed_without_an_answer_waits_again(call: Call, waiting: str) -> None:
    said = call("resume", waiting, "-q")
    assert said.code == 3
    assert "0:3  Which?" in said.err
