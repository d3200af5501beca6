"""The way to the server: what is said when it cannot be used, and that a password is never said."""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import Any

import psycopg
import pytest
import trio

import marsys_postgres
from marsys_core.errors import LifecycleError, SettingsError, StoreError
from marsys_core.protocols.store import RunInfo
from marsys_postgres import PostgresStore
from marsys_postgres._schema import VERSION


def opened(*args: Any, **settings: Any) -> None:
    async def main() -> None:
        async with PostgresStore(*args, **settings) as store:
            await store.runs()

    trio.run(main)


def everything(error: BaseException | None) -> str:
    """Return all that a report of an error could show."""
    if error is None:
        return ""
    return f"{error!r} {error} {getattr(error, '__notes__', '')} {everything(error.__cause__ or error.__context__)}"


@pytest.mark.parametrize(
    "dsn",
    [
        "postgresql://me:s3cret@host:5432/db",
        "host=h port=1 user=me password=s3cret dbname=db",
        "postgresql:///db?password=s3cret",
    ],
)
def test_a_password_is_not_in_what_is_shown_of_a_store(dsn: str) -> None:
    store = PostgresStore(dsn)

    assert "s3cret" not in f"{store!r} {store.address} {store._server!r}"
    assert store.address.endswith("/db (schema marsys)")


@pytest.mark.parametrize(
    "dsn",
    [
        "s3cret",
        "host=h password=s3cret x",
        "postgresql://me:s3@cret@host/db",
        "postgresql://me:s3/cret@host/db",
        "host=h port=s3cret",
    ],
)
def test_what_is_no_connection_string_is_refused_and_not_repeated(dsn: str) -> None:
    with pytest.raises(
        SettingsError, match=r"^the dsn .*: write 'postgresql://user@host:5432/database'"
    ) as told:
        PostgresStore(dsn)

    assert "s3" not in everything(told.value)
    assert "cret" not in everything(told.value)


def test_a_server_that_is_not_there_is_named_with_what_to_do() -> None:
    with pytest.raises(
        StoreError,
        match=r"^could not connect to 127\.0\.0\.1:1/d \(schema marsys\): see that the server runs",
    ) as told:
        opened("postgresql://me:s3cret@127.0.0.1:1/d")

    assert "s3cret" not in everything(told.value)


def test_a_wrong_password_and_a_missing_one_are_told_apart_and_never_shown(
    postgres: Any, schema: str, caplog: pytest.LogCaptureFixture
) -> None:
    rules = Path(postgres.folder) / "pg_hba.conf"
    before = rules.read_text()
    postgres.sql("CREATE ROLE secretive LOGIN PASSWORD 'right'")
    rules.write_text(f"local all secretive scram-sha-256\n{before}")
    postgres.sql("SELECT pg_reload_conf()")
    host = postgres.dsn.partition("host=")[2]
    caplog.set_level(logging.DEBUG)
    try:
        for password, why in (
            ("wr0ng", "it refused the user or the password"),
            ("", "it asks for a password"),
        ):
            with pytest.raises(StoreError, match=rf"^could not connect to .*: {why}") as told:
                opened(f"user=secretive dbname=postgres host={host} password='{password}' passfile=none")
            assert "wr0ng" not in everything(told.value) + caplog.text
        dsn = f"user=secretive dbname=postgres host={host} password=right"
        with pytest.raises(
            StoreError, match=r"this user may not do so; let it own the schema, or grant it CREATE"
        ):
            opened(dsn, schema=schema)
        opened(postgres.dsn, schema=schema)
        with pytest.raises(
            StoreError, match=r"this user may not use the schema, or a table is gone; grant it"
        ):
            opened(dsn, schema=schema)
    finally:
        rules.write_text(before)
        postgres.sql("SELECT pg_reload_conf()")
        postgres.sql("DROP ROLE secretive")


def test_a_database_that_cannot_hold_every_text_is_refused(postgres: Any) -> None:
    postgres.sql("CREATE DATABASE old ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0")

    with pytest.raises(StoreError, match=r"is encoded in LATIN1, and .*; make one with ENCODING 'UTF8'$"):
        opened(f"{postgres.dsn}&dbname=old")


def test_tables_of_a_newer_version_are_refused_with_both_versions(postgres: Any, schema: str) -> None:
    opened(postgres.dsn, schema=schema)
    postgres.sql(f'UPDATE "{schema}".marsys_version SET version = 99')

    with pytest.raises(
        StoreError,
        match=rf"\(schema {schema}\) was written by a newer marsys-postgres: its tables are version 99,"
        rf" and this one knows versions up to {VERSION}; update marsys-postgres$",
    ):
        opened(postgres.dsn, schema=schema)


def test_a_schema_of_another_program_is_left_alone(postgres: Any, schema: str) -> None:
    postgres.sql(f'CREATE SCHEMA "{schema}"')
    postgres.sql(f'CREATE TABLE "{schema}".runs (mine int)')

    with pytest.raises(
        StoreError, match=r"has tables of another program; give the store a schema of its own"
    ):
        opened(postgres.dsn, schema=schema)

    tables = postgres.sql("SELECT tablename FROM pg_tables WHERE schemaname = %s", schema)
    assert tables == [("runs",)]


def test_many_that_open_a_new_schema_at_once_make_it_once(postgres: Any, schema: str) -> None:
    async def main() -> None:
        async def one() -> None:
            async with PostgresStore(postgres.dsn, schema=schema) as store:
                await store.runs()

        async with trio.open_nursery() as nursery:
            for _ in range(8):
                nursery.start_soon(one)

    trio.run(main)

    assert postgres.sql(f'SELECT version FROM "{schema}".marsys_version') == [(VERSION,)]


def test_a_store_is_used_while_it_is_open(postgres: Any, schema: str) -> None:
    store = PostgresStore(postgres.dsn, schema=schema)

    async def main() -> None:
        with pytest.raises(LifecycleError, match=r"^the store in .* is not open$"):
            await store.runs()
        async with store:
            log = await store.create(RunInfo(run_id="r"))
            log.update(steps=1)
            with pytest.raises(LifecycleError, match=r"is open; make a new one to open it again$"):
                await store.__aenter__()
            assert any("marsys postgres" in thread.name for thread in threading.enumerate())
        with pytest.raises(LifecycleError, match=r"^the store in .* is closed$"):
            await store.create(RunInfo(run_id="s"))
        with pytest.raises(LifecycleError, match=r"^the log of run 'r' was released"):
            log.update(steps=2)

    trio.run(main)

    assert not any("marsys postgres" in thread.name for thread in threading.enumerate())
    left = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'marsys'"
    with psycopg.connect(postgres.dsn, autocommit=True) as connection:
        while connection.execute(left).fetchone() != (0,):
            pass  # the server ends sessions in its own time


@pytest.mark.parametrize("settings", [{"schema": ""}, {"lease_seconds": 0}, {"busy_seconds": 0}])
def test_a_setting_out_of_bounds_is_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(settings))):
        PostgresStore("", **settings)


def test_an_unknown_name_of_the_package_is_refused() -> None:
    with pytest.raises(AttributeError, match=r"^module 'marsys_postgres' has no attribute 'Nothing'$"):
        _ = marsys_postgres.Nothing
