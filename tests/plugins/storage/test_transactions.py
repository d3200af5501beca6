"""Tools that write rows of the application in the transaction that records what they came to."""

from __future__ import annotations

import sqlite3

import pytest
import trio

from marsys.storage import SQLiteStore
from marsys_core import events as e
from marsys_core.agents import Agent, FunctionAgent
from marsys_core.config import ExecutionConfig, RetryConfig
from marsys_core.engine.rebuild import parted
from marsys_core.errors import RunHeld, StoreError, ToolError
from marsys_core.orchestra import Orchestra
from marsys_core.protocols.store import Entry, RunInfo
from marsys_core.protocols.transactions import Done, Statement, TransactionalStore
from marsys_core.tools import ToolContext, tool
from tests.core.fakes import BARE, FakeModel, call

ORDERS = "CREATE TABLE IF NOT EXISTS orders (id INTEGER PRIMARY KEY AUTOINCREMENT, item TEXT UNIQUE)"
PLACE = "INSERT INTO orders (item) VALUES (?) RETURNING id"
QUIET = ExecutionConfig(raise_errors=False)


@tool(transactional=True)
async def place(item: str, context: ToolContext) -> str:
    """Place an order."""
    tx = context.transaction
    await tx.execute(ORDERS)
    done = await tx.execute(PLACE, [item])
    return f"order {done.rows[0][0]}"


@tool(transactional=True)
def place_plainly(item: str, context: ToolContext) -> str:
    """Place an order."""
    tx = context.transaction
    tx.execute_sync(ORDERS)
    return f"order {tx.execute_sync(PLACE, [item]).rows[0][0]}"


def rows(path, select="SELECT item FROM orders ORDER BY id"):
    connection = sqlite3.connect(path)
    try:
        return connection.execute(select).fetchall()
    except sqlite3.OperationalError:  # nobody has made the table
        return []
    finally:
        connection.close()


def clerk(*tools, calls=(), replies=None):
    script = [list(calls), "done"] if replies is None else replies
    return Agent("Clerk", model=FakeModel(script), tools=list(tools))


def worked(path, agent, task="task", *, config=QUIET, store_settings=None, **options):
    """Run one agent on a file and return its result and its events."""

    async def main():
        async with (
            SQLiteStore(path, **(store_settings or {})) as store,
            Orchestra(plugins=BARE, storage=store) as orchestra,
        ):
            result = await orchestra.execute(
                task, agent.name, agents=[agent], execution_config=config, **options
            )
            return result, await orchestra.history(result.run_id), await store.check()

    result, events, report = trio.run(main)
    assert report.ok
    return result, events


def resumed(path, agent):
    async def main():
        async with SQLiteStore(path) as store, Orchestra(plugins=BARE, storage=store) as orchestra:
            (info,) = await orchestra.runs()
            result = await orchestra.resume(info.run_id, agents=[agent], execution_config=QUIET)
            return result, await orchestra.history(info.run_id)

    return trio.run(main)


def told(events):
    """What the model was told of each call."""
    return [
        event.result if isinstance(event, e.ToolFinished) else event.error
        for event in sorted(events, key=lambda event: event.id)
        if isinstance(event, e.ToolFinished | e.ToolFailed)
    ]


# -- what a call writes ----------------------------------------------------------------------------------


@pytest.mark.parametrize("tool", [place, place_plainly])
@pytest.mark.parametrize("inline", [True, False])
@pytest.mark.parametrize("durability", ["run", "step", "call"])
def test_what_a_call_writes_is_there_with_its_outcome(tmp_path, tool, inline, durability):
    path = tmp_path / "runs.db"
    calls = [call(tool.name, f"c{n}", item=f"item {n}") for n in range(3)]
    config = ExecutionConfig(raise_errors=False, durability=durability)
    result, events = worked(path, clerk(tool, calls=calls), config=config, store_settings={"inline": inline})

    assert result.success, result.error
    assert sorted(told(events)) == ["order 1", "order 2", "order 3"]
    assert sorted(rows(path)) == [("item 0",), ("item 1",), ("item 2",)]


