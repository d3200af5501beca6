"""Processes that die while they write, and several that write at once."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import trio

from marsys.storage import SQLiteStore
from marsys_core.errors import RunHeld, StoreError
from marsys_core.protocols.store import RunInfo
from tests.plugins.storage.contract import entry

ROOT = Path(__file__).resolve().parents[3]
POINTS = int(os.environ.get("MARSYS_CRASH_POINTS", "50"))


def program(text, *args, **more):
    """Start a Python program that can import the tests."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(text), *map(str, args)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        cwd=ROOT,
        **more,
    )


def told(process, expected=0):
    out, err = process.communicate(timeout=120)
    assert process.returncode == expected, err
    return out


@pytest.mark.slow
@pytest.mark.parametrize("way", ["inline", "thread"])
def test_a_process_killed_at_any_boundary_loses_nothing_that_was_promised(in_memory, way):
    sweep = "import sys; from tests.plugins.storage import sweep; sweep.main(sweep.Path(sys.argv[1]), sys.argv[2] == 'inline', int(sys.argv[3]))"
    found = json.loads(told(program(sweep, in_memory, way, POINTS)))

    assert found["wrong"] == []
    assert found["tried"] >= min(POINTS, 50)
    assert {"begin", "begun", "entries", "blob", "run", "call", "commit", "committed"} <= set(found["kinds"])


WRITE = """
    import sys, trio
    from marsys.storage import SQLiteStore
    from marsys_core.protocols.store import RunInfo
    from tests.plugins.storage.contract import entry

    async def main(path, run_id, count, inline):
        async with SQLiteStore(path, inline=inline) as store:
            log = await store.create(RunInfo(run_id=run_id))
            for seq in range(count):
                log.append(entry(seq))
                await log.commit()
            log.update(status="succeeded")
            await log.release()

    trio.run(main, sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4] == "inline")
"""


@pytest.mark.slow
def test_two_processes_write_two_thousand_commits_each_to_one_file(tmp_path):
    path = tmp_path / "runs.db"
    for process in [program(WRITE, path, f"r{way}", 2000, way) for way in ("inline", "thread")]:
        told(process)

    async def main():
        async with SQLiteStore(path) as store:
            report = await store.check()
            assert (report.runs, report.entries, report.ok) == (2, 4000, True)
            assert {each.status for each in await store.runs()} == {"succeeded"}

    trio.run(main)


HOLD = """
    import sys, trio
    from marsys.storage import SQLiteStore
    from marsys_core.protocols.store import RunInfo
    from tests.plugins.storage.contract import entry

    async def main(path):
        async with SQLiteStore(path) as store:
            log = await store.create(RunInfo(run_id="r"), "the first")
            log.append(entry(0))
            await log.commit()
            print("held", flush=True)
            await trio.sleep_forever()

    trio.run(main, sys.argv[1])
"""


@pytest.mark.slow
def test_the_run_of_a_process_that_was_killed_is_taken_at_once(tmp_path):
    path = tmp_path / "runs.db"
    process = program(HOLD, path)
    assert process.stdout.readline() == "held\n"

    async def main():
        async with SQLiteStore(path) as store:
            with pytest.raises(RunHeld, match=rf"^run 'r' is held by 'the first', process {process.pid} on "):
                await store.take("r")
            assert (await store.info("r")).status == "running"
            process.send_signal(signal.SIGKILL)
            process.wait()
            process.communicate()
            assert (await store.info("r")).status == "interrupted"
            log = await store.take("r", "the second")
            log.append(entry(1))
            await log.commit()
            assert len(await store.entries("r")) == 2

    trio.run(main)


@pytest.mark.slow
def test_many_processes_make_one_file_at_once(tmp_path):
    path = tmp_path / "runs.db"
    for process in [program(WRITE, path, f"r{number}", 3, "inline") for number in range(5)]:
        told(process)

    async def main():
        async with SQLiteStore(path) as store:
            assert len(await store.runs()) == 5

    trio.run(main)


