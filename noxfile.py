"""What is checked before a commit. Run all of it with `nox`, one part with ``nox -s lint``.

Sessions test the built wheel, never the tree. It is built once for each content of the sources and kept in
``.nox/wheels``. Arguments after ``--`` go to the program that a session runs: ``nox -s tests-3.12 -- -k joins``.
"""

from __future__ import annotations

import functools
import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import nox

nox.needs_version = ">=2024.3.2"  # the first with a fallback among backends
nox.options.default_venv_backend = "uv|virtualenv"
# Nox would make a missing interpreter an error where CI is set; here it is skipped, and said so.
nox.options.error_on_missing_interpreters = False
nox.options.sessions = ["lint", "typing", "bare", "tests", "database", "examples"]

ROOT = Path(__file__).parent
WHEELS = ROOT / ".nox" / "wheels"
PYTHONS = ["3.11", "3.12", "3.13", "3.14"]
OLDEST = PYTHONS[0]
NEWEST = next((each for each in reversed(PYTHONS) if shutil.which(f"python{each}")), PYTHONS[-1])
SOURCES = ["LICENSE", "README.md", "pyproject.toml", "marsys_core", "plugins/marsys"]
UVLOOP = "uvloop>=0.20; sys_platform != 'win32'"
ANTHROPIC = "anthropic>=2.0"
OPENAI = "openai>=3.54"
TEST_TOOLS = [
    "pytest>=8.2",
    "hypothesis>=6.100",
    "jsonschema>=4.20",
    "pydantic>=2.7",
    ANTHROPIC,
    OPENAI,
    UVLOOP,
]
EXAMPLE_TOOLS = [
    "fastapi>=0.115",
    "uvicorn>=0.30",
    "flask>=3.0",
    "httpx>=0.27",
    "nbclient>=0.10",
    "ipykernel>=6.29",
]
HOSTS = ["asyncio", "uvloop", "thread"]
QUICK = ["-m", "not slow"]
KEPT_WHEELS = 5
CONTRIB = sorted(path.parent.name for path in (ROOT / "contrib").glob("*/tests"))
CONTRACTS = ROOT / "tests" / "plugins" / "storage"  # what every store does, in modules that stand alone

TESTED = {"MARSYS_TEST_WHEEL": "1", "PYTHONPATH": None}
"""The environment of tests: they check that what they import is the installed wheel."""


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """Run the suite but the examples' against the installed wheel, on every Python there is.

    What takes long runs on the oldest.
    """
    install_wheel(session, *TEST_TOOLS)
    chosen = session.posargs or ([] if session.python == OLDEST else QUICK)
    session.run("pytest", "--ignore=tests/examples", *chosen, env=TESTED)


@nox.session(python=OLDEST)
def database(session: nox.Session) -> None:
    """Keep states in a PostgreSQL server, whose package is for the older Pythons only."""
    install_wheel(session, *TEST_TOOLS, "pgserver>=0.1.4", "asyncpg>=0.30")
    session.run("pytest", *(session.posargs or ["tests/docs/test_guide.py", "-k", "database"]), env=TESTED)


@nox.session(python=list(dict.fromkeys([OLDEST, NEWEST])))
def examples(session: nox.Session) -> None:
    """Run the programs that embed the engine, on the oldest and the newest Python there is."""
    prepare_display(session)
    install_wheel(session, *TEST_TOOLS, *EXAMPLE_TOOLS)
    session.run("pytest", *(session.posargs or ["tests/examples"]), env=TESTED)


@nox.session(python=OLDEST)
def bare(session: nox.Session) -> None:
    """Run the engine's own suite without any plugin, but for what takes long; importing `marsys` is an error."""
    install_wheel(session, *TEST_TOOLS)
    env = {**TESTED, "MARSYS_BARE": "1", "MARSYS_PLUGINS": ""}
    session.run("pytest", *(session.posargs or ["tests/core", "tests/test_wheel.py", *QUICK]), env=env)


@nox.session(python=OLDEST)
def lint(session: nox.Session) -> None:
    """Check style and format, and the laws of the tree: who imports whom, what is exported, what is read."""
    session.install("ruff>=0.9")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    install_wheel(session, *TEST_TOOLS)
    session.run(
        "pytest", "-q", "tests/test_layers.py", "tests/test_tree.py", "tests/test_quiet.py", env=TESTED
    )


@nox.session(python=OLDEST)
def typing(session: nox.Session) -> None:
    """Check the types of both packages strictly, and what the public names look like to a type checker."""
    install_wheel(session, "mypy>=1.14")
    session.run("mypy", env={"MYPYPATH": f"{ROOT}:{ROOT / 'plugins'}"})
    # Outside the tree, so that the programs are checked against the wheel and its py.typed.
    programs = shutil.copytree(
        ROOT / "tests" / "typing", Path(session.create_tmp()) / "programs", dirs_exist_ok=True
    )
    config = ROOT / "pyproject.toml"
    with session.chdir(programs):
        session.run(
            "mypy", "--config-file", str(config), *(path.name for path in sorted(programs.glob("*.py")))
        )