def test_rows_and_outcome_are_written_in_one_transaction(tmp_path):
    path = tmp_path / "runs.db"
    seen = []

    def fault(name):
        if name in ("commit", "committed"):
            finished = rows(path, "SELECT count(*) FROM entries WHERE kind = 'ToolFinished'")
            seen.append((len(rows(path)), sum(count for (count,) in finished)))

    worked(
        path, clerk(place, calls=[call("place", item="a")]), store_settings={"fault": fault, "inline": False}
    )

    assert set(seen) == {(0, 0), (1, 1)}


def test_a_call_reads_what_it_has_written_and_others_do_not(tmp_path):
    path = tmp_path / "runs.db"
    outside = []

    @tool(transactional=True)
    async def fill(context: ToolContext) -> list[dict[str, object]]:
        """Fill the shelf."""
        tx = context.transaction
        await tx.execute("CREATE TABLE shelf (item TEXT, number INTEGER)")
        many = await tx.executemany("INSERT INTO shelf VALUES (?, ?)", [("a", 1), ("b", 2)])
        one = await tx.execute("UPDATE shelf SET number = number + :more", {"more": 5})
        outside.append(rows(path, "SELECT * FROM shelf"))
        return [{"many": many.rowcount, "one": one.rowcount}, *await tx.query("SELECT * FROM shelf")]

    _, events = worked(path, clerk(fill, calls=[call("fill")]))

    assert told(events) == [[{"many": 2, "one": 2}, {"item": "a", "number": 6}, {"item": "b", "number": 7}]]
    assert outside == [[]]


def test_a_call_that_only_reads_changes_nothing(tmp_path):
    path = tmp_path / "runs.db"

    @tool(transactional=True)
    def tables(context: ToolContext) -> list[dict[str, object]]:
        """Say which tables there are."""
        return context.transaction.query_sync(
            "SELECT name FROM sqlite_master WHERE name = :name", {"name": "runs"}
        )

    _, events = worked(path, clerk(tables, calls=[call("tables")]))
    assert told(events) == [[{"name": "runs"}]]


# -- and what it does not ---------------------------------------------------------------------------------


def failing(how):
    @tool(transactional=True, timeout=5.0)
    async def fail(context: ToolContext) -> str:
        """Write, and come to nothing."""
        await context.transaction.execute(ORDERS)
        await context.transaction.execute(PLACE, ["lost"])
        return await how(context)

    return fail


async def raising(context):
    msg = "on purpose"
    raise ValueError(msg)


async def slow(context):
    await trio.sleep_forever()


async def no_data(context):
    return object()


async def forgetful(context):
    _ = context.transaction.execute(PLACE, ["forgotten"])
    return "done"


@pytest.mark.parametrize(
    ("how", "why"),
    [
        (raising, "ValueError: on purpose"),
        (no_data, "ValueRefused: "),
        (forgetful, "ToolError: tool 'fail' has asked for 1 statements that it did not await"),
    ],
)
def test_a_call_that_fails_has_written_nothing(tmp_path, how, why):
    path = tmp_path / "runs.db"
    _, events = worked(path, clerk(failing(how), calls=[call("fail")]))

    (error,) = told(events)
    assert error.startswith(why)
    assert rows(path) == []


def test_a_call_that_takes_too_long_has_written_nothing(tmp_path):
    path = tmp_path / "runs.db"
    quick = ExecutionConfig(raise_errors=False, tool_timeout=0.05)
    _, events = worked(path, clerk(failing(slow), calls=[call("fail")]), config=quick)

    assert told(events) == ["ToolTimeout: tool 'fail' took longer than 0.05 s"]
    assert rows(path) == []


