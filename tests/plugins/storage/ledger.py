"""A run whose tools write to a ledger, killed at one boundary of writing after the other, and gone on with.

It is run by test_ledger.py, in a process that has started neither Trio nor a thread, so that it can fork: each point
is one child that runs until it is killed there, one that compares the ledger with the record, and one that goes on.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import signal
import sqlite3
import sys
from pathlib import Path
from types import SimpleNamespace

import trio

from marsys.storage import SQLiteStore
from marsys_core import events as e
from marsys_core.agents import Agent, FunctionAgent
from marsys_core.config import ExecutionConfig
from marsys_core.engine.fingerprint import made_of
from marsys_core.orchestra import Orchestra
from marsys_core.tools import Tool, ToolContext, tool
from marsys_core.topology import Topology
from tests.core.fakes import BARE, FakeModel, call
from tests.plugins.storage.sweep import forked

TOPOLOGY = "Begin -> [Left, Right] -> Check"
LINES = {f"{side}{number}" for side in ("Left", "Right") for number in range(3)} | {"Check"}
TABLE = "CREATE TABLE IF NOT EXISTS ledger (what TEXT, number INTEGER, call TEXT)"
LAST = "SELECT coalesce(max(number), 0) AS last FROM ledger"
WRITE = "INSERT INTO ledger VALUES (?, ?, ?)"


@tool(transactional=True)
async def enter(what: str, context: ToolContext) -> str:
    """Enter a line under the next number."""
    tx = context.transaction
    await tx.execute(TABLE)
    number = (await tx.query(LAST))[0]["last"] + 1
    await tx.execute(WRITE, [what, number, context.call_id])
    return f"{what} is {number}"


@tool(transactional=True, name="enter")
def enter_plainly(what: str, context: ToolContext) -> str:
    """Enter a line under the next number."""
    tx = context.transaction
    tx.execute_sync(TABLE)
    number = tx.query_sync(LAST)[0]["last"] + 1
    tx.execute_sync(WRITE, [what, number, context.call_id])
    return f"{what} is {number}"


def side(name: str, enter: Tool) -> Agent:
    """An agent that makes two calls at once, and then one more."""

    def reply(request: object) -> object:
        said = request.messages  # type: ignore[attr-defined]
        answered = sum(message.role == "tool" for message in said)
        if answered == 0:
            return [call("enter", f"{name}{n}", what=f"{name}{n}") for n in range(2)]
        return call("enter", f"{name}2", what=f"{name}2") if answered == 2 else f"{name} is done"

    return Agent(name, model=FakeModel(reply), tools=[enter])  # type: ignore[arg-type]


def team() -> list[Agent | FunctionAgent]:
    async def begin(prompt: object) -> object:
        return prompt

    async def check(prompt: object, context: object) -> object:
        return await context.call_tool("enter", what="Check")  # type: ignore[attr-defined]

    checking = FunctionAgent(check, name="Check", tools=[enter])
    return [FunctionAgent(begin, name="Begin"), side("Left", enter), side("Right", enter_plainly), checking]


def live(path: Path, inline: bool, fault: object, told: int) -> None:
    """Run, or go on with what is there, and tell what came of it."""

    async def main() -> str:
        async with (
            SQLiteStore(path, inline=inline, fault=fault) as store,  # type: ignore[arg-type]
            Orchestra(plugins=BARE, storage=store) as orchestra,
        ):
            result = await orchestra.execute("task", TOPOLOGY, agents=team(), session_id="s", resume=True)
            return str(result.final_response)

    os.write(told, trio.run(main).encode())


def killed(path: Path, inline: bool, point: int, told: int) -> None:
    """Run until the boundary with this number."""
    left = point

    def fault(_name: str) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)

    live(path, inline, fault, told)


def count(path: Path, inline: bool, told: int) -> None:
    """Run without being killed, and tell the boundaries and what was imported."""
    points: list[str] = []
    live(path, inline, points.append, os.open(os.devnull, os.O_WRONLY))
    look(path, True)
    os.write(told, json.dumps([points, [*sys.modules]]).encode())


def look(path: Path, whole: bool) -> None:
    """Compare the ledger with the record: each line has the outcome of its call, and each outcome its line."""

    async def recorded() -> list[e.Event]:
        async with SQLiteStore(path) as store, Orchestra(plugins=BARE, storage=store) as orchestra:
            assert (await store.check()).ok
            return [event for info in await store.runs() for event in await orchestra.history(info.run_id)]

    events = trio.run(recorded)
    connection = sqlite3.connect(path)
    there = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'ledger'").fetchone()
    lines = connection.execute("SELECT what, number, call FROM ledger").fetchall() if there else []
    connection.close()
    outcomes = {event.call_id: event.result for event in events if isinstance(event, e.ToolFinished)}
    assert outcomes == {call_id: f"{what} is {number}" for what, number, call_id in lines}
    assert sorted(number for _, number, _ in lines) == list(range(1, len(lines) + 1))
    assert len(outcomes) == len(lines)
    assert not [event for event in events if isinstance(event, e.ToolUncertain | e.ToolFailed)]
    if whole:
        assert {what for what, _, _ in lines} == LINES


def main(folder: Path, inline: bool, most: int) -> None:
    """Try at most about `most` points, and print what was wrong with which."""
    told_path = folder / "told"

    def told() -> int:
        return os.open(told_path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)

    assert forked(count, folder / "whole.db", inline, told()) == 0
    points, modules = json.loads(told_path.read_text())
    for name in modules:
        if name.partition(".")[0] in (
            "marsys",
            "marsys_core",
            "sqlite3",
            "sqlite_utils",
            "concurrent",
            "cattrs",
        ):
            importlib.import_module(name)  # so that no child has to
    for each in team():  # nor read its source
        tools = {given.name: given for given in each.tools}
        made_of(
            SimpleNamespace(  # type: ignore[arg-type]
                topology=Topology.of(TOPOLOGY),
                config=ExecutionConfig(),
                agents={each.name: SimpleNamespace(agent=each, model=None, tools=tools)},
            )
        )
    gc.collect()
    gc.freeze()
    tried = range(0, len(points), max(1, len(points) // most))
    wrong = []
    for point in tried:
        path = folder / f"{point}.db"
        ended = forked(killed, path, inline, point, told())
        first = forked(look, path, False) if ended == -signal.SIGKILL else 0
        second = forked(live, path, inline, None, told()) or forked(look, path, True)
        if ended not in (0, -signal.SIGKILL) or first or second or told_path.read_text() != "Check is 7":
            wrong.append([point, points[point], ended, first, second, told_path.read_text()])
        for left in folder.glob(f"{point}.db*"):
            left.unlink()
    print(json.dumps({"tried": len(tried), "of": len(points), "kinds": sorted(set(points)), "wrong": wrong}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2] == "inline", int(sys.argv[3]))
