"""What the engine leaves alone in the application it is part of, read from its source."""

from __future__ import annotations

import ast
import builtins
import functools
import random
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import pytest

from tests.test_layers import ROOT, modules

PAGE = ROOT / "docs" / "reference" / "environment.md"

# These are no part of an application that embeds the engine: the command line is an application itself, with
# signals of its own, and the worker is the process of one call of an isolated tool.
APART = re.compile(r"marsys\.cli(\..*)?|marsys_core\.tools\._worker")

# What belongs to the application, and the modules that may touch it all the same. `*` stands for any one name.
LAWS: dict[str, dict[str, set[str]]] = {
    "signals": {
        "signal.alarm": set(),
        "signal.pthread_sigmask": set(),
        "signal.set_wakeup_fd": set(),
        "signal.setitimer": set(),
        "signal.siginterrupt": set(),
        "signal.signal": {"marsys_core.hosts.guest"},  # for the moment in which Trio would take SIGINT over
        "signal.*": {
            "marsys_core.engine.processes",  # SIGKILL, and the names of signals
            "marsys_core.hosts.guest",
        },
        "faulthandler.*": set(),
        "os.kill": set(),
        "os.killpg": {"marsys_core.engine.processes"},  # the group that it has started
        # ends what is left, and is taken back when nothing is
        "atexit.*": {"marsys_core.embed.serving", "marsys_core.hosts.guest"},
    },
    "logging": {
        "logging.basicConfig": set(),
        "logging.captureWarnings": set(),
        "logging.config": set(),
        "logging.critical": set(),  # these configure the root logger by themselves
        "logging.debug": set(),
        "logging.disable": set(),
        "logging.error": set(),
        "logging.exception": set(),
        "logging.getLogger": {"marsys_core.logs"},
        "logging.info": set(),
        "logging.lastResort": set(),
        "logging.log": set(),
        "logging.root": set(),
        "logging.setLoggerClass": set(),
        "logging.warn": set(),
        "logging.warning": set(),
    },
    "standard streams": {
        "builtins.print": set(),
        "builtins.input": set(),
        "builtins.breakpoint": set(),
        "getpass.*": set(),
        "sys.__stderr__": set(),
        "sys.__stdin__": set(),
        "sys.__stdout__": set(),
        "sys.displayhook": set(),
        "sys.stderr": {"marsys.people._terminal", "marsys.status._console", "marsys.status._tree"},
        "sys.stdin": {"marsys.people._terminal"},
        "sys.stdout": set(),
    },
    "environment": {
        "os.environ": {
            "marsys.status._console",
            "marsys_core.engine.processes",  # all of it, handed on to the process of an isolated tool
            "marsys_core.plugins.composition",
            "marsys_core.plugins.knobs",
            "marsys_core.plugins.secrets",
            "marsys_core.tools._isolation",
        },
        "os.environb": set(),
        "os.getenv": set(),
        "os.getenvb": set(),
        "os.putenv": set(),
        "os.unsetenv": set(),
        "os.path.expanduser": set(),
        "os.path.expandvars": set(),
        "tempfile.*": set(),  # it reads TMPDIR, and writes
    },
    "network": {
        "ftplib.*": set(),
        "http.*": set(),
        "imaplib.*": set(),
        "poplib.*": set(),
        "smtplib.*": set(),
        "socket.create_connection": set(),
        "socket.create_server": set(),
        "socket.getaddrinfo": set(),
        "socket.socket": set(),
        "socket.*": {"marsys.resilience._classify"},  # a constant, to tell errors of look-ups apart
        "socketserver.*": set(),
        "ssl.*": set(),
        "trio.open_ssl_over_tcp_listeners": set(),
        "trio.open_ssl_over_tcp_stream": set(),
        "trio.open_tcp_listeners": set(),
        "trio.open_tcp_stream": set(),
        "trio.open_unix_socket": set(),
        "trio.serve_ssl_over_tcp": set(),
        "trio.serve_tcp": set(),
        "trio.socket": set(),
        "urllib.request": set(),
        "webbrowser.*": set(),
        "xmlrpc.*": set(),
    },
    "threads and processes": {
        "_thread.*": set(),
        "concurrent.futures": {"marsys_core.embed.future", "marsys_core.embed.gate"},  # to wait by
        "concurrent.futures.ProcessPoolExecutor": set(),
        "concurrent.futures.ThreadPoolExecutor": set(),
        "multiprocessing.*": set(),
        "os.exec*": set(),
        "os.fork": set(),
        "os.forkpty": set(),
        "os.popen": set(),
        "os.posix_spawn": set(),
        "os.posix_spawnp": set(),
        "os.spawn*": set(),
        "os.startfile": set(),
        "os.system": set(),
        "subprocess.*": {"marsys_core.engine.processes"},
        "threading.Thread": {
            "marsys.storage._writer",  # of an open store
            "marsys_core.embed.trio_thread",  # of `run_sync`, `with Orchestra`, `EngineThread`
            "marsys_core.hosts.loops",  # of code written for asyncio
        },
        "threading.Timer": set(),
        "trio.lowlevel.open_process": {"marsys_core.engine.processes"},
        "trio.lowlevel.start_thread_soon": set(),
        "trio.run_process": set(),
    },
    "files": {
        "diskcache.*": set(),
        "builtins.open": set(),
        "io.open": set(),
        "os.link": set(),
        "os.makedirs": set(),
        "os.mkdir": set(),
        "os.open": set(),
        "os.remove": set(),
        "os.rename": set(),
        "os.replace": set(),
        "os.rmdir": set(),
        "os.symlink": set(),
        "os.truncate": set(),
        "os.unlink": set(),
        "shutil.*": set(),
        "trio.open_file": set(),
    },
    "state of the process": {
        "ctypes.*": set(),
        "gc.*": set(),
        "locale.*": set(),
        "os.chdir": set(),
        "os.fchdir": set(),
        "os.nice": set(),
        "os.umask": set(),
        "os._exit": set(),
        "resource.*": set(),
        "sys.addaudithook": set(),
        "sys.excepthook": set(),
        "sys.exit": set(),
        "sys.path": {"marsys_core.tools._isolation"},  # read, for the process of an isolated tool
        "sys.path.append": set(),
        "sys.path.clear": set(),
        "sys.path.extend": set(),
        "sys.path.insert": set(),
        "sys.path.remove": set(),
        "sys.path_hooks": set(),
        "sys.meta_path": set(),
        "sys.set_asyncgen_hooks": {"marsys_core.hosts.guest"},  # puts back those that the loop has changed
        "sys.set_int_max_str_digits": set(),
        "sys.setprofile": set(),
        "sys.setrecursionlimit": set(),
        "sys.setswitchinterval": set(),
        "sys.settrace": set(),
        "sys.unraisablehook": set(),
        "threading.excepthook": set(),
        "threading.setprofile": set(),
        "threading.settrace": set(),
        "threading.stack_size": set(),
        "time.tzset": set(),
        "warnings.catch_warnings": set(),
        "warnings.filterwarnings": set(),
        "warnings.filters": set(),
        "warnings.resetwarnings": set(),
        "warnings.showwarning": set(),
        "warnings.simplefilter": set(),
    },
    "random numbers": {
        "random.*": {"marsys_core.engine.record"},  # a `Random` of the run's own
        **{f"random.{name}": set() for name in sorted(random.__all__) if name.islower()},
    },
}

