"""`Orchestra`: the public face of the engine. The engine itself is imported when one is opened."""

from __future__ import annotations

import functools
import os
from collections.abc import (
    AsyncGenerator,
    Awaitable,
    Callable,
    Coroutine,
    Generator,
    Iterable,
    Sequence,
)
from contextlib import AbstractAsyncContextManager, aclosing
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar, Unpack, overload

import trio

from marsys_core.agents.registry import current_lease, inside_run
from marsys_core.errors import ConfigError, LifecycleError, UnknownName
from marsys_core.hosts.apart import apart
from marsys_core.hosts.crossing import hosted
from marsys_core.hosts.home import Home
from marsys_core.hosts.library import asyncio_loop, current_library
from marsys_core.options import (
    Agents,
    RunOptions,
    agents_by_name,
    checked,
    going_on,
    instance_of,
    usable_channel,
)
from marsys_core.run import Run

if TYPE_CHECKING:
    from marsys_core.agents import BaseAgent
    from marsys_core.config import ExecutionConfig
    from marsys_core.embed.serving import Serving
    from marsys_core.engine.engine import Engine
    from marsys_core.engine.opening import Request
    from marsys_core.events import Event
    from marsys_core.hosts.held import Held
    from marsys_core.plugins import PluginSettings
    from marsys_core.protocols.store import RunInfo
    from marsys_core.questions import Question
    from marsys_core.results import RunResult
    from marsys_core.topology.patterns import Patterns

__all__ = ["Orchestra", "Run", "auto_run_agent", "run_agent"]

T = TypeVar("T")
_THREADS = 40  # Trio's own default for worker threads


def _random_id() -> str:
    return os.urandom(8).hex()


