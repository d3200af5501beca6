"""What a long run that is kept costs: bytes on disk, time per step, and the time to go on with it.

    python benchmarks/conversation.py            10,000 steps
    python benchmarks/conversation.py 2000       fewer

Functions hand a text of 600 characters round a ring. The run's process dies ten steps before the end, and another
goes on with it. Nothing fails here: a benchmark is read, not passed.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import trio

from marsys import ExecutionConfig, Invoke, Orchestra, Return, agent
from marsys.storage import SQLiteStore

SAID = "I have read what you said, and this is what I think of it. " * 10
LIMITS = ExecutionConfig(max_steps=1_000_000)
RING = ("A", "B", "C")
TOPOLOGY = "A -> B; B -> C; C -> A"


class Ring:
    """Agents that hand a text on until so many steps are taken; the process may die at one of them."""

    def __init__(self, steps: int, dies_at: int = 0) -> None:
        self.steps, self.dies_at = steps, dies_at
        self.first: tuple[float, float] | None = None
        self.at: dict[int, float] = {}
        self.agents = [agent(self.act, name=name) for name in RING]

    async def act(self, prompt: Any, context: Any) -> Any:
        if self.first is None:
            self.first = time.perf_counter(), time.process_time()
        number = int(prompt.partition(" ")[0]) + 1
        if number % 100 == 0:
            self.at[number] = time.process_time()
        if number == self.dies_at:
            os._exit(0)
        said = f"{number} {SAID}"
        if number == self.steps:
            return Return(said)
        return Invoke([(RING[number % len(RING)], said)])

    def cpu(self, start: int, stop: int) -> float:
        """Microseconds a step: of each hundred in a row the best, because other work on the machine only ever adds."""
        hundreds = range(start, stop, 100)
        return min(self.at[number + 100] - self.at[number] for number in hundreds) * 1e4


async def kept(path: Path, ring: Ring) -> None:
    async with SQLiteStore(path) as store, Orchestra(storage=store) as orchestra:
        await orchestra.run("0 begin", TOPOLOGY, agents=ring.agents, execution_config=LIMITS, session_id="s")


async def unkept(_path: Path, ring: Ring) -> None:
    async with Orchestra() as orchestra:
        await orchestra.run("0 begin", TOPOLOGY, agents=ring.agents, execution_config=LIMITS)


async def gone_on_with(path: Path, ring: Ring) -> None:
    async with SQLiteStore(path) as store, Orchestra(storage=store) as orchestra:
        (info,) = await orchestra.runs()
        began = time.perf_counter(), time.process_time()
        await orchestra.resume(info.run_id, agents=ring.agents, execution_config=LIMITS)
        assert ring.first is not None
        wall, cpu = (now - then for now, then in zip(ring.first, began, strict=True))
        print(f"{'until its next step, on going on':40} {wall:8.3f} s   {cpu:8.3f} s of CPU")
        middle = 3 * ring.steps // 2  # a step is three entries
        began = time.perf_counter(), time.process_time()
        events = await orchestra.history(info.run_id, middle, middle + 4)
        wall = time.perf_counter() - began[0]
        print(f"{'an earlier step read in':40} {wall * 1000:8.1f} ms  {len(events)} events")


def costs(name: str, ring: Ring) -> None:
    early, late = ring.cpu(100, 1100), ring.cpu(ring.steps - 1100, ring.steps - 100)
    print(f"{name:40} {early:8.0f} us a step early, {late:8.0f} late: {late / early:.2f} times")


def apart(work: Callable[[], None]) -> None:
    """Do `work` in a process of its own."""
    pid = os.fork()
    if pid == 0:
        work()
        sys.stdout.flush()
        os._exit(0)
    os.waitpid(pid, 0)


def measure(name: str, work: Callable[[Path, Ring], Awaitable[None]], path: Path, ring: Ring) -> None:
    trio.run(work, path, ring)
    costs(name, ring)


def main(steps: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "runs.db"
        apart(lambda: measure("not kept", unkept, path, Ring(steps)))
        apart(lambda: measure("kept", kept, path, Ring(steps)))
        said = steps * (len(SAID) + 5)
        size = sum(each.stat().st_size for each in Path(folder).iterdir())
        per = (size - said) / steps
        print(f"{'on disk':40} {size / said:8.2f} times the messages, {per:.0f} bytes a step above them")
        other = Path(folder) / "killed.db"
        apart(lambda: trio.run(kept, other, Ring(steps, steps - 10)))
        apart(lambda: trio.run(gone_on_with, other, Ring(steps)))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
