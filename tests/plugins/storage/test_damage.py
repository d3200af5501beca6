"""Files that were changed behind the store's back, and looking at a file with other tools."""

from __future__ import annotations

import contextlib
import json
import random
import sqlite3
import subprocess
import sys

import pytest
import trio

from marsys.storage import SQLiteStore
from marsys_core.errors import StoreDamaged, StoreError
from marsys_core.protocols.store import Entry, RunInfo
from tests.plugins.storage.contract import entry, hashed


@pytest.fixture
def path(tmp_path):
    """A file with two runs of 40 entries and a large value each."""
    path = tmp_path / "runs.db"

    async def main():
        async with SQLiteStore(path) as store:
            for name in ("a", "b"):
                log = await store.create(RunInfo(run_id=name, status="succeeded"))
                for seq in range(40):
                    log.append(entry(seq, f"{name}{seq} " * 30))
                log.put(*hashed(name.encode() * 9000))
                await log.release()

    trio.run(main)
    return path


def changed(path, statement, *values):
    with sqlite3.connect(path) as connection:
        assert connection.execute(statement, values).rowcount == 1
    connection.close()


def ask(path, question):
    async def main():
        async with SQLiteStore(path) as store:
            return await question(store)

    return trio.run(main)


@pytest.mark.parametrize(
    "change",
    [
        "data = replace(data, 'a7', 'a8')",
        "branch = '1'",
        "n = n + 1",
        "kind = 'StepFailed'",
        "time = time + 1e-9",
        "cause_n = 0",
        "cause_branch = 'x'",
        "crc = crc + 1",
        "data = CAST(data AS BLOB)",
        "data = 7",
        "data = CAST(x'ff' AS TEXT)",
        "time = 'soon'",
        "id = id + 1000",
        "id = id + 4294967296 + 1000",
    ],
)
def test_a_changed_entry_is_found_and_those_before_it_are_read(path, change):
    changed(path, f"UPDATE entries SET {change} WHERE run = 1 AND seq = 7")

    async def question(store):
        with pytest.raises(
            StoreDamaged,
            match=r"^entry 7 of run 'a' in '.*' is damaged \(.+\); the 7 asked for before it can be read$",
        ) as told:
            await store.entries("a")
        assert [each.seq for each in told.value.entries] == list(range(7))
        assert (told.value.run_id, told.value.seq) == ("a", 7)
        assert len(await store.entries("a", 8, 20)) == 12
        report = await store.check()
        assert ("a", 7) in [(each.run_id, each.seq) for each in report.damage]
        assert report.entries >= 7
        assert not report.ok

    ask(path, question)


def test_an_entry_does_not_fit_into_another_run(path):
    changed(path, "DELETE FROM entries WHERE run = 1 AND seq = 7")
    changed(path, "UPDATE entries SET id = (1 << 32) + 7 WHERE run = 2 AND seq = 7")

    async def question(store):
        with pytest.raises(StoreDamaged, match="^entry 7 of run 'a'"):
            await store.entries("a")

    ask(path, question)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("status = 'dine'", "'dine'"),
        ("task = 'another'", "what is known of it is not what its checksum says"),
        ("fingerprint = '{'", "what is known of it is not what its checksum says"),
        ("session_id = CAST(x'ff' AS TEXT)", "what is known of it is not what its checksum says"),
        ("created = 'soon'", "what is known of it is not what its checksum says"),
    ],
)
def test_a_run_whose_row_was_changed_is_listed_as_damaged_beside_the_others(path, change, said):
    changed(path, f"UPDATE runs SET {change} WHERE id = 1")

    async def question(store):
        listed = await store.runs()
        assert [(info.run_id, info.status) for info in listed] == [("b", "succeeded"), ("a", "damaged")]
        assert said in listed[1].error
        assert await store.runs(status=["damaged"], limit=1) == listed[1:]
        assert [info.run_id for info in await store.runs(status=["succeeded", "damaged"])] == ["b", "a"]
        with pytest.raises(StoreDamaged, match=r"^run 'a' in '.*' is damaged: .*") as told:
            await store.info("a")
        assert said in str(told.value)
        assert told.value.run_id == "a"
        assert len(await store.entries("a")) == 40
        assert (await store.info("b")).status == "succeeded"
        assert [each.run_id for each in (await store.check()).damage] == ["a"]

    ask(path, question)


