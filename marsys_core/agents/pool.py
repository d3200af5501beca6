"""`AgentPool`: several instances of one agent class, which take turns at one node."""

from __future__ import annotations

import inspect
import math
from collections.abc import AsyncIterator, Awaitable, Mapping
from contextlib import asynccontextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

import attrs
import trio

from marsys_core.agents._places import Place, Places, Waiter
from marsys_core.agents.base import BaseAgent
from marsys_core.agents.registry import inside_run
from marsys_core.errors import AgentError, ConfigError, LifecycleError, MarsysError, class_of, nearest, told
from marsys_core.hosts.crossing import cross, hosted
from marsys_core.hosts.declared import crossing, written_for

if TYPE_CHECKING:
    from marsys_core.context import Context

__all__ = ["AgentPool", "Lease", "PoolStatistics"]

T = TypeVar("T")

_CONTRACT = (
    "input_type",
    "input_schema",
    "output_type",
    "output_schema",
    "guards",
)  # held by the instances; told to who hands over
_SHARED = ("memory_scope", "allowed_peers")  # settings of the node, not only of whoever takes a step
_CLOSE_WITHIN = 5.0  # seconds for one instance: a clean-up that hangs must not hold up a step for ever


@attrs.frozen(kw_only=True)
class PoolStatistics:
    """What goes on in a pool, and what has gone on in it so far.

    Attributes:
        size: How many instances there may be.
        idle: How many are there and wait for work.
        leased: How many are at work.
        waiting: How many steps and blocks stand in line for one.
        made: How many have been made.
        dropped: How many were dropped, because they were idle for too long or the pool was closed.
        leases: How many leases have been given.
        longest_wait: The longest that one of these had to wait, in seconds.
    """

    size: int
    idle: int
    leased: int
    waiting: int
    made: int
    dropped: int
    leases: int
    longest_wait: float


