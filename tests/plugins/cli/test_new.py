from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.plugins.cli.conftest import Call


def test_what_is_written_runs_as_it_is(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    folder = tmp_path / "first team"
    said = call("new", str(folder))
    assert said.code == 0
    assert [Path(line).name for line in said.out.splitlines()] == ["team.toml", "agents.py", "test_agents.py"]
    ran = call("run", str(folder / "team.toml"), "--task", "wash up and sweep", "-q")
    assert (ran.code, ran.out) == (0, "wash up: done\nsweep: done\n")


@pytest.mark.slow
def test_its_test_passes(call: Call, tmp_path: Path) -> None:
    call("new", str(tmp_path / "team"))
    subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"], cwd=tmp_path / "team", check=True
    )


def test_nothing_that_is_there_is_changed(call: Call, tmp_path: Path) -> None:
    (tmp_path / "agents.py").write_text("mine")
    said = call("new", str(tmp_path), "--name", "T")
    assert said.code == 2
    assert said.err.endswith("has agents.py already; nothing was written. Name another folder\n")
    assert [path.name for path in tmp_path.iterdir()] == ["agents.py"]
    assert (tmp_path / "agents.py").read_text() == "mine"


@pytest.mark.parametrize("name", ["{x}", 'a"b', "a\nb", ""])
def test_a_name_that_would_break_the_files_is_refused(call: Call, tmp_path: Path, name: str) -> None:
    said = call("new", str(tmp_path / "team"), "--name", name) if name else call("new", str(tmp_path / "{x}"))
    assert said.code == 2
    assert "is no name for a team" in said.err


def test_a_folder_that_cannot_be_made_is_told(call: Call, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    said = call("new", str(tmp_path / "file" / "team"))
    assert said.code == 2
    assert "cannot be written: Not a directory" in said.err


def test_an_empty_name_of_a_folder_is_not_the_working_directory(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    said = call("new", "")
    assert (said.code, said.out) == (2, "")
    assert "it is empty; name a folder, or '.' for this one" in said.err
    assert list(tmp_path.iterdir()) == []
