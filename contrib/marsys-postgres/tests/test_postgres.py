"""What is PostgreSQL's own: its text, damage, changes that are heard of, and the plugin."""

from __future__ import annotations

import re
import tempfile
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
from contract import entry, hashed
from hypothesis import given, settings
from hypothesis import strategies as st
from model import CALLS, ENTRIES, TEXTS, Model

from marsys_core.agents import agent
from marsys_core.errors import PluginError, SettingsError, StoreDamaged, StoreError
from marsys_core.orchestra import Orchestra
from marsys_core.plugins import PluginSettings, Status, compose
from marsys_core.protocols.store import Entry, RunInfo
from marsys_postgres import PostgresStore, _rows, _text


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(st.lists(CALLS, max_size=30))
def test_two_stores_on_one_database_do_what_a_few_dictionaries_would(postgres: Any, calls: Any) -> None:
    schema = f"model-{uuid.uuid4().hex}"
    with tempfile.TemporaryDirectory() as folder:

        def opened(clock: Any, _count: int) -> PostgresStore:
            return PostgresStore(postgres.dsn, schema=schema, clock=clock)

        trio.run(Model(Path(folder), opened).play, calls)


@given(ENTRIES, TEXTS)
def test_an_entry_comes_back_from_its_row_and_from_no_other_run(given_entry: Entry, run_id: str) -> None:
    row = _rows.row_of(given_entry, 1, _rows.salt_of(run_id))

    assert _rows.entry_of(row, _rows.salt_of(run_id)) == given_entry
    assert _rows.entry_of(row, _rows.salt_of(run_id + "x")) is None


@given(st.text(st.sampled_from("\0\x1a01a")))
def test_text_that_the_server_does_not_take_is_kept_all_the_same(text: str) -> None:
    assert _text.told(_text.kept(text)) == text
    assert "\0" not in _text.kept(text)


def test_names_and_errors_may_hold_any_character(postgres: Any, schema: str) -> None:
    async def main() -> None:
        async with PostgresStore(postgres.dsn, schema=schema) as store:
            log = await store.create(RunInfo(run_id="a\0b", session_id="\x1a0", task="\0"), "\0")
            log.append(Entry(0, "\0", 0, ("\x1a", -1), "\0", float("inf"), '"\0"'))
            log.update(error="\0 broken", status="failed")
            with pytest.raises(UnicodeEncodeError):
                log.update(error="\ud800")
            await log.release()
            (info,) = await store.runs(session_id="\x1a0")
            assert (info.run_id, info.task, info.error) == ("a\0b", "\0", "\0 broken")
            (read,) = await store.entries("a\0b")
            assert (read.branch, read.cause, read.time, read.data) == (
                "\0",
                ("\x1a", -1),
                float("inf"),
                '"\0"',
            )
            with pytest.raises(UnicodeEncodeError):
                await store.create(RunInfo(run_id="\ud800"))

    trio.run(main)


@asynccontextmanager
async def one_run(postgres: Any, schema: str) -> AsyncIterator[PostgresStore]:
    async with PostgresStore(postgres.dsn, schema=schema) as store:
        log = await store.create(RunInfo(run_id="r"))
        for seq in range(3):
            log.append(entry(seq))
        log.put(*hashed(b"large"))
        await log.release()
        yield store


@pytest.mark.parametrize(
    ("change", "seq"),
    [
        ("UPDATE entries SET data = replace(data, 't1', 't9')", 1),
        ("UPDATE entries SET kind = 'StepFailed' WHERE seq = 2", 2),
        ("DELETE FROM entries WHERE seq = 0", 0),
    ],
)
def test_an_entry_that_was_changed_is_found_and_those_before_it_can_be_read(
    postgres: Any, schema: str, change: str, seq: int
) -> None:
    async def main() -> None:
        async with one_run(postgres, schema) as store:
            postgres.sql(change.replace("entries", f'"{schema}".entries', 1))
            with pytest.raises(StoreDamaged, match=rf"^entry {seq} of run 'r' in .* is damaged") as told:
                await store.entries("r")
            assert (told.value.seq, [each.seq for each in told.value.entries]) == (seq, [*range(seq)])
            with pytest.raises(StoreDamaged):
                await store.export("r", Path("never"))
            report = await store.check()
            assert [(each.run_id, each.seq) for each in report.damage] == [("r", seq)]
            assert (report.runs, report.entries, report.blobs) == (0, seq, 1)

    trio.run(main)


@pytest.mark.parametrize(
    ("change", "what"),
    [("UPDATE {} SET data = 'x'", "has another hash"), ("DELETE FROM {}", "a large value of it is missing")],
)
def test_a_large_value_that_was_changed_is_found(postgres: Any, schema: str, change: str, what: str) -> None:
    async def main() -> None:
        async with one_run(postgres, schema) as store:
            postgres.sql(change.format(f'"{schema}".blobs'))
            with pytest.raises(StoreDamaged, match=r"^the large value [0-9a-f]{64} in "):
                await store.blobs("r")
            (damage,) = (await store.check()).damage
            assert damage.what.endswith(what)

    trio.run(main)


