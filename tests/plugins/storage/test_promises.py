"""The table of what outlives what: each level of durability, each way of committing, each kind of loss."""

from __future__ import annotations

import os
import random
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio

from marsys.storage import SQLiteStore
from marsys_core import events as e
from marsys_core.config import ExecutionConfig
from marsys_core.orchestra import Orchestra
from marsys_core.protocols.store import RunInfo
from tests.core.fakes import BARE
from tests.plugins.storage.acting import ANSWER, TOPOLOGY, team
from tests.plugins.storage.contract import entry
from tests.plugins.storage.power import Disk, hidden

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(hidden(), reason="this Python keeps its SQLite to itself"),
]

Line = tuple[str, ...]
KILLED, POWER, HALF = "killed", "power", "half"
BEFORE = {  # what has ended when something begins
    "Left": {"Begin"},
    "Right": {"Begin"},
    "Check": {"Begin", "Left", "Right"},
    "Close": {"Begin", "Left", "Right", "Check"},
    "end": {"Begin", "Left", "Right", "Check", "Close"},
    "left2": {"left0", "left1"},
    "right2": {"right0", "right1"},
    "check1": {"check0"},
}


@attrs.frozen
class Moment:
    """What had happened in the world when everything stopped, and what each kind of loss left of the store."""

    lines: tuple[Line, ...]
    left: dict[str, Path]

    @property
    def ended(self) -> set[str]:
        """Return the steps and calls whose outcomes something else has gone on from."""
        return set().union(*[BEFORE.get(name, set()) for _, name, *_ in self.lines])


@attrs.define(eq=False)
class World:
    """What is outside of the process. Each time that something happens there, everything might stop."""

    happened: Callable[[], None] = lambda: None
    lines: list[Line] = attrs.field(factory=list)

    def happens(self, *what: str) -> None:
        self.lines.append(what)
        self.happened()


def first_life(folder: Path, level: str, synchronous: str, idempotent: bool) -> list[Moment]:
    """Run to the end, and return what would have been left at each moment on the way."""
    disk, path, moments, chance = Disk(), folder / "first.db", [], random.Random(7)
    reaching = {KILLED: lambda: True, POWER: lambda: False, HALF: lambda: chance.random() < 0.5}

    def happened() -> None:
        left = {kind: folder / f"{len(moments)}-{kind}.db" for kind in reaching}
        for kind, target in left.items():
            disk.left(path, target, reaching[kind])
        moments.append(Moment(tuple(world.lines), left))

    world = World(happened)

    async def main() -> None:
        async with (
            SQLiteStore(path, synchronous=synchronous) as store,
            Orchestra(plugins=BARE, storage=store) as orchestra,
        ):
            result = await orchestra.execute(
                "task", TOPOLOGY, agents=team(world, idempotent), session_id="s",
                execution_config=ExecutionConfig(durability=level, raise_errors=False),
            )  # fmt: skip
            assert result.final_response == ANSWER
            world.happens("run", "end")

    with disk.watched():
        trio.run(main)
    return moments


@attrs.frozen
class After:
    """What the next process found, did and came to."""

    found: tuple[str, ...]
    lines: list[Line]
    answer: Any
    uncertain: list[str]
    sound: bool

    def steps(self) -> set[str]:
        return {name for what, name, *_ in self.lines if what == "step"}

    def effects(self) -> Counter[str]:
        return Counter(name for what, name, *_ in self.lines if what == "effect")


def later_life(path: Path, level: str, idempotent: bool) -> After:
    world = World()

    async def main() -> After:
        async with SQLiteStore(path) as store, Orchestra(plugins=BARE, storage=store) as orchestra:
            found = tuple(info.status for info in await orchestra.runs())
            sound = (await store.check()).ok
            result = await orchestra.execute(
                "task", TOPOLOGY, agents=team(world, idempotent), session_id="s", resume=True,
                execution_config=ExecutionConfig(durability=level, raise_errors=False),
            )  # fmt: skip
            events = await orchestra.history(result.run_id)
            calls = {each.call_id: str(each.arguments) for each in events if isinstance(each, e.ToolStarted)}
            uncertain = [calls[each.call_id] for each in events if isinstance(each, e.ToolUncertain)]
            assert len(await orchestra.runs()) == 1
            return After(found, world.lines, result.final_response, uncertain, sound)

    return trio.run(main)


