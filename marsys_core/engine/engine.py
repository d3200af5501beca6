"""What an open `Orchestra` holds: its services, and what is looked up once for all its runs."""

from __future__ import annotations

import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, cast

import attrs
import trio

from marsys_core.agents import BaseAgent
from marsys_core.config import ExecutionConfig, StatusConfig
from marsys_core.engine.conditions import judge_of
from marsys_core.engine.listeners import usable_sink
from marsys_core.engine.naming import model_of
from marsys_core.engine.prepared import Prepared, prepare
from marsys_core.engine.rulebook import Laid, lay_rules
from marsys_core.engine.sessions import Sessions
from marsys_core.errors import ErrorClass, GuardRefused, MarsysError, PluginError
from marsys_core.events import KINDS, STREAMED
from marsys_core.hosts.declared import uses_asyncio
from marsys_core.models import ModelConfig
from marsys_core.orchestrator import Judge, judged
from marsys_core.plugins import Composition, Services
from marsys_core.plugins.providers import Provider
from marsys_core.protocols.event_sink import Sinks, bind_sinks
from marsys_core.protocols.guard import Guard, GuardSubject
from marsys_core.protocols.middleware import Layers, check
from marsys_core.topology import Graph, Topology
from marsys_core.topology.rules import RuleCall
from marsys_core.values import Converter

if TYPE_CHECKING:
    from marsys_core.engine.record import Recorder
    from marsys_core.protocols.store import RunLog, Store
    from marsys_core.tools import Tool

__all__ = ["EVENT_TYPES", "STREAMED_TYPES", "Engine"]

EVENT_TYPES = tuple(KINDS.values())
STREAMED_TYPES = tuple(STREAMED.values())
_KEPT = 1024  # agents that are made for one run and forgotten must not pile up here
_NETWORK = (ConnectionError, TimeoutError, trio.BrokenResourceError, trio.TooSlowError)


