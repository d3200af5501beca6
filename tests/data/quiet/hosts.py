"""Runs the team under one host, watched, and writes down what was seen: ``python hosts.py HOST REPORT PATIENCE``.

A host is how an application comes to run the engine. It is given the calls, carries them out side by side as far
as it can, and returns what each came to. Another host is another entry of `HOSTS`.
"""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import watch

if TYPE_CHECKING:
    from team import Call

IDLE = 0.2  # seconds that a worker thread of Trio waits for work; 10 otherwise

Outcomes = list[str]


class Host(NamedTuple):
    """A way to run the engine.

    Args:
        carry_out: Carries out the calls, and returns what each came to.
        cancels: Whether it can cancel a run from outside.
    """

    carry_out: Callable[[Sequence[Call]], Outcomes]
    cancels: bool = True


def in_trio(calls: Sequence[Call]) -> Outcomes:
    """Run them as an application on Trio does: in `trio.run` of its own."""
    import trio
    from team import Sink, use_cache

    from marsys import Orchestra

    outcomes = ["nothing"] * len(calls)

    async def carry_out(orchestra: Orchestra, index: int, call: Call) -> None:
        run = orchestra.execute if call.inside else Orchestra.run
        with trio.CancelScope() as scope:
            if call.cancel is not None:
                call.cancel = scope.cancel
            try:
                result = await run(call.task, call.topology, **call.options)
                outcomes[index] = result.final_response if result.success else "no success"
            except Exception as error:
                outcomes[index] = type(error).__name__
        if scope.cancelled_caught:
            outcomes[index] = "cancelled"

    async def main() -> None:
        async with Orchestra(sinks=[Sink()]) as orchestra:
            await use_cache(orchestra)
            async with trio.open_nursery() as nursery:
                for index, call in enumerate(calls):
                    nursery.start_soon(carry_out, orchestra, index, call)
                nursery.start_soon(look)

    async def look() -> None:
        await trio.sleep(0.03)
        DURING.append(watch.snapshot())

    trio.run(main)
    return outcomes


def in_asyncio(calls: Sequence[Call]) -> Outcomes:
    """Run them as an application on asyncio does: in `asyncio.run`, where Trio is a guest on its loop."""
    import asyncio

    return asyncio.run(_on_asyncio(calls))


def in_a_loop(calls: Sequence[Call]) -> Outcomes:
    """Run them on an asyncio loop that leaves signals alone, as one that is not run by `asyncio.run` does."""
    import asyncio

    loop = asyncio.new_event_loop()
    try:
        return loop.run_until_complete(_on_asyncio(calls))
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


async def _on_asyncio(calls: Sequence[Call]) -> Outcomes:
    import asyncio

    from team import Sink

    from marsys import Orchestra

    outcomes, mine = ["nothing"] * len(calls), watch.handlers()

    async def carry_out(orchestra: Orchestra, index: int, call: Call) -> None:
        run = orchestra.execute if call.inside else Orchestra.run
        if call.cancel is not None:
            task = asyncio.current_task()
            assert task is not None  # this is one
            call.cancel = task.cancel
        try:
            result = await run(call.task, call.topology, **call.options)
            outcomes[index] = result.final_response if result.success else "no success"
        except asyncio.CancelledError:
            outcomes[index] = "cancelled"
        except Exception as error:
            outcomes[index] = type(error).__name__

    async def look() -> None:
        await asyncio.sleep(0.03)
        assert watch.handlers() == mine  # those of the host, whatever they are
        DURING.append(watch.snapshot())

    async with Orchestra(sinks=[Sink()]) as orchestra:
        await asyncio.gather(look(), *(carry_out(orchestra, *each) for each in enumerate(calls)))
    return outcomes


def loud(calls: Sequence[Call]) -> Outcomes:
    """Do everything that should not be done, as a module of the engine would: what shows that it is seen."""
    code = (Path(__file__).parent / "loud.txt").read_text("utf-8")
    exec(compile(code, "loud.txt", "exec"), {"__name__": "marsys.loud"})
    return [call.outcome for call in calls]


HOSTS = {
    "trio": Host(in_trio),
    "asyncio": Host(in_asyncio),
    "loop": Host(in_a_loop),
    "loud": Host(loud, cancels=False),
}
DURING: list[dict[str, Any]] = []


def main(host: str, report: str, patience: str) -> None:
    """Watch a host, and write the report; all threads but the main one have `patience` seconds to end."""
    seeing = watch.Watch()
    before, moment = watch.snapshot(), watch.of_this_moment()
    seeing.begin()
    # From here on everything counts, the imports too.
    from team import calls
    from trio._core import _thread_cache

    _thread_cache.IDLE_TIMEOUT = IDLE
    made = calls(cancelling=HOSTS[host].cancels)
    outcomes = HOSTS[host].carry_out(made)
    after, end = watch.snapshot(), watch.of_this_moment()
    left = [each.name for each in threading.enumerate() if each is not threading.main_thread()]
    for thread in seeing.begun:
        thread.join(float(patience))
    staying = [each.name for each in threading.enumerate() if each is not threading.main_thread()]
    seeing.end()
    told = {
        **seeing.report(),
        "outcomes": [[call.outcome, outcome] for call, outcome in zip(made, outcomes, strict=True)],
        "changed": changed(before, after) + changed(moment, end),
        "changed during": [each for during in DURING for each in changed(before, during)],
        "looked during": len(DURING),
        "threads left": left,
        "threads that stay": staying,
    }
    with open(report, "w", encoding="utf-8") as file:
        json.dump(told, file)


def changed(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """Say what is different."""
    return [f"{name}: {before[name]!r} -> {after[name]!r}" for name in before if before[name] != after[name]]


if __name__ == "__main__":
    main(*sys.argv[1:])