def assert_kept(level: str, idempotent: bool, moment: Moment, after: After) -> None:
    """What was promised holds, and no call was repeated without anybody knowing."""
    begun = Counter(name for what, name, *_ in moment.lines if what == "effect")
    keys = {(name, *key) for what, name, *key in (*moment.lines, *after.lines) if what == "effect"}
    assert len(keys) == len({name for name, *_ in keys})
    assert after.found == ("succeeded",) if moment.lines[-1] == ("run", "end") else ("interrupted",)
    if level != "run":
        assert not after.steps() & moment.ended
    if not idempotent:
        assert not after.effects().keys() & begun.keys()
    elif level == "call":
        assert not after.effects().keys() & moment.ended
    if not after.uncertain:
        assert after.answer == ANSWER
    for arguments in after.uncertain:
        assert not idempotent
        assert not any(name in arguments for name in moment.ended)


def some(moments: list[Moment], cell: object) -> list[Moment]:
    """Return all moments in a long campaign, and else others in each cell of the table; the last one always."""
    if os.environ.get("MARSYS_SIMULATE") == "1":
        return moments
    return [*moments[zlib.crc32(repr(cell).encode()) % 3 :: 3], moments[-1]]


CELLS = [("run", True), ("step", True), ("step", False), ("call", True), ("call", False)]


@pytest.mark.parametrize("synchronous", ["NORMAL", "FULL"])
@pytest.mark.parametrize(("level", "idempotent"), CELLS)
def test_what_was_promised_outlives_a_process_and_with_full_the_power(
    in_memory: Path, level: str, idempotent: bool, synchronous: str
) -> None:
    moments = first_life(in_memory, level, synchronous, idempotent)

    assert len(moments) == 14
    for moment in some(moments, (level, idempotent, synchronous)):
        for kind in (KILLED, POWER, HALF) if synchronous == "FULL" else (KILLED,):
            after = later_life(moment.left[kind], level, idempotent)
            assert after.sound
            assert_kept(level, idempotent, moment, after)


@pytest.mark.parametrize(("level", "idempotent"), CELLS)
def test_with_normal_a_loss_of_power_leaves_whole_commits_and_a_run_that_goes_on_from_there(
    in_memory: Path, level: str, idempotent: bool
) -> None:
    repeated = 0
    for moment in some(first_life(in_memory, level, "NORMAL", idempotent), (level, idempotent)):
        for kind in (POWER, HALF):
            after = later_life(moment.left[kind], level, idempotent)
            assert after.sound
            assert after.found in {(), ("interrupted",), ("succeeded",)}
            assert after.uncertain or after.answer == ANSWER
            repeated += bool(after.effects().keys() & {name for what, name, *_ in moment.lines})
    assert repeated  # which is why the table says so


@pytest.mark.parametrize("synchronous", ["NORMAL", "FULL"])
def test_what_was_committed_some_time_ago_outlives_a_loss_of_power(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, synchronous: str
) -> None:
    disk, path, left = Disk(), tmp_path / "runs.db", tmp_path / "left.db"

    async def write() -> None:
        async with SQLiteStore(path, synchronous=synchronous) as store:
            log = await store.create(RunInfo(run_id="r"))
            for seq in range(20):
                log.append(entry(seq))
                await log.commit()
            disk.syncs.clear()
            monkeypatch.setattr("marsys.storage._writer._HEARTBEAT_SECONDS", 0.001)
            store._open()._ring()
            while str(path) not in disk.syncs and synchronous == "NORMAL":
                await trio.lowlevel.checkpoint()
            disk.left(path, left, lambda: False)

    async def read() -> int:
        async with SQLiteStore(left) as store:
            assert (await store.check()).ok
            return len(await store.entries("r"))

    with disk.watched():
        trio.run(write)
    assert trio.run(read) == 20


def test_a_commit_waits_for_the_disk_with_full_and_not_with_normal(tmp_path: Path) -> None:
    def syncs(synchronous: str) -> int:
        disk = Disk()

        async def main() -> int:
            async with SQLiteStore(tmp_path / f"{synchronous}.db", synchronous=synchronous) as store:
                log = await store.create(RunInfo(run_id="r"))
                disk.syncs.clear()
                for seq in range(10):
                    log.append(entry(seq))
                    await log.commit()
                return len(disk.syncs)

        with disk.watched():
            return trio.run(main)

    assert (syncs("NORMAL"), syncs("FULL")) == (0, 10)
