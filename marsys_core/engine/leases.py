"""Pools in an engine: a step at a pool's node is taken by an instance on lease, made ready for this engine."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import attrs
import trio

from marsys_core.agents.registry import current_lease
from marsys_core.errors import AgentError, ErrorClass

if TYPE_CHECKING:
    from marsys_core.agents.pool import AgentPool, Lease
    from marsys_core.engine.engine import Engine
    from marsys_core.engine.prepared import Prepared
    from marsys_core.engine.step import Step

__all__ = ["Leases"]


@attrs.define(eq=False)
class Leases:
    """A pool as one engine sees it: each instance has its own model, tools and memory, opened here."""

    pool: AgentPool
    engine: Engine
    _ready: dict[int, Prepared] = attrs.field(factory=dict)
    _dropped: int = 0

    async def make_ready(self) -> None:
        """Make the instances of a pool that starts warm, and look up and open what they name."""
        self.pool.warm_up()
        if self.pool.warm_start:
            for index, agent in self.pool.instances.items():
                await self._prepared(index, agent)

    async def take_step(self, step: Step, act: Callable[[Step], Awaitable[Any]]) -> Any:
        """Let an instance take `step`: lease one, run `act` with it, and give it back however that ends.

        Waiting for an instance counts for the limits of the branch and the run, and not for that of the step.
        """
        lease = await self._lease(step)
        token = current_lease.set(lease)
        from marsys_core.engine.contracts import adapted

        try:
            step.prepared = adapted(step.run, step.node, await self._prepared(lease.index, lease.agent))
            return await act(step)
        finally:
            current_lease.reset(token)
            await lease.end()

    async def _lease(self, step: Step) -> Lease:
        deadlines = step.run._deadlines
        end = float("inf") if deadlines is None else deadlines.branch_end(step.run, step.branch)
        try:
            with trio.CancelScope(deadline=end):
                return await self.pool.lease()
        except AgentError as error:
            if error.__cause__ is not None and error.error_class is ErrorClass.FAILURE:
                error.error_class = self.engine.classify(error.__cause__)
            raise
        assert deadlines is not None  # it has set the end
        raise deadlines.overrun(step.branch)

    async def _prepared(self, index: int, agent: Any) -> Prepared:
        from marsys_core.engine.prepared import prepare

        self._forget_dropped()
        found = self._ready.get(index)
        if found is None or found.agent is not agent or found.is_stale():
            found = self._ready[index] = await prepare(agent, self.engine)
        return found

    def _forget_dropped(self) -> None:
        """Keep no instance alive that its pool has dropped."""
        dropped = self.pool.dropped
        if dropped != self._dropped:
            self._dropped = dropped
            there = self.pool.instances
            self._ready = {i: each for i, each in self._ready.items() if there.get(i) is each.agent}
