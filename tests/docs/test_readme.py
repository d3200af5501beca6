"""The README's two commands, and how they hang together with the rest."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.pages import ROOT, blocks, pages

README = (ROOT / "README.md").read_text("utf-8")


def section(title: str) -> str:
    return README.split(f"\n## {title}\n")[1].split("\n## ")[0]


def command(title: str) -> str:
    (block,) = [block for block in blocks(section(title)) if block.language == "sh"]
    (line,) = block.text.splitlines()
    return line


def test_it_opens_with_what_it_is_in_three_lines_and_then_how_to_run_it():
    heading, what, then, *_ = README.split("\n\n")

    assert heading == "# MARSYS"
    assert len(what.splitlines()) == 3
    assert then == "## Run it"


def test_each_command_is_one_line():
    assert command("Run it").startswith("pip install . && marsys run ")
    assert command("Test it") == "pip install nox && nox"


def test_ci_runs_what_the_readme_says():
    shown = subprocess.run(
        ["bash", str(ROOT / ".ci" / "run"), "--show"], capture_output=True, text=True, check=True
    )

    assert shown.stdout == command("Test it") + "\n"


def test_ci_names_no_command_of_its_own():
    script = (ROOT / ".ci" / "run").read_text("utf-8")

    assert "pip install" not in script
    assert not re.search(r"^\s*nox\b", script, re.MULTILINE)


@pytest.mark.slow
def test_the_main_job_runs_as_the_readme_says(tmp_path, monkeypatch):
    # The command leaves its runs in the working directory, which is not to be the tree itself.
    monkeypatch.delenv("MARSYS_HOME", raising=False)
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    before = {path for path in tmp_path.rglob("*") if "__pycache__" not in path.parts}
    run = command("Run it").partition(" && ")[2]
    scripts = str(Path(sys.executable).parent)
    environment = {**os.environ, "PATH": os.pathsep.join([scripts, os.environ["PATH"]])}

    ran = subprocess.run(
        ["sh", "-c", f"{run} <&-"], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120
    )
    left = {path for path in tmp_path.rglob("*") if "__pycache__" not in path.parts} - before

    assert ran.returncode == 0, ran.stderr
    sources = re.findall(r"^\[\d+\] (\S+), lines? \d+", ran.stdout, re.MULTILINE)
    assert len(sources) > 1, ran.stdout
    assert {*sources} <= {path.name for path in (ROOT / "examples" / "library").iterdir()}
    assert left == {tmp_path / ".marsys", tmp_path / ".marsys" / "runs.db"}


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_to_files_that_are_there(page):
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text("utf-8"))
    missing = [link for link in links if "://" not in link and not (page.parent / link).exists()]

    assert missing == []


def test_every_page_is_linked_from_the_first():
    index = (ROOT / "docs" / "index.md").read_text("utf-8")
    there = sorted(page.relative_to(ROOT / "docs").as_posix() for page in (ROOT / "docs").rglob("*.md"))

    assert [page for page in there if page != "index.md" and f"({page})" not in index] == []
