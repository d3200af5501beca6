"""Runs that are killed at one boundary of writing after the other, each gone on with by another process.

It is run by test_surviving.py, in a process that has started neither Trio nor a thread, so that it can fork. Each
child goes on with the run that the child before it has left behind, judges what came of it, and then begins a run of
its own, in which it is killed. What the system has taken from a process (its writes to a file) outlives it whether
that file is on a disk or in memory, so a folder in memory is as good here; a loss of power is another test's part.
"""

from __future__ import annotations

import gc
import importlib
import itertools
import json
import os
import shutil
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import attrs
import trio

from marsys.storage import SQLiteStore
from marsys_core.config import ExecutionConfig
from marsys_core.engine.fingerprint import made_of
from marsys_core.topology import Topology
from tests.plugins.storage.crashes import FILE, Case, Life, Point, Whole
from tests.plugins.storage.forking import begun, ended
from tests.plugins.storage.journeys import JOURNEYS, World
from tests.plugins.storage.judging import meant, wrong_with

__all__ = ["main"]

LONGEST = 60  # seconds that one child may take before it is ended

# -- lives ---------------------------------------------------------------------------------------


def prepare(case: Case, folder: Path, _told: int) -> None:
    """Leave behind what a run begins with: no file, one without runs, or one with a run that has failed."""
    folder.mkdir()
    journey = JOURNEYS[case.journey]
    if journey.mends:
        assert not Life(case, folder, breaks=True).live().success
    elif not journey.makes_file:
        trio.run(_made, folder)


async def _made(folder: Path) -> None:
    async with SQLiteStore(folder / FILE):
        pass


def unbroken(case: Case, before: Path, folder: Path, told: int) -> None:
    """Run without being killed, and tell what came of it, and what was imported."""
    points: list[str] = []
    shutil.copytree(before, folder)
    life = Life(case, folder, points.append)
    result = life.live()
    assert result.success, result.error
    modules = [name for name in sys.modules if name.partition(".")[0] in ("marsys", "marsys_core", "sqlite3")]
    _tell(told, [points, meant(result), life.world.lines(), modules])


def killed(point: Point, folder: Path) -> None:
    """Run until the boundary with this number. It returns where the run came to its end before."""
    left = point.number
    shutil.copytree(point.whole.before, folder)

    def fault(_name: str) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)

    Life(point.case, folder, fault).live()


# -- processes -----------------------------------------------------------------------------------


def _tell(told: int, what: Any) -> None:
    with os.fdopen(told, "w", closefd=False) as file:
        file.write(json.dumps(what) + "\n")


def _child(work: Callable[..., object], *args: Any) -> tuple[int, list[Any]]:
    """Do `work` in a child, which gets a pipe as its last argument; return how it ended, and what it told."""
    hears, tells = os.pipe()
    pid = begun(_limited, work, *args, tells)
    os.close(tells)
    with os.fdopen(hears) as file:
        told = [json.loads(line) for line in file]
    return ended(pid), told


def _limited(work: Callable[..., object], *args: Any) -> None:
    signal.alarm(LONGEST)
    gc.disable()
    work(*args)


def relay(left: tuple[Point, Path] | None, own: tuple[Point, Path] | None, told: int) -> None:
    """Go on with the run that is left, and tell what is wrong; then run until killed, or tell that it was not."""
    if left is not None:
        _tell(told, wrong_with(*left))
    if own is not None:
        killed(*own)
        _tell(told, "it came to its end")


@attrs.define(eq=False)
class Runner:
    """Tries points, one after the other, each in a child of its own."""

    folder: Path
    tried: int = 0
    wrong: list[tuple[str, list[str]]] = attrs.field(factory=list)
    _left: tuple[Point, Path] | None = None
    _names: Iterator[int] = attrs.field(factory=itertools.count)

    def run(self, points: Sequence[Point], told: int) -> None:
        """Try all of them, and tell how many were, and what was wrong with which."""
        for point in points:
            while (next_ := self._try(point)) is not None:
                point = next_  # noqa: PLW2901
        self._follow(None)
        _tell(told, [self.tried, self.wrong])

    def _try(self, point: Point) -> Point | None:
        """Try a point. A run takes another number of writes each time: return one before where it had ended."""
        own = point, self.folder / str(next(self._names))
        status, told = self._follow(own)
        if status == -signal.SIGKILL:
            self._left = own
            return None
        if told[-1:] == ["it came to its end"]:
            return attrs.evolve(point, number=point.number - 1)
        self.wrong.append((str(point), [f"its process ended with {status}"]))
        return None

    def _follow(self, own: tuple[Point, Path] | None) -> tuple[int, list[Any]]:
        """Begin the next child, and note what it says of the run that is left."""
        left, self._left = self._left, None
        status, told = _child(relay, left, own)
        if left is not None:
            self.tried += 1
            problems = told.pop(0) if told else [f"the process that went on with it ended with {status}"]
            if problems:
                self.wrong.append((str(left[0]), problems))
            shutil.rmtree(left[1])
        return status, told


def plan(folder: Path, least: int) -> list[Point]:
    """Return at least so many points: all boundaries of all cases of a turn, and then of the next one."""
    points: list[Point] = []
    for number in itertools.count():
        for place, case in enumerate(Case.turn(number)):
            points += _points(case, folder / f"before-{number}-{place}", folder / "unbroken")
        if len(points) >= least:
            break
    return points


def _points(case: Case, before: Path, own: Path) -> Iterator[Point]:
    """Carry a case out without a crash, and yield each boundary that it has."""
    status, _ = _child(prepare, case, before)
    assert status == 0, case
    status, told = _child(unbroken, case, before, own)
    assert status == 0, case
    boundaries, meant, lines, modules = told[0]
    shutil.rmtree(own)
    for name in modules:
        importlib.import_module(name)
    whole = Whole(boundaries, meant, Counter((kind, name) for kind, name, _ in lines), before)
    return (Point(case, whole, number) for number in range(len(boundaries)))


def read_sources() -> None:
    """Read what the agents are made of here, once, and not in each child."""
    for journey in JOURNEYS.values():
        for agent in journey.agents(World(Path(os.devnull)), "verified"):
            prepared = SimpleNamespace(
                agent=agent, model=None, tools={each.name: each for each in agent.tools}
            )
            run = SimpleNamespace(
                topology=Topology.of(journey.topology),
                config=ExecutionConfig(),
                agents={agent.name: prepared},
            )
            made_of(run)  # type: ignore[arg-type]


def main(folder: Path, least: int) -> None:
    """Try `least` points or more, shared out among the processors, and print what was wrong with which."""
    read_sources()
    points = plan(folder, least)
    gc.collect()
    gc.freeze()
    workers, running = os.cpu_count() or 1, []
    for number in range(workers):
        own = folder / str(number)
        own.mkdir()
        hears, tells = os.pipe()
        pid = begun(Runner(own).run, points[number::workers], tells)
        os.close(tells)
        running.append((pid, hears))
    tried, wrong = 0, []
    for pid, hears in running:
        with os.fdopen(hears) as file:
            told = json.loads(file.read() or "null")
        assert ended(pid) == 0
        tried += told[0]
        wrong += told[1]
    kinds = sorted({name for point in points for name in point.whole.boundaries})
    print(json.dumps({"tried": tried, "kinds": kinds, "wrong": wrong}))
