"""Runs on a disk that fills up, and has room again later."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import trio

from marsys.storage import SQLiteStore
from marsys_core import events as e
from marsys_core.agents import FunctionAgent
from marsys_core.config import ExecutionConfig
from marsys_core.errors import StoreError
from marsys_core.orchestra import Orchestra
from tests.core.fakes import BARE
from tests.plugins.storage.acting import ANSWER, EFFECTS, TOPOLOGY, World, team

STRIDE = 1 if os.environ.get("MARSYS_SIMULATE") == "1" else 7


class Disk:
    """A disk that is full from one boundary of writing on, until there is room again."""

    def __init__(self, point: int) -> None:
        self.left, self.has_room = point, False

    def __call__(self, boundary: str) -> None:
        self.left -= 1
        if self.left < 0 and not self.has_room and boundary != "committed":
            raise OSError(28, "No space left on device")


def effects(world: Path) -> tuple[Counter[str], set[tuple[str, ...]]]:
    """Return how often each effect was had, and the keys under which it was."""
    lines = [line.split() for line in world.read_text().splitlines()]
    had = [(name, *key) for what, name, *key in lines if what == "effect"]
    return Counter(name for name, *_ in had), set(had)


async def begun_and_gone_on_with(folder: Path, point: int, inline: bool, idempotent: bool, anew: bool) -> Any:
    """Run until the disk is full, make room, and go on: in the same engine, or in the next one."""
    disk, world = Disk(point), World(folder / "world")

    def store() -> SQLiteStore:
        return SQLiteStore(folder / "runs.db", inline=inline, fault=disk)

    async def life(kept: SQLiteStore, orchestra: Orchestra) -> Any:
        return await orchestra.execute(
            "task", TOPOLOGY, agents=team(world, idempotent), session_id="s", resume=True,
            execution_config=ExecutionConfig(raise_errors=False),
        )  # fmt: skip

    told = None
    try:
        async with store() as kept, Orchestra(plugins=BARE, storage=kept) as orchestra:
            try:
                await life(kept, orchestra)
            except StoreError as error:
                told = error
            disk.has_room = not anew
            if not anew:
                return told, await life(kept, orchestra), await after(kept, orchestra)
    except StoreError as error:  # it could not even be opened, or not close
        told = told or error
    disk.has_room = True
    async with store() as kept, Orchestra(plugins=BARE, storage=kept) as orchestra:
        return told, await life(kept, orchestra), await after(kept, orchestra)


async def after(store: SQLiteStore, orchestra: Orchestra) -> Any:
    (info,) = await orchestra.runs()
    uncertain = [each for each in await orchestra.history(info.run_id) if isinstance(each, e.ToolUncertain)]
    return info.status, uncertain, (await store.check()).ok


@pytest.mark.slow
@pytest.mark.parametrize("anew", [False, True])
@pytest.mark.parametrize("idempotent", [False, True])
@pytest.mark.parametrize("inline", [False, True])
def test_a_run_stops_where_the_disk_is_full_and_goes_on_to_the_same_when_there_is_room(
    in_memory: Path, inline: bool, idempotent: bool, anew: bool
) -> None:
    stopped, point, error = 0, 0, None
    while point == 0 or error is not None:
        folder = in_memory / str(point)
        folder.mkdir()
        error, result, (status, uncertain, sound) = trio.run(
            begun_and_gone_on_with, folder, point, inline, idempotent, anew
        )
        stopped += error is not None
        assert error is None or re.search(rf"'{folder}/runs.db': .*No space left", str(error)), point
        times, keys = effects(folder / "world")
        assert sound
        assert len(keys) == len(times), point  # made again, a call has the same key
        assert idempotent or set(times.values()) <= {1}, point
        if uncertain:  # what came of a call was in memory only, and its process is gone
            assert (anew, idempotent, status) == (True, False, "failed"), point
        else:
            assert (result.final_response, result.total_steps, status) == (ANSWER, 5, "succeeded"), point
            assert times.keys() == EFFECTS
        point += STRIDE
    assert stopped > 5


def test_a_full_file_is_told_with_what_to_do_and_what_was_kept_can_be_read(tmp_path: Path) -> None:
    path, took = tmp_path / "runs.db", []

    async def main() -> Any:
        async with SQLiteStore(path) as kept, Orchestra(plugins=BARE, storage=kept) as orchestra:

            async def limit(pages: int) -> None:
                connection = kept._open().database.connection
                await kept._open().alone(
                    lambda: connection.execute(f"PRAGMA max_page_count = {pages}").fetchone()
                )

            async def fill(prompt: Any) -> Any:
                took.append("Fill")
                await limit(1)  # which is what there is already
                return prompt * 3900

            async def other(prompt: Any) -> Any:
                took.append("Other")
                return prompt

            agents = [FunctionAgent(fill, name="Fill"), FunctionAgent(other, name="Other")]
            with pytest.raises(
                StoreError,
                match=rf"^could not write in '{path}': the disk is full; make room there \(database or disk is full\)",
            ):
                await orchestra.execute("x", "Other -> Fill -> Other2", agents=[*agents, FunctionAgent(other, name="Other2")])  # fmt: skip
            async with SQLiteStore(path, read_only=True) as reading:
                (info,) = await reading.runs()
                readable = [each.kind for each in await reading.entries(info.run_id)]
            await limit(1_000_000)
            took.clear()
            result = await orchestra.resume(
                info.run_id, agents=[*agents, FunctionAgent(other, name="Other2")]
            )
            return info, readable, result.final_response

    info, readable, answer = trio.run(main)

    assert info.status == "running"
    assert readable.count("StepFinished") == 1
    assert (answer, took) == ("x" * 3900, ["Other"])  # what was in memory was written when there was room


TEAM = """
[agents]
First.function = "filling:first"
Second.function = "filling:second"
Third.function = "filling:third"
[topology]
flows = ["First -> Second -> Third"]
"""
STEPS = """
import os, resource

