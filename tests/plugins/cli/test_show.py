from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from marsys.cli.story import brief, said, steps_of
from marsys_core.protocols.store import Entry, RunInfo
from tests.plugins.cli.conftest import Call
from tests.plugins.cli.keeping import TWO, kept, listed, write_agents
from tests.plugins.cli.test_runs import fill

Write = Callable[[str], str]
FAILING = """
def fails(task):
    raise ValueError("no such luck")
"""


def entry(seq: int, kind: str, branch: str = "0", **data: object) -> Entry:
    return Entry(seq, branch, seq, (branch, seq - 1), kind, seq / 10, json.dumps(data))


def test_what_happened_is_told_step_by_step(call: Call, team: Write) -> None:
    run_id = kept(call, team(TWO))
    said_ = call("show", run_id)
    assert (said_.code, said_.err) == (0, "")
    head, steps = said_.out.split("\n\n")
    facts = dict(re.split(r" {2,}", line, maxsplit=1) for line in head.splitlines())
    assert facts["run"] == run_id
    assert facts["status"] == "succeeded"
    assert facts["task"] == "Think."
    assert facts["team"].endswith("team.toml")
    assert re.fullmatch(r"2 steps, \d\.\d s", facts["took"])
    assert "error" not in facts
    rows = [re.split(r" {2,}", line.strip()) for line in steps.splitlines()]
    assert [(row[0], row[2], row[3], row[5]) for row in rows] == [
        ("1", "0", "First", "said '\"Think.\"'"),
        ("2", "0", "Second", "said 'x'"),
    ]


def test_what_failed_is_told(call: Call, team: Write, tmp_path: Path) -> None:
    write_agents(tmp_path, "failing_show", FAILING)
    run_id = kept(call, team('[agents.A]\nfunction = "failing_show:fails"\n'))
    out = call("show", run_id).out
    assert re.search(r"^status +failed$", out, re.MULTILINE)
    assert re.search(r"^error +AgentError: agent 'A' raised ValueError: no such luck", out, re.MULTILINE)
    assert "failed: AgentError: agent 'A' raised ValueError: no such luck" in out.split("\n\n")[1]


def test_all_events_are_shown_where_they_are_asked_for(call: Call, team: Write) -> None:
    run_id = kept(call, team(TWO))
    rows = [
        re.split(r" {2,}", line, maxsplit=4)
        for line in call("show", run_id, "--events").out.split("\n\n")[1].splitlines()
    ]
    assert [row[3] for row in rows][:3] == ["RunStarted", "BranchStarted", "StepStarted"]
    assert [int(row[0]) for row in rows] == list(range(len(rows)))
    assert all(isinstance(json.loads(row[4]), dict) for row in rows)


def test_json_is_for_programs(call: Call, team: Write) -> None:
    run_id = kept(call, team(TWO))
    data = json.loads(call("show", run_id, "--json").out)
    assert data["run"] == listed(call)[0]
    assert "events" not in data
    assert data["damage"] is None
    second = data["steps"][1]
    assert (second["node"], second["outcome"], second["attempts"], second["error"]) == (
        "Second",
        "done",
        1,
        None,
    )
    assert [(each["kind"], each["name"], each["outcome"]) for each in second["calls"]] == [
        ("model", "scripted", "done")
    ]
    events = json.loads(call("show", run_id, "--json", "--events").out)["events"]
    assert events[0]["kind"] == "RunStarted"
    assert events[0]["cause"] == ["", -1]
    assert events[0]["data"]["task"] == "Think."


def test_of_a_damaged_record_what_can_be_read_is_shown(call: Call, team: Write, tmp_path: Path) -> None:
    run_id = kept(call, team(TWO))
    with sqlite3.connect(tmp_path / "home" / "runs.db") as database:
        database.execute("UPDATE entries SET data = '{}' WHERE kind = 'BranchMoved'")
    database.close()
    shown = call("show", run_id)
    assert shown.code == 1
    assert "First" in shown.out
    assert "Second" not in shown.out.split("\n\n")[1]
    assert re.match(r"marsys: entry 4 of run '\w+' in .* is damaged", shown.err)
    assert call("show", run_id, "--json").code == 1


