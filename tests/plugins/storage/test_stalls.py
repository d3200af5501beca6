"""The writer never makes the event loop wait: what it does on the loop's thread is short, and rare where it is not."""

from __future__ import annotations

import re
import threading
from pathlib import Path
from typing import Any

import pytest
import trio

from marsys.storage import SQLiteStore
from marsys_core.agents import FunctionAgent
from marsys_core.orchestra import Orchestra
from marsys_core.protocols.store import RunInfo
from tests.core.fakes import BARE
from tests.plugins.storage.contract import entry, hashed
from tests.plugins.storage.power import Disk, hidden
from tests.plugins.storage.stalls import Stalls
from tests.plugins.storage.test_crash import program, told

SHORT = re.compile(
    r"BEGIN IMMEDIATE|COMMIT|PRAGMA data_version|(SELECT|INSERT|UPDATE|SAVEPOINT|RELEASE|DELETE)\b"
)
"""What may be done on the loop's thread: no checkpoint, no VACUUM."""


def watched(path: Path, stalls: Stalls, monkeypatch: Any, count: int, **settings: Any) -> Stalls:
    """Commit so often, one entry each, with nothing else to do for the writer's thread."""

    async def main() -> None:
        async with SQLiteStore(path, **settings) as store:
            stalls.watch(store, monkeypatch)
            log = await store.create(RunInfo(run_id="r"))
            stalls.begin()
            for seq in range(count):
                log.append(entry(seq))
                await log.commit()
            assert len(await store.entries("r")) == count

    monkeypatch.setattr("marsys.storage._writer._PAGES_IN_THE_LOG", 1_000_000)
    monkeypatch.setattr("marsys.storage._writer._HEARTBEAT_SECONDS", 600.0)
    trio.run(main)
    return stalls


def test_commits_that_are_quick_are_all_made_on_the_loops_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stalls = watched(tmp_path / "runs.db", Stalls(lambda _: 0.000_03), monkeypatch, 50)

    assert stalls.commits[:50] == "L" * 50
    assert stalls.longest <= 0.0002
    assert all(SHORT.match(statement) for statement in stalls.here)


def test_statements_that_are_slow_are_left_to_the_thread_and_tried_again_ever_more_seldom(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stalls = watched(tmp_path / "runs.db", Stalls(lambda _: 0.001), monkeypatch, 1_000)

    waits = [len(each) for each in stalls.commits[:1000].split("L")]
    assert waits[:8] == [0, 2, 4, 8, 16, 32, 64, 128]
    assert set(waits[8:-1]) == {128}
    assert stalls.stalled < 0.1  # of what would have been 4 seconds


def test_one_slow_commit_among_quick_ones_costs_the_loop_no_more_than_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = [20]

    def seconds(statement: str) -> float:
        left[0] -= statement == "COMMIT"
        return 0.005 if statement == "COMMIT" and left[0] == 0 else 0.000_01

    stalls = watched(tmp_path / "runs.db", Stalls(seconds), monkeypatch, 40)

    assert stalls.commits[:40] == "L" * 20 + "tt" + "L" * 18
    assert stalls.longest < 0.0051


@pytest.mark.parametrize("settings", [{"synchronous": "FULL"}, {"inline": False}])
def test_a_store_that_waits_for_the_disk_does_nothing_on_the_loops_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any]
) -> None:
    stalls = watched(tmp_path / "runs.db", Stalls(), monkeypatch, 20, **settings)

    assert stalls.here == []
    assert stalls.commits.startswith("t" * 20)


@pytest.mark.skipif(hidden(), reason="this Python keeps its SQLite to itself")
def test_the_loops_thread_never_waits_for_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("marsys.storage._writer._PAGES_IN_THE_LOG", 20)
    monkeypatch.setattr("marsys.storage._writer._QUICK_SECONDS", 60.0)
    disk, stalls = Disk(), Stalls()

    async def main() -> None:
        async with SQLiteStore(tmp_path / "runs.db") as store:
            stalls.watch(store, monkeypatch)
            log = await store.create(RunInfo(run_id="r"))
            stalls.begin()
            while stalls.commits.count("L") < 100 or disk.syncs.count(str(store.path)) < 3:
                seq = log.next_seq
                log.append(entry(seq, "x" * 500))
                log.put(*hashed(f"{seq}".encode() * 3000))
                await log.commit()

    with disk.watched():
        trio.run(main)

    # The log was moved into the file meanwhile, which waits for the disk.
    assert disk.threads
    assert threading.current_thread() not in disk.threads


@pytest.mark.slow
def test_what_a_team_does_at_once_is_short_for_the_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stalls = Stalls(lambda _: 0.000_01)

    async def step(prompt: Any) -> Any:
        await trio.lowlevel.checkpoint()
        return prompt

    names = [f"W{number}" for number in range(20)]

    async def main() -> None:
        async with (
            SQLiteStore(tmp_path / "runs.db") as store,
            Orchestra(plugins=BARE, storage=store) as orchestra,
        ):
            stalls.watch(store, monkeypatch)
            stalls.begin()
            agents = [FunctionAgent(step, name=name) for name in ("Begin", *names, "End")]
            await orchestra.execute("x", f"Begin -> [{', '.join(names)}] -> End", agents=agents)

    trio.run(main)

    assert "L" in stalls.commits
    assert all(SHORT.match(statement) for statement in stalls.here)
    assert stalls.longest < 0.001


OTHER = """
    import sqlite3, sys

    connection = sqlite3.connect(sys.argv[1], isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    print("writing", flush=True)
    sys.stdin.readline()
    connection.execute("COMMIT")
"""


@pytest.mark.slow
def test_the_loop_goes_on_while_another_process_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, stalls, passes = tmp_path / "runs.db", Stalls(), 0

    async def main() -> None:
        nonlocal passes
        async with SQLiteStore(path) as store:
            stalls.watch(store, monkeypatch)
            log = await store.create(RunInfo(run_id="r"))
            log.append(entry(0))
            other = program(OTHER, path)
            assert other.stdout.readline() == "writing\n"
            stalls.begin()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(log.commit)
                while passes < 1_000:  # the other one writes until the loop has come round so often
                    await trio.lowlevel.checkpoint()
                    passes += 1
                assert stalls.commits == ""
                other.stdin.write("go\n")
                other.stdin.flush()
            await trio.to_thread.run_sync(told, other)
            assert len(await store.entries("r")) == 1

    trio.run(main)

    assert passes == 1_000
    assert stalls.here.count("BEGIN IMMEDIATE") == 1  # it found the file taken, and left it to the thread
    assert stalls.commits[0] == "t"
