"""The table of the standard plugins, the entry points, and the code say the same."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
import tomllib
from pathlib import Path

import attrs
import pytest

from marsys_core import hookspecs

ROOT = Path(__file__).resolve().parents[2]
PLUGINS = ROOT / "plugins" / "marsys"


@attrs.frozen
class Row:
    """One line of the table."""

    name: str
    entry_point: str
    hooks: tuple[str, ...]
    extra: str
    folder: str
    summary: str


def rows() -> list[Row]:
    lines = (ROOT / "plugins" / "README.md").read_text().splitlines()
    cells = [
        [cell.strip().replace("`", "") for cell in line.split("|")[1:-1]]
        for line in lines
        if line[:3] == "| `"
    ]
    return [Row(name, entry, tuple(hooks.split(", ")), *rest) for name, entry, hooks, *rest in cells]


def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def entry_points() -> dict[str, str]:
    return project()["entry-points"]["marsys"]


def in_the_tree() -> dict[str, str]:
    return {path.parent.name: f"marsys.{path.parent.name}.plugin" for path in PLUGINS.glob("*/plugin.py")}


def test_the_table_has_rows_sorted_and_each_once():
    names = [row.name for row in rows()]
    assert names
    assert names == sorted(set(names))


def test_the_table_and_the_entry_points_are_the_same():
    assert {row.name: row.entry_point for row in rows()} == entry_points()


def test_every_plugin_of_the_tree_has_an_entry_point():
    assert in_the_tree() == entry_points()


@pytest.mark.parametrize("row", rows(), ids=lambda row: row.name)
def test_the_folder_is_where_the_plugin_is(row):
    assert (ROOT / row.folder / "plugin.py").is_file()
    assert row.entry_point == ".".join([*Path(row.folder).parts[1:], "plugin"])


@pytest.mark.parametrize("row", rows(), ids=lambda row: row.name)
def test_the_hooks_are_those_that_the_plugin_implements(row):
    module = importlib.import_module(row.entry_point)
    found = [name for name in dir(module) if hasattr(getattr(module, name), "marsys_impl")]
    assert list(row.hooks) == sorted(found)
    assert set(found) <= set(hookspecs.__all__)


@pytest.mark.parametrize("row", rows(), ids=lambda row: row.name)
def test_the_extra_is_one_that_the_distribution_has(row):
    assert row.extra == "–" or row.extra in project()["optional-dependencies"]


def test_every_hook_has_a_plugin_that_uses_it():
    assert {hook for row in rows() for hook in row.hooks} == set(hookspecs.__all__)


HEAVY = (
    "anthropic", "asyncio", "boto3", "click", "cryptography", "diskcache", "fastapi", "google", "html.parser",
    "httpx", "mcp", "openai", "opentelemetry", "prometheus_client", "rich", "sqlite3", "sqlite_utils", "starlette",
)  # fmt: skip


@pytest.mark.slow
def test_a_plugin_module_imports_nothing_heavy():
    # Beside what `import trio` brings, which every program that uses the engine pays for anyway. In one
    # process, one after the other: each is charged with what it is the first to import.
    code = (
        "import importlib, json, sys, trio\n"
        "found, seen = {}, set(sys.modules)\n"
        f"for name in {sorted(in_the_tree().values())!r}:\n"
        "    importlib.import_module(name)\n"
        "    found[name] = sorted(set(sys.modules) - seen)\n"
        "    seen = set(sys.modules)\n"
        "print(json.dumps(found))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    imported = json.loads(done.stdout)
    assert sorted(imported) == sorted(in_the_tree().values())
    assert all(name in imported[name] for name in imported)
    heavy = {name: sorted(set(HEAVY) & set(modules)) for name, modules in imported.items()}
    assert {name: modules for name, modules in heavy.items() if modules} == {}
