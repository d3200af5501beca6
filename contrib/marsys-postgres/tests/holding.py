"""A process that holds a run until it is killed; started by the tests with a dsn and a schema."""

from __future__ import annotations

import sys

import trio

from marsys_core.protocols.store import Entry, RunInfo
from marsys_postgres import PostgresStore


async def main(dsn: str, schema: str) -> None:
    async with PostgresStore(dsn, schema=schema) as store:
        log = await store.create(RunInfo(run_id="r"), "the other")
        log.append(Entry(0, "", 0, ("", -1), "RunStarted", 0.0, "{}"))
        await log.commit()
        sys.stdout.write("held\n")
        sys.stdout.flush()
        await trio.sleep_forever()


trio.run(main, *sys.argv[1:])