def test_a_run_that_is_missing_in_the_index_is_found_all_the_same(path):
    connection = sqlite3.connect(path)
    (page,) = connection.execute(
        "SELECT rootpage FROM sqlite_master WHERE name = 'sqlite_autoindex_runs_1'"
    ).fetchone()
    connection.close()
    whole = bytearray(path.read_bytes())
    place = whole.rindex(b"a", (page - 1) * 4096, page * 4096)
    whole[place] ^= 0x10
    path.write_bytes(whole)

    async def question(store):
        assert (await store.info("a")).status == "succeeded"
        assert len(await store.entries("a")) == 40
        assert any("index" in each.what for each in (await store.check()).damage)

    ask(path, question)


@pytest.mark.parametrize("data", ["'x'", "CAST(x'ff' AS TEXT)", "x'ff'"])
def test_a_large_value_that_was_changed_is_found(path, data):
    changed(path, f"UPDATE blobs SET data = {data} WHERE id = 1")
    sha256, _data = hashed(b"a" * 9000)

    async def question(store):
        for asked, of in ((store.blob(sha256), ""), (store.blobs("a"), " of run 'a'")):
            with pytest.raises(
                StoreDamaged, match=rf"^the large value {sha256}{of} in '.*' is damaged: its hash is another$"
            ):
                await asked
        assert len(await store.blobs("b")) == 1
        assert [(each.run_id, each.what) for each in (await store.check()).damage] == [
            ("a", f"the large value {sha256} has another hash")
        ]
        with pytest.raises(StoreDamaged):
            await store.export("a", path.with_suffix(".jsonl"))
        assert not path.with_suffix(".jsonl").exists()

    ask(path, question)


def test_a_large_value_that_is_missing_is_found(path):
    changed(path, "DELETE FROM blobs WHERE id = 1")

    async def question(store):
        assert [(each.run_id, each.what) for each in (await store.check()).damage] == [
            ("a", "a large value of it is missing")
        ]

    ask(path, question)


def everything(path):
    """Read all that can be read; return the entries, or the store's own error."""

    async def question(store):
        found = {}
        report = await store.check()
        for info in await store.runs():
            try:
                found[info.run_id] = list(await store.entries(info.run_id))
            except StoreDamaged as error:
                found[info.run_id] = list(error.entries)
        return report, found

    try:
        return ask(path, question)
    except StoreError as error:
        return error