def test_a_call_that_is_cancelled_has_written_nothing_and_is_made_when_the_run_goes_on(tmp_path):
    path = tmp_path / "runs.db"
    slowly = [True]

    async def first_slow(context):
        if slowly:
            slowly.clear()
            scope.cancel()
            await trio.sleep_forever()
        return "done"

    fail = failing(first_slow)

    async def main():
        async with SQLiteStore(path) as store, Orchestra(plugins=BARE, storage=store) as orchestra:
            with scope:
                await orchestra.execute(
                    "task", "Clerk", agents=[clerk(fail, calls=[call("fail")])], execution_config=QUIET
                )

    scope = trio.CancelScope()
    trio.run(main)
    assert rows(path) == []
    result, _ = resumed(path, clerk(fail, replies=["done"]))
    assert result.final_response == "done"
    assert rows(path) == [("lost",)]


def test_a_refused_statement_has_no_effect_and_the_call_may_go_on(tmp_path):
    path = tmp_path / "runs.db"
    refused = []

    @tool(transactional=True)
    async def insist(context: ToolContext) -> str:
        """Place two orders of one kind."""
        tx = context.transaction
        await tx.execute(ORDERS)
        await tx.execute(PLACE, ["a"])
        for attempt in (
            tx.execute(PLACE, ["a"]),
            tx.executemany("INSERT INTO orders (item) VALUES (?)", [["b"], ["a"]]),
            tx.execute("INSERT OR FAIL INTO orders (item) VALUES ('c'), ('a')"),
        ):
            try:
                await attempt
            except ToolError as error:
                refused.append(str(error))
        return str((await tx.execute(PLACE, ["d"])).rows)

    _, events = worked(path, clerk(insist, calls=[call("insist")]))
    assert told(events) == ["((2,),)"]
    assert rows(path) == [("a",), ("d",)]
    assert [each.partition(": ")[2] for each in refused] == ["UNIQUE constraint failed: orders.item"] * 3


TABLES = [
    "INSERT INTO runs (run_id) VALUES ('x')",
    "UPDATE entries SET data = ''",
    "DELETE FROM Blobs",
    "DROP TABLE entries",
    "DROP VIEW steps",
    "DROP INDEX held_runs",
    "ALTER TABLE runs ADD COLUMN mine",
    "CREATE INDEX mine ON entries (time)",
    "CREATE TRIGGER mine AFTER INSERT ON entries BEGIN SELECT 1; END",
    "CREATE TRIGGER mine INSTEAD OF INSERT ON run_list BEGIN SELECT 1; END",
    "CREATE TABLE marsys_mine (a)",
    "CREATE TABLE IF NOT EXISTS Marsys_mine (a)",
    "WITH old AS (SELECT id FROM runs) DELETE FROM runs WHERE id IN old",
]
OTHERS = [
    "COMMIT",
    "SAVEPOINT mine",
    "ROLLBACK TO one_statement",
    "PRAGMA synchronous = OFF",
    "ATTACH 'other.db' AS other",
    "CREATE TEMP TABLE entries (a)",
    "CREATE VIRTUAL TABLE mine USING fts5(a)",
    "ANALYZE",
]


def refusals(path, *statements, first=ORDERS):
    """Return why each of these is refused."""

    @tool(transactional=True)
    async def attempts(context: ToolContext) -> list[str]:
        """Try what is refused."""
        found = []
        await context.transaction.execute(first)
        for sql in statements:
            try:
                await context.transaction.execute(sql)
            except ToolError as error:
                found.append(str(error))
            else:
                found.append("")
        return found

    _, events = worked(path, clerk(attempts, calls=[call("attempts")]))
    (found,) = told(events)
    return found


def test_the_stores_own_tables_are_not_written_to(tmp_path):
    found = refusals(tmp_path / "runs.db", *TABLES)
    assert [each for each in found if "is the store's own; write to tables of your own" not in each] == []
    assert found[0] == (
        f"the database refused {TABLES[0]!r}: 'runs' is the store's own; write to tables of your own"
    )


