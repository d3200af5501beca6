"""How a run is found by its id."""

from __future__ import annotations

from pathlib import Path

import pytest

from marsys_core.protocols.store import RunInfo
from tests.plugins.cli.conftest import Call
from tests.plugins.cli.test_runs import fill

IDS = ["3f2a9c01", "3f2b0000", "77aa", "77aa55"]


@pytest.fixture
def _filled(tmp_path: Path) -> None:
    fill(tmp_path / "home" / "runs.db", *[RunInfo(run_id=name) for name in IDS])


@pytest.mark.usefixtures("_filled")
@pytest.mark.parametrize(("given", "found"), [("3f2a", "3f2a9c01"), ("77aa", "77aa"), ("77aa5", "77aa55")])
def test_the_beginning_of_an_id_is_enough(call: Call, given: str, found: str) -> None:
    said = call("show", given)
    assert said.code == 0
    assert said.out.splitlines()[0].split() == ["run", found]


@pytest.mark.usefixtures("_filled")
@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ("3f2", "2 runs have an id that begins with '3f2': 3f2b0000, 3f2a9c01; write more of it"),
        (
            "3f2c",
            "no run is called '3f2c'; there are: 3f2a9c01, 3f2b0000, 77aa, 77aa55. Did you mean '3f2a9c01'?",
        ),
        ("zz", "no run is called 'zz'; there are: 3f2a9c01, 3f2b0000, 77aa, 77aa55."),
        ("", "the id of a run is empty; 'marsys runs' lists them"),
    ],
)
@pytest.mark.parametrize(
    "command", [["show"], ["resume"], ["fork", "--at", "1"], ["diff", "77aa"], ["store", "export"]]
)
def test_an_id_that_names_no_run_is_a_mistake(
    call: Call, command: list[str], given: str, problem: str
) -> None:
    file = ["out.jsonl"] if command[0] == "store" else []
    said = call(*command, given, *file)
    assert (said.code, said.out) == (2, "")
    assert said.err == f"marsys: {problem}\n"


def test_among_many_the_nearest_are_listed_with_the_newest(call: Call, tmp_path: Path) -> None:
    fill(
        tmp_path / "home" / "runs.db",
        RunInfo(run_id="abcdef12"),
        *[RunInfo(run_id=f"{n:08}") for n in range(20)],
    )
    said = call("show", "abcdef21")
    assert "there are: 00000010, " in said.err
    assert ", abcdef12. Did you mean 'abcdef12'? There are 21 in all: 'marsys runs' lists them.\n" in said.err


def test_a_store_of_a_plugin_is_looked_into_by_its_name(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = call("show", "x", "--storage", "sqlight")
    assert said.code == 2
    assert said.err.startswith("marsys: no journal provider is called 'sqlight'; there are: sqlite.")
    said = call("show", "x", "--storage", "sqlite")
    assert said.code == 2
    assert "the SQLite store has no file" in said.err