@pytest.mark.slow
def test_a_flipped_bit_anywhere_is_an_error_of_the_store_or_changes_nothing(path):
    whole = path.read_bytes()
    expected = {name: [entry(seq, f"{name}{seq} " * 30) for seq in range(40)] for name in ("a", "b")}
    chance = random.Random(7)
    told = 0
    for start in range(0, len(whole), max(1, len(whole) // 120)):
        place = min(len(whole) - 1, start + chance.randrange(300))
        broken = bytearray(whole)
        broken[place] ^= 1 << chance.randrange(8)
        path.write_bytes(broken)
        found = everything(path)
        if isinstance(found, StoreError):
            told += 1
            continue
        report, entries = found
        told += not report.ok
        for name, good in entries.items():
            if name in expected:  # the name of a run has no checksum: it is the checksum's beginning
                assert good == expected[name][: len(good)], place
                assert len(good) == 40 or not report.ok, place
    assert told > 20


@pytest.mark.slow
def test_a_truncated_file_is_an_error_of_the_store(path):
    whole = path.read_bytes()
    for size in (*range(1, len(whole), len(whole) // 15), 16, 511, 512, 4095, 4096, 4097, len(whole) - 1):
        path.write_bytes(whole[:size])
        found = everything(path)
        if not isinstance(found, StoreError):
            report, entries = found
            assert not report.ok
            assert all(len(each) <= 40 for each in entries.values())


def test_what_is_no_database_is_told(tmp_path):
    path = tmp_path / "runs.db"
    path.write_bytes(b"This is a letter. " * 500)

    assert str(everything(path)).startswith(
        f"could not open the store in {str(path)!r}: it is damaged, or no SQLite file (file is not a database);"
    )
    assert isinstance(everything(path), StoreDamaged)


EVENTS = (
    ("StepStarted", {"node": "Writer", "step": 1, "inputs": []}),
    ("ModelCalled", {"node": "Writer", "model": "m", "messages": 2, "tools": 1, "attempt": 1}),
    ("ModelReplied", {"node": "Writer", "model": "m", "content": "Hi", "tool_calls": [], "duration": 0.5}),
    ("ToolStarted", {"node": "Writer", "tool": "search", "call_id": "c1", "arguments": {"q": "canal"}}),
    ("ToolFinished", {"node": "Writer", "tool": "search", "call_id": "c1", "result": ["x"], "duration": 0.1}),
    (
        "StepFinished",
        {
            "node": "Writer",
            "action": {"kind": "finish"},
            "messages": [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "Because."}],
        },
    ),
)


@pytest.mark.slow
def test_the_file_can_be_looked_at_with_sqlite_utils_while_it_is_open(tmp_path):
    path = tmp_path / "runs.db"

    def rows(name):
        command = [sys.executable, "-m", "sqlite_utils", "rows", str(path), name]
        return json.loads(subprocess.run(command, capture_output=True, check=True, text=True).stdout)

    async def main():
        async with SQLiteStore(path) as store:
            log = await store.create(RunInfo(run_id="r", session_id="s", task="Why?", created=0.5))
            for seq, (kind, data) in enumerate(EVENTS):
                log.append(Entry(seq, "0", seq, ("0", seq - 1), kind, seq / 2, json.dumps(data)))
            await log.commit()
            views = ("run_list", "steps", "messages", "model_calls", "tool_calls", "entries")
            return {name: rows(name) for name in views}

    found = trio.run(main)

    assert [(row["run_id"], row["entries"], row["created"]) for row in found["run_list"]] == [
        ("r", 6, "1970-01-01 00:00:00")
    ]
    assert [(row["kind"], row["node"]) for row in found["steps"]] == [
        ("StepStarted", "Writer"),
        ("StepFinished", "Writer"),
    ]
    assert [(row["role"], row["content"]) for row in found["messages"]] == [
        ("user", "Why?"),
        ("assistant", "Because."),
    ]
    assert [row["content"] for row in found["model_calls"]] == [None, "Hi"]
    assert [(row["tool"], row["arguments"], row["result"]) for row in found["tool_calls"]] == [
        ("search", '{"q":"canal"}', None),
        ("search", None, '["x"]'),
    ]
    assert [(row["run"], row["seq"]) for row in found["entries"]] == [(1, seq) for seq in range(6)]
    assert json.loads(found["entries"][0]["data"]) == EVENTS[0][1]


LONG = "I have read what you said, and this is what I think of it. " * 4
AGAIN = {"$type": "again", "seq": 0, "at": "$.content"}
SAID_AGAIN = (
    ("ModelReplied", {"node": "Writer", "model": "m", "content": LONG, "tool_calls": []}),
    (
        "StepFinished",
        {
            "node": "Writer",
            "action": {"$type": "Content", "value": AGAIN},
            "messages": [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": AGAIN}],
        },
    ),
    ("ToolStarted", {"node": "Writer", "tool": "search", "call_id": "c1", "arguments": AGAIN}),
    ("ToolFinished", {"node": "Writer", "tool": "search", "call_id": "c1", "result": AGAIN}),
)


def test_the_views_show_a_text_that_is_referred_to(tmp_path):
    path = tmp_path / "runs.db"

    async def main() -> None:
        async with SQLiteStore(path) as store:
            log = await store.create(RunInfo(run_id="before"))
            await log.release()
            log = await store.create(RunInfo(run_id="r"))
            for seq, (kind, data) in enumerate(SAID_AGAIN):
                log.append(Entry(seq, "0", seq, ("0", seq - 1), kind, seq / 2, json.dumps(data)))
            await log.release()

    trio.run(main)

    with contextlib.closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT content FROM model_calls").fetchall() == [(LONG,)]
        messages = connection.execute("SELECT content, message FROM messages").fetchall()
        assert [content for content, _ in messages] == ["Why?", LONG]
        assert json.loads(messages[1][1]) == {"role": "assistant", "content": LONG}
        (action,) = connection.execute("SELECT action FROM steps").fetchone()
        assert json.loads(action) == {"$type": "Content", "value": LONG}
        assert connection.execute("SELECT arguments, result FROM tool_calls").fetchall() == [
            (LONG, None),
            (None, LONG),
        ]
