"""Opening an engine, and putting runs together in it: everything is looked up and checked before anything runs."""

from __future__ import annotations

import functools
import itertools
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import attrs
import trio

import marsys_core
from marsys_core.agents import BaseAgent, current_registry
from marsys_core.config import ExecutionConfig
from marsys_core.engine.channels import channel_of, refuse_unanswerable
from marsys_core.engine.contracts import answering, filled, takes
from marsys_core.engine.durable import StoredJournal, carry_out
from marsys_core.engine.engine import Engine
from marsys_core.engine.middleware import usable_middleware
from marsys_core.engine.report import raised, report
from marsys_core.engine.resting import Rest
from marsys_core.engine.rulebook import lowered_config
from marsys_core.engine.run import RunShell
from marsys_core.engine.sessions import Opening
from marsys_core.engine.state import begun_with
from marsys_core.engine.storage import Storage
from marsys_core.errors import ConfigError, CriticalError, MarsysError, UnknownName
from marsys_core.hosts.loops import loops
from marsys_core.journal import MemoryJournal
from marsys_core.options import RunOptions
from marsys_core.plugins import EngineInfo, PluginSettings, compose, open_services
from marsys_core.results import RunResult
from marsys_core.shapes import Shape
from marsys_core.topology import NO_LIMITS, NodeKind, Topology
from marsys_core.values import Converter

if TYPE_CHECKING:
    from pathlib import Path

    from marsys_core.orchestra import Orchestra

__all__ = ["Request", "assemble", "concluded", "earlier", "execute", "open_engine"]

_DEFAULT_CONFIG = ExecutionConfig()
_DEFAULT_CONVERTER = Converter()


@asynccontextmanager
async def open_engine(
    *,
    name: str,
    plugins: PluginSettings | None,
    sinks: Sequence[str | Any],
    middleware: Sequence[Any],
    types: Sequence[type],
    max_threads: int,
    storage: Any = None,
    directory: Path | None = None,
) -> AsyncIterator[Engine]:
    """Find the plugins, open what has to be open, and close it all at the end of the block."""
    composition = compose(plugins)
    kept = Storage.of(storage, directory)
    if directory is not None:
        await trio.Path(directory).mkdir(parents=True, exist_ok=True)
    info = EngineInfo(
        name=name,
        version=marsys_core.__version__,
        directory=directory,
        storage=None if kept is None else kept.path,
    )
    async with loops(), open_services(composition, engine=info) as services:
        engine = Engine(
            composition=composition,
            services=services,
            converter=Converter(types) if types else _DEFAULT_CONVERTER,
            middleware=usable_middleware((*composition.items("middleware"), *middleware)),
            max_threads=max_threads,
        )
        async with nullcontext() if kept is None else kept.opened(engine) as engine.store:
            await engine.start(sinks)
            try:
                yield engine
            finally:
                # Runs that nobody waited for end here, while what they use is still open.
                await engine.end_runs()


@attrs.define(eq=False, kw_only=True)
class Request:
    """What a caller asks for: the arguments of `Orchestra.run`, checked.

    `attended` says that somebody holds the run while it goes on, and could answer its questions.
    """

    task: Any
    topology: Any
    options: RunOptions
    answer: Shape | None = None
    attended: bool = False

    def config(self, default: ExecutionConfig | None) -> ExecutionConfig:
        """Return the settings that hold: of two limits on steps the smaller."""
        config = self.options.get("execution_config") or default or _DEFAULT_CONFIG
        max_steps = self.options.get("max_steps")
        if max_steps is not None:
            config = attrs.evolve(config, max_steps=min(max_steps, config.max_steps))
        return config

    @property
    def session_id(self) -> str:
        """The session that the run belongs to, or an empty string."""
        return self.options.get("session_id") or ""


class _Table(Mapping[str, BaseAgent]):
    """The agents a run may name: its own, the orchestra's, then the registry's."""

    def __init__(self, *own: Mapping[str, BaseAgent]) -> None:
        self._layers = (*own, current_registry())

    def __getitem__(self, name: str) -> BaseAgent:
        for layer in self._layers:
            if name in layer:
                found: BaseAgent = layer[name]
                return found
        raise UnknownName("agent", name, self)

    def __contains__(self, name: object) -> bool:
        for layer in self._layers:  # noqa: SIM110 - every run asks for every node
            if name in layer:
                return True
        return False

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(itertools.chain(*self._layers)))

    def __len__(self) -> int:
        return len(set(self))


@functools.lru_cache(maxsize=128)
def _written(text: str) -> Topology:
    """Return the topology of a text, read once: nobody but runs, which leave it as it is, has hold of it."""
    return Topology.of(text)


