"""Sessions in a file: what agents remember outlives the process, whatever happens to it."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter

import pytest
import trio

from marsys import Agent, Orchestra
from marsys.storage import SQLiteStore
from marsys_core.errors import StoreDamaged
from tests.core.fakes import FakeModel
from tests.plugins.storage.talking import clerk, turn
from tests.plugins.storage.test_crash import program, told

TURN = """
    import sys
    from pathlib import Path
    from tests.plugins.storage.talking import turn

    for number in range(int(sys.argv[3])):
        print(turn(Path(sys.argv[1]), f"{sys.argv[2]} {number}"))
"""


@pytest.mark.slow
def test_another_process_goes_on_with_the_session(tmp_path):
    path = tmp_path / "runs.db"
    told(program(TURN, path, "task", 1))
    assert turn(path, "again") == ["task 0", "answer to task 0", "again", "answer to again"]


@pytest.mark.slow
def test_two_processes_that_end_runs_of_one_session_at_once_lose_nothing(tmp_path):
    path = tmp_path / "runs.db"
    for process in [program(TURN, path, name, 15) for name in "ab"]:
        told(process)
    said = turn(path, "last")[:-2]
    tasks, answers = said[::2], said[1::2]
    assert answers == [f"answer to {task}" for task in tasks]
    assert [task for task in tasks if task.startswith("a")] == [f"a {number}" for number in range(15)]
    assert [task for task in tasks if task.startswith("b")] == [f"b {number}" for number in range(15)]


@pytest.mark.slow
def test_a_process_killed_at_any_boundary_leaves_a_session_that_is_neither_short_nor_doubled(tmp_path):
    found = json.loads(
        told(
            program("from tests.plugins.storage import talking as t; t.main(t.Path(t.sys.argv[1]))", tmp_path)
        )
    )
    assert found["wrong"] == []
    assert found["tried"] > 20
    assert {"said", "committed"} <= set(found["kinds"])


def pages(path):
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (count,) = connection.execute("PRAGMA page_count").fetchone()
        (size,) = connection.execute("PRAGMA page_size").fetchone()
    connection.close()
    return count * size


@pytest.mark.slow
def test_a_run_of_a_long_session_costs_as_many_bytes_as_one_of_a_short_one(tmp_path):
    path, sizes = tmp_path / "runs.db", []

    async def main():
        async with SQLiteStore(path) as store, Orchestra(storage=store, agents=[clerk()]) as orchestra:
            for number in range(201):
                await orchestra.execute(f"task {number:03}", "A", session_id="s")
                if number % 50 == 0:
                    sizes.append(pages(path))

    trio.run(main)
    first, *later = [after - before for before, after in zip(sizes, sizes[1:], strict=False)]
    assert max(later) <= 1.3 * first
    assert len(turn(path, "last")) == 2 * 202


def test_what_is_remembered_can_be_read_with_any_tool(tmp_path):
    path = tmp_path / "runs.db"
    turn(path, "first")
    turn(path, "second")
    with sqlite3.connect(path) as connection:
        rows = connection.execute("SELECT session_id, agent, role, content FROM remembered").fetchall()
        runs = connection.execute("SELECT run_id FROM remembered").fetchall()
    connection.close()
    assert rows == [
        ("s", "A", "user", "first"),
        ("s", "A", "assistant", "answer to first"),
        ("s", "A", "user", "second"),
        ("s", "A", "assistant", "answer to second"),
    ]
    assert sorted(Counter(runs).values()) == [2, 2]


def test_what_was_changed_in_the_file_is_not_taken_for_what_was_said(tmp_path):
    path = tmp_path / "runs.db"
    turn(path, "first")
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE said SET data = replace(data, 'first', 'other')")
    connection.close()
    wanted = "^what agent 'A' remembers of session 's' is damaged: addition 1 is not what its checksum says$"

    async def main():
        async with SQLiteStore(path) as store, Orchestra(storage=store) as orchestra:
            assert [damage.what for damage in (await store.check()).damage] == [wanted[1:-1]]
            with pytest.raises(StoreDamaged, match=wanted):
                await orchestra.execute("second", "A", agents=[clerk()], session_id="s")
            assert len(await orchestra.runs()) == 1
            await orchestra.forget_session("s")
            assert (await store.check()).ok

    trio.run(main)


def test_an_exported_run_goes_on_in_a_store_that_never_heard_of_its_session(tmp_path):
    path, file = tmp_path / "runs.db", tmp_path / "run.jsonl"
    turn(path, "first")

    async def main():
        async with SQLiteStore(path) as store, Orchestra(storage=store) as orchestra:

            def broken(request):
                raise ValueError(request.messages[-1].text)

            failing = Agent("A", model=FakeModel(broken), memory_scope="session")
            result = await orchestra.execute("second", "A", agents=[failing], session_id="s")
            assert not result.success
            await store.export(result.run_id, file)
        async with SQLiteStore(tmp_path / "other.db") as store, Orchestra(storage=store) as orchestra:
            result = await orchestra.resume(await store.import_(file), agents=[clerk()])
            said = ["first", "answer to first", "second", "answer to second"]
            assert [message.text for message in result.messages] == said
            result = await orchestra.execute("third", "A", agents=[clerk()], session_id="s")
            assert [message.text for message in result.messages][:-2] == said

    trio.run(main)