def test_a_trigger_does_not_write_to_the_stores_own_tables_either(tmp_path):
    found = refusals(
        tmp_path / "runs.db",
        "CREATE TRIGGER mine AFTER INSERT ON orders BEGIN DELETE FROM runs; END",
        "INSERT INTO orders (item) VALUES ('a')",
    )
    assert found[0] == ""
    assert "'runs' is the store's own" in found[1]


def test_a_tool_has_no_say_in_transactions_and_settings(tmp_path):
    found = refusals(tmp_path / "runs.db", *OTHERS)
    assert [each for each in found if "are not for a tool" not in each and "SQLite's own" not in each] == []


def test_what_sqlite_keeps_for_itself_is_not_written_to(tmp_path):
    found = refusals(
        tmp_path / "runs.db",
        "UPDATE sqlite_sequence SET seq = 99",
        "DELETE FROM sqlite_master",
        "SELECT 1; SELECT 2",
        "",
    )
    assert "'sqlite_sequence' is SQLite's own" in found[0]
    assert "sqlite_master may not be modified" in found[1]
    assert "one statement at a time" in found[2]


@pytest.mark.parametrize(
    "statements",
    [
        ("ALTER TABLE orders ADD COLUMN price INTEGER", "ALTER TABLE orders RENAME COLUMN price TO cost"),
        ("ALTER TABLE orders RENAME TO bought", "DROP TABLE bought"),
        ("CREATE INDEX by_item ON orders (item)", "REINDEX by_item", "DROP INDEX by_item"),
        ("CREATE VIEW items AS SELECT item FROM orders", "DROP VIEW items"),
        ("CREATE TRIGGER t AFTER INSERT ON orders BEGIN SELECT 1; END", "DROP TRIGGER t"),
        ("PRAGMA table_info(orders)", "SELECT * FROM pragma_table_info('orders')"),
        (
            "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 9) SELECT sum(i) FROM n",
        ),
        ("SELECT count(*) FROM run_list",),
        ("SELECT load_extension('x')",),
    ],
)
def test_tables_of_the_applications_own_are_made_and_changed(tmp_path, statements):
    found = refusals(tmp_path / "runs.db", *statements)
    wrong = "load_extension" in statements[0]
    assert [bool(each) for each in found] == [wrong] * len(statements), found


@pytest.mark.parametrize(
    "sql", ["INSERT OR ROLLBACK INTO orders (id) VALUES (1)", "INSERT INTO orders (id) VALUES (1)"]
)
def test_a_statement_that_would_undo_what_others_write_fails_its_call(tmp_path, sql):
    path = tmp_path / "runs.db"

    @tool(transactional=True)
    async def undo(context: ToolContext) -> None:
        """Undo everything."""
        tx = context.transaction
        await tx.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY)")
        await tx.execute("INSERT INTO orders VALUES (1)")
        await tx.execute("CREATE TRIGGER t BEFORE INSERT ON orders BEGIN SELECT RAISE(ROLLBACK, 'no'); END")
        await tx.execute(sql)

    _, events = worked(path, clerk(undo, calls=[call("undo")]))
    (error,) = told(events)
    assert error.endswith("undoes what others write, too; write OR ABORT, or RAISE(ABORT, ...)")
    assert rows(path, "SELECT * FROM orders") == []