def test_a_run_that_has_done_nothing_yet_is_shown(call: Call, tmp_path: Path) -> None:
    fill(
        tmp_path / "home" / "runs.db",
        RunInfo(run_id="new", task="later", session_id="s1", forked_from=("old", 7)),
    )
    shown = call("show", "new")
    assert re.search(r"^forked from +old, after 7$", shown.out, re.MULTILINE)
    assert re.search(r"^took +0 steps, 0.0 s$", shown.out, re.MULTILINE)
    assert shown.out.endswith("\n\nno step was begun\n")
    assert call("show", "new", "--events").out.endswith("\n\nnothing happened\n")


def test_calls_that_have_no_end_and_steps_that_are_taken_again_are_told(call: Call) -> None:
    told = steps_of(
        [
            entry(0, "RunStarted", ""),
            entry(1, "StepStarted", node="A", step=1),
            entry(2, "ToolStarted", node="A", tool="pay", call_id="1", arguments={"sum": 3}),
            entry(3, "ToolStarted", node="A", tool="pay", call_id="2", arguments={"sum": 4}),
            entry(4, "ToolFailed", node="A", tool="pay", call_id="2", error="refused", duration=0.5),
            entry(5, "ToolUncertain", node="A", tool="pay", call_id="1", error="?"),
            entry(6, "TeamStarted", node="A", team="desk", call_id="3", task="t"),
            entry(7, "StepRetried", node="A", attempt=1, delay=0.0, error="x"),
            entry(8, "StepStarted", "0.1", node="B", step=1),
            entry(9, "StepFailed", node="A", error={"error": "ToolError", "message": "m"}, duration=2.0),
        ]
    )
    a, b = told
    assert (a.attempts, a.outcome, a.error, a.seconds) == (2, "failed", "ToolError: m", 2.0)
    assert [(each.name, each.outcome, each.error, each.seconds) for each in a.calls] == [
        ("pay", "uncertain", "?", None),
        ("pay", "failed", "refused", 0.5),
        ("desk", "begun", "", None),
    ]
    assert (b.branch, b.node, said(b)) == ("0.1", "B", "has not ended")


def test_steps_that_count_no_more_are_marked(call: Call) -> None:
    record = [
        entry(0, "RunStarted", ""),
        entry(1, "StepStarted", node="A", step=1),
        entry(2, "StepFinished", node="A", action={"$type": "Content", "value": "x"}),
        entry(3, "StepStarted", node="B", step=2),
        entry(4, "StepFailed", node="B", error={"error": "ToolError", "message": "m"}),
        entry(5, "RunResumed", "", at=4),
        entry(6, "StepFailed", node="B", error={"error": "ToolError", "message": "n"}),
        entry(7, "RunResumed", "", at=2),
        entry(8, "StepFinished", node="A", action={"$type": "Content", "value": "y"}),
    ]
    told = [(each.node, each.seq, each.void, said(each)) for each in steps_of(record)]
    assert told == [("A", 1, False, "said 'y'"), ("B", 3, True, "failed: ToolError: n")]


@pytest.mark.parametrize(
    ("action", "words"),
    [
        (
            {"$type": "Invoke", "calls": [["B", "x"], ["C", {"a": 1}]]},
            "invoked B with 'x', C with {\"a\": 1}",
        ),
        ({"$type": "Return", "value": 3}, "returned 3"),
        ({"$type": "Finish", "value": None}, "finished with null"),
        ({"$type": "AskUser", "prompt": "Sure?"}, "asked 'Sure?'"),
        ({"$type": "Fail", "error": {"error": "ValueError", "args": ["a", 1]}}, "gave up: ValueError: a, 1"),
        ({"$type": "Fail", "error": "text"}, "gave up: text"),
        ({"$type": "Fail", "error": {}}, "gave up: error"),
        ({"$type": "Later"}, "Later"),
        ({}, "ended"),
    ],
)
def test_an_action_is_told_in_words(action: dict[str, object], words: str) -> None:
    (step,) = steps_of(
        [
            entry(0, "StepStarted", node="A", step=1),
            entry(1, "StepFinished", node="A", action=action, duration=0.1),
        ]
    )
    assert said(step) == words


def test_data_is_told_in_a_line() -> None:
    assert brief("a\n b") == "'a b'"
    assert brief("x" * 100, 10) == "'xxxxxxx...'"
    assert brief({"$type": "Ref", "sha256": "ab", "size": 5002}) == "5,002 bytes"
