"""The laws of the tree: who may import whom, what is public, what is read, what importing costs."""

import ast
import importlib
import io
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import attrs
import pytest

from marsys_core.config import ExecutionConfig, RetryConfig, StatusConfig

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = {"marsys_core": ROOT / "marsys_core", "marsys": ROOT / "plugins" / "marsys"}

CORE_PACKAGES = {"trio", "pluggy", "attrs", "cattrs"}
LATER_IN_THE_LIBRARY = {"annotationlib"}  # 3.14
FOR_TYPE_CHECKERS = {("typing_extensions", "for annotations")}  # they know it; nothing imports it

# What makes objects or code of bytes, and what runs code that is text.
CODE_IN_DATA = {
    "pickle",
    "_pickle",
    "cPickle",
    "marshal",
    "shelve",
    "dill",
    "cloudpickle",
    "joblib",
    "jsonpickle",
}
RUNS_CODE = {"eval", "exec", "compile", "__import__"}

# What each room may import, at once or when called; annotations may name anything of marsys_core.
PURE = {"frozen", "messages", "values", "events", "topology", "actions"}
ROOMS = {
    "errors": set[str](),
    "frozen": set[str](),
    "logs": set[str](),
    "hosts": {"errors", "logs"},
    "secret": {"errors"},
    "messages": {"errors"},
    "questions": {"errors"},
    "values": {"errors", "messages"},
    "events": {"errors", "messages", "values"},
    "topology": {"errors"},
    "config": {"errors", "topology"},
    "actions": {"errors", "messages", "topology"},
    "protocols": {"errors", "messages", "events", "questions", "logs", "secret"},
    "transfer": {"errors", "protocols"},
    "keeping": {"errors", "protocols"},
    "backend": {"errors", "hosts", "protocols", "transfer", "keeping"},
    "models": {"errors", "hosts", "messages", "secret"},
    "tools": {"errors", "hosts", "messages", "values", "models"},
    "memory": {"errors", "messages"},
    "shapes": {"errors", "messages", "values", "tools"},
    "results": {"errors", "messages", "values", "shapes"},
    "journal": {"errors", "config", *PURE},
    "format": {"errors", *PURE},
    "orchestrator": {"errors", "config", "questions", *PURE},
    "context": {"errors", "messages", "protocols"},
    "hookspecs": {"errors", "protocols"},
    "plugins": {"errors", "config", "hosts", "protocols", "hookspecs", "logs", "secret"},
    "agents": {
        *{"errors", "config", *PURE, "models", "tools", "memory", "shapes", "results", "context"},
        *{"orchestrator", "hosts", "logs"},
    },
    "options": {"errors", "messages", "config", "agents"},
    "engine": {
        *{"errors", "config", *PURE, "protocols", "models", "tools", "memory", "results", "journal"},
        *{"context", "plugins", "agents", "orchestrator", "options", "questions", "shapes", "hosts", "logs"},
        *{"format", "backend"},
    },
    "run": {"errors", "hosts", "protocols", "agents", "results", "engine"},
    "orchestra": {
        *{"errors", "config", *PURE, "protocols", "models", "tools", "memory", "results", "journal"},
        *{"context", "plugins", "agents", "orchestrator", "options", "engine", "shapes", "hosts", "run"},
    },
    "embed": {
        "errors",
        "hosts",
        "logs",
        "agents",
        "options",
        "results",
        "engine",
        "shapes",
        "run",
        "orchestra",
    },
    "": {"plugins", "hookspecs", "errors", "config"},  # marsys_core/__init__.py
}
# `agent.run`, `agent.auto_run` and `team.run`, when called; a `Team` reads its agents as a run does.
# The calls for plain code, `run_sync` and its like.
UPWARD = {("agents", "orchestra"), ("agents", "options"), ("agents", "embed"), ("orchestra", "embed")}


class Import(NamedTuple):
    """One import: who, of what, where, and whether at once, when called or for annotations."""

    importer: str
    imported: str
    line: int
    when: str