@pytest.mark.parametrize(
    ("ask", "why"),
    [
        (lambda tx: tx.query("DELETE FROM runs"), "query only reads; write with execute"),
        (lambda tx: tx.query("SELECT * FROM nowhere"), "no such table: nowhere"),
        (lambda tx: tx.execute("SELECT ?"), "Incorrect number of bindings"),
        (lambda tx: tx.execute("SELECT ?", [1 << 70]), "too large"),
        (lambda tx: tx.execute("SELECT ?", ["\ud800"]), "surrogates"),
        (
            lambda tx: tx.execute("SELECT ?", "a"),
            "the parameters of a statement are a list, a tuple or a dict",
        ),
        (
            lambda tx: tx.execute("SELECT ?", [{}]),
            "parameter 1 of a statement is text, a number, bytes or None, not {}",
        ),
        (lambda tx: tx.execute("SELECT :a", {"a": []}), "parameter 'a' of a statement"),
        (lambda tx: tx.execute(7), "a statement is a text of SQL, not 7"),
        (
            lambda tx: tx.query(
                "WITH n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 10001) SELECT * FROM n"
            ),
            "more than 10,000 rows; select fewer, with LIMIT",
        ),
    ],
)
def test_what_cannot_be_carried_out_says_why(tmp_path, ask, why):
    @tool(transactional=True)
    async def wrong(written: bool, context: ToolContext) -> None:
        """Ask for what cannot be."""
        if written:  # then it is asked where it is written, and else where it is only read
            await context.transaction.execute(ORDERS)
        await ask(context.transaction)

    calls = [call("wrong", "a", written=True), call("wrong", "b", written=False)]
    _, events = worked(tmp_path / "runs.db", clerk(wrong, calls=calls))
    found = told(events)
    assert len(found) == 2
    assert why in found[0]
    assert found[1].startswith("ToolError: ")


def test_what_was_prepared_for_the_store_is_not_used_for_a_tool(tmp_path):
    path = tmp_path / "runs.db"

    async def main():
        async with SQLiteStore(path) as store:
            log = await store.create(RunInfo(run_id="r"))
            sql = "UPDATE runs SET status = ?, updated = ? WHERE id = ?"
            for _ in range(3):  # the store's own, from its cache
                log.update(status="succeeded")
                await log.commit()
                (done,) = await store.attempt([Statement(sql=sql, parameters=("failed", 0.0, 1))])
                assert "'runs' is the store's own" in done.error
                (done,) = await store.attempt([Statement(sql="SELECT 1 FROM runs")])
                assert not done.error
            assert (await store.info("r")).status == "succeeded"

    trio.run(main)


# -- with others ------------------------------------------------------------------------------------------


@tool(transactional=True)
async def count(context: ToolContext) -> int:
    """Count."""
    tx = context.transaction
    await tx.execute("CREATE TABLE IF NOT EXISTS counter (n INTEGER)")
    found = await tx.query("SELECT n FROM counter")
    await trio.lowlevel.checkpoint()
    if not found:
        await tx.execute("INSERT INTO counter VALUES (1)")
        return 1
    await tx.execute("UPDATE counter SET n = ?", [found[0]["n"] + 1])
    return int(found[0]["n"]) + 1


def test_calls_at_once_are_as_good_as_one_after_the_other(tmp_path):
    path = tmp_path / "runs.db"

    def team():
        return clerk(count, calls=[call("count", f"c{n}") for n in range(5)])

    async def main():
        results = []

        async def one():
            result = await orchestra.execute("task", "Clerk", agents=[team()])
            results.extend(told(await orchestra.history(result.run_id)))

        async with (
            SQLiteStore(path) as store,
            Orchestra(plugins=BARE, storage=store) as orchestra,
            trio.open_nursery() as nursery,
        ):
            for _ in range(4):
                nursery.start_soon(one)
        return results

    assert sorted(trio.run(main)) == list(range(1, 21))
    assert rows(path, "SELECT n FROM counter") == [(20,)]


def test_a_call_that_waits_for_another_run_that_writes_does_not_hold_it_up(tmp_path):
    path = tmp_path / "runs.db"

    @tool(transactional=True)
    async def outer(context: ToolContext) -> str:
        """Write, and let another run write meanwhile."""
        await context.transaction.execute(ORDERS)
        await context.transaction.execute(PLACE, ["outer"])
        if not rows(path):
            inner = clerk(place, calls=[call("place", item="inner")])
            await orchestras[0].execute("task", "Clerk", agents=[inner])
        return "done"

    orchestras = []

    async def main():
        async with SQLiteStore(path) as store, Orchestra(plugins=BARE, storage=store) as orchestra:
            orchestras.append(orchestra)
            with trio.fail_after(10):
                await orchestra.execute("task", "Clerk", agents=[clerk(outer, calls=[call("outer")])])

    trio.run(main)
    assert rows(path) == [("inner",), ("outer",)]  # the outer one was made again: its number was taken


