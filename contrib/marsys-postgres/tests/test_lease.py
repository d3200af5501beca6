"""Who has a run: holders that die, that are stalled, and servers that are started anew."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from marsys_core.errors import LifecycleError, RunHeld, StoreError
from marsys_core.protocols.store import Entry, RunInfo
from marsys_postgres import PostgresStore

HOLDING = Path(__file__).with_name("holding.py")


def entry(seq: int, text: str = "{}") -> Entry:
    return Entry(seq, "", seq, ("", seq - 1), "X", 0.0, text)


@pytest.fixture
def opened(postgres: Any, schema: str) -> Callable[..., PostgresStore]:
    """Make a store; all of one test are of the same runs."""

    def opened(**settings: Any) -> PostgresStore:
        return PostgresStore(postgres.dsn, schema=schema, **settings)

    return opened


@asynccontextmanager
async def other_process(postgres: Any, schema: str) -> AsyncIterator[subprocess.Popen[str]]:
    command = [sys.executable, str(HOLDING), postgres.dsn, schema]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: ASYNC220
        try:
            assert process.stdout is not None
            assert await trio.to_thread.run_sync(process.stdout.readline) == "held\n"
            yield process
        finally:
            process.kill()


def silence(postgres: Any, store: PostgresStore) -> None:
    """Let a store be silent for too long."""
    past = f"UPDATE \"{store.schema}\".holders SET expires = clock_timestamp() - interval '1 s' WHERE id = %s"
    postgres.sql(past, store._open().lease.holder)


@pytest.mark.slow
def test_the_run_of_a_process_that_was_killed_is_free_at_once(
    postgres: Any, schema: str, opened: Callable[..., PostgresStore]
) -> None:
    async def main() -> None:
        async with opened() as store, other_process(postgres, schema) as process:
            with pytest.raises(RunHeld, match=rf"^run 'r' is held by 'the other', process {process.pid} on "):
                await store.take("r")
            process.kill()
            with trio.fail_after(10):  # a third of the lease
                while (await store.info("r")).status != "interrupted":
                    pass
            log = await store.take("r")
            assert log.next_seq == 1
            log.append(entry(1))
            await log.release()

    trio.run(main)


def test_a_holder_that_is_stalled_loses_its_runs_and_writes_nothing_more(
    postgres: Any, opened: Callable[..., PostgresStore]
) -> None:
    async def main() -> None:
        async with opened() as first, opened() as second:
            log = await first.create(RunInfo(run_id="r"), "first")
            mine = await first.create(RunInfo(run_id="s"), "first")
            log.append(entry(0))
            await log.commit()
            with pytest.raises(RunHeld):
                await second.take("r", "second")
            silence(postgres, first)
            assert (await second.info("r")).status == "interrupted"
            taken = await second.take("r", "second")
            log.append(entry(1, '"of the first"'))
            log.put("hash", b"of the first")
            log.update(status="failed")
            for _ in range(2):
                with pytest.raises(
                    RunHeld, match=r"^run 'r' was taken over by 'second' while this process was not heard of"
                ):
                    await log.commit()
            taken.append(entry(1, '"of the second"'))
            await taken.commit()
            with pytest.raises(RunHeld):
                await log.release()
            assert [each.data for each in await second.entries("r", 1)] == ['"of the second"']
            assert (await second.info("r")).status == "running"
            mine.append(entry(0))
            await mine.commit()  # nobody has taken this one

    trio.run(main)


def test_a_commit_of_a_run_that_was_removed_is_refused(
    postgres: Any, opened: Callable[..., PostgresStore]
) -> None:
    async def main() -> None:
        async with opened() as first, opened() as second:
            log = await first.create(RunInfo(run_id="r"))
            silence(postgres, first)
            await second.remove(["r"])
            log.append(entry(0))
            with pytest.raises(RunHeld, match=r"^run 'r' was removed while this process was not heard of"):
                await log.commit()

    trio.run(main)


def test_a_holder_that_has_nothing_to_write_is_heard_of(
    postgres: Any, opened: Callable[..., PostgresStore]
) -> None:
    async def main() -> None:
        async with opened(lease_seconds=0.06) as first, opened() as second:
            log = await first.create(RunInfo(run_id="r"))
            silence(postgres, first)
            with trio.fail_after(10):
                while not (await second.info("r")).holder:
                    pass
            await log.release()

    trio.run(main)


@pytest.mark.slow
def test_a_server_that_was_started_anew_takes_no_run_from_a_holder_who_is_there(
    postgres: Any, opened: Callable[..., PostgresStore]
) -> None:
    async def main() -> None:
        async with opened() as first:
            log = await first.create(RunInfo(run_id="r"), "first")
            log.append(entry(0))
            await log.commit()
            await trio.to_thread.run_sync(postgres.stop)
            await trio.to_thread.run_sync(postgres.start)
            async with opened() as second:
                # The first has no session, and no lock, and has not noticed yet.
                with pytest.raises(RunHeld):
                    await second.take("r", "second")
                assert [each.seq for each in await second.entries("r")] == [0]
                log.append(entry(1))
                await log.commit()
                assert len(await first.entries("r")) == 2
                with pytest.raises(RunHeld):
                    await second.take("r", "second")

    trio.run(main)


def test_a_session_that_was_ended_is_opened_again_and_holds_what_it_held(
    postgres: Any, opened: Callable[..., PostgresStore]
) -> None:
    end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'marsys'"

    async def main() -> None:
        async with opened() as store:
            log = await store.create(RunInfo(run_id="r"))
            await store.runs()
            postgres.sql(end)
            log.append(entry(0))
            await log.commit()
            assert len(await store.entries("r")) == 1
            async with opened() as other:
                with pytest.raises(RunHeld):
                    await other.take("r")

    trio.run(main)


@pytest.mark.slow
def test_what_was_queued_while_the_server_was_gone_is_written_when_it_is_back(
    postgres: Any, opened: Callable[..., PostgresStore]
) -> None:
    async def main() -> None:
        async with opened(busy_seconds=0.01) as store:
            log = await store.create(RunInfo(run_id="r"))
            await trio.to_thread.run_sync(postgres.stop)
            log.append(entry(0))
            log.update(steps=1)
            with pytest.raises(StoreError, match=r"^could not connect to .*: see that the server runs"):
                await log.commit()
            with pytest.raises(StoreError, match=r"^could not connect to .*: see that the server runs"):
                await store.runs()
            with trio.move_on_after(0) as scope:
                await store.create(RunInfo(run_id="never"))
            assert scope.cancelled_caught
            await trio.to_thread.run_sync(postgres.start)
            log.append(entry(1))
            await log.commit()
            assert len(await store.entries("r")) == 2
            assert (await store.info("r")).steps == 1
            assert [each.run_id for each in await store.runs()] == ["r"]

    trio.run(main)


@pytest.mark.slow
def test_a_commit_waits_for_a_server_that_is_started_anew(
    postgres: Any, opened: Callable[..., PostgresStore]
) -> None:
    async def main() -> None:
        async with opened() as store:
            log = await store.create(RunInfo(run_id="r"))
            await trio.to_thread.run_sync(postgres.stop)
            log.append(entry(0))
            async with trio.open_nursery() as nursery:
                nursery.start_soon(log.commit)
                await trio.to_thread.run_sync(postgres.start)
            assert len(await store.entries("r")) == 1

    trio.run(main)


@pytest.mark.slow
def test_closing_without_a_server_says_what_is_lost(
    postgres: Any, opened: Callable[..., PostgresStore]
) -> None:
    async def main() -> None:
        async with opened() as store:
            log = await store.create(RunInfo(run_id="r"))
            await trio.to_thread.run_sync(postgres.stop)
            log.append(entry(0))

    try:
        with pytest.raises(
            StoreError, match=r"was closed and could not write: 1 entries of run 'r', its leases \(could not "
        ):
            trio.run(main)
    finally:
        postgres.start()


def lose_the_answer(store: PostgresStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the connection break between the next commit and its answer."""
    import psycopg

    writer = store._open()
    attempt = type(writer)._attempt

    def attempted(self: Any, work: Any) -> None:
        attempt(self, work)
        monkeypatch.undo()
        self._uncertain = True
        self.lease.current.close()
        raise psycopg.OperationalError("the connection is lost")

    monkeypatch.setattr(type(writer), "_attempt", attempted)