def first(prompt):
    return "1"

def second(prompt):
    if os.environ.get("FILLS"):
        size = os.path.getsize("runs.db-wal")
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
    return "2" * 5000

def third(prompt):
    return prompt[:3] + "3"
"""


@pytest.mark.slow
def test_the_command_line_says_how_to_go_on_and_reads_what_there_is_on_a_full_disk(tmp_path: Path) -> None:
    (tmp_path / "team.toml").write_text(TEAM)
    (tmp_path / "filling.py").write_text(STEPS)

    def marsys(*arguments: str, full: bool = False, **environment: str) -> tuple[int, str, str]:
        done = subprocess.run(
            ["sh", "-c", f'{"ulimit -f 0; " if full else ""}exec "$@"', "sh", sys.executable, "-m", "marsys.cli",
             *arguments, "--storage", "runs.db"],
            capture_output=True, text=True, timeout=60, check=False, cwd=tmp_path, env={**os.environ, **environment},
        )  # fmt: skip
        return done.returncode, done.stdout, done.stderr

    code, out, err = marsys("run", "team.toml", "--task", "x", "-q", FILLS="1")
    assert (code, out) == (1, "")
    found = re.search(
        rf"^marsys: StoreError: could not write in '{tmp_path}/runs.db': the disk refused to read or write; look at"
        r" its room, its limits and its health \(disk I/O error\); then go on with the run: marsys resume (\w+)"
        r" --storage runs.db$",
        err,
        re.MULTILINE,
    )
    assert found, err

    code, out, err = marsys("runs", full=True)
    assert (code, err) == (0, "")
    assert re.search(rf"^{found[1]}  interrupted ", out, re.MULTILINE)
    assert marsys("store", "check", full=True)[0] == 0
    code, out, err = marsys("show", found[1], full=True)
    assert (code, err) == (0, "")
    code, out, err = marsys("resume", found[1], "-q", full=True)
    assert (code, out) == (2, "")
    assert err.startswith("marsys: the run cannot be kept: could not open the store in ")

    assert marsys("resume", found[1], "-q")[:2] == (0, "2223\n")