def test_writes_of_another_program_are_seen(tmp_path):
    path = tmp_path / "runs.db"
    tries = []

    @tool(transactional=True)
    async def order(context: ToolContext) -> str:
        """Place an order, while another program does."""
        tries.append(1)
        tx = context.transaction
        await tx.execute(ORDERS)
        number = (await tx.execute(PLACE, [f"ours {len(tries)}"])).rows[0][0]
        if len(tries) < 3:
            with sqlite3.connect(path) as other:
                other.execute(ORDERS)
                other.execute("INSERT INTO orders (item) VALUES (?)", [f"theirs {len(tries)}"])
            other.close()
        return f"order {number}"

    _, events = worked(path, clerk(order, calls=[call("order")]))
    assert told(events) == ["order 3"]
    assert rows(path) == [("theirs 1",), ("theirs 2",), ("ours 3",)]


def test_a_run_that_was_taken_over_writes_no_rows(tmp_path):
    path = tmp_path / "runs.db"
    now = [1000.0]

    async def main():
        async with SQLiteStore(path, clock=lambda: now[0]) as store:
            log = await store.create(RunInfo(run_id="r"))
            await log.commit()
            with sqlite3.connect(path) as other:
                other.execute("UPDATE runs SET holder = 'another'")
            other.close()
            insert = Statement(sql="CREATE TABLE mine (a)")
            with pytest.raises(RunHeld, match=r"^run 'r' was taken over while this process was not heard of"):
                await store.conclude(log, [insert], [Done()], lambda: None)

    trio.run(main)
    assert rows(path, "SELECT name FROM sqlite_master WHERE name = 'mine'") == []


# -- when the disk does not -------------------------------------------------------------------------------


class Broken:
    """A disk that fails at certain boundaries, from when it is told to."""

    def __init__(self, *names):
        self.names, self.on, self.seen = names, False, []

    def __call__(self, name):
        self.seen.append(name)
        if self.on and name in self.names:
            msg = "no room"
            raise OSError(28, msg)


def entry(seq):
    return Entry(seq, "0", seq, ("", -1), "ToolFinished", 0.0, "{}")


INSERT = Statement(sql="INSERT INTO mine VALUES (1) RETURNING a")
ONE = Done(columns=("a",), rows=((1,),), rowcount=1)


async def prepared(store):
    log = await store.create(RunInfo(run_id="r"))
    table = Statement(sql="CREATE TABLE mine (a)")
    assert await store.conclude(log, [table], await store.attempt([table]), lambda: None)
    assert list(await store.attempt([INSERT])) == [ONE]
    return log


@pytest.mark.parametrize("where", ["begin", "statements"])
def test_a_disk_that_fails_before_the_outcome_leaves_nothing(tmp_path, where):
    fault = Broken(where)

    async def main():
        async with SQLiteStore(tmp_path / "runs.db", fault=fault) as store:
            log = await prepared(store)
            fault.on = True
            with pytest.raises(StoreError, match="could not write in "):
                await store.conclude(log, [INSERT], [ONE], lambda: log.append(entry(0)))
            fault.on = False
            assert log.next_seq == 0
            assert await store.conclude(log, [INSERT], [ONE], lambda: log.append(entry(0)))
            await log.release()

    trio.run(main)
    assert rows(tmp_path / "runs.db", "SELECT * FROM mine") == [(1,)]