class AgentPool(BaseAgent):
    """Several instances of one agent class, which stand in a topology as one agent.

    Use it for agents that serve one caller at a time: because they hold a connection, a cache or a model of
    their own, or because no more of them than so many may be at work. Every step at its node takes an
    instance on lease for as long as the step's code runs, first come, first served. An agent without state of
    its own needs no pool: one object serves any number of steps at once.

    A pool belongs to the program: it serves any number of runs, orchestras and threads, at once or one
    after another. It has no task of its own, so instances that have been idle for too long are dropped when a
    lease begins or ends, and when `statistics` are asked for, not before.

    Args:
        agent_class: A subclass of `BaseAgent`.
        num_instances: How many instances there may be, from 1.
        warm_start: Whether all of them are made when the first run with the pool is put together, or the
            first lease is taken. Otherwise each is made when it is first needed.
        max_idle_time: After how many idle seconds an instance is dropped; None for never. Its ``aclose()``,
            or else its ``close()``, is called if it has one.
        name: What topologies know the pool by; the name of the class by default. The instances bear it, too.
        agent_arguments: What each instance is made with.

    Raises:
        ConfigError: A setting out of its range, something that is no agent class, or arguments that it does
            not take.
    """

    def __init__(
        self,
        agent_class: type[BaseAgent],
        num_instances: int = 1,
        warm_start: bool = False,
        max_idle_time: float | None = None,
        name: str | None = None,
        **agent_arguments: Any,
    ) -> None:
        _check(agent_class, num_instances, warm_start, max_idle_time)
        self.agent_class = agent_class
        self.num_instances = num_instances
        self.warm_start = warm_start
        self.max_idle_time = max_idle_time
        self.accepts_notes = agent_class.accepts_notes
        self.acts_by_tools = agent_class.acts_by_tools
        other_name = agent_arguments.pop("agent_name", None)
        self._arguments = agent_arguments
        self._places = Places(num_instances, None if max_idle_time is None else float(max_idle_time))
        self._warm = not warm_start
        self._bind(name or other_name or agent_class.__name__)
        super().__init__(
            name=name or (None if other_name else agent_class.__name__),
            agent_name=other_name,
            **{
                key: agent_arguments[key]
                for key in (*_SHARED, *_CONTRACT, "description")
                if key in agent_arguments
            },
        )

    def _bind(self, name: str) -> None:
        """Add the name to the arguments where the class asks for one, and see that it takes them all."""
        signature = inspect.signature(self.agent_class)
        own = next((key for key in ("name", "agent_name") if key in signature.parameters), None)
        if own is not None:
            self._arguments[own] = name
        try:
            signature.bind(**self._arguments)
        except TypeError as error:
            known = {*signature.parameters, "num_instances", "warm_start", "max_idle_time"}
            hints = [nearest(key, known) for key in self._arguments if key not in signature.parameters]
            msg = f"{self.agent_class.__name__} cannot be made for its pool: {error}.{''.join(hints)}"
            raise ConfigError(msg) from error

    # -- leases --------------------------------------------------------------------------------

    @asynccontextmanager
    async def acquire(self) -> AsyncIterator[BaseAgent]:
        """Take an instance for the length of a block: ``async with pool.acquire() as agent:``.

        Steps at the pool's node do this by themselves. Whoever holds an instance and asks for another one
        can wait for ever, as with any lock.

        Raises:
            LifecycleError: The pool is closed.
            AgentError: There was room for one more instance, and it could not be made.
        """
        lease = await self.lease()
        try:
            yield lease.agent
        finally:
            await lease.end()

    async def lease(self) -> Lease:
        """Take an instance, until `Lease.end` is called; what `acquire` is made of.

        Raises:
            LifecycleError: The pool is closed.
            AgentError: There was room for one more instance, and it could not be made.
        """
        if trio.lowlevel.in_trio_task():
            return await self._lease()
        return await cross(self._lease, undo=Lease.end)

    async def _lease(self) -> Lease:
        await trio.lowlevel.checkpoint_if_cancelled()
        self.warm_up()
        waiter = Waiter()
        try:
            await self._given(waiter)
            if self._places.retired:
                await self._close_retired_quietly()
        except BaseException:
            self._places.withdraw(waiter)
            raise
        if waiter.place is None:
            msg = f"the pool {self.name!r} is closed, and gives no more leases; make a new one"
            raise LifecycleError(msg)
        return Lease(self, waiter.place, self._filled(waiter.place))

    async def _given(self, waiter: Waiter) -> None:
        """Return when `waiter` has a place, or the pool is closed."""
        if self._places.ask(waiter):
            await trio.lowlevel.cancel_shielded_checkpoint()
            return
        began = trio.current_time()
        await waiter.wait()
        self._places.waited(trio.current_time() - began)

    def _filled(self, place: Place) -> BaseAgent:
        """Return the instance at `place`, made if there is none; where that fails, the place is given back."""
        if place.agent is None:
            try:
                self._places.fill(place, self._made())
            except BaseException:
                self._places.give(place)
                raise
        assert place.agent is not None  # it is filled
        return place.agent

    def _made(self) -> BaseAgent:
        token = inside_run.set(True)  # an instance is the pool's own, and not found by name
        try:
            agent = self.agent_class(**self._arguments)
            if agent.name != self.name:
                agent.name = self.name  # its conversations are those of the pool
            self._check_shared(agent)
        except Exception as error:
            cls = self.agent_class.__name__
            msg = (
                f"pool {self.name!r} cannot make an instance of {cls}: {type(error).__name__}: {told(error)}"
            )
            failure = _same_class(error)(msg)
            failure.error_class = class_of(error)
            raise failure from error
        finally:
            inside_run.reset(token)
        return agent

    def _check_shared(self, agent: BaseAgent) -> None:
        """See that what a run goes by before it has an instance is what the instance says of itself."""
        for key in _SHARED:
            own, said = getattr(agent, key), getattr(self, key)
            if own != said:
                msg = f"it has {key}={own!r}, and its pool {said!r}; give the pool {key}={own!r}, and let the class take it"
                raise ConfigError(msg)

    def warm_up(self) -> None:
        """Make all instances that are missing, once, where the pool starts warm; otherwise do nothing.

        Raises:
            AgentError: One could not be made; those made before it stay.
        """
        if self._warm or self._places.closed:
            return
        places = self._places.take_empty()
        while places:
            place = places.pop(0)
            try:
                self._filled(place)
            except BaseException:
                for left in places:
                    self._places.give(left)
                raise
            self._places.give(place)
        self._warm = True

    @property
    def instances(self) -> Mapping[int, BaseAgent]:
        """The instances that there are now, by index."""
        return {place.index: place.agent for place in self._places if place.agent is not None}

    @property
    def dropped(self) -> int:
        """How many instances have been dropped so far."""
        return self._places.dropped

    def statistics(self) -> PoolStatistics:
        """Return what goes on in the pool; instances that have been idle for too long are dropped first.

        They are closed when the next lease begins or ends, or with the pool.
        """
        places = self._places
        counted = places.count()
        return PoolStatistics(
            size=places.size,
            made=places.made,
            dropped=places.dropped,
            leases=places.leases,
            longest_wait=places.longest_wait,
            **counted,
        )

    # -- the end -------------------------------------------------------------------------------

    @hosted
    async def aclose(self) -> None:
        """Close the pool: it gives no more leases, and who waits for one is told so.

        Idle instances are closed at once, those at work when their lease ends. Closing it again does nothing.

        Raises:
            Exception: What an instance raised from its ``aclose`` or ``close``; of several the first, with the
                others as notes. All the others have been closed.
        """
        self._places.close()
        await trio.lowlevel.cancel_shielded_checkpoint()
        _raise_first(await self._close_retired())

    def close(self) -> None:
        """Close the pool from code that cannot wait: as `aclose`, for instances that are closed without waiting.

        Raises:
            LifecycleError: An instance has an ``aclose``, which has to be awaited; nothing is closed then.
        """
        if hasattr(self.agent_class, "aclose") or inspect.iscoroutinefunction(
            getattr(self.agent_class, "close", None)
        ):
            msg = f"the instances of pool {self.name!r} are closed by waiting for them: await pool.aclose() instead"
            raise LifecycleError(msg)
        self._places.close()
        failures: list[Exception] = []
        for agent in self._places.take_retired():
            try:
                getattr(agent, "close", _nothing)()
            except Exception as error:
                failures.append(error)
        _raise_first(failures)

    async def __aenter__(self) -> AgentPool:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def _close_retired(self) -> list[Exception]:
        """Close what was dropped; return what went wrong."""
        failures: list[Exception] = []
        for agent in self._places.take_retired():
            try:
                await _close(agent, self.name)
            except Exception as error:
                failures.append(error)
        return failures

    async def _close_retired_quietly(self) -> None:
        """Close what was dropped; a failure is nothing to the step that happens to come by, so it is logged."""
        from marsys_core.logs import get_logger

        for error in await self._close_retired():
            get_logger("agents").error("an instance of pool %r failed to close", self.name, exc_info=error)

    async def _run(self, prompt: Any, context: Context, **kwargs: Any) -> Any:
        """Let an instance take the turn; the engine leases one itself, to give it a context of its own."""
        async with self.acquire() as agent:
            if inspect.iscoroutinefunction(agent._run):
                run = agent._run if written_for(agent) == "trio" else crossing(agent._run)
                return await run(prompt, context, **kwargs)
            return await trio.to_thread.run_sync(lambda: agent._run(prompt, context, **kwargs))


