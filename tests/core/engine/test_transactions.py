"""Calls that write with their outcome: what they are handed, when they are made again, and who is refused."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import attrs
import pytest
import trio
import trio.testing

from marsys_core import events as e
from marsys_core.agents import Agent, BaseAgent, FunctionAgent
from marsys_core.config import ExecutionConfig
from marsys_core.engine.rebuild import read_events
from marsys_core.errors import ConfigError, LifecycleError, ToolError
from marsys_core.protocols.transactions import Done, Statement, TransactionalStore
from marsys_core.tools import Tool, ToolContext, tool
from marsys_core.topology import Topology
from marsys_core.values import Converter
from tests.core.engine.cancelling import Points, all_tasks
from tests.core.fakes import FakeModel, bare, call, seeded, virtually
from tests.core.stores import MemoryLog, MemoryStore

RUN = "r"
TABLE = "CREATE TABLE IF NOT EXISTS ledger (what TEXT, number INTEGER)"
QUIET = ExecutionConfig(raise_errors=False)


_opened: list[sqlite3.Connection] = []


def opened(dump: str = "") -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    _opened.append(connection)
    connection.executescript(dump)
    return connection


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    """Close what a test has opened."""
    yield
    while _opened:
        _opened.pop().close()


@attrs.define(eq=False)
class Ledger(MemoryStore):
    """A store in memory with tables beside the runs."""

    tables: sqlite3.Connection = attrs.field(factory=opened)
    moments: list[tuple[int, str]] = attrs.field(factory=list)
    attempts: int = 0
    meanwhile: Callable[[], object] | None = None

    async def attempt(self, statements: Sequence[Statement]) -> Sequence[Done]:
        await trio.lowlevel.checkpoint()
        self.attempts += 1
        self.tables.execute("BEGIN")
        try:
            return [self._done(each) for each in statements]
        finally:
            self.tables.execute("ROLLBACK")

    async def conclude(
        self, log: Any, statements: Sequence[Statement], seen: Sequence[Done], record: Callable[[], None]
    ) -> bool:
        await trio.lowlevel.checkpoint()
        assert isinstance(log, MemoryLog)
        if self.meanwhile is not None:
            self.meanwhile()
        self.tables.execute("BEGIN")
        if [self._done(each) for each in statements] != list(seen):
            self.tables.execute("ROLLBACK")
            return False
        record()
        log._flush()
        self.tables.execute("COMMIT")
        self.moments.append((len(log.kept.entries), "\n".join(self.tables.iterdump())))
        await trio.lowlevel.cancel_shielded_checkpoint()
        return True

    def _done(self, statement: Statement) -> Done:
        try:
            if statement.many:
                return Done(
                    rowcount=self.tables.executemany(statement.sql, statement.parameters).rowcount  # type: ignore[arg-type]
                )
            cursor = self.tables.execute(statement.sql, statement.parameters)
            rows = tuple(cursor.fetchall())
            columns = tuple(each[0] for each in cursor.description or ())
            return Done(columns=columns, rows=rows, rowcount=cursor.rowcount)
        except sqlite3.Error as error:
            return Done(error=str(error))

    def cut(self, run_id: str, entries: int) -> Ledger:
        """Return what would be there had the process died when this many entries were written."""
        dumps = [dump for count, dump in self.moments if count <= entries]
        return Ledger(super().cut(run_id, entries).kept, tables=opened(dumps[-1] if dumps else ""))

    @property
    def lines(self) -> list[tuple[str, int]]:
        self.tables.execute(TABLE)
        return self.tables.execute("SELECT what, number FROM ledger ORDER BY number").fetchall()

    @property
    def events(self) -> list[e.Event]:
        return read_events(self.kept[RUN].entries, Converter(), RUN)


@tool(transactional=True)
async def enter(what: str, context: ToolContext) -> str:
    """Enter a line under the next number."""
    tx = context.transaction
    await tx.execute(TABLE)
    number = (await tx.query("SELECT count(*) AS n FROM ledger"))[0]["n"] + 1
    await tx.execute("INSERT INTO ledger VALUES (?, ?)", [what, number])
    return f"{what} is {number}"


def clerk(*calls: Any, tools: Sequence[Tool] = (enter,)) -> Agent:
    """An agent that makes these calls at once, and goes by what it is told, so that it can be taken up anywhere."""

    def reply(request: Any) -> Any:
        return "done" if request.messages[-1].role == "tool" else list(calls)

    return Agent("Clerk", model=FakeModel(reply), tools=list(tools))


async def work(
    store: Any, agents: Sequence[BaseAgent], topology: Any = "Clerk", *, resume: bool = False, **config: Any
) -> Any:
    settings = attrs.evolve(QUIET, **config)
    async with bare(storage=store, new_id=lambda: RUN) as orchestra:
        if resume:
            return await orchestra.resume(RUN, agents=agents, execution_config=settings)
        return await orchestra.execute("task", topology, agents=agents, execution_config=settings)


def worked(tools: Sequence[Tool], *calls: Any, store: Ledger | None = None, **config: Any) -> Ledger:
    store = store or Ledger()
    virtually(lambda: work(store, [clerk(*calls, tools=tools)], **config))
    return store


def told(store: Ledger) -> list[Any]:
    return [
        event.result if isinstance(event, e.ToolFinished) else event.error
        for event in sorted(store.events, key=lambda event: event.id)
        if isinstance(event, e.ToolFinished | e.ToolFailed)
    ]


# -- what a call is handed --------------------------------------------------------------------------------


def test_each_call_is_as_good_as_one_after_the_other() -> None:
    store = worked([enter], *[call("enter", f"c{n}", what=f"line {n}") for n in range(9)])
    assert sorted(told(store)) == sorted(f"{what} is {number}" for what, number in store.lines)
    assert [number for _, number in store.lines] == list(range(1, 10))


def test_statements_of_one_call_that_are_asked_for_at_once_have_an_order() -> None:
    @tool(transactional=True)
    async def several(context: ToolContext) -> int:
        """Enter several lines at once."""
        tx = context.transaction
        await tx.execute(TABLE)

        async def one(number: int) -> None:
            await tx.execute("INSERT INTO ledger VALUES ('x', ?)", [number])

        async with trio.open_nursery() as nursery:
            for number in range(5):
                nursery.start_soon(one, number)
        return len(await tx.query("SELECT * FROM ledger"))

    store = worked([several], call("several"))
    assert told(store) == [5]
    assert len(store.lines) == 5


def test_parameters_may_change_once_they_are_handed_over() -> None:
    @tool(transactional=True)
    async def change(context: ToolContext) -> int:
        """Use one list twice."""
        line: list[Any] = ["a", 1]
        await context.transaction.execute(TABLE)
        await context.transaction.execute("INSERT INTO ledger VALUES (?, ?)", line)
        line[1] = 2
        done = await context.transaction.executemany("INSERT INTO ledger VALUES (?, ?)", [line, line])
        line[1] = 3
        return done.rowcount

    store = worked([change], call("change"))
    assert told(store) == [2]
    assert store.lines == [("a", 1), ("a", 2), ("a", 2)]


def test_code_for_asyncio_writes_from_there() -> None:
    @tool(transactional=True, async_library="asyncio")
    async def abroad(context: ToolContext) -> str:
        """Enter a line, from asyncio."""
        import asyncio

        await asyncio.sleep(0)
        tx = context.transaction
        await tx.execute(TABLE)
        await tx.execute("INSERT INTO ledger VALUES ('abroad', 1)")
        try:
            tx.query_sync("SELECT 1")
        except LifecycleError as error:
            return f"{await tx.query('SELECT * FROM ledger')} {error}"
        return ""

    store = Ledger()
    trio.run(lambda: work(store, [clerk(call("abroad"), tools=[abroad])]))
    assert told(store) == [
        "[{'what': 'abroad', 'number': 1}] query_sync() is for plain functions, which run in threads; "
        "in an async one write await query()"
    ]
    assert store.lines == [("abroad", 1)]


def test_a_plain_function_writes_from_its_thread() -> None:
    @tool(transactional=True)
    def plainly(context: ToolContext) -> str:
        """Enter lines from a thread."""
        tx = context.transaction
        tx.execute_sync(TABLE)
        done = tx.executemany_sync("INSERT INTO ledger VALUES (?, ?)", [("a", 1), ("b", 2)])
        return f"{done.rowcount} {tx.query_sync('SELECT what FROM ledger')} {tx!r}"

    store = Ledger()
    trio.run(lambda: work(store, [clerk(call("plainly"), tools=[plainly])]))
    assert told(store) == ["2 [{'what': 'a'}, {'what': 'b'}] <transaction of tool 'plainly'>"]


def test_a_plain_function_that_does_not_wait_for_what_it_writes_fails() -> None:
    @tool(transactional=True)
    def hasty(context: ToolContext) -> str:
        """Write, and do not look."""
        context.transaction.execute(TABLE)
        return "done"

    store = Ledger()
    trio.run(lambda: work(store, [clerk(call("hasty"), tools=[hasty])]))
    assert told(store) == [
        "ToolError: tool 'hasty' has asked for 1 statements that it did not await, and that were not carried out; "
        "write await, or in a plain function execute_sync, executemany_sync or query_sync"
    ]


def test_a_transaction_ends_with_its_call() -> None:
    kept: list[Any] = []

    @tool(transactional=True)
    async def keep(context: ToolContext) -> str:
        """Keep what is not to be kept."""
        kept.append(context.transaction)
        return "done"

    async def main() -> None:
        await work(Ledger(), [clerk(call("keep"), tools=[keep])])
        await kept[0].execute(TABLE)

    with pytest.raises(
        LifecycleError,
        match=r"^the transaction of tool 'keep' is used after its call: it lives as long as the call$",
    ):
        virtually(main)


def test_only_a_transactional_tool_has_a_transaction() -> None:
    @tool
    async def other(context: ToolContext) -> str:
        """Write without saying so."""
        await context.transaction.execute(TABLE)
        return "done"

    assert told(worked([other], call("other"))) == [
        "ConfigError: tool 'other' is not transactional; declare it with @tool(transactional=True)"
    ]


def test_a_call_takes_so_many_statements() -> None:
    @tool(transactional=True)
    async def many(context: ToolContext) -> str:
        """Ask for more and more."""
        for number in range(300):
            await context.transaction.query("SELECT ?", [number])
        return "done"

    (error,) = told(worked([many], call("many")))
    assert error == "ToolError: a call takes at most 256 statements; write many rows with executemany"


# -- when it is made again --------------------------------------------------------------------------------


def contested(times: int) -> tuple[Ledger, Callable[[], None]]:
    """A ledger to which somebody else writes at the end of calls, so many times."""
    store = Ledger()

    def write() -> None:
        nonlocal times
        if times:
            times -= 1
            store.tables.execute(TABLE)
            store.tables.execute("INSERT INTO ledger VALUES ('theirs', 0)")

    store.meanwhile = write
    return store, write


def test_a_call_is_made_again_where_others_were_faster() -> None:
    store, _ = contested(3)
    worked([enter], call("enter", what="ours"), store=store)
    assert told(store) == ["ours is 4"]
    assert [type(event).__name__ for event in store.events if "Tool" in type(event).__name__] == [
        "ToolStarted",
        "ToolFinished",
    ]


def test_what_others_write_while_a_call_works_makes_it_again_at_once() -> None:
    store, write = contested(2)
    store.meanwhile, made = None, []

    @tool(transactional=True)
    async def update(context: ToolContext) -> int:
        """Mark what others have written."""
        made.append(1)
        tx = context.transaction
        await tx.execute(TABLE)
        first = await tx.execute("UPDATE ledger SET what = 'marked'")
        write()
        await tx.query("SELECT 1")
        return first.rowcount

    assert told(worked([update], call("update"), store=store)) == [2]
    assert len(made) == 3


def test_a_call_that_never_comes_through_says_so() -> None:
    store, _ = contested(1000)
    (error,) = told(worked([enter], call("enter", what="ours"), store=store))
    assert error.startswith(
        "ToolError: tool 'enter' was made 100 times, and each time its statements came to something else"
    )
    assert "ours" not in [what for what, _ in store.lines]


def test_what_a_call_writes_to_the_shared_state_counts_once_however_often_it_is_made() -> None:
    @tool(transactional=True)
    async def note(what: str, context: ToolContext) -> str:
        """Note it twice."""
        context.state["notes"] = [what]
        context.state["last"] = what
        return str(await enter(what, context))

    store, _ = contested(2)

    async def act(prompt: Any, context: Any) -> Any:
        context.state["notes"] = ["before"]
        await context.call_tool("note", what="a")
        return dict(context.state)

    topology = Topology(nodes=["Clerk"], edges=[], state={"notes": "append"})
    agent = FunctionAgent(act, name="Clerk", tools=[note])
    result = virtually(lambda: work(store, [agent], topology))
    assert result.state["notes"] == [["before"], ["a"]]
    assert result.state["last"] == "a"


def test_a_call_that_raises_is_not_made_again_and_has_no_effect() -> None:
    made = []

    @tool(transactional=True)
    async def fail(context: ToolContext) -> None:
        """Write and raise."""
        made.append(1)
        await context.transaction.execute(TABLE)
        await context.transaction.execute("INSERT INTO ledger VALUES ('lost', 1)")
        await context.transaction.execute("INSERT INTO nowhere VALUES (1)")

    store = worked([fail], call("fail"))
    assert told(store) == ["ToolError: no such table: nowhere"]
    assert store.lines == []
    assert made == [1]


def test_a_refusal_that_a_call_goes_by_has_to_hold_too() -> None:
    @tool(transactional=True)
    async def prepare(context: ToolContext) -> str:
        """Say whether the table was there."""
        try:
            await context.transaction.query("SELECT * FROM ledger")
        except ToolError:
            await context.transaction.execute("CREATE TABLE other (a)")
            return "not there"
        return "there"

    store, _ = contested(1)
    assert told(worked([prepare], call("prepare"), store=store)) == ["there"]


# -- going on ---------------------------------------------------------------------------------------------


def team() -> list[BaseAgent]:
    async def close(prompt: Any, context: Any) -> Any:
        return await context.call_tool("enter", what="the end")

    calls = [call("enter", f"c{n}", what=f"line {n}") for n in range(3)]
    return [clerk(*calls), FunctionAgent(close, name="Close", tools=[enter])]


def assert_kept_together(store: Ledger) -> None:
    outcomes = [event.result for event in store.events if isinstance(event, e.ToolFinished)]
    assert sorted(outcomes) == sorted(f"{what} is {number}" for what, number in store.lines)
    assert not [event for event in store.events if isinstance(event, e.ToolUncertain)]


@pytest.mark.parametrize("durability", ["run", "step", "call"])
def test_a_run_goes_on_from_any_entry_and_writes_each_line_once(durability: Any) -> None:
    whole = Ledger()
    virtually(lambda: work(whole, team(), "Clerk -> Close", durability=durability))
    assert [number for _, number in whole.lines] == [1, 2, 3, 4]
    for entries in range(1, len(whole.events) + 1):
        store = whole.cut(RUN, entries)
        before = dict(store.lines)
        result = virtually(lambda store=store: work(store, team(), resume=True, durability=durability))
        assert result.final_response == "the end is 4", entries
        assert {what for what, _ in store.lines} == {what for what, _ in whole.lines}
        assert before.items() <= dict(store.lines).items()
        assert_kept_together(store)


@pytest.mark.slow
def test_a_run_that_is_cancelled_anywhere_goes_on_and_writes_each_line_once() -> None:
    async def main() -> int:
        points = Points(all_tasks() - {trio.lowlevel.current_task()})
        trio.lowlevel.add_instrument(points)
        at = 0
        while points.passed >= at:
            at += 1
            store, scope = Ledger(), trio.CancelScope()
            points.arm({at: scope.cancel})
            with scope:
                await work(store, team(), "Clerk -> Close")
            passed, points.plans = points.passed, {}
            if RUN in store.kept and store.kept[RUN].entries:
                assert_kept_together(store)
                if store.kept[RUN].info.status != "succeeded":
                    result = await work(store, team(), resume=True)
                    assert result.final_response == "the end is 4", at
                assert sorted(number for _, number in store.lines) == [1, 2, 3, 4]
                assert_kept_together(store)
            points.passed = passed
        return at

    with seeded(0):
        assert trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0)) > 100


def test_a_call_that_was_not_transactional_when_it_began_stays_uncertain() -> None:
    calls: list[str] = []

    @tool(name="enter")
    async def before(what: str, context: ToolContext) -> str:
        """Enter a line somewhere."""
        calls.append(what)
        return "done"

    whole = worked([before], call("enter", what="a"))
    begun = next(event.seq for event in whole.events if isinstance(event, e.ToolStarted)) + 1
    store = whole.cut(RUN, begun)

    async def main() -> Any:
        async with bare(storage=store) as orchestra:
            agents = [clerk(call("enter", what="a"))]
            return await orchestra.resume(RUN, agents=agents, execution_config=QUIET, accept_changes=True)

    result = virtually(main)
    assert type(result.error).__name__ == "UncertainOutcome"
    assert store.lines == []


def test_a_step_may_leave_out_a_call_that_has_no_outcome_and_not_one_that_has() -> None:
    words = ["a"]

    async def act(prompt: Any, context: Any) -> Any:
        for word in words:
            await context.call_tool("enter", what=word)
        return "done"

    def agent() -> BaseAgent:
        return FunctionAgent(act, name="Clerk", tools=[enter])

    whole = Ledger()
    virtually(lambda: work(whole, [agent()]))
    begun = next(event.seq for event in whole.events if isinstance(event, e.ToolStarted)) + 1
    words[:] = ["b"]
    unfinished, finished = whole.cut(RUN, begun), whole.cut(RUN, begun + 1)
    assert virtually(lambda: work(unfinished, [agent()], resume=True)).final_response == "done"
    assert [what for what, _ in unfinished.lines] == ["b"]
    result = virtually(lambda: work(finished, [agent()], resume=True))
    assert "left out calls that it had made before: enter(" in str(result.error)


# -- who is refused ---------------------------------------------------------------------------------------


def refused(**settings: Any) -> ConfigError:
    other = tool(name="other", transactional=True)(enter.function)

    async def main() -> None:
        async with bare(**settings) as orchestra:
            agents = [clerk(tools=[enter, other]), FunctionAgent(lambda prompt: prompt, name="Last")]
            await orchestra.execute("task", "Clerk -> Last", agents=agents)

    with pytest.raises(ConfigError) as caught:
        virtually(main)
    return caught.value


PROBLEMS = (
    "tool 'enter' of agent 'Clerk' is transactional=True",
    "tool 'other' of agent 'Clerk' is transactional=True",
)


def test_a_run_that_is_kept_nowhere_is_refused() -> None:
    error = refused()
    assert str(error).startswith(
        "this run is kept nowhere, and so there is no transaction for its tools to write in; "
    )
    assert error.problems == PROBLEMS


def test_a_run_in_a_store_that_does_not_write_in_transactions_is_refused() -> None:
    store = MemoryStore()
    error = refused(storage=store)
    assert str(error).startswith(
        "MemoryStore cannot write rows of tools in its transactions; keep the run in an SQLite file"
    )
    assert error.problems == PROBLEMS
    assert store.kept == {}


def test_a_tool_without_a_context_is_refused_before_the_run_begins() -> None:
    @tool(transactional=True)
    async def bare_handed(what: str) -> str:
        """Write with nothing."""
        return what

    store = Ledger()
    with pytest.raises(
        ConfigError, match=r"^tool 'bare_handed' is transactional=True, and has no parameter for the"
    ):
        virtually(lambda: work(store, [clerk(tools=[bare_handed])], raise_errors=True))
    assert store.kept == {}


def test_a_store_says_by_its_methods_that_it_writes_in_transactions() -> None:
    with contextlib.closing(opened()) as tables:
        assert isinstance(Ledger(tables=tables), TransactionalStore)
    assert not isinstance(MemoryStore(), TransactionalStore)
