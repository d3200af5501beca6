from __future__ import annotations

import importlib
import os
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs
import pytest

from marsys.cli.process import run_process
from marsys_core.plugins import scan

KNOBS = ("MARSYS_PLUGINS", "MARSYS_BLOCK_PLUGINS", "MARSYS_STRICT_PLUGINS")


@attrs.frozen
class Said:
    """What a command wrote, and its exit code."""

    code: int
    out: str
    err: str


Call = Callable[..., Said]


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Call:
    """Carry out a command in this process; runs are kept in ``home`` of the test's folder."""
    monkeypatch.setenv("MARSYS_HOME", str(tmp_path / "home"))
    for name in KNOBS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "dumb")

    def made(*arguments: str) -> Said:
        capsys.readouterr()
        code = run_process(arguments)
        out, err = capsys.readouterr()
        return Said(code, out, err)

    return made


class Site:
    """A place where distributions with plugins are installed by writing files, beside those that are there."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def add(self, distribution: str, version: str = "1.0", **plugins: str) -> None:
        """Install a distribution with one module for each plugin, whose source is the value."""
        stem = distribution.replace("-", "_")
        info = self.path / f"{stem}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n")
        lines = [f"{name} = {stem}_{name}" for name in plugins]
        (info / "entry_points.txt").write_text("\n".join(["[marsys]", *lines, ""]))
        for name, source in plugins.items():
            (self.path / f"{stem}_{name}.py").write_text(textwrap.dedent(source))
        importlib.invalidate_caches()
        scan.cache_clear()


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """Forgets afterwards what was imported and found, so that tests do not see each other's plugins."""
    path = tmp_path / "site"
    path.mkdir()
    monkeypatch.syspath_prepend(str(path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    before = set(sys.modules)
    yield Site(path)
    scan.cache_clear()
    for name in set(sys.modules) - before:
        origin = getattr(sys.modules[name], "__file__", None)
        if origin and Path(origin).is_relative_to(path):
            del sys.modules[name]


@pytest.fixture
def team(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Write a team file, and return its path; the folder's modules are forgotten afterwards."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def write(text: str) -> str:
        path = tmp_path / "team.toml"
        path.write_text(textwrap.dedent(text), encoding="utf-8")
        return os.fspath(path)

    return write
