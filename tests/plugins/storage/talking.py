"""A session whose second run is killed at one boundary of writing after the other, and gone on with.

It is run by test_sessions.py, in a process that has started neither Trio nor a thread, so that it can fork: each point
is one child that takes the second turn until it is killed there, and one that goes on, and takes the third.
"""

from __future__ import annotations

import importlib
import json
import os
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

import trio

from marsys.storage import SQLiteStore
from marsys_core.agents import Agent
from marsys_core.orchestra import Orchestra
from tests.core.fakes import BARE, FakeModel
from tests.plugins.storage.sweep import forked

WANTED = ["task 1", "answer to task 1", "task 2", "answer to task 2", "task 3"]


def clerk() -> Agent:
    """An agent that remembers, and answers."""
    return Agent(
        "A", model=FakeModel(lambda request: f"answer to {request.messages[-1].text}"), memory_scope="session"
    )


def turn(path: Path, task: str, *, fault: Any = None, inline: bool = True, resume: bool = False) -> list[str]:
    """Take a turn in an engine of its own; return what the agent was shown and has said."""

    async def main() -> list[str]:
        async with (
            SQLiteStore(path, inline=inline, fault=fault) as store,
            Orchestra(plugins=BARE, storage=store, agents=[clerk()]) as orchestra,
        ):
            result = await orchestra.execute(task, "A", session_id="s", resume=resume)
            assert (await store.check()).ok
            return [message.text for message in result.messages]

    return trio.run(main)


def killed(path: Path, point: int, inline: bool) -> None:
    """Take the second turn until the boundary with this number."""
    left = point

    def fault(_name: str) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)

    turn(path, "task 2", fault=fault, inline=inline)


def go_on(path: Path, told: int) -> None:
    """Go on with the second turn, or take it where it had not begun; take the third, and tell what was said."""
    if turn(path, "task 2", resume=True)[-2] != "task 2":
        turn(path, "task 2")
    os.write(told, json.dumps(turn(path, "task 3")[:-1]).encode())


def count(path: Path, inline: bool, told: int) -> None:
    """Take the second turn without being killed, and tell the boundaries and what was imported."""
    points: list[str] = []
    turn(path, "task 2", fault=points.append, inline=inline)
    modules = [
        name
        for name in sys.modules
        if name.partition(".")[0] in ("marsys", "marsys_core", "sqlite3", "inspect")
    ]
    os.write(told, json.dumps([points, modules]).encode())


def main(folder: Path) -> None:
    """Try all points, and print what was wrong with which."""
    first = folder / "first.db"
    assert forked(turn, first, "task 1") == 0
    wrong, tried, kinds = [], 0, set[str]()
    for inline in (True, False):
        path, told_path = folder / "now.db", folder / "told"

        def child(work: Any, *args: Any, path: Path = path, told_path: Path = told_path) -> tuple[int, Any]:
            told = os.open(told_path, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
            ended = forked(work, path, *args, told) if work is not killed else forked(work, path, *args)
            os.close(told)
            text = told_path.read_text()
            return ended, json.loads(text) if text else None

        shutil.copy(first, path)
        boundaries, modules = child(count, inline)[1]
        for name in modules:
            importlib.import_module(name)
        kinds.update(boundaries)
        for point in range(len(boundaries)):
            for old in folder.glob("now.db*"):
                old.unlink()
            shutil.copy(first, path)
            ended = [child(killed, point, inline)[0], *child(go_on)]
            tried += 1
            if ended != [-signal.SIGKILL, 0, WANTED]:
                wrong.append([point, inline, ended])
    print(json.dumps({"tried": tried, "kinds": sorted(kinds), "wrong": wrong}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