class Orchestra:
    """An open engine: plugins found and put together, services open, any number of runs at once.

    Use the class method `run` for a single run. Open an `Orchestra` where many runs share models, memories
    and sinks::

        async with Orchestra() as orchestra:
            result = await orchestra.execute("Say hello", "Greeter")

    Plain code writes ``with`` for ``async with``, and `run_sync` and `stream_sync`; the engine then has a
    thread of its own.

    Args:
        agents: Agents of all its runs, by name or as a sequence; looked up before the default registry.
        execution_config: The settings of runs that bring none of their own.
        plugins: Which plugins; by default all that are installed, as far as the environment allows.
        sinks: Listeners of all its runs: names of event-sink providers, or objects.
        middleware: What stands round model calls, tool calls and steps, inside the plugins' own.
        types: attrs classes whose instances keep their type as values.
        name: What the application calls it, for plugins' logs.
        max_threads: How many plain functions (agents, tools) run in worker threads at a time.
        new_id: Makes the ids of runs.
        deps: What runs that bring none of their own find as ``context.deps``.
        channel: Who answers the questions of runs that bring no channel of their own: the name of a channel
            that a plugin provides, a function of the question, or a channel.
        storage: Where runs are kept, so that they outlive the process: a file (``"runs.db"``), the name of a store
            that a plugin provides, a store, or a `DatabaseBackend`. Nowhere by default.

    Raises:
        ConfigError: Settings that cannot be honoured.
    """

    def __init__(
        self,
        *,
        agents: Agents | None = None,
        execution_config: ExecutionConfig | None = None,
        plugins: PluginSettings | None = None,
        sinks: Sequence[str | Any] = (),
        middleware: Sequence[Any] = (),
        types: Iterable[type] = (),
        name: str = "marsys",
        max_threads: int = _THREADS,
        new_id: Callable[[], str] = _random_id,
        deps: Any = None,
        channel: Any = None,
        storage: Any = None,
    ) -> None:
        if isinstance(max_threads, bool) or not isinstance(max_threads, int) or max_threads < 1:
            msg = f"max_threads is a whole number from 1, not {max_threads!r:.200}"
            raise ConfigError(msg)
        self.agents = agents_by_name(agents)
        self.execution_config = instance_of("execution_config", "ExecutionConfig", execution_config)
        self.new_id = new_id
        self.deps = deps
        self.channel = usable_channel(channel)
        if storage is not None:
            from marsys_core.engine.storage import Storage

            Storage.of(storage, None)
        self.settings: dict[str, Any] = {
            "name": name,
            "plugins": instance_of("plugins", "PluginSettings", plugins),
            "sinks": tuple(sinks),
            "middleware": tuple(middleware),
            "types": tuple(types),
            "max_threads": max_threads,
            "storage": storage,
            "directory": None,
        }
        # Called on an orchestra that somebody made, `run` is a run in that one.
        self.run = self.execute  # type: ignore[method-assign]
        self.run_sync = self._run_sync  # type: ignore[method-assign]
        self._serving: Serving | None = None
        self._engine: Engine | None = None
        self._opened: AbstractAsyncContextManager[Engine] | None = None
        self._held: Held | None = None
        self._home: Home | None = None

    # -- lifetime ------------------------------------------------------------------------------

    @classmethod
    def open(cls, directory: str | os.PathLike[str], **settings: Any) -> Self:
        """Return an orchestra that keeps its runs, and what plugins keep, in files under `directory`.

        It is made where it is not there. Open the orchestra as any other: ``async with Orchestra.open("data")``.

        Args:
            directory: Where the files are; ``runs.db`` is that of the runs.
            settings: The arguments of `Orchestra`.
        """
        from pathlib import Path

        made = cls(**settings)
        made.settings["directory"] = Path(directory)
        return made

    async def __aenter__(self) -> Orchestra:
        if self._opened is not None:
            msg = "an Orchestra is opened once; make a new one"
            raise LifecycleError(msg)
        if not _loaded and current_library() == "asyncio":
            await _load(self.settings["plugins"])
        from marsys_core.engine.opening import open_engine

        self._opened = open_engine(**self.settings)
        if current_library() == "trio":
            self._engine = await self._opened.__aenter__()
        else:
            from marsys_core.hosts.held import Held

            self._held = Held(self._opened)
            self._engine = await self._held.enter()
        self._home = Home.here()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        assert self._opened is not None  # __aenter__ has run
        self._engine = None
        if self._held is not None:
            return await self._held.exit(error)
        return await self._opened.__aexit__(kind, error, traceback)

    @property
    def engine(self) -> Engine:
        """The open side, for plugins and tests.

        Raises:
            LifecycleError: The orchestra is not open, or was opened elsewhere: on another loop, in another thread.
        """
        if self._engine is None:
            state = "not open" if self._opened is None else "closed"
            msg = f"the Orchestra is {state}; use it inside 'async with Orchestra(...) as orchestra:'"
            raise LifecycleError(msg)
        assert self._home is not None  # it is open
        self._home.check("the Orchestra")
        return self._engine

    @property
    def patterns(self) -> Patterns:
        """The topology patterns of this engine's plugins: ``orchestra.patterns.ring(...)``."""
        from marsys_core.topology.patterns import Patterns

        return Patterns(lambda: (self if self._serving is None else self._serving.gate()).engine.composition)

    # -- runs ----------------------------------------------------------------------------------

    @overload
    @classmethod
    async def run(
        cls, task: Any, topology: Any, *, output_type: None = None, **options: Unpack[RunOptions]
    ) -> RunResult: ...
    @overload
    @classmethod
    async def run(
        cls, task: Any, topology: Any, *, output_type: type[T], **options: Unpack[RunOptions]
    ) -> RunResult[T]: ...
    @overload
    @classmethod
    async def run(
        cls, task: Any, topology: Any, *, output_type: Any, **options: Unpack[RunOptions]
    ) -> RunResult: ...
    @classmethod
    @hosted
    async def run(
        cls, task: Any, topology: Any, *, output_type: Any = None, **options: Unpack[RunOptions]
    ) -> RunResult:
        """Run `task` over `topology` and return what it came to. On an open orchestra this is `execute`.

        Calls that overlap share one engine with all its defaults, so that a thousand of them open a model
        once; the last one closes it before it returns. A subclass gets an engine for each call.

        Args:
            task: What to do: text or data.
            topology: A `Topology`, a text such as ``"A -> [B, C] -> D"``, a list of such texts, or a dict.
            output_type: What the final response has to be, as a type: it is then an instance of it, and a run
                whose answer does not fit has failed. A topology of one agent holds that agent to it.
            options: What else the run is given; see `RunOptions`.

        Raises:
            CriticalError: A cause that no agent can mend; bad configuration is one.
            RecoverableError: A passing cause that was still there after the retries.
        """
        if not _loaded:
            await _load(None)
        from marsys_core.engine.shared import execute_bare

        storage = options.pop("storage", None)
        request = _request(task, topology, options, output_type)
        # A run inside a run has an engine of its own: the shared one's threads may all be waiting for it.
        if cls is Orchestra and storage is None and not inside_run.get():
            return await apart(execute_bare(_bare(), request))
        async with cls() if storage is None else cls(storage=storage) as orchestra:
            return await orchestra._execute(request)

    @overload
    async def execute(
        self, task: Any, topology: Any, *, output_type: None = None, **options: Unpack[RunOptions]
    ) -> RunResult: ...
    @overload
    async def execute(
        self, task: Any, topology: Any, *, output_type: type[T], **options: Unpack[RunOptions]
    ) -> RunResult[T]: ...
    @overload
    async def execute(
        self, task: Any, topology: Any, *, output_type: Any, **options: Unpack[RunOptions]
    ) -> RunResult: ...
    @hosted
    async def execute(
        self, task: Any, topology: Any, *, output_type: Any = None, **options: Unpack[RunOptions]
    ) -> RunResult:
        """Run `task` in this open engine; the arguments are those of `run`.

        Raises:
            CriticalError: A cause that no agent can mend; bad configuration is one.
            RecoverableError: A passing cause that was still there after the retries.
            LifecycleError: The orchestra is not open.
        """
        request = _request(task, topology, options, output_type)
        return await self._execute(request)

    def _execute(self, request: Request) -> Awaitable[RunResult]:
        from marsys_core.engine.opening import execute

        lease, work = current_lease.get(), apart(execute(self, self.engine, request, self.new_id()))
        # A run inside a step may need the very instance that takes the step.
        return work if lease is None else lease.without(work)

    def start(
        self, task: Any, topology: Any, *, output_type: Any = None, **options: Unpack[RunOptions]
    ) -> Run:
        """Start a run in the background of this open engine; the arguments are those of `run`.

        It ends with the engine at the latest.

        Raises:
            LifecycleError: The orchestra is not open.
        """
        request = _request(task, topology, options, output_type)
        request.attended = True
        return self._begin(request)

    def _begin(self, request: Request) -> Run:
        run, engine = Run(self.new_id()), self.engine
        engine.start_soon(run._work, self, engine, request)
        return run

    async def stream(
        self, task: Any, topology: Any, *, output_type: Any = None, **options: Unpack[RunOptions]
    ) -> AsyncGenerator[Event, None]:
        """Run `task` and yield its events as they happen; the arguments are those of `run`.

        Closing the iterator cancels the run. What `run` would raise is raised after the last event.
        """
        run = self._begin(_request(task, topology, options, output_type))
        try:
            async with aclosing(run.events()) as events:
                async for event in events:
                    yield event
            await run.result()
        finally:
            run.cancel()
            await run._end()

    # -- runs that are kept ---------------------------------------------------------------------

    @hosted
    async def resume(
        self,
        run_id: str,
        topology: Any = None,
        *,
        accept_changes: bool = False,
        **options: Unpack[RunOptions],
    ) -> RunResult:
        """Go on with a run that was interrupted, and return what it came to.

        What had ended is not done again. A step that had begun is taken again, and its calls are answered from
        the record. What is never recorded has to be given again: `context`, `deps`, `variables`, the channel.

        Args:
            run_id: The run.
            topology: What it runs over; the topology that it began with, where the run can tell.
            accept_changes: Whether it may go on with other agents, tools or settings than it began with.
            options: The options of `run`.

        Raises:
            UnknownName: There is no such run.
            RunHeld: Somebody else has it.
            ChangedRun: What it is made of has changed.
            LifecycleError: The orchestra is not open, or keeps no runs; or the run is nested in another one, which is named.
        """
        from marsys_core.engine.resuming import resume

        work = resume(self, self.engine, run_id, topology, going_on(options), accept_changes)
        return await apart(work)

    @hosted
    async def answer(
        self,
        run_id: str,
        request_id: str,
        value: Any,
        topology: Any = None,
        *,
        accept_changes: bool = False,
        **options: Unpack[RunOptions],
    ) -> RunResult:
        """Answer what a run waits for, in any process, and return what it comes to with that.

        The run goes on here, as with `resume`; where it has more questions open it waits for those again.

        Args:
            run_id: The run that asks, as `RunResult.questions` has it; that may be a nested one.
            request_id: The question.
            value: The answer.
            topology: What the run goes on over; the topology that it began with, where it can tell.
            accept_changes: Whether it may go on with other agents, tools or settings than it began with.
            options: The options of `run`.

        Raises:
            UnknownName: There is no such run, or it has no such question open; then nothing has changed.
            AnswerRefused: The question does not allow this answer; it stays open.
            RunHeld: Somebody else has the run, in another process.
            ChangedRun: What it is made of has changed.
            LifecycleError: The orchestra is not open, or keeps no runs.
        """
        from marsys_core.engine.answering import answer
        from marsys_core.engine.people import GivenAnswer

        given = GivenAnswer(str(run_id), str(request_id), value, "answer")
        return await apart(answer(self, self.engine, given, topology, going_on(options), accept_changes))

    def take_up(
        self,
        run_id: str,
        topology: Any = None,
        *,
        accept_changes: bool = False,
        answer: tuple[str, Any] | None = None,
        **options: Unpack[RunOptions],
    ) -> Run:
        """Go on with a run in the background of this open engine; the arguments are those of `resume`.

        It ends with the engine at the latest. What `resume` would raise, `Run.result` does.

        Args:
            run_id: The run.
            topology: What it runs over; the topology that it began with, where the run can tell.
            accept_changes: Whether it may go on with other agents, tools or settings than it began with.
            answer: The id of a question that it has open, and the answer, as with the method `answer`.
            options: The options of `run`.

        Raises:
            LifecycleError: The orchestra is not open.
        """
        run, engine = Run(run_id), self.engine
        engine.start_soon(run._go_on, self, engine, topology, going_on(options), accept_changes, answer)
        return run

    @hosted
    async def questions(self, run_id: str) -> tuple[Question, ...]:
        """Return what a run that is kept waits for people to answer, and then what the runs nested in it do.

        Raises:
            UnknownName: There is no such run.
            LifecycleError: The orchestra is not open, or keeps no runs.
        """
        from marsys_core.engine.answering import questions_of
        from marsys_core.engine.resuming import store_of

        engine = self.engine
        return await questions_of(store_of(engine), engine.converter, run_id)

    @hosted
    async def fork(self, run_id: str, at: int, *, accept_changes: bool = False, **changes: Any) -> RunResult:
        """Begin a new run that shares the past of another one, and return what it came to.

        Steps that are given what they were given before are not taken: they come to what they came to, and no
        model is asked for them.

        Args:
            run_id: The run that it begins from.
            at: The step, counted from 1 in the order in which they began, before which they part.
            accept_changes: Whether agents, tools and settings may be other ones than those that it began with.
            changes: ``edit=`` is what the step is given in place of what it was given, ``topology=`` as for `resume`; the
                rest are options of `run`.

        Raises:
            UnknownName: There is no such run.
            ConfigError: It has no such step.
            ChangedRun: What it is made of has changed.
            LifecycleError: The orchestra is not open, or keeps no runs.
        """
        from marsys_core.engine.resuming import fork

        return await apart(fork(self, self.engine, run_id, at, accept_changes, changes, self.new_id()))

    def start_fork(self, run_id: str, at: int, *, accept_changes: bool = False, **changes: Any) -> Run:
        """Begin a new run as `fork` does, in the background of this open engine; the arguments are those of `fork`.

        It ends with the engine at the latest. What `fork` would raise, `Run.result` does.

        Raises:
            LifecycleError: The orchestra is not open.
        """
        run, engine = Run(self.new_id()), self.engine
        engine.start_soon(run._part, self, engine, run_id, at, accept_changes, changes)
        return run

    @hosted
    async def runs(
        self, *, status: str | Iterable[str] = (), session_id: str | None = None, limit: int = 100
    ) -> Sequence[RunInfo]:
        """Return what is known of the runs that are kept, the newest first.

        Args:
            status: Only those that stand so: ``running``, ``interrupted``, ``paused``, ``waiting``, ``succeeded``,
                ``failed``, ``cancelled`` or ``damaged``; one, or several.
            session_id: Only those of this session.
            limit: How many at most.

        Raises:
            UnknownName: There is no such status.
            LifecycleError: The orchestra is not open, or keeps no runs.
        """
        from marsys_core.engine.resuming import store_of
        from marsys_core.protocols.store import SHOWN

        wanted = (status,) if isinstance(status, str) else tuple(status)
        for each in wanted:
            if each not in SHOWN:
                raise UnknownName("status of a run", str(each), SHOWN)
        return await store_of(self.engine).runs(status=wanted, session_id=session_id, limit=limit)

    @hosted
    async def history(self, run_id: str, start: int = 0, stop: int | None = None) -> Sequence[Event]:
        """Return the events of a run that is kept, or a part of them, without reading all that is before.

        Args:
            run_id: The run.
            start: The `seq` of the first event.
            stop: The `seq` after the last one; None for the end of the run.

        Raises:
            UnknownName: There is no such run.
            LifecycleError: The orchestra is not open, or keeps no runs.
        """
        from marsys_core.engine.rebuild import read_part
        from marsys_core.engine.resuming import store_of

        engine = self.engine
        return await read_part(store_of(engine), engine.converter, run_id, start, stop)

    @hosted
    async def forget_session(self, session_id: str) -> None:
        """Forget what agents remember of a session (``memory_scope="session"``): its next run begins anew.

        Runs that are kept stay as they are. One that had begun before and is not at its end cannot be resumed.

        Raises:
            LifecycleError: The orchestra is not open.
        """
        engine = self.engine
        for key in [key for key in engine.sessions if key[0] == session_id]:
            del engine.sessions[key]
        if engine.store is None:
            await trio.lowlevel.checkpoint()
        else:
            await engine.store.forget_session(session_id)

    # -- from plain code -----------------------------------------------------------------------

    def __enter__(self) -> Orchestra:
        from marsys_core.embed.orchestras import serve

        self._serving = serve(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._serving is not None  # __enter__ has run
        self._serving.close_after(error)

    @overload
    @classmethod
    def run_sync(
        cls, task: Any, topology: Any, *, output_type: None = None, **options: Unpack[RunOptions]
    ) -> RunResult: ...
    @overload
    @classmethod
    def run_sync(
        cls, task: Any, topology: Any, *, output_type: type[T], **options: Unpack[RunOptions]
    ) -> RunResult[T]: ...
    @overload
    @classmethod
    def run_sync(
        cls, task: Any, topology: Any, *, output_type: Any, **options: Unpack[RunOptions]
    ) -> RunResult: ...
    @classmethod
    def run_sync(
        cls, task: Any, topology: Any, *, output_type: Any = None, **options: Unpack[RunOptions]
    ) -> RunResult:
        """Run `task` from code that runs no event loop, and wait; the arguments are those of `run`.

        The run has a thread of its own, which has ended when this returns, and sees the caller's context
        variables. On an open orchestra it is a run in that one, also from another thread than the one that
        opened it. Ctrl-C cancels the run, and is raised when everything under it has ended.

        Raises:
            CriticalError: A cause that no agent can mend; bad configuration is one.
            RecoverableError: A passing cause that was still there after the retries.
            LifecycleError: An event loop runs in this thread, where `run` is awaited instead.
        """
        from marsys_core.embed.orchestras import run_alone

        def work() -> Coroutine[Any, Any, RunResult]:
            return cls.run(task, topology, output_type=output_type, **options)

        return run_alone("Orchestra.run_sync", work)

    def _run_sync(
        self, task: Any, topology: Any, *, output_type: Any = None, **options: Unpack[RunOptions]
    ) -> RunResult:
        from marsys_core.embed.orchestras import run_in

        return run_in(self, task, topology, output_type, options)

    def stream_sync(
        self, task: Any, topology: Any, *, output_type: Any = None, **options: Unpack[RunOptions]
    ) -> Generator[Event, None, None]:
        """Run `task` in this open engine and yield its events, in code that runs no event loop.

        The arguments are those of `run`. Closing the iterator cancels the run, and waits for its end. What
        `run` would raise is raised after the last event.

        Raises:
            ConfigError: An option that there is not, or of another kind.
            LifecycleError: The orchestra is not open, or an event loop runs in this thread.
        """
        from marsys_core.embed.orchestras import stream_in

        return stream_in(self, task, topology, output_type, options)


_loaded: list[bool] = []
"""Holds something when the engine is imported."""
_loading: trio.lowlevel.RunVar[trio.Event | None] = trio.lowlevel.RunVar("marsys loading")


@hosted
async def _load(plugins: PluginSettings | None) -> None:
    """Import the engine and find the plugins, which takes a while the first time: beside an asyncio loop, in a thread."""

    def load() -> None:
        from marsys_core.plugins import compose

        compose(plugins)

    if asyncio_loop() is None:
        load()
    elif (loading := _loading.get(None)) is not None:
        await loading.wait()
    else:
        _loading.set(loading := trio.Event())
        try:
            await trio.to_thread.run_sync(load)
        finally:
            loading.set()
    _loaded.append(True)


@functools.cache
def _bare() -> Orchestra:
    """What a call of the class method stands for: an orchestra with all its defaults, never opened itself."""
    return Orchestra()


def _request(task: Any, topology: Any, options: RunOptions, output_type: Any = None) -> Request:
    from marsys_core.engine.opening import Request

    given = checked(options)
    if output_type is None:
        return Request(task=task, topology=topology, options=given)
    from marsys_core.shapes import Shape

    return Request(task=task, topology=topology, options=given, answer=Shape.of_type(output_type))


async def run_agent(agent: BaseAgent, task: Any, options: RunOptions, output_type: Any = None) -> RunResult:
    """Run one agent alone; every error is in the result."""
    import attrs

    from marsys_core.agents.team import single
    from marsys_core.config import ExecutionConfig

    config = attrs.evolve(options.get("execution_config") or ExecutionConfig(), raise_errors=False)
    others = agents_by_name(options.pop("agents", None))
    options["agents"] = {**others, agent.name: agent}
    options["execution_config"] = config
    return await Orchestra.run(task, single(agent), output_type=output_type, **options)


async def auto_run_agent(agent: BaseAgent, task: Any, options: RunOptions) -> RunResult:
    """Run the team that `agent` and its peers make by their `allowed_peers`; every error is in the result."""
    import attrs

    from marsys_core.agents import current_registry
    from marsys_core.config import ExecutionConfig

    known = {**current_registry(), **agents_by_name(options.get("agents")), agent.name: agent}
    edges: dict[frozenset[str], dict[str, Any]] = {}
    names = {agent.name: None}
    for name in iter(waiting := [agent.name]):
        for peer in getattr(known.get(name), "allowed_peers", ()):
            edge = {"source": name, "target": peer, "bidirectional": True}
            edges.setdefault(frozenset((name, peer)), edge)
            if peer not in names:
                names[peer] = None
                waiting.append(peer)
    options["agents"] = known
    config = options.get("execution_config") or ExecutionConfig()
    options["execution_config"] = attrs.evolve(config, raise_errors=False)
    topology = {"nodes": list(names), "edges": list(edges.values()), "entry_point": agent.name}
    return await Orchestra.run(task, topology, **options)