# Methods and attributes that would do the same by an object: a logger, a path, a decimal context.
METHODS: dict[str, set[str]] = {
    "addFilter": set(),
    "addHandler": {"marsys_core.logs"},
    "mkdir": {"marsys_core.engine.opening"},  # the directory that `Orchestra.open` names
    "propagate": set(),
    "rename": set(),
    "rmdir": set(),
    "setLevel": set(),
    "touch": set(),
    "unlink": {"marsys_core.transfer"},
    "write_bytes": set(),
    "write_text": {"marsys_core.topology.topology"},  # of `drawing`: it returns a text
}


class Use(NamedTuple):
    """Something of another module, or of the language, that is used, by its full name, and where."""

    module: str
    name: str
    line: int


def uses(module: str, tree: ast.Module) -> Iterator[Use]:
    """Name everything a module takes from elsewhere, however it was imported and whatever it is called there."""
    homes: dict[str, str] = {}
    bound = {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
    bound |= {
        node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    }
    for node in ast.walk(tree):
        for local, whole in _imported(node):
            homes[local] = whole if local != whole.partition(".")[0] else local
            yield Use(module, whole, node.lineno)
    for node in ast.walk(tree):
        head, *rest = _dotted(node)
        if head in homes:
            yield Use(module, ".".join([homes[head], *rest]), node.lineno)
        elif hasattr(builtins, head) and head not in bound:
            yield Use(module, f"builtins.{head}", node.lineno)


def _imported(node: ast.AST) -> Iterator[tuple[str, str]]:
    """Yield what an import makes known: the name here, and the whole name."""
    if isinstance(node, ast.Import):
        yield from ((alias.asname or alias.name.partition(".")[0], alias.name) for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        yield from ((alias.asname or alias.name, f"{node.module}.{alias.name}") for alias in node.names)


def _dotted(node: ast.AST) -> list[str]:
    """Return the parts of `a.b.c`; of anything else one that names nothing."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return [node.id, *reversed(parts)] if isinstance(node, ast.Name) else [""]


@functools.cache
def _pattern(law: str) -> re.Pattern[str]:
    return re.compile(re.escape(law).replace(r"\*", "[^.]*") + r"(\..*)?")


def is_of(name: str, law: str) -> bool:
    """Say whether a name is what a law speaks of, or lies below it."""
    return _pattern(law).fullmatch(name) is not None


def offences(used: Iterable[Use], laws: Mapping[str, set[str]]) -> list[str]:
    return [
        f"{each.module}:{each.line} uses {each.name}"
        for each in used
        for law, allowed in laws.items()
        if each.module not in allowed and is_of(each.name, law)
    ]


TREES = {
    module: ast.parse(path.read_text("utf-8"))
    for package in ("marsys_core", "marsys")
    for module, path in modules(package)
    if not APART.fullmatch(module)
}
USES = [each for module, tree in TREES.items() for each in uses(module, tree)]
EVERY_LAW = {law: allowed for laws in LAWS.values() for law, allowed in laws.items()}
OUTSIDE = tuple({law.partition(".")[0] for law in EVERY_LAW})
TOUCHING = [each for each in USES if each.name.startswith(OUTSIDE)]


@pytest.mark.parametrize("what", LAWS)
def test_the_engine_leaves_alone_what_belongs_to_the_application(what):
    assert offences(TOUCHING, LAWS[what]) == []


@pytest.mark.parametrize("what", LAWS)
def test_each_exception_is_there_and_needed(what):
    idle = [
        (law, module)
        for law, allowed in LAWS[what].items()
        for module in sorted(allowed)
        if not any(each.module == module and is_of(each.name, law) for each in TOUCHING)
    ]

    assert idle == []


def test_no_logger_is_set_up_and_no_file_written_by_way_of_an_object():
    found = {
        (node.attr, module)
        for module, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr in METHODS
    }

    assert found == {(name, module) for name, allowed in METHODS.items() for module in allowed}


@pytest.mark.parametrize(
    ("line", "caught"),
    [
        ("import signal\nsignal.signal(2, print)", ["builtins.print", "signal", "signal.signal"]),
        ("from signal import signal as listen", ["signal.signal"]),
        ("import logging as log\nlog.getLogger().setLevel(0)", ["logging.getLogger"]),
        ("from os import environ\nenviron['HOME']", ["os.environ"]),
        ("import os.path as p\np.expanduser('~')", ["os.path.expanduser"]),
        ("import sys\nsys.path.insert(0, '.')", ["sys.path", "sys.path.insert"]),
        (
            "def f():\n    import urllib.request\n    urllib.request.urlopen('x')",
            ["urllib.request", "urllib.request.urlopen"],
        ),
        ("import random\nrandom.seed(1)", ["random", "random.seed"]),
        ("import trio\ntrio.open_tcp_stream('x', 1)", ["trio.open_tcp_stream"]),
        ("import threading\nthreading.Thread().start()", ["threading.Thread"]),
        ("open('x')", ["builtins.open"]),
        ("def f(open, input):\n    open(input)", []),
        ("import threading, logging\nthreading.Lock(), logging.Logger", []),
    ],
)
def test_a_use_is_found_however_it_is_written(line, caught):
    found = {each.rpartition(" ")[2] for each in offences(uses("m", ast.parse(line)), EVERY_LAW)}

    assert found - set(caught) == set()
    assert set(caught) - {"signal", "random"} <= found


# -- the environment -----------------------------------------------------------------------------

VARIABLE = re.compile(r"_?[A-Z][A-Z0-9]*(_[A-Z0-9]+)+")  # what looks like one, wherever it stands
ROW = re.compile(r"^\| `(\w+)` \|", re.MULTILINE)


def variables_read() -> set[str]:
    """Return what modules that know the environment ask it for, by name or through a list of names."""
    found = set()
    for package in ("marsys_core", "marsys"):
        for module, path in modules(package):
            tree = ast.parse(path.read_text("utf-8"))
            if any(is_of(each.name, law) for each in uses(module, tree) for law in LAWS["environment"]):
                found |= {name for node in ast.walk(tree) for name in _asked(node)}
    return found


def _is_environ(node: ast.AST) -> bool:
    return _dotted(node)[-1] == "environ"


def _asked(node: ast.AST) -> set[str]:
    match node:
        case ast.Call(
            func=ast.Attribute(value=value, attr="get" | "pop"), args=[ast.Constant(value=str(name)), *_]
        ):
            return {name} if _is_environ(value) else set()
        case ast.Subscript(value=value, slice=ast.Constant(value=str(name)), ctx=ast.Load()):
            return {name} if _is_environ(value) else set()
        case ast.Compare(left=ast.Constant(value=str(name)), comparators=[value]):
            return {name} if _is_environ(value) else set()
        case ast.Constant(value=str(name)) if VARIABLE.fullmatch(name):
            return {name}
    return set()


def test_the_engine_sets_no_variable():
    changing = {"clear", "pop", "popitem", "setdefault", "update"}
    written = [
        f"{module}:{node.lineno}"
        for module, tree in TREES.items()
        for node in ast.walk(tree)
        if (
            isinstance(node, ast.Subscript) and not isinstance(node.ctx, ast.Load) and _is_environ(node.value)
        )
        or (isinstance(node, ast.Attribute) and node.attr in changing and _is_environ(node.value))
    ]

    assert written == []


def test_the_variables_that_are_read_are_those_of_the_reference():
    assert variables_read() == set(ROW.findall(PAGE.read_text("utf-8")))


def test_a_variable_is_the_engines_own_unless_the_reference_says_whose_it_is():
    own, others = PAGE.read_text("utf-8").split("\n## Other people's\n")

    assert ROW.findall(own)
    assert all(name.lstrip("_").startswith("MARSYS_") for name in ROW.findall(own))
    assert not any("MARSYS_" in name for name in ROW.findall(others))
