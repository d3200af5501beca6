"""What the engine leaves alone in the application it is part of, seen from inside a process that runs it.

Each host is run in a process of its own, watched from before the engine is imported: by audit events, by the
environment's own class, and by snapshots of what a process has only one of. Processes of isolated tools are not
watched themselves; neither is what the interpreter does in C without an event, reading the environment first of all.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import attrs
import pytest

from tests.test_layers import ROOT

PROGRAM = ROOT / "tests" / "data" / "quiet" / "hosts.py"
PAGE = ROOT / "docs" / "reference" / "environment.md"


class May(NamedTuple):
    """What happens under one host that does not under others.

    Args:
        threads: Which modules start threads of their own, besides Trio.
        signals: What is done to signals with a module of ours on the stack.
    """

    threads: frozenset[str] = frozenset()
    signals: tuple[str, ...] = ()


HOSTS = {
    "trio": May(),
    "asyncio": May(),
    # Where Python's own handler of SIGINT is in place, Trio takes it over when it begins, unless another one stands
    # there: for that moment, one does. The program sees to it that the handlers are the host's afterwards.
    "loop": May(signals=("signal", "signal")),
}
WORKER = ["-P", "-m", "marsys_core.tools._worker"]
TRIO_THREADS = "trio._core._thread_cache"
LOOKING_UP = "ctypes.util"  # when it is imported, Trio has it look for the library that names threads: by ldconfig, for one


@attrs.frozen(kw_only=True)
class Seen:
    """What a host's process was seen to do, what it wrote to its streams, and what it read of its input."""

    host: str
    report: dict[str, Any]
    out: bytes
    err: bytes
    read: int

    def __getitem__(self, name: str) -> Any:
        return self.report[name]


def see(host: str, folder: Path, patience: str) -> Seen:
    typed = folder / "typed"
    typed.write_text("nobody asked for this\n" * 100, encoding="utf-8")
    report = folder / "report.json"
    clean = {name: os.environ[name] for name in ("PATH", "SYSTEMROOT") if name in os.environ}
    with typed.open("rb", buffering=0) as stdin:
        # -B: that the interpreter keeps compiled modules is its own affair.
        done = subprocess.run(
            [sys.executable, "-B", PROGRAM, host, report, patience],
            env={**clean, "HOME": str(folder), "OF_THE_APPLICATION": "secret"},
            cwd=folder,
            stdin=stdin,
            capture_output=True,
            timeout=100,
            check=False,
        )
        read = os.lseek(stdin.fileno(), 0, os.SEEK_CUR)  # the child has moved what both of them share
    assert report.exists(), done.stderr.decode()
    return Seen(
        host=host, report=json.loads(report.read_text("utf-8")), out=done.stdout, err=done.stderr, read=read
    )