@pytest.mark.slow
def test_a_log_of_changes_that_was_torn_at_any_byte_keeps_whole_commits(tmp_path):
    # What a loss of power may leave: the file as it was, and the beginning of what was written after.
    path = tmp_path / "runs.db"

    async def write():
        async with SQLiteStore(path) as store:
            log = await store.create(RunInfo(run_id="r"))
            for seq in range(0, 20, 2):
                log.append(entry(seq, "x" * 500))
                log.append(entry(seq + 1, "y" * 500))
                await log.commit()
            for name in ("runs.db", "runs.db-wal"):
                shutil.copy(tmp_path / name, tmp_path / f"copy-{name}")

    async def read(torn):
        async with SQLiteStore(torn) as store:
            runs = await store.runs()
            report = await store.check()
            assert report.ok
            return len(await store.entries("r")) if runs else 0

    trio.run(write)
    changes = (tmp_path / "copy-runs.db-wal").read_bytes()
    counts = []
    for size in (*range(0, len(changes), len(changes) // 40), len(changes)):
        torn = tmp_path / f"torn-{size}.db"
        shutil.copy(tmp_path / "copy-runs.db", torn)
        Path(f"{torn}-wal").write_bytes(changes[:size])
        counts.append(trio.run(read, torn))

    assert counts == sorted(counts)
    assert counts[-1] == 20
    assert all(count % 2 == 0 for count in counts)
    assert len(set(counts)) > 5


FILL = """
    import resource, sys, trio
    from marsys.storage import SQLiteStore
    from marsys_core.errors import StoreError
    from marsys_core.protocols.store import RunInfo
    from tests.plugins.storage.contract import entry

    async def main(path):
        async with SQLiteStore(path) as store:
            log = await store.create(RunInfo(run_id="r"))
            log.append(entry(0))
            await log.commit()
            resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
            written = 1
            try:
                for seq in range(1, 1000):
                    log.append(entry(seq, "x" * 1000))
                    await log.commit()
                    written += 1
            except StoreError as error:
                print(error)
            assert len(await store.entries("r")) == written
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            await log.commit()
            assert len(await store.entries("r")) == written + 1
            assert (await store.check()).ok

    trio.run(main, sys.argv[1])
"""


@pytest.mark.slow
def test_a_disk_that_is_full_is_told_and_nothing_is_lost_once_there_is_room(tmp_path):
    path = tmp_path / "runs.db"
    out = told(program(FILL, path))

    assert out.startswith(f"could not write in {str(path)!r}: the disk ")


AS_NOBODY = """
    import os, sys, trio
    from marsys.storage import SQLiteStore
    from marsys_core.errors import StoreError

    async def main(path):
        try:
            async with SQLiteStore(path) as store:
                print(len(await store.runs()))
        except StoreError as error:
            print(error)

    os.setgid(65534)
    os.setuid(65534)
    trio.run(main, sys.argv[1])
"""


@pytest.mark.slow
@pytest.mark.parametrize("there", [True, False])
def test_a_directory_that_may_not_be_written_is_told(tmp_path, there):
    if os.getuid() != 0:
        run_as = "os.setuid"
        text = AS_NOBODY.replace("os.setgid(65534)", "").replace(f"{run_as}(65534)", "")
    else:
        text = AS_NOBODY
    folder = tmp_path / "closed"
    folder.mkdir()
    for each in (tmp_path, *tmp_path.parents[:2]):
        each.chmod(0o755)
    if there:
        process = program(WRITE, folder / "runs.db", "r", 1, "inline")
        told(process)
    folder.chmod(0o555)
    # Modules that are only imported when needed are read before the change of user by importing them first.
    out = told(program("import marsys.storage._store\n" + textwrap.dedent(text), folder / "runs.db"))
    folder.chmod(0o755)

    assert out.startswith(f"could not open the store in {str(folder / 'runs.db')!r}: it ")
    assert "writable for this user" in out or "read-only for this user" in out


def test_a_folder_that_is_not_there_is_told(tmp_path):
    async def main():
        async with SQLiteStore(tmp_path / "no" / "runs.db"):
            pass

    with pytest.raises(StoreError, match=r"it cannot be opened; its folder has to be there, and be writable"):
        trio.run(main)


def test_a_file_of_another_program_is_left_alone(tmp_path):
    path = tmp_path / "other.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE mine (x)")
    connection.close()
    before = path.read_bytes()

    async def main():
        async with SQLiteStore(path):
            pass

    with pytest.raises(
        StoreError, match=r"is an SQLite file of another program; give the store a file of its own$"
    ):
        trio.run(main)
    assert path.read_bytes() == before


def test_a_file_of_a_newer_version_is_refused_with_both_named(tmp_path):
    path = tmp_path / "runs.db"

    async def main():
        async with SQLiteStore(path):
            pass

    trio.run(main)
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 7")
    connection.close()

    with pytest.raises(
        StoreError,
        match=r"^'.*runs\.db' was written by a newer MARSYS: its tables are version 7,"
        r" and this one knows versions up to 1; update MARSYS$",
    ):
        trio.run(main)