def test_entries_of_a_commit_that_was_not_answered_are_there_once(
    opened: Callable[..., PostgresStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        async with opened() as store:
            log = await store.create(RunInfo(run_id="r"))
            log.append(entry(0))
            log.update(steps=1)
            lose_the_answer(store, monkeypatch)
            await log.commit()
            log.append(entry(1))
            await log.commit()
            assert [each.seq for each in await store.entries("r")] == [0, 1]

    trio.run(main)


def test_a_call_of_a_commit_that_was_not_answered_is_not_done_again(
    opened: Callable[..., PostgresStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        async with opened() as store:
            lose_the_answer(store, monkeypatch)
            with pytest.raises(StoreError, match=r"the connection was lost") as told:
                await store.create(RunInfo(run_id="r"))
            assert told.value.__notes__ == [
                "the server was told to commit, and it is not known whether it did"
            ]
            assert [each.run_id for each in await store.runs()] == ["r"]

    trio.run(main)


def test_a_transaction_that_was_in_the_way_of_another_is_done_again(
    opened: Callable[..., PostgresStore],
) -> None:
    import psycopg

    tries = []

    def call(connection: psycopg.Connection) -> int:
        tries.append(connection)
        if len(tries) < 3:
            raise psycopg.errors.DeadlockDetected
        return len(tries)

    async def main() -> None:
        async with opened() as store:
            log = await store.create(RunInfo(run_id="r"))
            log.append(entry(0))
            assert await store._open().call(call) == 3
            assert len(await store.entries("r")) == 1

    trio.run(main)


def test_a_run_that_others_have_locked_for_too_long_is_told_of(
    postgres: Any, schema: str, opened: Callable[..., PostgresStore]
) -> None:
    import psycopg

    async def main() -> None:
        async with opened(busy_seconds=0.05) as store:
            log = await store.create(RunInfo(run_id="r"))
            log.append(entry(0))
            with psycopg.connect(postgres.dsn) as other:
                other.execute(f'SELECT * FROM "{schema}".runs FOR UPDATE')
                with pytest.raises(
                    StoreError, match=r"others have it locked; look at pg_stat_activity for who"
                ):
                    await log.commit()
            await log.commit()
            assert len(await store.entries("r")) == 1

    trio.run(main)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of forking where threads are, from 3.12 on
def test_a_child_of_a_fork_may_not_use_the_store(opened: Callable[..., PostgresStore]) -> None:
    async def main() -> None:
        async with opened() as store:
            log = await store.create(RunInfo(run_id="r"))
            await store.runs()
            pid = os.fork()
            if pid == 0:
                refused = 0
                for use in (lambda: log.append(entry(0)), store._open):
                    try:
                        use()
                    except LifecycleError:
                        refused += 1
                os._exit(refused)
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 2  # noqa: ASYNC222
            log.append(entry(0))
            await log.commit()
            assert len(await store.entries("r")) == 1

    trio.run(main)