@pytest.fixture(scope="module", params=HOSTS, name="seen")
def _seen(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Seen:
    return see(request.param, tmp_path_factory.mktemp(request.param), "10")


@pytest.fixture(scope="module", name="loud")
def _loud(tmp_path_factory: pytest.TempPathFactory) -> Seen:
    """A program that does all of it, and so shows that all of it is seen."""
    return see("loud", tmp_path_factory.mktemp("loud"), "0.3")


def is_ours(module: str) -> bool:
    return module.partition(".")[0] in ("marsys", "marsys_core")


def signals_of(seen: Seen) -> list[str]:
    """Return what was done to signals with a module of ours on the stack, by itself or by what it called."""
    return [name for name, stack in seen["signals"] if any(map(is_ours, stack))]


def variables_of(seen: Seen) -> dict[str, set[str]]:
    read: dict[str, set[str]] = {}
    for module, name in seen["variables"]:
        read.setdefault(module, set()).add(name)
    return read


def programs_of(seen: Seen) -> list[list[str]]:
    return [command[1:] for command, stack in seen["started"] if LOOKING_UP not in stack]


def offences_of(seen: Seen) -> list[str]:
    return [f"{event} {arguments}" for event, arguments, stack in seen["offences"] if LOOKING_UP not in stack]


def files_of(seen: Seen) -> list[str]:
    return [path for path, stack in seen["written"] if LOOKING_UP not in stack]


@pytest.mark.slow
def test_every_run_came_to_what_it_should(seen):
    assert [wanted for wanted, _ in seen["outcomes"]] == [got for _, got in seen["outcomes"]]
    assert {got for _, got in seen["outcomes"]} >= {"done", "no success", "CriticalError", "RecoverableError"}


@pytest.mark.slow
def test_nothing_is_printed_though_the_engine_had_something_to_log(seen):
    assert (seen.out, seen.err) == (b"", b"")


@pytest.mark.slow
def test_nothing_is_read_from_standard_input(seen):
    assert seen.read == 0


@pytest.mark.slow
def test_no_handler_wakeup_descriptor_or_timer_is_touched(seen):
    assert signals_of(seen) == [*HOSTS[seen.host].signals]


@pytest.mark.slow
def test_nothing_that_the_process_has_only_one_of_has_changed(seen):
    assert seen["changed"] == []
    assert seen["changed during"] == []
    assert seen["at exit"] == []
    assert seen["looked during"] > 0


@pytest.mark.slow
def test_no_socket_leads_anywhere_and_no_file_is_written_moved_or_removed(seen):
    assert offences_of(seen) == []
    assert files_of(seen) == []


@pytest.mark.slow
def test_the_only_programs_that_are_started_are_processes_of_isolated_tools(seen):
    assert programs_of(seen)
    assert [each for each in programs_of(seen) if each != WORKER] == []


@pytest.mark.slow
def test_the_only_threads_are_workers_of_trio_which_end_by_themselves(seen):
    starters = {stack[0] for stack in seen["threads"]}

    assert starters == {TRIO_THREADS, *HOSTS[seen.host].threads}
    assert [name for name in seen["threads left"] if not name.startswith("Trio thread ")] == []
    assert seen["threads that stay"] == []


@pytest.mark.slow
def test_the_variables_that_are_read_are_those_of_the_reference(seen):
    listed = set(re.findall(r"^\| `(\w+)` \|", PAGE.read_text("utf-8"), re.MULTILINE))
    read = {module: names for module, names in variables_of(seen).items() if is_ours(module)}
    handed_on = read.pop("marsys_core.engine.processes")

    assert "*" in handed_on
    assert set().union(*read.values()) <= listed
    assert set().union(*read.values()) >= {"MARSYS_PLUGINS", "PYTHONPATH"}


@pytest.mark.slow
def test_no_package_that_the_engine_stands_on_reads_the_environment(seen):
    others = {module.partition(".")[0] for module in variables_of(seen) if not is_ours(module)} - {"__main__"}

    assert others - sys.stdlib_module_names == set()


@pytest.mark.slow
def test_the_watch_sees_what_a_loud_program_does(loud):
    assert signals_of(loud) == ["signal", "setitimer", "set_wakeup_fd"]
    assert (loud.out, loud.err) == (b"said\n", b"complained")
    assert loud.read > 0
    assert variables_of(loud)["marsys.loud"] == {"HOME", "LOUD"}
    assert files_of(loud)
    assert len(programs_of(loud)) == 1
    assert loud["threads that stay"] == ["endless"]
    assert len(loud["threads"]) == 2
    assert loud["at exit"] == ["<built-in function len>"]
    assert {event for event, _, _ in loud["offences"]} >= {
        *("socket.bind", "socket.sendto", "socket.connect", "socket.getaddrinfo"),
        *("os.putenv", "os.chdir", "tempfile.mkstemp"),
    }
    assert {line.partition(":")[0] for line in loud["changed"]} >= {
        *("handlers of the root logger", "root logger", "own loggers that are set up", "hooks", "sys.path"),
        *("limits", "directory", "umask", "warnings", "random numbers", "environment"),
        *("time limit of sockets", "signal handlers", "wake-up descriptor", "timer", "open files"),
        "locale",
    }
