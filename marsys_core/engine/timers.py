"""Waiting for a time, in a way that a crash does not begin anew."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from marsys_core import events as e
from marsys_core.engine.nested import aside
from marsys_core.errors import ConfigError

if TYPE_CHECKING:
    from marsys_core.engine.step import Step

__all__ = ["sleep"]


async def sleep(step: Step, seconds: float) -> None:
    """Wait for so many seconds from when the step first came here, whatever became of the process since.

    Raises:
        ConfigError: It is no such number.
    """
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds < float("inf"):
        msg = f"context.sleep takes seconds, from 0, not {seconds!r:.200}"
        raise ConfigError(msg)
    run, branch = step.run, step.branch
    known = None if step.replay is None else step.replay.timer(seconds)
    if known is None:
        timer = e.TimerSet(branch.id, branch.n, step.cause, step.node, seconds, run.wall_now() + seconds)
        run.record(timer)
        if run.durable is not None:
            await run.durable.keep()
    else:
        timer, fired = known
        if fired:
            return
    step.busy += 1
    step.sleeping += 1
    step.stop_clock()
    try:
        if run.rest is not None:
            run.rest.look()
        async with aside(step):
            # The clock may have been set back since: nobody waits longer than asked for.
            await trio.sleep(min(max(0.0, timer.wall_time - run.wall_now()), seconds))
    finally:
        step.start_clock()
        step.sleeping -= 1
        step.settle()
    run.record(e.TimerFired(branch.id, branch.n, step.cause, step.node, timer.n))
    if run.durable is not None:
        await run.durable.after_call()