@pytest.mark.parametrize("where", ["entries", "commit"])
@pytest.mark.parametrize("inline", [True, False])
def test_what_could_not_be_written_is_written_later_both_of_it(tmp_path, where, inline):
    fault = Broken(where)

    async def main():
        async with SQLiteStore(tmp_path / "runs.db", fault=fault, inline=inline) as store:
            log = await prepared(store)
            fault.on = True
            for _ in range(2):
                with pytest.raises(StoreError, match="could not write in "):
                    if log.next_seq:
                        await log.commit()
                    else:
                        await store.conclude(log, [INSERT], [ONE], lambda: log.append(entry(0)))
                assert rows(tmp_path / "runs.db", "SELECT * FROM mine") == []
                assert list(await store.entries("r")) == []
            fault.on = False
            await log.commit()
            assert rows(tmp_path / "runs.db", "SELECT * FROM mine") == [(1,)]
            assert list(await store.entries("r")) == [entry(0)]
            await log.release()

    trio.run(main)


@pytest.mark.parametrize("ends_it", [False, True])
def test_what_could_not_be_written_and_does_not_hold_any_more_is_lost_both_of_it(tmp_path, ends_it):
    fault, path = Broken("commit"), tmp_path / "runs.db"

    async def main():
        async with SQLiteStore(path, fault=fault) as store:
            log, other = await prepared(store), await store.create(RunInfo(run_id="other"))
            fault.on = True
            with pytest.raises(StoreError, match="could not write in "):
                await store.conclude(log, [INSERT], [ONE], lambda: log.append(entry(0)))
            fault.on = False
            with sqlite3.connect(path) as another:
                if ends_it:
                    another.execute(
                        "CREATE TRIGGER t BEFORE INSERT ON mine BEGIN SELECT RAISE(ROLLBACK, 'no'); END"
                    )
                else:
                    another.execute("DROP TABLE mine")
            another.close()
            for seq in range(2):
                other.append(entry(seq))
                if ends_it and not seq:  # it takes the others' with it, once
                    with pytest.raises(StoreError, match="could not write in "):
                        await other.commit()
            log.append(entry(1))
            await other.commit()
            with pytest.raises(StoreError, match=r"^what run 'r' has written could not be kept when it was"):
                await log.commit()
            assert list(await store.entries("r")) == []
            assert list(await store.entries("other")) == [entry(0), entry(1)]
            await other.release()
            with pytest.raises(StoreError, match="nothing more of it is kept here"):
                await log.release()

    trio.run(main)


def test_an_outcome_that_cannot_be_recorded_is_not_kept_in_part(tmp_path):
    path = tmp_path / "runs.db"

    async def main():
        async with SQLiteStore(path) as store:
            log = await prepared(store)

            def record():
                log.append(entry(0))
                msg = "in between"
                raise KeyError(msg)

            with pytest.raises(KeyError):
                await store.conclude(log, [INSERT], [ONE], record)
            with pytest.raises(StoreError, match=r"^run 'r' could not record an outcome$"):
                await log.commit()
            assert rows(path, "SELECT * FROM mine") == []
            assert list(await store.entries("r")) == []

    trio.run(main)


def test_a_run_whose_outcome_could_not_be_written_goes_on_from_before_the_call(tmp_path):
    path, fault = tmp_path / "runs.db", Broken("commit")

    @tool(transactional=True)
    async def order(context: ToolContext) -> str:
        """Place an order on a disk that is full."""
        await context.transaction.execute(ORDERS)
        done = await context.transaction.execute(PLACE, ["a"])
        fault.on = first.pop() if first else False
        return f"order {done.rows[0][0]}"

    first = [True]

    async def main():
        async with (
            SQLiteStore(path, fault=fault) as store,
            Orchestra(plugins=BARE, storage=store) as orchestra,
        ):
            with pytest.raises(StoreError, match="could not write in "):
                await orchestra.execute(
                    "task", "Clerk", agents=[clerk(order, calls=[call("order")])], execution_config=QUIET
                )

    with pytest.raises(StoreError, match="was closed and could not write"):
        trio.run(main)
    assert rows(path) == []
    result, events = resumed(path, clerk(order, calls=[call("order")]))
    assert result.final_response == "done"
    assert told(events) == ["order 1"]
    assert rows(path) == [("a",)]


