"""The suite itself: a test that reaches for a socket it has not asked for fails, also where its code hides the refusal."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
INNER = """
import asyncio
import contextlib
import socket
import threading

import pytest
import trio


def reach(address=("127.0.0.1", 9), kind=socket.AF_INET):
    with contextlib.suppress(OSError), socket.socket(kind) as there:
        there.connect(address)


def test_connect():
    reach()


def test_connect_in_a_thread():
    thread = threading.Thread(target=reach)
    thread.start()
    thread.join()


def test_bind():
    with contextlib.suppress(OSError), socket.socket() as here:
        here.bind(("127.0.0.1", 0))


def test_sendto():
    with contextlib.suppress(OSError), socket.socket(type=socket.SOCK_DGRAM) as here:
        here.sendto(b"x", ("127.0.0.1", 9))


def test_unix_socket():
    reach("/nowhere", socket.AF_UNIX)


def test_look_up():
    with contextlib.suppress(OSError):
        socket.getaddrinfo("example.org", 80)


def test_look_up_by_trio():
    async def main():
        with contextlib.suppress(OSError):
            await trio.open_tcp_stream("example.org", 80)

    trio.run(main)


def test_old_look_up():
    with contextlib.suppress(OSError):
        socket.gethostbyname("example.org")


def test_refusal_that_is_seen():
    socket.create_connection(("127.0.0.1", 9))


@pytest.mark.sockets
def test_marked_but_elsewhere():
    reach(("192.0.2.1", 9))


@pytest.mark.sockets
def test_quiet_with_the_marker():
    with socket.create_server(("127.0.0.1", 0)) as server:
        socket.create_connection(server.getsockname()).close()
    assert socket.getaddrinfo("localhost", 80)


@pytest.mark.sockets
def test_quiet_with_the_marker_and_a_path(tmp_path):
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s"))


def test_quiet_wakeups_of_loops():
    async def main():
        return 1

    assert trio.run(main) == asyncio.run(main()) == 1
    for each in socket.socketpair():
        each.close()
"""


@pytest.fixture(scope="module", name="told")
def _told(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What pytest says of the inner tests under a copy of this suite's own conftest."""
    folder = tmp_path_factory.mktemp("inner") / "tests"
    folder.mkdir()
    for name in ("__init__.py", "conftest.py", "sockets.py"):
        shutil.copy(ROOT / "tests" / name, folder)
    (folder / "test_inner.py").write_text(INNER, encoding="utf-8")
    asked = [
        "-c",
        ROOT / "pyproject.toml",
        "--rootdir",
        folder.parent,
        "-p",
        "no:cacheprovider",
        "-rA",
        folder,
    ]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *map(str, asked)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1, done.stdout + done.stderr
    return re.sub(r"(test_inner\.py):\d+", r"\1:N", done.stdout)


CAUGHT = {
    "test_connect": "socket.connect ('127.0.0.1', 9) at tests/test_inner.py:N in reach",
    "test_connect_in_a_thread": "socket.connect ('127.0.0.1', 9) at tests/test_inner.py:N in reach",
    "test_bind": "socket.bind ('127.0.0.1', 0) at tests/test_inner.py:N in test_bind",
    "test_sendto": "socket.sendto ('127.0.0.1', 9) at tests/test_inner.py:N in test_sendto",
    "test_unix_socket": "socket.connect '/nowhere' at tests/test_inner.py:N in reach",
    "test_look_up": "socket.getaddrinfo 'example.org' at tests/test_inner.py:N in test_look_up",
    "test_look_up_by_trio": "socket.getaddrinfo 'example.org' at tests/test_inner.py:N in main",
    "test_old_look_up": "socket.gethostbyname 'example.org' at tests/test_inner.py:N in test_old_look_up",
    "test_refusal_that_is_seen": "socket.getaddrinfo '127.0.0.1' at tests/test_inner.py:N in test_refusal_that_is_seen",
    "test_marked_but_elsewhere": "socket.connect ('192.0.2.1', 9) at tests/test_inner.py:N in reach",
}


@pytest.mark.slow
@pytest.mark.parametrize("name", CAUGHT)
def test_a_test_that_reaches_for_a_socket_fails_with_the_address_and_the_place(told, name):
    errors = [
        line
        for line in told.splitlines()
        if line.startswith("ERROR") and line.split()[1].endswith(f"::{name}")
    ]

    assert len(errors) == 1
    assert f"that it has not asked for: {CAUGHT[name]}" in told


@pytest.mark.slow
def test_what_a_test_has_asked_for_and_the_wakeups_of_loops_are_no_offence(told):
    quiet = [
        line
        for line in told.splitlines()
        if "test_quiet" in line and line.startswith(("PASSED", "ERROR", "FAILED"))
    ]

    assert [line.split()[0] for line in quiet] == ["PASSED"] * INNER.count("def test_quiet")


@pytest.mark.slow
def test_code_that_does_not_hide_a_refusal_fails_by_itself(told):
    assert "FAILED" in told
    assert "PermissionError: tests open no sockets but what the marker 'sockets' allows" in told