@attrs.define(eq=False)
class Lease:
    """An instance that is taken; made by `AgentPool.lease`.

    Attributes:
        pool: Whose instance it is.
        agent: The instance.
    """

    pool: AgentPool
    _place: Place
    agent: BaseAgent
    _held: bool = True
    _aside: int = 0
    _parked: bool = False

    @property
    def index(self) -> int:
        """Which of the pool's instances it is, from 0."""
        return self._place.index

    @hosted
    async def end(self) -> None:
        """Give the instance back. Ending it again does nothing."""
        places = self.pool._places
        if self._held:
            self._held = False
            places.give(self._place)
        if places.closed:
            places.retire_idle()
        if places.retired:
            await self.pool._close_retired_quietly()

    @asynccontextmanager
    async def set_aside(self) -> AsyncIterator[None]:
        """Let others have the instance while its code waits for something that may need one, in a block.

        The same instance is taken again, before anybody in line, when the block is left. Blocks side by side
        count as one, from the first entered to the last left. Where waiting for it is cancelled, it is not
        taken again.
        """
        self._aside += 1
        if self._held:
            self._held, self._parked = False, True
            self.pool._places.give(self._place, aside=True)
        try:
            yield
        finally:
            self._aside -= 1
            if self._parked and not self._aside:
                self._parked = False
                await self._come_back()

    async def _come_back(self) -> None:
        places, waiter = self.pool._places, Waiter()
        if not places.reclaim(self._place, waiter):
            try:
                await waiter.wait()
            except BaseException:
                places.withdraw(waiter, self._place)
                raise
        self._held = True

    async def without(self, work: Awaitable[T]) -> T:
        """Return what `work` comes to; the instance is set aside meanwhile."""
        async with self.set_aside():
            return await work


