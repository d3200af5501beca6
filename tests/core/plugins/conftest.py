from __future__ import annotations

import importlib
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from marsys_core.plugins import Composition, Found, PluginSettings, compose, scan


class Site:
    """A place where distributions are installed by writing files; nothing else is found beside them."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.path = path
        self.monkeypatch = monkeypatch

    def add(self, distribution: str, version: str = "1.0", **plugins: str) -> None:
        """Install a distribution with one module for each plugin, whose source is the value."""
        stem = distribution.replace("-", "_")
        info = self.path / f"{stem}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n")
        lines = [f"{name} = {stem}_{name}" for name in plugins]
        (info / "entry_points.txt").write_text("\n".join(["[marsys]", *lines, ""]))
        for name, source in plugins.items():
            text = "from marsys_core import Provider, hookimpl\n" + textwrap.dedent(source)
            (self.path / f"{stem}_{name}.py").write_text(text)

    def scan(self) -> tuple[Found, ...]:
        """Scan this place only; what was found is kept, as it is in every process."""
        importlib.invalidate_caches()
        scan.cache_clear()
        with self.monkeypatch.context() as patch:
            patch.setattr(sys, "path", [str(self.path)])
            return scan()

    def compose(self, **settings: object) -> Composition:
        self.scan()
        return compose(PluginSettings(**settings))  # type: ignore[arg-type]


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """Forgets afterwards what was imported and found, so that tests do not see each other's plugins."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    for name in ("MARSYS_PLUGINS", "MARSYS_BLOCK_PLUGINS", "MARSYS_STRICT_PLUGINS"):
        monkeypatch.delenv(name, raising=False)
    before = set(sys.modules)
    yield Site(tmp_path, monkeypatch)
    scan.cache_clear()
    for name in set(sys.modules) - before:
        origin = getattr(sys.modules[name], "__file__", None)
        if origin and Path(origin).is_relative_to(tmp_path):
            del sys.modules[name]