def modules(package: str) -> Iterator[tuple[str, Path]]:
    top = PACKAGES[package]
    for path in sorted(top.rglob("*.py")):
        parts = [package, *path.relative_to(top).with_suffix("").parts]
        yield ".".join(parts).removesuffix(".__init__"), path


def imports(package: str) -> list[Import]:
    return [
        found
        for name, path in modules(package)
        for found in _imports(name, path, ast.parse(path.read_text("utf-8")), "at once")
    ]


def _imports(name: str, path: Path, node: ast.AST, when: str) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (Import(name, alias.name, child.lineno, when) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0, f"{path}:{child.lineno}: imports are absolute"
            for alias in child.names:
                whole = f"{child.module}.{alias.name}"
                yield Import(name, whole if is_module(whole) else str(child.module), child.lineno, when)
        inner = when
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef) and when == "at once":
            inner = "when called"
        elif isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
            inner = "for annotations"
        yield from _imports(name, path, child, inner)


def is_module(name: str) -> bool:
    top, *rest = name.split(".")
    path = PACKAGES[top].joinpath(*rest) if top in PACKAGES else None
    return path is not None and (path.is_dir() or path.with_suffix(".py").is_file())


def room_of(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def test_the_engine_never_imports_a_plugin():
    assert [found for found in imports("marsys_core") if found.imported.split(".")[0] == "marsys"] == []


def test_the_engine_imports_four_packages_and_the_standard_library():
    found = [each for each in imports("marsys_core") if tuple(each[1::2]) not in FOR_TYPE_CHECKERS]
    outside = {each.imported.split(".")[0] for each in found} - {"marsys_core"}

    assert outside - sys.stdlib_module_names - LATER_IN_THE_LIBRARY <= CORE_PACKAGES


def test_the_order_of_the_rooms_has_no_circle():
    left = {room: set(below) for room, below in ROOMS.items()}
    while left:
        lowest = [room for room, below in left.items() if not below & left.keys()]
        assert lowest, f"these rooms import each other in a circle: {sorted(left)}"
        for room in lowest:
            del left[room]


def test_every_room_imports_only_what_lies_below_it():
    wrong = []
    for found in imports("marsys_core"):
        here, there = room_of(found.importer), room_of(found.imported)
        if not found.imported.startswith("marsys_core.") or found.when == "for annotations" or here == there:
            continue
        if found.when == "when called" and (here, there) in UPWARD:
            continue
        if there not in ROOMS[here]:
            wrong.append(f"{found.importer}:{found.line} imports {found.imported} {found.when}")

    assert wrong == []


def test_every_room_has_its_place():
    assert {room_of(name) for name, _ in modules("marsys_core")} == ROOMS.keys()


def test_each_upward_import_is_there_and_needed():
    used = {
        (room_of(found.importer), room_of(found.imported))
        for found in imports("marsys_core")
        if found.when == "when called"
    }

    assert used >= UPWARD


def sources() -> list[Path]:
    """Return every module that is part of something installed."""
    folders = [*PACKAGES.values(), *(ROOT / "contrib").glob("*/src")]
    return sorted(path for folder in folders for path in folder.rglob("*.py"))


def called(tree: ast.AST) -> Iterator[tuple[str, int]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            yield node.func.id, node.lineno


def imported(tree: ast.AST) -> Iterator[tuple[str, int]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield str(node.module), node.lineno
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):  # as for `import_module`
            yield node.value, node.lineno


@pytest.mark.parametrize("path", sources(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_data_is_ever_run_as_code(path: Path):
    tree = ast.parse(path.read_text("utf-8"))

    assert [(name, line) for name, line in imported(tree) if name.partition(".")[0] in CODE_IN_DATA] == []
    assert [(name, line) for name, line in called(tree) if name in RUNS_CODE] == []


def test_the_orchestrator_waits_for_nothing_and_reads_no_clock():
    forbidden = {
        "trio",
        "time",
        "datetime",
        "random",
        "os",
        "logging",
        "asyncio",
        "threading",
        "secrets",
        "uuid",
    }
    found = [each for each in imports("marsys_core") if room_of(each.importer) == "orchestrator"]

    assert [each for each in found if each.imported.split(".")[0] in forbidden] == []


def test_plugins_do_not_import_what_is_private_to_the_engine():
    private = [
        f"{found.importer}:{found.line} imports {found.imported}"
        for found in imports("marsys")
        if found.imported.startswith("marsys_core.") and "._" in found.imported
    ]

    assert private == []


def as_ruff_sorts(name: str) -> tuple[bool, bool, str]:
    """Constants first, then classes, then the rest."""
    return not name.isupper(), not name[0].isupper(), name


def public_modules() -> list[tuple[str, Path]]:
    every = [each for package in PACKAGES for each in modules(package)]
    return [(name, path) for name, path in every if not any(part.startswith("_") for part in name.split("."))]


@pytest.mark.parametrize(
    ("name", "path"), public_modules(), ids=lambda value: value if isinstance(value, str) else ""
)
def test_what_a_module_exports_is_sorted_complete_and_there(name, path):
    if name.endswith(".__main__"):
        return
    tree = ast.parse(path.read_text("utf-8"))
    module = importlib.import_module(name)
    defined = {
        node.name
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        and not node.name.startswith("_")
    }
    if not tree.body[1:]:
        return  # a docstring alone: a folder that exports nothing

    assert module.__all__ == sorted(module.__all__, key=as_ruff_sorts)
    assert sorted(defined - set(module.__all__)) == []
    for each in module.__all__:
        assert hasattr(module, each), each


def attributes_read() -> set[str]:
    """Return every ``something.name`` that is read, config.py apart."""
    read = set()
    for package in PACKAGES:
        for name, path in modules(package):
            if name == "marsys_core.config":
                continue
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
                    read.add((ast.unparse(node.value).rpartition(".")[2], node.attr))
    return read


@pytest.mark.parametrize(
    ("cls", "called"),
    [
        (ExecutionConfig, ("config", "_config")),
        (RetryConfig, ("retry",)),
        (StatusConfig, ("status", "_status")),
    ],
)
def test_every_setting_is_read(cls, called):
    read = {name for holder, name in attributes_read() if holder in called}
    if cls is RetryConfig:  # `delay` reads the rest, in config.py
        read |= {"initial_delay", "multiplier", "max_delay", "jitter"} if "delay" in read else set()
    fields = {field.name for field in attrs.fields(cls)}

    assert sorted(fields - read) == []


def test_importing_the_public_names_imports_nothing_that_trio_has_not():
    program = """
import sys, trio
before = set(sys.modules)
from marsys import Agent, Orchestra, Topology, tool
print(*sorted(set(sys.modules) - before))
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    added = ran.stdout.split()

    assert [name for name in added if name.split(".")[0] not in PACKAGES] == []
    assert [name for name in added if name.startswith("marsys_core.engine")] == []
    assert {"marsys_core.orchestra", "marsys_core.agents.agent", "marsys_core.topology.topology"} <= set(
        added
    )


def code_lines(path: Path) -> int:
    """Count lines that hold code; docstrings, comments and blank lines are free."""
    text = path.read_text("utf-8")
    free: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        if (
            isinstance(node, ast.Expr)
            and isinstance(node.value, ast.Constant)
            and isinstance(node.value.value, str)
        ):
            free.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    layout = {
        tokenize.COMMENT,
        tokenize.NL,
        tokenize.NEWLINE,
        tokenize.INDENT,
        tokenize.DEDENT,
        tokenize.ENDMARKER,
    }
    held: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in layout:
            held.update(range(token.start[0], token.end[0] + 1))
    return len(held - free)


def test_no_module_is_two_ideas():
    long = {
        name: code_lines(path)
        for package in PACKAGES
        for name, path in modules(package)
        if code_lines(path) > 400
    }

    assert long == {}
