"""The way to the server: its address, how a connection is set up, and what its errors are in plain words."""

from __future__ import annotations

import os
from typing import Any

import attrs
import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from marsys_core.errors import SettingsError, StoreDamaged, StoreError
from marsys_postgres import _text

__all__ = ["Server", "is_gone", "is_passing"]

_HOW = "write 'postgresql://user@host:5432/database', or 'host=... dbname=... user=...'"

# That a server is gone is noticed within half a minute, also where its machine was cut off without a word.
_DEFAULTS: dict[str, Any] = {
    "fallback_application_name": "marsys",
    "connect_timeout": 10,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 25_000,
}
_IN_THE_ENVIRONMENT = {"connect_timeout": "PGCONNECT_TIMEOUT"}

_PASSING = ("40001", "40P01")  # two transactions in each other's way; one has to be done again
_ENDED = ("57P01", "57P02", "57P03", "57P05", "25P03")  # the server has ended the session
_DAMAGED = ("XX001", "XX002")
_REMEDIES = {
    "53100": "the server's disk is full; make room there",
    "53300": "the server has no connection left; end some, or raise its max_connections",
    "42501": "this user may not do so; let it own the schema, or grant it CREATE on the database",
    "25006": "the server only reads; connect to the primary, for example with target_session_attrs=read-write",
    "55P03": "others have it locked; look at pg_stat_activity for who",
    "42P01": "this user may not use the schema, or a table is gone; grant it USAGE, and what it does to the tables",
    "42P07": "the schema has tables of another program; give the store a schema of its own",
}


def is_gone(connection: psycopg.Connection, error: psycopg.Error) -> bool:
    """Return whether the connection is of no use any more."""
    return connection.closed or error.sqlstate in _ENDED


def is_passing(error: psycopg.Error) -> bool:
    """Return whether the same would go well if it were done again at once."""
    return error.sqlstate in _PASSING


@attrs.frozen(kw_only=True)
class Server:
    """Where the database is; made by `Server.of`.

    Args:
        conninfo: All that is needed to connect, the password with it; never shown.
        address: The database and the schema, for messages.
        schema: The schema that is the store's.
        busy_seconds: How long a statement waits for others.
    """

    conninfo: str = attrs.field(repr=False)
    address: str
    schema: str
    busy_seconds: float

    @classmethod
    def of(cls, dsn: str, schema: str, busy_seconds: float) -> Server:
        """Read a connection string. What it says is in no error, since a part of it may be a password.

        Raises:
            SettingsError: It is none.
        """
        given, wrong = _parsed(dsn)
        if wrong:
            raise SettingsError(wrong)
        options = {
            name: value
            for name, value in _DEFAULTS.items()
            if _IN_THE_ENVIRONMENT.get(name, "") not in os.environ
        }
        conninfo = make_conninfo("", **{**options, **given, "client_encoding": "utf8"})
        return cls(
            conninfo=conninfo, address=_address(given, schema), schema=schema, busy_seconds=busy_seconds
        )

    def connect(self, *, reading: bool = False) -> psycopg.Connection:
        """Return a new connection, in autocommit mode.

        Args:
            reading: Whether it only reads; a transaction then sees everything as it was at one moment.

        Raises:
            StoreError: There is no server, or it does not let us in.
        """
        try:
            connection = psycopg.connect(self.conninfo, autocommit=True)
        except psycopg.Error as error:
            raise self._not_connected(error) from None
        try:
            self._set_up(connection, reading)
        except BaseException as error:
            connection.close()
            if isinstance(error, psycopg.Error):
                raise self._not_connected(error) from None
            raise
        return connection

    def _set_up(self, connection: psycopg.Connection, reading: bool) -> None:
        _text.register(connection)
        encoding = connection.info.parameter_status("server_encoding")
        if encoding != "UTF8":
            msg = (
                f"the database at {self.address} is encoded in {encoding}, and runs may hold any text;"
                " make one with ENCODING 'UTF8'"
            )
            raise StoreError(msg, self.address)
        milliseconds = f"{int(self.busy_seconds * 1000) or 1}"
        path = sql.Identifier(self.schema).as_string(connection)
        settings = {"search_path": path, "lock_timeout": milliseconds}
        # A process that is stalled within a transaction must not keep others from taking its runs over.
        settings["idle_in_transaction_session_timeout"] = f"{int(self.busy_seconds * 1000) + 1000}"
        if reading:
            settings["default_transaction_read_only"] = "on"
            connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        for name, value in settings.items():
            connection.execute("SELECT set_config(%s, %s, false)", (name, value))

    def explained(self, error: psycopg.Error, doing: str, *, gone: bool = False) -> StoreError:
        """Return what an error means, and what to do.

        Args:
            error: What the driver or the server says.
            doing: What was tried.
            gone: Whether the connection was lost.
        """
        text = _one_line(error)
        head = f"could not {doing} in {self.address}"
        if error.sqlstate in _DAMAGED:
            msg = (
                f"{head}: the server says that its data is damaged ({text}); `check()` says what can be read"
            )
            found: StoreError = StoreDamaged(msg, self.address)
        elif gone:
            msg = (
                f"{head}: the connection was lost ({text}); what is queued stays queued, and is written with"
                " the next commit when the server is back"
            )
            found = StoreError(msg, self.address)
        else:
            remedy = _REMEDIES.get(error.sqlstate or "", "")
            found = StoreError(f"{head}: {f'{remedy} ({text})' if remedy else text}", self.address)
        found.__cause__ = error
        return found

    def _not_connected(self, error: psycopg.Error) -> StoreError:
        remedy = "see that the server runs, and that it can be reached from here under this address"
        if error.pgconn is not None and error.pgconn.needs_password:
            remedy = "it asks for a password: put it into PGPASSWORD, the password file or the dsn"
        elif error.pgconn is not None and error.pgconn.used_password:
            remedy = "it refused the user or the password, or does not have the database"
        return StoreError(f"could not connect to {self.address}: {remedy} ({_one_line(error)})", self.address)


def _parsed(dsn: str) -> tuple[dict[str, Any], str]:
    try:
        given = conninfo_to_dict(dsn)
    except psycopg.Error:
        return {}, f"the dsn is no connection string of PostgreSQL: {_HOW}"
    host, port = str(given.get("host") or ""), str(given.get("port") or "")
    # A password with one of the characters of a URL ends up as a part of the host or the port.
    if "@" in host[1:] or not all(part.isdigit() for part in port.split(",") if part):
        return (
            {},
            f"the dsn has no proper host and port: {_HOW}, a special character of the password as %40 and so on",
        )
    return given, ""


def _address(given: dict[str, Any], schema: str) -> str:
    """Return where the database is, as far as it is said; the password never."""
    host = given.get("host") or given.get("hostaddr") or os.environ.get("PGHOST", "localhost")
    port = given.get("port") or os.environ.get("PGPORT", "5432")
    place = f"service {given['service']}" if given.get("service") else f"{host}:{port}"
    database = given.get("dbname") or os.environ.get("PGDATABASE", "")
    return f"{place}/{database} (schema {schema})"


def _one_line(error: psycopg.Error) -> str:
    return " ".join(str(error).split())
