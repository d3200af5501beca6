"""A program that is killed at one boundary of writing after the other, and looked at afterwards.

It is run by test_crash.py, in a process that has started neither Trio nor a thread, so that it can fork: each point
is one child that writes until it is killed there, and one that goes on from what it finds.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import trio

from marsys.storage import SQLiteStore
from marsys_core.protocols.store import RunInfo
from tests.plugins.storage.contract import entry, hashed
from tests.plugins.storage.forking import forked

RUNS, ENTRIES = 3, 3
STEPS = int(os.environ.get("MARSYS_CRASH_STEPS", "4"))


async def one_run(store, run_id, told):
    """Take or create a run, and do its steps from where it was left."""
    there = [each.run_id for each in await store.runs()]
    log = await store.take(run_id) if run_id in there else await store.create(RunInfo(run_id=run_id))
    for step in range(log.next_seq // ENTRIES, STEPS):
        log.put(*hashed(f"{run_id} {step}".encode()))
        for number in range(ENTRIES):
            log.append(entry(step * ENTRIES + number, f"{run_id} {step}"))
        log.update(steps=step + 1)
        await log.commit()
        os.write(told, f"{run_id} {step + 1}\n".encode())
    log.update(status="succeeded")
    await log.release()


def write(path, inline, fault, told):
    async def main():
        async with SQLiteStore(path, inline=inline, fault=fault) as store, trio.open_nursery() as nursery:
            for number in range(RUNS):
                nursery.start_soon(one_run, store, f"r{number}", told)

    trio.run(main)


def until(point, path, inline, told):
    """Write, and be killed at the boundary with this number."""
    left = point

    def fault(_name):
        nonlocal left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)

    write(path, inline, fault, told)


def count(path, inline, told):
    """Write without being killed, and tell how many boundaries there are."""
    points = []
    write(path, inline, points.append, told)
    os.write(told, json.dumps(points).encode())


def look(path, promised):
    """Compare what is there with what was promised, go on, and compare what came of it."""

    async def main():
        async with SQLiteStore(path) as store:
            report = await store.check()
            assert report.ok, report
            for info in await store.runs():
                entries = await store.entries(info.run_id)
                assert len(entries) % ENTRIES == 0, "half a commit"
                steps = len(entries) // ENTRIES
                assert steps >= promised.get(info.run_id, 0), "a step that was promised is lost"
                assert info.steps == steps
                blobs = await store.blobs(info.run_id)
                assert blobs == dict(hashed(f"{info.run_id} {step}".encode()) for step in range(steps))
                assert info.status == ("succeeded" if info.status == "succeeded" else "interrupted")
            async with trio.open_nursery() as nursery:
                for number in range(RUNS):
                    nursery.start_soon(one_run, store, f"r{number}", os.open(os.devnull, os.O_WRONLY))
            report = await store.check()
            assert (report.ok, report.runs, report.entries) == (True, RUNS, RUNS * STEPS * ENTRIES)

    trio.run(main)


def main(folder, inline, most):
    told_path = folder / "told"

    def told():
        return os.open(told_path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)

    assert forked(count, folder / "whole.db", inline, told()) == 0
    points = json.loads(told_path.read_text().splitlines()[-1])
    tried = range(0, len(points), max(1, len(points) // most))
    wrong = []
    for point in tried:
        path = folder / f"{point}.db"
        ended = forked(until, point, path, inline, told())
        promised = {}
        for line in told_path.read_text().splitlines():
            run_id, step = line.split()
            promised[run_id] = int(step)
        if ended not in (0, -signal.SIGKILL) or forked(look, path, promised):
            wrong.append([point, points[point], ended])
        for left in folder.glob(f"{point}.db*"):
            left.unlink()
    print(json.dumps({"tried": len(tried), "kinds": sorted(set(points)), "wrong": wrong}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2] == "inline", int(sys.argv[3]))