def test_what_one_process_commits_another_hears_of(postgres: Any, schema: str) -> None:
    trio.run(hearing, postgres, schema)


async def hearing(postgres: Any, schema: str) -> None:
    first = PostgresStore(postgres.dsn, schema=schema)
    async with first, PostgresStore(postgres.dsn, schema=schema) as second:
        before = await first.create(RunInfo(run_id="before"))
        async with second.changes() as changes:
            with trio.move_on_after(0) as scope:
                await anext(changes)
            assert scope.cancelled_caught
            log = await first.create(RunInfo(run_id="r"))
            assert await anext(changes) == "r"
            log.append(entry(0))
            await log.commit()
            await (await first.create(RunInfo(run_id="gone"))).release()
            await first.remove(["gone"])
            before.update(steps=1)
            await before.release()
            heard = set()
            while heard != {"before", "r"}:
                heard.add(await anext(changes))
            await log.release()
            while await anext(changes) != "r":
                pass


def test_who_listens_is_told_that_the_connection_was_lost(postgres: Any, schema: str) -> None:
    end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'"

    async def main() -> None:
        async with PostgresStore(postgres.dsn, schema=schema) as store, store.changes() as changes:
            postgres.sql(end)
            with pytest.raises(StoreError, match=r"^could not listen in .*: the connection was lost"):
                await anext(changes)

    trio.run(main)


def test_an_iteration_that_was_cancelled_loses_nothing(postgres: Any, schema: str) -> None:
    async def main() -> None:
        async with PostgresStore(postgres.dsn, schema=schema) as store, store.changes() as changes:
            for ticks in range(12):
                run_id = f"r{ticks}"
                await store.create(RunInfo(run_id=run_id))
                heard: list[str] = []

                async def listen(heard: list[str]) -> None:
                    heard.append(await anext(changes))

                async with trio.open_nursery() as nursery:
                    nursery.start_soon(listen, heard)
                    for _ in range(ticks):
                        await trio.lowlevel.checkpoint()
                    nursery.cancel_scope.cancel()
                assert (heard or [await anext(changes)]) == [run_id]

    trio.run(main)


README = (Path(__file__).parents[1] / "README.md").read_text("utf-8")


def test_the_readme_names_every_setting_with_its_default() -> None:
    from marsys_postgres.plugin import PostgresSettings

    told = dict(re.findall(r"^\| `(\w+)` \| `(.*?)` \|", README, re.MULTILINE))
    assert told == {
        field.name: repr(field.default).replace("'", '"') for field in attrs.fields(PostgresSettings)
    }


def test_the_program_of_the_readme_runs(
    postgres: Any, schema: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (program, *_) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    program = program.replace("postgresql://marsys@db.example/runs", postgres.dsn)
    program = program.replace(f'"{postgres.dsn}")', f'"{postgres.dsn}", schema="{schema}")')
    names: dict[str, Any] = {}
    exec(program.replace('"dsn": ', f'"schema": "{schema}", "dsn": '), names)

    trio.run(names["by_name"])
    trio.run(names["by_hand"])

    assert capsys.readouterr().out.splitlines()[0] in {"[]", "()"}


def plugins(dsn: str, schema: str) -> PluginSettings:
    return PluginSettings(sections={"postgres": {"dsn": dsn, "schema": schema}})


def test_the_engine_finds_it_and_it_is_loaded() -> None:
    composition = compose()

    assert composition.record("postgres").status is Status.LOADED
    assert composition.owner_of("journal", "postgres") == "postgres"


@agent
async def Planner(prompt: str) -> str:  # noqa: N802
    return f"a plan for {prompt}"


@agent
async def Writer(prompt: str) -> str:  # noqa: N802
    return f"{prompt}, written"


def test_a_run_is_kept_and_known_to_another_engine(postgres: Any, schema: str) -> None:
    async def main() -> None:
        knobs = plugins(postgres.dsn, schema)
        async with Orchestra(storage="postgres", plugins=knobs, agents=[Planner, Writer]) as orchestra:
            result = await orchestra.execute("the sea", "Planner -> Writer", session_id="s")
            assert result.final_response == "a plan for the sea, written"
        async with Orchestra(storage="postgres", plugins=knobs, agents=[Planner, Writer]) as orchestra:
            (info,) = await orchestra.runs(session_id="s")
            assert (info.status, info.steps) == ("succeeded", 2)
            again = await orchestra.resume(info.run_id)
            assert again.final_response == "a plan for the sea, written"

    trio.run(main)


@pytest.mark.parametrize(
    "section",
    [
        {"dsn": "postgresql://me:s3@cret@h/d"},
        {"dsn": ["s3cret"]},
        {"dsn": "postgresql://me:s3cret@h/d", "schema": ""},
        {"password": "s3cret"},
    ],
)
def test_a_wrong_section_is_refused_without_the_password(section: dict[str, Any]) -> None:
    async def main() -> None:
        knobs = PluginSettings(sections={"postgres": section})
        async with Orchestra(storage="postgres", plugins=knobs) as orchestra:
            await orchestra.runs()

    with pytest.raises((SettingsError, PluginError)) as told:
        trio.run(main)
    assert "cret" not in f"{told.value!r} {told.value}"
