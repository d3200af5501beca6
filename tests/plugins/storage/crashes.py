"""A run that is killed at a boundary of writing: which run, where, and what each process does with it."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import attrs
import trio

from marsys.storage import SQLiteStore
from marsys_core import events as e
from marsys_core.orchestra import Orchestra
from marsys_core.results import RunResult
from tests.core.fakes import BARE, seeded
from tests.plugins.storage.journeys import JOURNEYS, Declared, Line, World

__all__ = ["FILE", "Case", "Life", "Point", "Record", "Whole"]

FILE = "runs.db"
LEVELS = ("run", "step", "call")
LEVEL_RUN = "idempotent"  # what a run that is recorded at its end asks of its tools


@attrs.frozen
class Case:
    """A run that is killed: which workflow, at what level, with what said of its tools, and who writes."""

    journey: str
    level: str
    declared: Declared
    inline: bool
    seed: int

    @classmethod
    def turn(cls, number: int) -> Iterator[Case]:
        """Yield each workflow at each level once; the rest differs from turn to turn, until all was combined."""
        declared, ways = get_args(Declared), (True, False)
        for place, (level, journey) in enumerate(itertools.product(LEVELS, JOURNEYS)):
            said = LEVEL_RUN if level == "run" else declared[(place + number) % len(declared)]
            way = ways[(place + number // len(declared)) % len(ways)]
            yield cls(journey, level, said, way, seed=number)


@attrs.frozen
class Whole:
    """What came of a run that was not interrupted: its boundaries, its result, and what happened in the world.

    `before` is what was there when it began: nothing, or a run that has failed.
    """

    boundaries: Sequence[str]
    meaning: Mapping[str, str]
    times: Mapping[Line, int]
    before: Path


@attrs.frozen
class Point:
    """Where a run is killed."""

    case: Case
    whole: Whole
    number: int

    def __str__(self) -> str:
        return f"{self.case} at boundary {self.number}"


@attrs.define(eq=False)
class Record:
    """What a store has of a run: what has ended, and which calls had begun that may not be made twice."""

    ended: Counter[Line] = attrs.field(factory=Counter)
    open: Counter[Line] = attrs.field(factory=Counter)
    uncertain: Counter[Line] = attrs.field(factory=Counter)
    problems: list[str] = attrs.field(factory=list)

    @classmethod
    async def of(cls, orchestra: Orchestra) -> Record:
        """Read that of all runs, the nested ones too."""
        record = cls()
        for info in await orchestra.runs():
            events = await orchestra.history(info.run_id)
            if [event.seq for event in events] != list(range(len(events))):
                record.problems.append(f"the journal of {info.run_id} has gaps")
            record._read(events)
        return record

    def _read(self, events: Sequence[e.Event]) -> None:
        calls: dict[tuple[str, str], tuple[Line, bool]] = {}
        asked: dict[str, str] = {}
        for event in events:
            if isinstance(event, e.StepFinished | e.StepRetried):
                self.ended["step", event.node] += 1
            elif isinstance(event, e.ModelReplied):
                self.ended["asked", event.node] += 1
            elif isinstance(event, e.UserAsked):
                asked[event.request_id] = event.node
            elif isinstance(event, e.UserAnswered):
                self.ended["person", asked[event.request_id]] += 1
            elif isinstance(event, e.ToolStarted):
                calls[event.branch, event.call_id] = _line(event), event.idempotent
            elif isinstance(event, e.ToolFinished):
                self.ended[calls.pop((event.branch, event.call_id))[0]] += 1
            elif isinstance(event, e.ToolFailed) and event.error != "interrupted":
                del calls[event.branch, event.call_id]
            elif isinstance(event, e.ToolUncertain):
                self.uncertain[calls[event.branch, event.call_id][0]] += 1
        self.open.update(line for line, idempotent in calls.values() if not idempotent)


def _line(started: e.ToolStarted) -> Line:
    given = started.arguments
    (what,) = (json.loads(given) if isinstance(given, str) else given).values()
    return started.tool, what


@attrs.define(eq=False)
class Life:
    """What one process does with a run: it begins it, or goes on with what is there."""

    case: Case
    folder: Path
    fault: Callable[[str], None] | None = None
    found: Record = attrs.field(factory=Record)  # when it began
    left: Record = attrs.field(factory=Record)  # when it ended
    statuses: list[str] = attrs.field(factory=list)
    sound: bool = True
    breaks: bool = False

    @property
    def world(self) -> World:
        """The world, as it is told to agents."""
        return World(self.folder / "world", self.found.ended, breaks=self.breaks)

    def live(self, **changes: Any) -> RunResult:
        """Run to the end; with `changes` of the settings, which the run is gone on with all the same."""
        with seeded(self.case.seed):
            return trio.run(self._live, changes)

    async def _live(self, changes: Mapping[str, Any]) -> RunResult:
        path = self.folder / FILE
        async with (
            SQLiteStore(path, inline=self.case.inline, fault=self.fault) as store,
            Orchestra(plugins=BARE, storage=store, new_id=lambda: "r") as orchestra,
        ):
            if self.fault is not None:
                return await self._run(orchestra, changes)
            self.found = await Record.of(orchestra)
            result = await self._run(orchestra, changes)
            self.left = await Record.of(orchestra)
            self.statuses = [info.status for info in await orchestra.runs() if not info.parent]
            self.sound = (await store.check()).ok
            return result

    async def _run(self, orchestra: Orchestra, changes: Mapping[str, Any]) -> RunResult:
        case, world = self.case, self.world
        journey = JOURNEYS[case.journey]
        agents = journey.agents(world, case.declared)
        config = attrs.evolve(journey.config(case.level, case.declared), **changes)
        channel = None if journey.person is None else journey.person(world)
        if changes:
            return await orchestra.resume(
                "r", agents=agents, execution_config=config, channel=channel, accept_changes=True
            )
        return await orchestra.execute(
            "task",
            journey.topology,
            agents=agents,
            execution_config=config,
            channel=channel,
            session_id="s",
            resume=True,
        )