async def assemble(orchestra: Orchestra, engine: Engine, request: Request, run_id: str) -> RunShell:
    """Return a run that is ready to begin.

    Raises:
        TopologyError: The topology cannot run, or names agents that nobody made.
        ValueRefused: The task cannot be recorded.
        UnknownName: An agent names a tool or a memory that no plugin provides.
    """
    config, options = request.config(orchestra.execution_config), request.options
    given_topology = request.topology
    topology = _written(given_topology) if type(given_topology) is str else Topology.of(given_topology)
    own: Any = options["agents"]  # checked: by name
    table = _Table(own, orchestra.agents)
    laid = engine.laid(topology) if topology.rules else None
    topology.validate(table, () if laid is None else laid.problems)
    graph, limits = topology.graph, NO_LIMITS
    if laid is not None:
        graph = laid.graph or graph
        config, limits = lowered_config(config, laid.limits)
    prepared = {}
    for node in graph.nodes.values():
        if node.kind is NodeKind.AGENT:
            prepared[node.name] = await engine.prepared(table[node.agent or node.name])
    data, variables = options.get("context") or {}, options.get("variables") or {}
    given = {**data, **variables} if data and variables else variables or data
    if any(each.transactional for each in prepared.values()):
        from marsys_core.engine.transactions import refuse_transactions

        refuse_transactions(engine, prepared)
    prepared = filled(prepared, given)
    if request.answer is not None and len(prepared) == 1:
        prepared = answering(prepared, request.answer)
    deps, session_id, messages = options.get("deps"), request.session_id, options.get("messages")
    opening = None
    if session_id or messages is not None:
        opening = Opening.of(
            agents=prepared,
            entries=[name for name in topology.graph.entries if name in prepared],
            session_id=session_id,
            messages=messages,
            sessions=engine.sessions,
            kept=engine.keeps_sessions,
            store=engine.store,
        )
    run = RunShell(
        engine=engine,
        topology=topology,
        graph=graph,
        limits=limits,
        points=None if laid is None else laid.points,
        config=config,
        agents=prepared,
        task=engine.converter.plain(request.task, config.max_value_bytes),
        run_id=run_id,
        session_id=session_id,
        data=data,
        variables=given,
        deps=orchestra.deps if deps is None else deps,
        takes=takes(prepared),
        answer=request.answer,
        journal=MemoryJournal(engine.converter) if engine.store is None else StoredJournal(engine.converter),
        layers=engine.layers(config),
        origin=(orchestra, request),
        sinks=() if engine.sinks is None else (engine.sinks,),
        opening=opening,
        judge=engine.judge(topology, graph),
    )
    reached_by = options.get("channel")
    if reached_by is None:
        reached_by = orchestra.channel
    if reached_by is not None and (channel := await channel_of(reached_by, engine)) is not None:
        run.admit(channel)
    elif engine.store is not None:
        run.admit(None)  # the run rests until somebody answers, here or in another process
    if engine.store is None and options.get("origin"):
        msg = "origin= is kept with a run, and this Orchestra keeps none; open it with storage='runs.db'"
        raise ConfigError(msg)
    if engine.store is not None:
        run.rest = Rest(run)
    run.state = begun_with(topology.state, options.get("state"), run)
    if config.status is not None:
        await run.show(config.status)
    return run


async def execute(
    orchestra: Orchestra,
    engine: Engine,
    request: Request,
    run_id: str,
    adopt: Callable[[RunShell], None] | None = None,
) -> RunResult:
    """Put a run together and carry it out; return what it came to, or raise it, as its settings ask.

    Args:
        orchestra: Whose defaults hold.
        engine: Where it runs.
        request: What the caller asks for.
        run_id: What the run is called.
        adopt: Told of the run when it is ready and has not begun.

    Raises:
        CriticalError: A cause that no agent can mend.
        RecoverableError: A passing cause that was still there after the retries.
    """
    try:
        if not request.attended:
            own = request.options.get("channel")
            refuse_unanswerable(orchestra.channel if own is None else own, engine)
        run = await earlier(orchestra, engine, request) if request.options.get("resume") else None
        if run is None:
            run = await assemble(orchestra, engine, request, run_id)
    except MarsysError as error:
        return _never_started(error, orchestra, request, run_id)
    if adopt is not None:
        adopt(run)
    await carry_out(run)
    return concluded(run)


async def earlier(orchestra: Orchestra, engine: Engine, request: Request) -> RunShell | None:
    """Take up the newest run of the request's session, where there is one that can be gone on with.

    Raises:
        ConfigError: It names no session.
    """
    from marsys_core.engine.resuming import taken_up, unfinished

    if not request.session_id:
        msg = "resume=True goes on with a run of a session; name it with session_id="
        raise ConfigError(msg)
    run_id = await unfinished(engine, request.session_id)
    if not run_id:
        return None
    options = request.options.copy()
    del options["resume"]
    return await taken_up(orchestra, engine, run_id, request.topology, options, accept_changes=False)


def concluded(run: RunShell) -> RunResult:
    """Return what a run came to, or raise it, as its settings ask."""
    result = report(run)
    if run.config.raise_errors and (grave := raised(result)) is not None:
        raise grave
    return result


def _never_started(error: MarsysError, orchestra: Orchestra, request: Request, run_id: str) -> RunResult:
    """Return the result of a run that came to no step, or raise its error, which then carries the result."""
    result = RunResult(
        success=False, final_response=None, error=error, run_id=run_id, session_id=request.session_id
    )
    if not request.config(orchestra.execution_config).raise_errors:
        return result
    if isinstance(error, CriticalError):
        error.result = result
        raise error
    critical = CriticalError(str(error))
    critical.result = result
    raise critical from error
