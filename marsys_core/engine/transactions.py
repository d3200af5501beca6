"""Calls of tools that write to the application's own tables, in the transaction that records what they came to."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import attrs
import trio

from marsys_core import events as e
from marsys_core.errors import ConfigError, LifecycleError, StoreError, ToolError
from marsys_core.hosts.bridge import Abroad
from marsys_core.hosts.library import current_library
from marsys_core.journal import pack
from marsys_core.messages import shown
from marsys_core.protocols.transactions import Done, Statement, TransactionalStore

if TYPE_CHECKING:
    from marsys_core.engine.calls import ToolRun
    from marsys_core.engine.engine import Engine
    from marsys_core.engine.prepared import Prepared
    from marsys_core.hosts.bridge import Call

__all__ = ["PlaceAbroad", "Transaction", "Work", "refuse_transactions", "transacted"]

T = TypeVar("T")

_TRIES = 100  # each time, one of those who are in each other's way comes through
_MOST_STATEMENTS = 256  # each is carried out again before every later one
_PLAIN = (str, int, float, bytes, type(None))  # bool is an int
_AGAIN = "what this call has written comes to something else now: others have written meanwhile, and it is made again"


def refuse_transactions(engine: Engine, agents: Mapping[str, Prepared]) -> None:
    """See that the tools of a run that write in transactions have a store that does so.

    Raises:
        ConfigError: They have not, and each of them is one of its problems; or one takes no context to write through.
    """
    for prepared in agents.values():
        for tool in prepared.tools.values():
            if tool.transactional:
                _ = tool.context_parameter  # it is read now, and not by the first step
    store: Any = engine.store
    if isinstance(store, TransactionalStore):
        return
    problems = [
        f"tool {name!r} of agent {node!r} is transactional=True"
        for node, prepared in sorted(agents.items())
        for name, tool in prepared.tools.items()
        if tool.transactional
    ]
    if store is None:
        msg = (
            "this run is kept nowhere, and so there is no transaction for its tools to write in; give the Orchestra "
            "storage='runs.db', or declare them without transactional=True:"
        )
    else:
        msg = (
            f"{type(store).__name__} cannot write rows of tools in its transactions; keep the run in an SQLite file "
            "(storage='runs.db'), or declare them without transactional=True:"
        )
    raise ConfigError(msg, problems)


@attrs.define(eq=False)
class Work:
    """What one making of a call has asked of the store, and what it was told.

    Args:
        store: Where it writes.
        tool: The tool's name.
    """

    store: TransactionalStore
    tool: str
    taken: list[tuple[Statement, Done]] = attrs.field(factory=list)
    conflict: bool = False
    over: bool = False
    pending: int = 0
    _turn: trio.Lock = attrs.field(factory=trio.Lock)

    @property
    def writes(self) -> list[tuple[Statement, Done]]:
        """What has an effect, in order."""
        return [each for each in self.taken if not each[0].reads and not each[1].error]

    async def carry_out(self, statement: Statement) -> Done:
        """Try `statement` as it is after what the call has written before, and return what it came to.

        Raises:
            ToolError: It was refused.
        """
        self._check_open()
        async with self._turn:  # what a call asks for at once has an order, too
            if len(self.taken) >= _MOST_STATEMENTS:
                msg = f"a call takes at most {_MOST_STATEMENTS} statements; write many rows with executemany"
                raise ToolError(msg)
            before = self.writes
            *again, done = await self.store.attempt([*(each for each, _ in before), statement])
            self._check_open()
            self.conflict = self.conflict or again != [each for _, each in before]
            if self.conflict:
                raise ToolError(_AGAIN)
            self.taken.append((statement, done))
        if done.error:
            raise ToolError(done.error)
        return done

    def refuse_unawaited(self) -> None:
        """See that what the call has asked for was carried out.

        Raises:
            ToolError: It was not.
        """
        if self.pending:
            msg = (
                f"tool {self.tool!r} has asked for {self.pending} statements that it did not await, and that were not "
                "carried out; write await, or in a plain function execute_sync, executemany_sync or query_sync"
            )
            raise ToolError(msg)

    def _check_open(self) -> None:
        if self.over:
            msg = (
                f"the transaction of tool {self.tool!r} is used after its call: it lives as long as the call"
            )
            raise LifecycleError(msg)


class _Asked(Generic[T]):
    """A statement that was asked for, and is carried out when it is awaited."""

    def __init__(self, work: Work, make: Callable[[], Awaitable[T]]) -> None:
        self._work, self._make, self._begun = work, make, False
        work.pending += 1

    def __await__(self) -> Generator[Any, Any, T]:
        if not self._begun:
            self._begun = True
            self._work.pending -= 1
        return self._make().__await__()


@attrs.frozen(eq=False, repr=False)
class Transaction:
    """`context.transaction` of one call; see `marsys_core.tools.Transaction` for what each member is."""

    _work: Work
    _call: Call | None = None

    def execute(self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] = ()) -> Awaitable[Done]:
        """Carry out one statement that writes."""
        statement = _one(sql, parameters)
        return _Asked(self._work, lambda: self._done(statement))

    def executemany(
        self, sql: str, parameters: Iterable[Sequence[Any] | Mapping[str, Any]]
    ) -> Awaitable[Done]:
        """Carry out one statement for each of `parameters`, all or none."""
        statement = _many(sql, parameters)
        return _Asked(self._work, lambda: self._done(statement))

    def query(
        self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] = ()
    ) -> Awaitable[list[dict[str, Any]]]:
        """Return the rows that a statement selects."""
        statement = _one(sql, parameters, reads=True)
        return _Asked(self._work, lambda: self._found(statement))

    def execute_sync(self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] = ()) -> Done:
        """Do what `execute` does, for a plain function."""
        return self._waited("execute", _one(sql, parameters))

    def executemany_sync(self, sql: str, parameters: Iterable[Sequence[Any] | Mapping[str, Any]]) -> Done:
        """Do what `executemany` does, for a plain function."""
        return self._waited("executemany", _many(sql, parameters))

    def query_sync(
        self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] = ()
    ) -> list[dict[str, Any]]:
        """Do what `query` does, for a plain function."""
        return _by_name(self._waited("query", _one(sql, parameters, reads=True)))

    async def _done(self, statement: Statement) -> Done:
        if self._call is None:
            return await self._work.carry_out(statement)
        done: Done = await self._call.back(self._work.carry_out, statement)
        return done

    async def _found(self, statement: Statement) -> list[dict[str, Any]]:
        return _by_name(await self._done(statement))

    def _waited(self, name: str, statement: Statement) -> Done:
        if current_library() is not None:
            msg = f"{name}_sync() is for plain functions, which run in threads; in an async one write await {name}()"
            raise LifecycleError(msg)
        return trio.from_thread.run(self._work.carry_out, statement)

    def __repr__(self) -> str:
        return f"<transaction of tool {self._work.tool!r}>"


class PlaceAbroad(Abroad):
    """The context of a tool that is written for asyncio."""

    __slots__ = ()

    @property
    def transaction(self) -> Transaction:
        """The call's transaction, whose statements cross back to Trio."""
        mine: Transaction = self._object.transaction
        return attrs.evolve(mine, call=self._call)