# -- and runs ---------------------------------------------------------------------------------------------


def test_a_step_that_is_taken_again_makes_its_calls_again(tmp_path):
    path = tmp_path / "runs.db"
    tries = []

    @tool(transactional=True)
    async def keyed(context: ToolContext) -> str:
        """Place an order."""
        return await place(f"{context.idempotency_key} {len(tries)}", context)

    async def work(prompt, context):
        tries.append(await context.call_tool("keyed"))
        if len(tries) == 1:
            msg = "for a moment"
            raise ConnectionError(msg)
        return tries[-1]

    agent = FunctionAgent(work, name="Worker", tools=[keyed])
    config = ExecutionConfig(
        raise_errors=False, auto_retry_on_error=True, retry=RetryConfig(initial_delay=0.001)
    )
    result, _ = worked(path, agent, config=config)
    assert result.final_response == "order 2"
    (first,), (second,) = rows(path)
    assert first.removesuffix(" 0") == second.removesuffix(" 1")


def test_a_call_that_has_written_is_answered_from_the_record_when_its_step_is_taken_again(tmp_path):
    path = tmp_path / "runs.db"
    broken = [True]

    async def work(prompt, context):
        order = await context.call_tool("place", item="a")
        if broken:
            broken.clear()
            raise KeyboardInterrupt
        return order

    agent = FunctionAgent(work, name="Worker", tools=[place])
    with pytest.raises(KeyboardInterrupt):
        worked(path, agent)
    result, events = resumed(path, agent)
    assert result.final_response == "order 1"
    assert rows(path) == [("a",)]
    assert [event.transactional for event in events if isinstance(event, e.ToolStarted)] == [True]


def test_a_fork_shares_what_was_written(tmp_path):
    path = tmp_path / "runs.db"

    async def first(prompt, context):
        return await context.call_tool("place", item=f"first {prompt}")

    async def second(prompt, context):
        return f"{prompt}, {await context.call_tool('place', item=f'second {prompt}')}"

    agents = [
        FunctionAgent(first, name="First", tools=[place]),
        FunctionAgent(second, name="Second", tools=[place]),
    ]

    async def main():
        async with (
            SQLiteStore(path) as store,
            Orchestra(plugins=BARE, storage=store, agents=agents) as orchestra,
        ):
            result = await orchestra.execute("task", "First -> Second")
            forked = await orchestra.fork(result.run_id, at=2, edit="again")
            kept, _ = parted(await orchestra.history(forked.run_id))
            return forked.final_response, told(kept)

    assert trio.run(main) == ("again, order 3", ["order 1", "order 3"])
    assert rows(path) == [("first task",), ("second order 1",), ("second again",)]


def test_an_sqlite_store_says_that_it_writes_in_transactions(tmp_path):
    assert isinstance(SQLiteStore(tmp_path / "runs.db"), TransactionalStore)


def test_a_run_waits_for_people_once_a_call_beside_the_question_has_written(tmp_path):
    @tool(approval=True)
    async def ship(item: str) -> str:
        return f"shipped {item}"

    calls = [call("ship", "c1", item="tea"), call("place", "c2", item="tea")]
    agent = clerk(ship, place, calls=calls)

    result, _ = worked(tmp_path / "runs.db", agent)

    assert result.status == "waiting"
    assert rows(tmp_path / "runs.db") == [("tea",)]

    async def main():
        async with (
            SQLiteStore(tmp_path / "runs.db") as store,
            Orchestra(plugins=BARE, storage=store) as orchestra,
        ):
            asked = result.questions[0]
            return await orchestra.answer(
                asked.run_id, asked.request_id, "approve", agents=[agent], execution_config=QUIET
            )

    assert trio.run(main).final_response == "done"
    assert rows(tmp_path / "runs.db") == [("tea",)]
