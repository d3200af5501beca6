"""A PostgreSQL server of a test's own, from a Python package that has its programs in it."""

from __future__ import annotations

import contextlib
import socket
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

__all__ = ["listening"]


@contextlib.contextmanager
def listening(port: int, *statements: str) -> Iterator[None]:
    """Have a server on this port of the loopback address that trusts everybody, after it has run `statements`.

    The test is skipped where the package is not installed, or the port is taken.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it asks for a folder of the user's session, and does without
        pgserver = pytest.importorskip(
            "pgserver", reason="no PostgreSQL: the package 'pgserver' is not installed"
        )
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            pytest.skip(f"port {port} is taken: {error}")
    # Not in the folder of the test: the server may be another user's, who cannot go there.
    with tempfile.TemporaryDirectory(prefix="marsys-") as folder, _served(pgserver, Path(folder)) as server:
        for statement in statements:
            server.psql(statement)
        server.cleanup()
        control: Any = pgserver.pg_ctl
        where = {"pgdata": server.pgdata, "user": server.system_user, "timeout": 60}
        options = f"-h 127.0.0.1 -p {port} -k {folder}"
        control(["-w", "-l", f"{folder}/log", "-o", options, "start"], **where)
        try:
            yield
        finally:
            control(["-w", "-m", "immediate", "stop"], **where)


@contextlib.contextmanager
def _served(pgserver: Any, folder: Path) -> Iterator[Any]:
    """Have the package set up a server on a UNIX socket, which it knows how to do for every user."""
    server = pgserver.get_server(folder)
    try:
        yield server
    finally:
        server.cleanup()
