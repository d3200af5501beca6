"""Plain functions run in worker threads that are counted, and waited for."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import attrs
import trio

from marsys_core import events as e

if TYPE_CHECKING:
    from marsys_core.engine.step import Step

__all__ = ["run_in_thread"]


@attrs.define(eq=False)
class _Place:
    """A place among the threads of the engine, which knows whether it was taken: waiting for one is not stuck."""

    limiter: trio.CapacityLimiter
    taken: bool = False

    async def acquire_on_behalf_of(self, borrower: object) -> None:
        await self.limiter.acquire_on_behalf_of(borrower)
        self.taken = True

    def release_on_behalf_of(self, borrower: object) -> None:
        self.limiter.release_on_behalf_of(borrower)


async def run_in_thread(
    step: Step, what: str, function: Callable[[], Any], late: Callable[[Any], None] | None = None
) -> Any:
    """Run `function` in a worker thread and wait for it, also past a deadline.

    Code in a thread cannot be interrupted. When it should have ended, a `Stuck` event names it; the run
    goes on waiting. What it then returns is no longer used, and `late` is told; nor is what it then raises.
    """
    place, done = _Place(step.run.engine.threads), False

    def call() -> tuple[Any, Exception | None]:
        try:
            return function(), None
        except Exception as error:
            return None, error

    async def watch() -> None:
        try:
            await trio.sleep_forever()
        finally:
            if place.taken and not done:
                branch = step.branch
                step.run.record(e.Stuck(branch.id, branch.n, step.cause, step.node, what))

    async with _one_error(), trio.open_nursery() as nursery:
        nursery.start_soon(watch)
        try:
            result, error = await trio.to_thread.run_sync(call, limiter=place)  # type: ignore[arg-type]
        finally:
            done = True
        if late is not None and error is None and trio.current_effective_deadline() == -math.inf:
            late(result)
        nursery.cancel_scope.cancel()
    await trio.lowlevel.checkpoint_if_cancelled()
    if error is not None:
        raise error
    return result


@contextlib.asynccontextmanager
async def _one_error() -> Any:
    """Let a single exception out as it is; the nursery beside it is nobody's business."""
    try:
        yield
    except BaseExceptionGroup as group:
        if len(group.exceptions) != 1:
            raise
        error = group.exceptions[0]
    else:
        return
    raise error
