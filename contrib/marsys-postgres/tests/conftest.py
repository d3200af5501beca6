"""A server for the tests: its binaries come with the package `pgserver`."""

from __future__ import annotations

import shutil
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import attrs
import psycopg
import pytest

pytest.register_assert_rewrite("contract", "model")


@attrs.define(eq=False)
class Postgres:
    """A server that is there for the tests alone, on a socket of its own."""

    folder: Path
    user: str | None
    dsn: str

    def sql(self, statements: str, *values: object) -> list[tuple[object, ...]]:
        """Run something as the server's owner."""
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            cursor = connection.execute(statements, values or None)
            return cursor.fetchall() if cursor.description else []

    def stop(self) -> None:
        """End the server at once, as if it had crashed."""
        self._control("-m", "immediate", "stop")

    def start(self) -> None:
        """Start it again."""
        # Its own output goes to a file: whoever holds a pipe would wait for it.
        self._control("-l", str(self.folder / "log"), "start")

    def _control(self, *arguments: str) -> None:
        import pgserver

        options = (self.folder / "postmaster.opts").read_text().split('"')[1::2]
        given = ["-o", " ".join(f"'{each}'" for each in options)] if "start" in arguments else []
        pgserver.pg_ctl([*given, "-w", *arguments], pgdata=self.folder, user=self.user)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    import pgserver

    folder = Path(tempfile.mkdtemp(prefix="pg")).resolve()
    server = pgserver.get_server(folder, cleanup_mode=None)
    postgres = Postgres(folder, server.system_user, server.get_uri())
    try:
        yield postgres
    finally:
        postgres.stop()
        shutil.rmtree(folder)


@pytest.fixture
def schema() -> str:
    """A name that no other test has."""
    return f"test-{uuid.uuid4().hex[:12]}"