def _one(sql: str, parameters: Any, *, reads: bool = False) -> Statement:
    return Statement(sql=_text(sql), parameters=_checked(parameters), reads=reads)


def _many(sql: str, parameters: Any) -> Statement:
    return Statement(sql=_text(sql), parameters=tuple(_checked(each) for each in parameters), many=True)


def _text(sql: object) -> str:
    if isinstance(sql, str):
        return sql
    msg = f"a statement is a text of SQL, not {shown(sql)}"
    raise ToolError(msg)


def _checked(given: Any) -> tuple[Any, ...] | dict[str, Any]:
    """Return a copy of the parameters of a statement, which is carried out more than once.

    Raises:
        ToolError: They are none, or one of them is nothing that a database has.
    """
    if isinstance(given, Mapping):
        parameters: Any = dict(given)
    elif isinstance(given, Sequence) and not isinstance(given, str | bytes | bytearray):
        parameters = tuple(given)
    else:
        msg = f"the parameters of a statement are a list, a tuple or a dict, not {shown(given)}"
        raise ToolError(msg)
    named = parameters.items() if isinstance(parameters, dict) else enumerate(parameters, 1)
    for name, value in named:
        if not isinstance(value, _PLAIN):
            msg = f"parameter {name!r} of a statement is text, a number, bytes or None, not {shown(value)}"
            raise ToolError(msg)
    return parameters  # type: ignore[no-any-return]


def _by_name(done: Done) -> list[dict[str, Any]]:
    return [dict(zip(done.columns, row, strict=True)) for row in done.rows]


async def transacted(
    call: ToolRun, perform: Callable[[ToolRun], Awaitable[Any]], at: int, began: float
) -> Any:
    """Make a call and record what it came to, together with what it has written; made again where others were faster.

    Args:
        call: The call.
        perform: Makes it.
        at: The place of its outcome in the branch.
        began: When it began.

    Raises:
        ToolError: It was made a hundred times, and each time somebody else had written what it has seen.
    """
    run = call.step.run
    store: Any = run.engine.store  # it writes in transactions: the run was not refused
    for _ in range(_TRIES):
        work = call.transaction = Work(store, call.tool.name)
        try:
            result = run.plain(await perform(call))
            work.refuse_unawaited()
        except Exception:
            if not work.conflict:
                raise
        else:
            kept = pack(run.journal, result)
            if not work.conflict and await _conclude(call, work, kept, at, began):
                return run.unpack(kept)
        finally:
            work.over = True
        if call.state is not None:
            call.step.state.take_back(call.state.writes)
            call.state = None
        await trio.lowlevel.checkpoint()
    msg = (
        f"tool {call.tool.name!r} was made {_TRIES} times, and each time its statements came to something else in the end: "
        "others write what it reads all the time, or it selects what is never the same, such as random()"
    )
    raise ToolError(msg)


async def _conclude(call: ToolRun, work: Work, kept: Any, at: int, began: float) -> bool:
    """Record the outcome of a call, in one transaction with what it has written."""
    step, run = call.step, call.step.run
    branch, durable = step.branch, run.durable
    assert durable is not None  # a run with such a tool is kept, or refused

    def record() -> None:
        call.recorded = True
        writes = () if call.state is None else tuple(call.state.writes)
        run.record(
            e.ToolFinished(
                branch.id, at, step.cause, step.node, call.tool.name, call.call_id, kept,
                trio.current_time() - began, writes,
            )
        )  # fmt: skip

    if not work.writes:
        record()
        await durable.after_call()
        return True
    statements, seen = zip(*work.taken, strict=True)
    try:
        return await work.store.conclude(durable.log, statements, seen, record)
    except StoreError as error:
        durable.fail(error)
        raise