@nox.session(python=OLDEST)
def bench(session: nox.Session) -> None:
    """Measure: what importing, a step, a fork and a long history cost, and what other hosts than Trio do."""
    install_wheel(session, UVLOOP, OPENAI)
    session.run("python", "benchmarks/run.py", *session.posargs, env=TESTED)
    if not session.posargs:
        session.run("python", "benchmarks/hosts.py", env=TESTED)
        session.run("python", "benchmarks/wire.py", env=TESTED)


@nox.session(python=OLDEST)
def simulate(session: nox.Session) -> None:
    """Play long campaigns: random runs, runs cancelled at every point, and runs killed and gone on with at every one."""
    install_wheel(session, *TEST_TOOLS)
    env = {"MARSYS_EXAMPLES": "20000", **TESTED, "MARSYS_SIMULATE": "1"}
    selected = session.posargs or [
        "-k",
        "propert or reference or cancel or simulat or resuming or surviving or full_disk or promises or rotten",
        "tests/core",
        "tests/plugins/storage",
    ]
    session.run("pytest", *selected, env=env)


@nox.session(python=OLDEST)
def wire(session: nox.Session) -> None:
    """Replay what providers answered; with MARSYS_WIRE=FOLDER all records in that folder."""
    install_wheel(session, *TEST_TOOLS)
    session.run("pytest", *(session.posargs or ["-k", "replay", "tests/plugins"]), env=TESTED)


@nox.session(python=OLDEST)
def hosts(session: nox.Session) -> None:
    """Run what the engine does under every host, and its own suite as a guest of each loop and in a thread."""
    install_wheel(session, *TEST_TOOLS)
    env = {**TESTED, "MARSYS_SIMULATE": "1"}
    session.run("pytest", *(session.posargs or ["tests/core/hosts", "tests/core/embed"]), env=env)
    for host in HOSTS:
        env = {**TESTED, "MARSYS_TEST_HOST": host}
        session.run("pytest", *(session.posargs or ["tests/core"]), env=env)


@nox.session(python=OLDEST)
@nox.parametrize("distribution", CONTRIB, ids=CONTRIB)
def contrib(session: nox.Session, distribution: str) -> None:
    """Install a distribution of contrib beside the wheel, as anybody would, and run its own tests there."""
    folder = ROOT / "contrib" / distribution
    install_wheel(session)
    session.install(f"{folder}[testing]")
    # With ``nox -r`` the environment may hold what its sources were before.
    session.install("--force-reinstall", "--no-deps", str(folder))
    with session.chdir(folder):
        session.run("pytest", *session.posargs, env={**TESTED, "PYTHONPATH": str(CONTRACTS)})


def install_wheel(session: nox.Session, *others: str) -> None:
    """Install the wheel, and what else a session needs."""
    wheel = str(built_wheel(session))
    session.install(wheel, *others)
    # With ``nox -r`` the environment may hold an older wheel of the same version.
    session.install("--force-reinstall", "--no-deps", wheel)


def prepare_display(session: nox.Session) -> None:
    """Install a display for windows where root can do so; the test that needs it says what is missing."""
    if shutil.which("Xvfb") or not shutil.which("apt-get") or os.geteuid() != 0:
        return
    for arguments in (["update"], ["install", "--yes", "--no-install-recommends", "xvfb"]):
        session.run("apt-get", *arguments, external=True, silent=True, success_codes=range(256))


@functools.cache
def content() -> str:
    """Return a digest of everything that goes into the wheel."""
    digest = hashlib.sha256()
    for path in sources():
        digest.update(f"{path.relative_to(ROOT)}\0".encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:16]


def sources() -> Iterator[Path]:
    """Find the files that go into the wheel, in a stable order."""
    for name in SOURCES:
        top = ROOT / name
        found = [top] if top.is_file() else sorted(top.rglob("*"))
        yield from (path for path in found if path.is_file() and not is_cache(path))


def is_cache(path: Path) -> bool:
    """Tell whether a tool left the file behind."""
    return any(part == "__pycache__" or part.endswith("_cache") for part in path.parts)


def built_wheel(session: nox.Session) -> Path:
    """Return the wheel of the sources as they were when nox began; build it if there is none yet."""
    folder = WHEELS / content()
    if not (found := list(folder.glob("*.whl"))):
        session.log(f"building the wheel of {content()}")
        session.install("build")
        made = Path(session.create_tmp()) / "wheel"
        shutil.rmtree(made, ignore_errors=True)
        session.run("python", "-m", "build", "--wheel", "--outdir", str(made), str(ROOT), silent=True)
        folder.parent.mkdir(parents=True, exist_ok=True)
        made.replace(folder)
        forget_old_wheels()
        found = list(folder.glob("*.whl"))
    return found[0]


def forget_old_wheels() -> None:
    """Keep the newest few."""
    for old in sorted(WHEELS.iterdir(), key=lambda each: each.stat().st_mtime)[:-KEPT_WHEELS]:
        shutil.rmtree(old)
