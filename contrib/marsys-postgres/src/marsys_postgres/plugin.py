"""What the engine asks: the store, and how to open it. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any

import attrs

from marsys_core import Provider, hookimpl

if TYPE_CHECKING:
    from marsys_core.plugins import OpenContext
    from marsys_core.protocols.store import Store

__all__ = ["PostgresSettings", "marsys_journals"]

marsys_api = 1
"""The version of the hooks that this is written for."""


def _is_text(_settings: object, _field: object, value: object) -> None:
    if not isinstance(value, str):
        msg = f"'dsn' is one text, and not {type(value).__name__}"
        raise TypeError(msg)


@attrs.frozen(kw_only=True)
class PostgresSettings:
    """What may stand under ``[plugins.postgres]``.

    Args:
        dsn: Where the database is: a URL or ``key=value`` pairs, as libpq takes them. What is not in it comes
            from the variables ``PGHOST``, ``PGUSER``, ``PGPASSWORD`` and so on, and from the password file.
        schema: The schema that is the store's own; it is made if it is not there.
        lease_seconds: After how long a process that is not heard of any more has lost its runs.
        busy_seconds: How long a write waits for others that write, and for a server that is gone.
    """

    # Of a value of the wrong type an error would say what it is; this one may hold a password.
    dsn: Any = attrs.field(default="", repr=False, validator=_is_text)
    schema: str = attrs.field(default="marsys", validator=attrs.validators.min_len(1))
    lease_seconds: float = attrs.field(default=30.0, validator=attrs.validators.gt(0))
    busy_seconds: float = attrs.field(default=30.0, validator=attrs.validators.gt(0))


def _open_postgres(context: OpenContext, settings: PostgresSettings) -> AbstractAsyncContextManager[Store]:
    # Imported on use, so that the plugin costs nothing where nobody asks for the store.
    from marsys_postgres._store import PostgresStore

    store = PostgresStore(
        settings.dsn,
        schema=settings.schema,
        lease_seconds=settings.lease_seconds,
        busy_seconds=settings.busy_seconds,
    )
    context.log.debug("runs are kept at %s", store.address)
    return store


@hookimpl
def marsys_journals() -> Iterable[Provider[Store]]:
    """Offer the PostgreSQL store."""
    summary = "Runs in a PostgreSQL database, which several machines may share"
    return [Provider("postgres", _open_postgres, settings=PostgresSettings, summary=summary)]
