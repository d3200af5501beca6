"""Small rules for every file of the tree."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import marsys_core

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("marsys_core", "plugins", "contrib", "tests", "docs", "benchmarks", "examples", ".ci")
LEFT_ALONE = {ROOT / "examples" / "library"}  # texts by other hands
TEXT = {".py", ".md", ".toml", ".txt", ".ini", ".cfg", ".yml", ".yaml", ""}
UNFINISHED = re.compile(r"\b(?:TO" + r"DO|FIX" + r"ME|XX" + r"X)\b")
MACHINE = re.compile(r"(?<![\w.~/])/(?:home|root|Users|work|opt)/\w")


def files() -> Iterator[Path]:
    found = [path for path in ROOT.iterdir() if path.is_file() and path.suffix in TEXT]
    for folder in FOLDERS:
        found += [path for path in (ROOT / folder).rglob("*") if path.is_file() and path.suffix in TEXT]
    for path in sorted(found):
        caches = any(
            part.startswith(("__", ".hypothesis")) or part.endswith("_cache") for part in path.parent.parts
        )
        if not caches and not any(path.is_relative_to(other) for other in LEFT_ALONE):
            yield path


def test_there_is_something_to_look_at():
    assert len(list(files())) > 100


@pytest.mark.parametrize("path", list(files()), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_file_is_tidy(path):
    text = path.read_bytes().decode("utf-8")

    assert "\r" not in text
    assert not text or (text.endswith("\n") and not text.endswith("\n\n"))
    assert [number for number, line in enumerate(text.split("\n"), 1) if line != line.rstrip()] == []
    assert UNFINISHED.findall(text) == []
    assert MACHINE.findall(text) == []


def test_the_changelog_begins_with_what_is_not_released_or_with_this_version():
    headings = re.findall(r"^## (.*)$", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)

    assert headings[0] == "Unreleased" or headings[0].startswith(f"{marsys_core.__version__} ")
