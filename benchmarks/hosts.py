"""What another host than Trio costs: the same runs as an asyncio guest, and from plain code.

    python benchmarks/hosts.py

Steps are compared by CPU, in turn with Trio's. Calls are timed by the clock on the wall, the best of several,
because what they wait for, threads that hand over to each other, takes no CPU. Nothing fails here.
"""

from __future__ import annotations

import asyncio
import gc
import random
import time
from collections.abc import Callable
from typing import Any

import trio
from run import LIMITS, PROMPT, TextModel, ring, show, step

from marsys import Agent, Orchestra, agent

ROUNDS = 5
STEPS = 500
CALLS = 200


def loops() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The loops there are: uvloop's where it is installed."""
    found: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {"asyncio": asyncio.new_event_loop}
    try:
        import uvloop
    except ImportError:
        print("uvloop is not installed, and left out")
    else:
        found["uvloop"] = uvloop.new_event_loop
    return found


def run_on(loop: Callable[[], asyncio.AbstractEventLoop], main: Callable[[], Any]) -> Any:
    with asyncio.Runner(loop_factory=loop) as runner:
        return runner.run(main())


async def chain_cpu(functions: bool) -> float:
    """CPU seconds of a chain; the same program under each host."""
    names = "AB"
    agents: list[Any] = [
        agent(name=name)(step) if functions else Agent(name, model=TextModel()) for name in names
    ]
    async with Orchestra(execution_config=LIMITS) as orchestra:
        await orchestra.execute(PROMPT, ring(STEPS), agents=agents)
        best = float("inf")
        for _ in range(ROUNDS):
            gc.collect()
            start = time.process_time()
            await orchestra.execute(PROMPT, ring(STEPS), agents=agents)
            best = min(best, time.process_time() - start)
    return best / STEPS * 1e6


async def bare(warm: bool = True) -> float:
    """Seconds of one bare call of one step: the best of many, or the first of its loop."""
    best = float("inf")
    for _ in range(CALLS if warm else 1):
        start = time.perf_counter()
        await Orchestra.run(PROMPT, "One")
        best = min(best, time.perf_counter() - start)
    return best


def first(run: Callable[[], float]) -> float:
    """The best of several loops' first calls."""
    return min(run() for _ in range(20)) * 1e6


async def heartbeat() -> tuple[float, float, float]:
    """How late the host's beat was, at most and with the collector off, and what the half that went on took."""
    late: list[float] = []

    async def beat() -> None:
        while True:
            before = time.perf_counter()
            await asyncio.sleep(0.005)
            late.append(time.perf_counter() - before - 0.005)

    chance, loop = random.Random(1), asyncio.get_running_loop()
    await Orchestra.run(PROMPT, "Waiting -> One")
    worst = []
    for collect in (True, False):
        late.clear()
        gc.collect()
        (gc.enable if collect else gc.disable)()
        heart = asyncio.create_task(beat())
        began = time.perf_counter()
        tasks = [asyncio.create_task(Orchestra.run(str(n), "Waiting -> One")) for n in range(1000)]
        for task in chance.sample(tasks, 500):
            loop.call_later(chance.random() * 0.4, task.cancel)
        await asyncio.gather(*tasks, return_exceptions=True)
        took = time.perf_counter() - began
        heart.cancel()
        worst.append(max(late) * 1000)
    gc.enable()
    return worst[0], worst[1], took


async def waiting(prompt: Any) -> str:
    await trio.sleep(random.random() * 0.3)
    return "waited"


def main() -> None:
    agent(name="One")(step)
    agent(name="Waiting")(waiting)
    print(f"{'':<44} {'Trio':>9} {'guest':>9}")
    for functions, what in ((False, "agents"), (True, "functions")):
        for name, loop in loops().items():
            raw = trio.run(chain_cpu, functions)
            show(f"a step of {what}, {name}", raw, run_on(loop, lambda f=functions: chain_cpu(f)), 3)
    cold, warm = first(lambda: trio.run(bare, False)), trio.run(bare) * 1e6
    for name, loop in loops().items():
        there, again = first(lambda loop=loop: run_on(loop, lambda: bare(False))), run_on(loop, bare) * 1e6
        told("the first call on a loop, above Trio's", name, there - cold, 1000)
        told("a call with the guest running, above Trio's", name, again - warm, 200)
    best = float("inf")
    for _ in range(50):
        start = time.perf_counter()
        Orchestra.run_sync(PROMPT, "One")
        best = min(best, time.perf_counter() - start)
    told("run_sync of one step", "", best * 1e6, 5000)
    for name, loop in loops().items():
        worst, uncollected, took = run_on(loop, heartbeat)
        told("1,000 runs, half cancelled: the latest beat", name, worst * 1000, 50_000)
        print(f"{'':<44} {uncollected:16.1f} ms without the garbage collector; {took:.2f} s in all")


def told(what: str, host: str, microseconds: float, bound: float) -> None:
    verdict = "" if microseconds <= bound else "  (above it)"
    print(f"{what:<44} {host:<8} {microseconds:10.0f} µs   bound {bound:g} µs{verdict}")


if __name__ == "__main__":
    main()
