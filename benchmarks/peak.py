"""How much memory a thousand runs take at once; run as a process of its own by `run.py`."""

from __future__ import annotations

import gc
from pathlib import Path

import run
import trio

from marsys import Orchestra


def _status(key: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key + ":"):
            return int(line.split()[1]) * 1024
    raise KeyError(key)


async def measure(which: str) -> int:
    async with Orchestra() as orchestra:
        work = (lambda: run.raw_chain(3)) if which == "raw" else run.three_steps(orchestra)[0]
        run.latency_seconds = 0.0
        await work()
        run.latency_seconds = 0.05
        gc.collect()
        Path("/proc/self/clear_refs").write_text("5")
        before = _status("VmRSS")
        await run.at_once(work)
        return _status("VmHWM") - before


def main(which: str) -> None:
    print(trio.run(measure, which))
