"""What keeping runs costs where many go on at once: CPU of 1,000 runs of three steps, with a store and without.

    python benchmarks/kept.py        seven rounds
    python benchmarks/kept.py 20     more

Each round does both, one after the other, and the ratio is that of a round: on a machine that does other work as well
both are slowed down alike, most of the time. CPU is that of the process, the writer's thread included.
"""

from __future__ import annotations

import gc
import statistics
import sys
import tempfile
import time
from pathlib import Path

import run as workloads
import trio

from marsys import Orchestra, Registry
from marsys.storage import SQLiteStore


async def spent(work: workloads.Side) -> float:
    """Microseconds of CPU a run."""
    gc.collect()
    start = time.process_time()
    await workloads.at_once(work)
    return (time.process_time() - start) / workloads.CONCURRENT * 1e6


async def main(rounds: int) -> None:
    workloads.latency_seconds = 0.05
    with Registry(), tempfile.TemporaryDirectory() as folder:
        async with (
            Orchestra(execution_config=workloads.LIMITS) as bare,
            SQLiteStore(Path(folder) / "runs.db") as store,
            Orchestra(execution_config=workloads.LIMITS, storage=store) as keeping,
        ):
            unkept, kept = workloads.three_steps(bare)[0], workloads.three_steps(keeping)[0]
            found = [(await spent(unkept), await spent(kept)) for _ in range(rounds + 1)][1:]
    for what, each in zip(("not kept", "kept"), zip(*found, strict=True), strict=True):
        print(f"{what:10} {min(each):6.0f} us a run at best, {statistics.median(each):6.0f} in the middle")
    ratios = [kept / unkept for unkept, kept in found]
    print(
        f"{'ratio':10} {statistics.median(ratios):6.2f} in the middle, {min(ratios):.2f} to {max(ratios):.2f}"
    )


if __name__ == "__main__":
    trio.run(main, int(sys.argv[1]) if len(sys.argv) > 1 else 7)