def _nothing() -> None:
    """Close what has no ``close``."""


def _raise_first(failures: list[Exception]) -> None:
    if failures:
        first, *rest = failures
        for other in rest:
            first.add_note(f"beside it: {type(other).__name__}: {told(other)}")
        raise first


async def _close(agent: BaseAgent, pool: str) -> None:
    """Close `agent`, if it can be; shielded, because nobody else would do it later."""
    close = getattr(agent, "aclose", None) or getattr(agent, "close", None)
    if close is None:
        return
    if written_for(agent) == "asyncio":
        close = crossing(close)
    with trio.CancelScope(shield=True, deadline=trio.current_time() + _CLOSE_WITHIN) as scope:
        if inspect.isawaitable(waiting := close()):
            await waiting
    if scope.cancelled_caught:
        msg = f"an instance of pool {pool!r} did not close within {_CLOSE_WITHIN:g} s: {agent!r}"
        raise LifecycleError(msg)


def _same_class(error: Exception) -> type[MarsysError]:
    """Bad configuration stays that; whatever else a constructor raises is a failure of the agent's own code."""
    return ConfigError if isinstance(error, ConfigError) else AgentError


def _check(agent_class: Any, num_instances: Any, warm_start: Any, max_idle_time: Any) -> None:
    problems = []
    if (
        not isinstance(agent_class, type)
        or not issubclass(agent_class, BaseAgent)
        or issubclass(agent_class, AgentPool)
    ):
        problems.append(f"agent_class is a subclass of BaseAgent, not {agent_class!r:.200}")
    if isinstance(num_instances, bool) or not isinstance(num_instances, int) or num_instances < 1:
        problems.append(f"num_instances is a whole number from 1, not {num_instances!r:.200}")
    if not isinstance(warm_start, bool):
        problems.append(f"warm_start is True or False, not {warm_start!r:.200}")
    if max_idle_time is not None and not _is_duration(max_idle_time):
        problems.append(f"max_idle_time is a number of seconds above 0, or None, not {max_idle_time!r:.200}")
    if problems:
        msg = "an AgentPool cannot be made like this:"
        raise ConfigError(msg, problems)


def _is_duration(value: Any) -> bool:
    return (
        not isinstance(value, bool) and isinstance(value, int | float) and math.isfinite(value) and value > 0
    )
