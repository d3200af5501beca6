"""The template in contrib is a complete distribution, and what its README says of it is so."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.foreign.environments import Environment
from tests.foreign.wheels import build_wheel, folder_of_files

pytestmark = pytest.mark.slow  # every test runs programs of its own

TEMPLATE = Path(__file__).resolve().parents[2] / "contrib" / "marsys-template"


def wheel_of_the_template(folder: Path) -> Path:
    """Build it as its author would, or, where the build backend is not installed, by hand from the same data."""
    if importlib.util.find_spec("hatchling") is None:
        project = tomllib.loads((TEMPLATE / "pyproject.toml").read_text("utf-8"))["project"]
        plugins = project["entry-points"]["marsys"]
        files = folder_of_files(TEMPLATE / "src")
        return build_wheel(folder, project["name"], files, plugins, version=project["version"])
    copy = shutil.copytree(TEMPLATE, folder / "template")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=copy, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def installed(
    new_environment: Callable[[], Environment], tmp_path_factory: pytest.TempPathFactory
) -> Environment:
    environment = new_environment()
    environment.install(wheel_of_the_template(tmp_path_factory.mktemp("template")))
    return environment


def test_its_own_tests_pass_where_it_is_installed(installed: Environment, tmp_path: Path) -> None:
    copy = shutil.copytree(TEMPLATE, tmp_path / "template")
    shutil.rmtree(copy / "src")  # so that what is tested is what is installed
    ran = installed.pytest(copy)
    assert ran.code == 0, ran.out
    assert re.search(r" 5 passed in ", ran.out)


def test_the_listing_shows_it_with_its_summary_and_nothing_is_wrong(installed: Environment) -> None:
    ran = installed.marsys("--strict-plugins", "plugins", "-v")
    assert (ran.code, ran.err) == (0, "")
    assert re.search(r"^    echo +template +Answers with what it was told$", ran.out, re.MULTILINE)


def test_the_team_of_its_readme_runs(installed: Environment, tmp_path: Path) -> None:
    readme = (TEMPLATE / "README.md").read_text("utf-8")
    (team,) = re.findall(r"```toml\n(.*?)```", readme, re.DOTALL)
    path = tmp_path / "team.toml"
    path.write_text(team, encoding="utf-8")
    ran = installed.marsys("run", path, "--task", "hello", "-q")
    assert (ran.code, ran.out) == (0, "I heard: hello\n")
