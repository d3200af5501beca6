from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import trio

from marsys.storage import SQLiteStore
from marsys_core.protocols.store import RunInfo
from tests.plugins.cli.conftest import Call
from tests.plugins.cli.keeping import ONE, kept, listed

Write = Callable[[str], str]


def fill(path: Path, *infos: RunInfo) -> None:
    """Put runs into a store that nobody goes on with."""

    async def main() -> None:
        async with SQLiteStore(path) as store:
            for info in infos:
                await (await store.create(info)).release()

    path.parent.mkdir(exist_ok=True)
    trio.run(main)


@pytest.fixture
def filled(tmp_path: Path) -> Path:
    path = tmp_path / "home" / "runs.db"
    fill(
        path,
        RunInfo(run_id="aaaa1111", status="succeeded", task="one\nline", steps=3, created=1.0),
        RunInfo(run_id="aaaa2222", status="failed", task="t" * 100, session_id="s1"),
        RunInfo(run_id="bbbb3333", task="part of it", parent="aaaa2222"),
        RunInfo(run_id="cccc4444", task="cut off"),
    )
    return path


def test_nothing_is_kept_at_first_and_that_is_no_mistake(call: Call, tmp_path: Path) -> None:
    said = call("runs")
    assert (said.code, said.out) == (0, "")
    assert said.err == f"marsys: no run is kept in {str(tmp_path / 'home' / 'runs.db')!r}\n"
    assert call("runs", "--json").out == "[]\n"
    assert not (tmp_path / "home").exists()


def test_a_file_that_is_named_has_to_be_there(call: Call, tmp_path: Path) -> None:
    path = str(tmp_path / "no.db")
    said = call("runs", "--storage", path)
    assert said.code == 2
    assert (
        said.err
        == f"marsys: no runs are kept in {path!r}: there is no such file; name another with --storage FILE\n"
    )


def test_a_table_has_the_newest_first_and_no_part_of_another_run(call: Call, filled: Path) -> None:
    said = call("runs")
    assert (said.code, said.err) == (0, "")
    rows = [re.split(r" {2,}", line) for line in said.out.splitlines()]
    assert rows[0] == ["id", "status", "steps", "when", "session", "task"]
    assert [row[0] for row in rows[1:]] == ["cccc4444", "aaaa2222", "aaaa1111"]
    assert rows[1][1:3] == ["interrupted", "0"]
    assert rows[2][4:] == ["s1", f"{'t' * 57}..."]
    assert rows[3][4:] == ["-", "one line"]


def test_sessions_are_a_column_only_where_there_are_some(call: Call, team: Write) -> None:
    kept(call, team(ONE))
    assert "session" not in call("runs").out


@pytest.mark.parametrize(
    ("arguments", "ids"),
    [
        (["--status", "failed"], ["aaaa2222"]),
        (["--status", "failed", "--status", "interrupted"], ["cccc4444", "aaaa2222"]),
        (["--session", "s1"], ["aaaa2222"]),
        (["--session", ""], ["cccc4444", "aaaa1111"]),
        (["--status", "paused"], []),
    ],
)
def test_some_are_chosen(call: Call, filled: Path, arguments: list[str], ids: list[str]) -> None:
    assert [info["run_id"] for info in listed(call, *arguments)] == ids


def test_that_there_are_more_is_said(call: Call, filled: Path) -> None:
    said = call("runs", "--limit", "2")
    assert len(said.out.splitlines()) == 3
    assert said.err == "marsys: there are more than these 2; --limit shows them\n"
    assert call("runs", "--limit", "3").err == ""


def test_a_choice_that_finds_nothing_says_so(call: Call, filled: Path) -> None:
    assert call("runs", "--session", "no").err == f"marsys: no such run is kept in {str(filled)!r}\n"


def test_more_runs_than_a_page_are_all_listed(call: Call, tmp_path: Path) -> None:
    fill(tmp_path / "home" / "runs.db", *[RunInfo(run_id=f"r{n:04}") for n in range(502)])
    assert len(listed(call, "--limit", "1000")) == 502
    assert call("show", "r0000").code == 0
