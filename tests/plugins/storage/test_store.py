"""The SQLite store: the contract, and what is SQLite's own."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections import deque

import pytest
import trio
import trio.testing

import marsys.storage
from marsys.storage import SQLiteStore, _writer
from marsys_core.errors import LifecycleError, RunHeld, StoreError
from marsys_core.protocols.store import RunInfo
from tests.plugins.storage.contract import Clock, StoreContract, entry, hashed


class TestInline(StoreContract):
    def opened(self, place, clock):
        return SQLiteStore(place / "runs.db", clock=clock)


class TestThread(StoreContract):
    def opened(self, place, clock):
        return SQLiteStore(place / "runs.db", clock=clock, inline=False)


class TestFull(StoreContract):
    def opened(self, place, clock):
        return SQLiteStore(place / "runs.db", clock=clock, synchronous="FULL")


def opened(path, main, **settings):
    async def run():
        async with SQLiteStore(path, **settings) as store:
            return await main(store)

    return trio.run(run)


def one_run(path, entries=3, **settings):
    async def main(store):
        log = await store.create(RunInfo(run_id="r"))
        for seq in range(entries):
            log.append(entry(seq))
        await log.release()

    opened(path, main, **settings)


def test_the_writers_thread_has_a_name_and_ends_with_the_store(tmp_path):
    path = tmp_path / "runs.db"
    name = f"marsys sqlite {path}"

    async def main(store):
        return [thread.name for thread in threading.enumerate()]

    assert name in opened(path, main)
    assert name not in [thread.name for thread in threading.enumerate()]
    assert [each.name for each in tmp_path.iterdir()] == ["runs.db"]


def test_a_store_is_used_while_it_is_open(tmp_path):
    store = SQLiteStore(tmp_path / "runs.db")

    async def main():
        with pytest.raises(LifecycleError, match=r"^the store of '.*runs.db' is not open$"):
            await store.runs()
        async with store:
            with pytest.raises(LifecycleError, match=r"is open; make a new one to open it again$"):
                await store.__aenter__()
        with pytest.raises(LifecycleError, match=r"^the store of '.*runs.db' is closed$"):
            await store.create(RunInfo(run_id="r"))
        with pytest.raises(LifecycleError, match=r"is closed; make a new one"):
            async with store:
                pass

    trio.run(main)


@pytest.mark.parametrize("settings", [{"synchronous": "OFF"}, {"busy_seconds": 0}])
def test_a_setting_out_of_bounds_is_refused(tmp_path, settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        SQLiteStore(tmp_path / "runs.db", **settings)


@pytest.mark.parametrize(("synchronous", "number"), [("NORMAL", 1), ("FULL", 2)])
def test_synchronous_is_what_sqlite_is_told(tmp_path, synchronous, number):
    async def main(store):
        return await store._open().call(
            lambda connection: connection.execute("PRAGMA synchronous").fetchone()
        )

    assert opened(tmp_path / "runs.db", main, synchronous=synchronous) == (number,)


def test_a_small_commit_is_made_on_the_loops_thread_and_a_full_one_is_not(tmp_path, monkeypatch):
    monkeypatch.setattr("marsys.storage._writer._QUICK_SECONDS", 60.0)

    def committing(**settings):
        threads = []

        async def main(store):
            log = await store.create(RunInfo(run_id="r"))
            log.append(entry(0))
            await log.commit()

        def fault(point):
            if point == "entries":
                threads.append(threading.current_thread())

        opened(tmp_path / f"{len(settings)}.db", main, fault=fault, **settings)
        return threads

    assert committing() == [threading.main_thread()]
    assert threading.main_thread() not in committing(synchronous="FULL")


def test_a_commit_of_much_is_left_to_the_writers_thread(tmp_path):
    threads = []

    async def main(store):
        log = await store.create(RunInfo(run_id="r"))
        log.put(*hashed(b"x" * 100_000))
        await log.commit()

    opened(
        tmp_path / "runs.db",
        main,
        fault=lambda point: threads.append(threading.current_thread()) if point == "blob" else None,
    )

    assert threading.main_thread() not in threads
    assert len(threads) == 1


def test_the_more_commits_are_slow_the_more_are_left_to_the_writers_thread(tmp_path, monkeypatch):
    threads = []
    monkeypatch.setattr("marsys.storage._writer._QUICK_SECONDS", 60.0)

    async def main(store):
        log = await store.create(RunInfo(run_id="r"))
        threads.clear()
        for seq in range(14):
            monkeypatch.setattr("marsys.storage._writer._QUICK_SECONDS", 60.0 if seq == 8 else 0.0)
            log.append(entry(seq))
            await log.commit()

    opened(
        tmp_path / "runs.db",
        main,
        fault=lambda point: threads.append(threading.current_thread()) if point == "entries" else None,
    )

    here = "".join("L" if thread is threading.main_thread() else "t" for thread in threads)
    assert here == "LttLttttLLttLt"


def test_what_nobody_commits_is_written_when_it_is_much(tmp_path):
    async def main(store):
        log = await store.create(RunInfo(run_id="r"))
        for seq in range(2_000):
            log.append(entry(seq))
        while len(await store.entries("r", 0, 1)) == 0:
            await trio.lowlevel.checkpoint()
        await log.release()
        assert len(await store.entries("r")) == 2_000

    opened(tmp_path / "runs.db", main)


def test_the_log_of_changes_is_moved_into_the_file_and_does_not_grow(tmp_path, monkeypatch):
    monkeypatch.setattr("marsys.storage._writer._PAGES_IN_THE_LOG", 30)
    points = []

    async def main(store):
        log = await store.create(RunInfo(run_id="r"))
        for seq in range(300):
            log.append(entry(seq, "x" * 1000))
            await log.commit()
        await log.release()
        return (tmp_path / "runs.db-wal").stat().st_size

    assert opened(tmp_path / "runs.db", main, inline=False, fault=points.append) < 1_000_000
    assert "checkpoint" in points


def test_an_entry_costs_little_beside_its_data(tmp_path):
    path, count = tmp_path / "runs.db", 5_000

    async def main(store):
        log = await store.create(RunInfo(run_id="r"))
        for seq in range(count):
            log.append(entry(seq, "x" * 250))
        await log.release()

    opened(path, main)

    assert path.stat().st_size / count - len(entry(0, "x" * 250).data) < 150


def test_large_text_lies_there_once_and_as_text(tmp_path):
    path = tmp_path / "runs.db"

    async def main(store):
        for number in range(100):
            log = await store.create(RunInfo(run_id=f"r{number}"))
            log.put(*hashed("é".encode() * 100_000))
            await log.release()

    opened(path, main)

    assert path.stat().st_size < 400_000
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT typeof(data), length(data) FROM blobs").fetchall() == [
            ("text", 100_000)
        ]
    connection.close()


def test_a_run_whose_holder_does_not_show_is_taken_when_it_is_silent_and_lost_to_it(tmp_path, monkeypatch):
    # A process in another container cannot be looked at; what counts is when it was heard of last.
    clock = Clock()
    path = tmp_path / "runs.db"

    async def main(first):
        log = await first.create(RunInfo(run_id="r"), "first")
        log.append(entry(0))
        await log.commit()
        monkeypatch.setattr("marsys.storage._lease._place", lambda: "another container")
        async with SQLiteStore(path, clock=clock) as second:
            clock.now += 25
            with pytest.raises(RunHeld):
                await second.take("r", "second")
            log.append(entry(1))
            await log.commit()  # which says that it is alive
            clock.now += 25
            with pytest.raises(RunHeld):
                await second.take("r", "second")
            clock.now += 10
            assert (await second.info("r")).status == "interrupted"
            taken = await second.take("r", "second")
            log.append(entry(2, "of the first"))
            with pytest.raises(
                RunHeld,
                match=r"^run 'r' was taken over by 'second' while this process was not heard of; nothing more",
            ):
                await log.commit()
            taken.append(entry(2, "of the second"))
            await taken.commit()
            with pytest.raises(RunHeld):
                await log.release()
            assert [each.data for each in await second.entries("r", 2)] == ['{"text": "of the second"}']

    opened(path, main, clock=clock)


def test_a_commit_of_a_lost_run_is_refused_also_when_nothing_is_queued_any_more(tmp_path):
    async def main(store):
        log = await store.create(RunInfo(run_id="r"), "first")
        log.append(entry(0))
        other = sqlite3.connect(tmp_path / "runs.db")
        with other:
            other.execute("UPDATE runs SET holder = 'another', held_as = 'second'")
        other.close()
        with pytest.raises(RunHeld):
            await log.commit()
        with pytest.raises(RunHeld, match=r"^run 'r' was taken over by 'second'"):
            await log.commit()

    opened(tmp_path / "runs.db", main)


def test_what_is_queued_just_when_the_thread_looks_is_written_before_its_commit_returns(tmp_path):
    async def main(store):
        log = await store.create(RunInfo(run_id="r"))
        writer = store._open()
        waiter = _writer.Waiter(log._held)

        class LookedAt(deque):
            """A queue to which the loop adds something right after the thread has found it empty."""

            def __bool__(self):
                found = len(self) > 0
                if log.next_seq == 0:
                    log.append(entry(0))
                    writer._waiting.append(waiter)
                return found

        writer._queue = LookedAt()
        with writer._lock:
            assert writer._transact(wait=True) == [waiter]
        assert len(await store.entries("r")) == 1

    opened(tmp_path / "runs.db", main)


def test_a_commit_after_the_store_was_closed_is_refused(tmp_path):
    async def main(store):
        log = await store.create(RunInfo(run_id="r"))
        log.append(entry(0))
        return log

    log = opened(tmp_path / "runs.db", main)
    with pytest.raises(LifecycleError, match=r"^the store of '.*runs\.db' is closed$"):
        trio.run(log.commit)


def test_a_holder_says_that_it_is_alive_when_it_has_nothing_to_write(tmp_path, monkeypatch):
    monkeypatch.setattr("marsys.storage._writer._HEARTBEAT_SECONDS", 0.005)

    async def main(store):
        def seen(connection):
            return connection.execute("SELECT seen FROM holders").fetchone()[0]

        await store.create(RunInfo(run_id="r"))
        first = store._open().committed
        began = await store._open().call(seen)
        while await store._open().call(seen) == began:
            await trio.lowlevel.checkpoint()
        assert first

    opened(tmp_path / "runs.db", main)


def test_a_process_id_that_is_used_again_holds_nothing(tmp_path):
    path = tmp_path / "runs.db"

    async def hold(store):
        await store.create(RunInfo(run_id="r"))

        def change(connection):
            connection.execute("UPDATE holders SET started = started || '0', token = 'x'")
            connection.execute("UPDATE runs SET holder = 'x'")

        await store._open().call(change)

    async def take(store):
        assert (await store.info("r")).status == "interrupted"
        await store.take("r")
        return await store._open().call(
            lambda connection: connection.execute("SELECT count(*) FROM holders").fetchone()
        )

    opened(path, hold)
    assert opened(path, take) == (1,)


def test_an_unknown_name_of_the_package_is_refused():
    with pytest.raises(AttributeError, match=r"^module 'marsys\.storage' has no attribute 'Nothing'$"):
        _ = marsys.storage.Nothing


def failing(points, error=None):
    """Fail once at each of `points`, the next time it is come to."""

    def fault(point):
        if point in points:
            points.remove(point)
            raise error or OSError(28, "No space left on device")

    return fault


@pytest.mark.parametrize("inline", [True, False])
@pytest.mark.parametrize("point", ["begin", "begun", "entries", "blob", "run", "commit"])
def test_what_could_not_be_written_is_written_with_the_next_commit(tmp_path, point, inline):
    points = []

    async def main(store):
        log = await store.create(RunInfo(run_id="r"))
        log.append(entry(0))
        log.put(*hashed(b"x"))
        log.update(steps=1)
        points.append(point)
        with pytest.raises(
            StoreError,
            match=r"^could not write in '.*runs\.db': the disk is full; make room there .*No space left",
        ):
            await log.commit()
        assert await store.entries("r") == []
        log.append(entry(1))
        await log.commit()
        assert len(await store.entries("r")) == 2
        assert (await store.info("r")).steps == 1
        assert await store.blobs("r") == dict([hashed(b"x")])

    opened(tmp_path / "runs.db", main, fault=failing(points), inline=inline)


def test_a_release_that_fails_can_be_done_again(tmp_path):
    points = []

    async def main(store):
        log = await store.create(RunInfo(run_id="r"))
        log.append(entry(0))
        points.append("commit")
        with pytest.raises(StoreError):
            await log.release()
        log.append(entry(1))
        await log.release()
        assert len(await store.entries("r")) == 2

    opened(tmp_path / "runs.db", main, fault=failing(points))


def test_closing_says_what_could_not_be_written(tmp_path):
    broken = []

    def fault(point):
        if broken and point == "commit":
            raise OSError(28, "No space left on device")

    async def main(store):
        log = await store.create(RunInfo(run_id="r"))
        log.append(entry(0))
        broken.append(True)

    with pytest.raises(
        StoreError,
        match=r"was closed and could not write: 1 of run 'r' entries, its leases \(could not write",
    ):
        opened(tmp_path / "runs.db", main, fault=fault)

    async def read(store):
        assert await store.entries("r") == []
        await store.take("r")

    opened(tmp_path / "runs.db", read)


def test_closing_does_not_hide_the_error_it_closes_for(tmp_path):
    broken = []

    def fault(point):
        if broken and point == "commit":
            raise OSError(28, "No space left on device")

    async def main(store):
        log = await store.create(RunInfo(run_id="r"))
        log.append(entry(0))
        broken.append(True)
        raise KeyError("the first")

    with pytest.raises(KeyError) as told:
        opened(tmp_path / "runs.db", main, fault=fault)
    assert "was closed and could not write: 1 of run 'r'" in told.value.__notes__[0]


def test_a_child_of_a_fork_may_not_use_the_store(tmp_path):
    path = tmp_path / "runs.db"

    async def main(store):
        log = await store.create(RunInfo(run_id="r"))
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                with pytest.raises(LifecycleError):
                    log.append(entry(0))
                with pytest.raises(
                    LifecycleError, match="is its parent's: it was open when this process was forked"
                ):
                    store._open()
                os.write(write, b"refused")
            finally:
                os._exit(0)
        os.close(write)
        assert os.waitpid(pid, 0)[1] == 0
        assert os.read(read, 10) == b"refused"
        os.close(read)
        log.append(entry(0))
        await log.commit()

    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forking where threads are, from 3.12 on
        opened(path, main)


def test_another_program_that_writes_for_long_is_told_of(tmp_path):
    path = tmp_path / "runs.db"

    async def main(store):
        log = await store.create(RunInfo(run_id="r"))
        log.append(entry(0))
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(
            StoreError,
            match=r"^another program has been writing to '.*runs\.db' for 0\.01 seconds; it is used by process \d+ on ",
        ):
            await log.commit()
        other.execute("ROLLBACK")
        other.close()
        await log.commit()
        assert len(await store.entries("r")) == 1

    opened(path, main, busy_seconds=0.01)


def test_a_wait_for_another_program_can_be_cancelled(tmp_path):
    path = tmp_path / "runs.db"

    async def main(store):
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(store.create, RunInfo(run_id="r"))
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        other.execute("ROLLBACK")
        other.close()
        await store.create(RunInfo(run_id="other"))
        assert [each.run_id for each in await store.runs()] == ["other"]

    opened(path, main)