@attrs.define(eq=False, kw_only=True, repr=False)
class Engine:
    """The open side of an `Orchestra`; shared by its runs.

    Args:
        composition: What the plugins declare.
        services: What of it is open.
        converter: Makes values plain.
        middleware: What stands round calls, the plugins' first.
        max_threads: How many plain functions may run in worker threads at a time.
        sinks: Listeners of every run.
        store: Where its runs are kept; None where they are forgotten when they have ended.
        unreleased: The logs of runs that have ended here and could not be given back to the store.
        sessions: What agents said in earlier runs of a session.
        keeps_sessions: Whether it stays open between calls, so that sessions outlive them.
        runs: The runs that are going on, with what cancels them.
        token: The way into the Trio run that it belongs to.
        thread: The thread of that.
        wall: Tells the date, in seconds since 1970.
    """

    composition: Composition
    services: Services
    converter: Converter
    middleware: Sequence[Any]
    max_threads: int
    sinks: Sinks | None = None
    store: Store | None = None
    guards: list[Guard] = attrs.field(factory=list)
    _layers: dict[tuple[bool, ...], Layers] = attrs.field(factory=dict)
    _prepared: dict[int, Prepared] = attrs.field(factory=dict)
    _models: dict[str | ModelConfig, Any] = attrs.field(factory=dict)
    _threads: trio.CapacityLimiter | None = None
    unreleased: dict[str, RunLog] = attrs.field(factory=dict)
    sessions: Sessions = attrs.field(factory=dict)
    keeps_sessions: bool = True
    runs: dict[Recorder, trio.CancelScope] = attrs.field(factory=dict)
    _running: set[trio.CancelScope] = attrs.field(factory=set)
    _idle: trio.Event | None = None
    _expressions: dict[str, Any] = attrs.field(factory=dict)
    token: trio.lowlevel.TrioToken = attrs.field(factory=trio.lowlevel.current_trio_token)
    thread: int = attrs.field(factory=threading.get_ident)
    wall: Callable[[], float] = time.time
    _crossing: dict[int, tuple[Tool, Tool]] = attrs.field(factory=dict)

    async def start(self, sinks: Sequence[str | Any]) -> None:
        """Open the guards and the sinks.

        Raises:
            PluginError: A guard or a sink that cannot be opened: an engine without its guards does not start.
        """
        check(self.middleware)
        for name in self.composition.names("guard"):
            guard = self.services.get_made("guard", name)
            self.guards.append(guard if guard is not None else await self.get("guard", name))
        opened = {}
        for sink in sinks:
            if isinstance(sink, str):
                opened[sink] = await self.get("event sink", sink)
            else:
                opened[f"{type(sink).__name__}-{len(opened)}"] = sink
        opened = {name: usable_sink(sink, name) for name, sink in opened.items()}
        if opened:
            self.sinks = bind_sinks(opened, EVENT_TYPES, STREAMED_TYPES)

    def layers(self, config: ExecutionConfig) -> Layers:
        """Return what of the middleware stands round the calls of a run with these settings."""
        key = tuple([_applies(each, config) for each in self.middleware])
        found = self._layers.get(key)
        if found is None:
            wanted = [each for each, applies in zip(self.middleware, key, strict=True) if applies]
            found = self._layers[key] = Layers.of(wanted)
        return found

    @property
    def threads(self) -> trio.CapacityLimiter:
        """What limits how many plain functions run in worker threads at a time."""
        if self._threads is None:
            self._threads = trio.CapacityLimiter(self.max_threads)
        return self._threads

    def start_soon(self, work: Callable[..., Awaitable[None]], *args: Any) -> None:
        """Start a task that no caller waits for: a run in the background, a detached branch."""
        scope = trio.CancelScope()
        self._running.add(scope)
        self.services.nursery.start_soon(self._in_background, scope, work, args)

    async def _in_background(
        self, scope: trio.CancelScope, work: Callable[..., Awaitable[None]], args: tuple[Any, ...]
    ) -> None:
        try:
            with scope:
                await work(*args)
        finally:
            self._running.discard(scope)
            self.wake()

    async def end_runs(self) -> None:
        """Cancel what is still running, in the background or for a caller elsewhere, and wait for its end."""
        while self._running or self.runs:
            for scope in (*self._running, *self.runs.values()):
                scope.cancel()
            self._idle = trio.Event()
            with trio.CancelScope(shield=True):
                await self._idle.wait()

    def wake(self) -> None:
        """Something has ended: tell whoever waits for that."""
        if self._idle is not None:
            self._idle.set()

    async def get(self, kind: str, name: str) -> Any:
        """Return the open provider of that kind and name."""
        return await self.services.get(kind, name)

    async def model(self, given: str | ModelConfig) -> Any:
        """Return the model that `given` names, made on first use and then held; for equal names the same."""
        model = self._models.get(given)
        if model is None:
            model = self._models.setdefault(given, await model_of(self, given))
        return model

    def on_asyncio(self, tool: Tool) -> Tool:
        """Return a tool of a toolbox that is written for asyncio as one that Trio code can call: always the same."""
        found = self._crossing.get(id(tool))
        if found is None or found[0] is not tool:
            found = self._crossing[id(tool)] = tool, uses_asyncio(tool) if tool.is_async else tool
        return found[1]

    async def prepared(self, agent: BaseAgent) -> Prepared:
        """Return `agent` made ready, looked up once."""
        found = self._prepared.get(id(agent))
        # An agent may be changed between runs by whoever owns it; what was looked up is then stale.
        if found is None or found.agent is not agent or found.is_stale():
            if len(self._prepared) >= _KEPT:
                self._prepared.clear()
            found = self._prepared[id(agent)] = await prepare(agent, self)
        return found

    def laid(self, topology: Topology) -> Laid:
        """Return what the rules of `topology` come to, worked out once for all topologies that are equal."""
        key = (topology.fingerprint, *[id(rule) for rule in topology.rules if not isinstance(rule, RuleCall)])
        laid, _ = self.composition.once(
            key,
            # The rules are kept with it: an object's id is its own for as long as it lives.
            lambda: (lay_rules(topology, lambda name: self.composition.item("rule", name)), topology.rules),
        )
        return cast("Laid", laid)

    def judge(self, topology: Topology, graph: Graph) -> Judge:
        """Return what judges the conditions of a topology, and of the graph that rules made of it, read once.

        Raises:
            ConfigError: Expressions that cannot be read, all at once, each with the path of its edge.
        """
        if not graph.conditional:
            return judged
        edges = list(topology.edges)
        edges += [
            link.edge for links in graph.conditional.values() for link in links if link.edge not in edges
        ]
        return judge_of(edges, self.composition, self._expressions)

    async def status_sink(self, status: StatusConfig) -> Any:
        """Return the sink that shows a run as `status` asks.

        Raises:
            PluginError: No plugin shows the status of runs.
        """
        for name in self.composition.names("event sink"):
            provider = self.composition.item("event sink", name)
            if isinstance(provider, Provider) and "status" in provider.features:
                make = await self.get("event sink", name)
                return make(status)
        msg = "ExecutionConfig(status=...) needs an event sink that shows runs, and no plugin offers one"
        raise PluginError(msg)

    def classify(self, error: BaseException) -> ErrorClass:
        """Return what `error` means for the caller of a run."""
        if isinstance(error, MarsysError):
            return error.error_class
        found = self.composition.classify(error)
        if found is not None:
            return found
        return ErrorClass.RECOVERABLE if isinstance(error, _NETWORK) else ErrorClass.FAILURE

    async def ask_guards(self, subject: GuardSubject) -> None:
        """Ask every guard about `subject`; whatever one raises is a refusal.

        Raises:
            GuardRefused: One of them refused, or broke.
        """
        for guard in self.guards:
            try:
                await guard.check(subject)
            except GuardRefused:
                raise
            except Exception as error:
                msg = f"guard {guard.name!r} broke on a {subject.kind}: {type(error).__name__}: {error}"
                raise GuardRefused(msg) from error


def _applies(middleware: Any, config: ExecutionConfig) -> bool:
    applies = getattr(middleware, "applies", None)
    if applies is None:
        return True
    try:
        return bool(applies(config))
    except Exception as error:
        msg = f"middleware {middleware!r:.200} failed to say whether it applies: {type(error).__name__}: {error}"
        raise PluginError(msg) from error
