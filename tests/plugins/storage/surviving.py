"""A run that is killed at one boundary of writing after the other, and gone on with by the next process.

It is run by test_surviving.py, in a process that has started neither Trio nor a thread, so that it can fork: each
point is one child that runs until it is killed there, and one that goes on from what it finds. What agents and tools
do in the world is a line each in a file beside the store, synced before they return.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import signal
import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import trio

from marsys.storage import SQLiteStore
from marsys_core import events as e
from marsys_core.agents import Agent, FunctionAgent
from marsys_core.config import ExecutionConfig
from marsys_core.engine.fingerprint import made_of
from marsys_core.orchestra import Orchestra
from marsys_core.tools import Tool, tool
from marsys_core.topology import Topology
from tests.core.fakes import BARE, FakeModel, call
from tests.plugins.storage.sweep import forked

TOPOLOGY = "Begin -> [Left, Right] -> Check -> Close"
ANSWER = "Close: Check: 2 came, with 8"
EFFECTS = {f"{side}{number}" for side in ("left", "right") for number in range(3)} | {"check0", "check1"}
STEPS = {"Begin", "Left", "Right", "Check", "Close"}
LARGE = "x" * 5000  # what is put away by its hash

Point = tuple[int, bool, bool]
"""The number of the boundary, whether small commits are made on the loop's thread, whether tools are idempotent."""


class World:
    """What is outside of the process, and stays when it is gone."""

    def __init__(self, path: Path) -> None:
        self.file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def happens(self, *what: str) -> None:
        os.write(self.file, (" ".join(what) + "\n").encode())
        os.fsync(self.file)


def team(world: World, idempotent: bool) -> list[Agent | FunctionAgent]:
    @tool(idempotent=idempotent)
    async def act(what: str, context: object) -> str:
        """Do something that can be seen from outside."""
        world.happens("effect", what, context.call_id)  # type: ignore[attr-defined]
        return f"{what} {LARGE}"

    def stepping(name: str, answer: object) -> FunctionAgent:
        async def step(prompt: object, context: object) -> object:
            world.happens("step", name)
            return await answer(prompt, context)  # type: ignore[operator]

        return FunctionAgent(step, name=name)

    async def begin(prompt: object, context: object) -> str:
        return f"{prompt} {LARGE}"

    async def check(prompt: object, context: object) -> str:
        done = [await context.call_tool("act", what=f"check{number}") for number in range(2)]  # type: ignore[attr-defined]
        return f"Check: {len(prompt)} came, with {len(done) + 6}"  # type: ignore[arg-type]

    async def close(prompt: object, context: object) -> str:
        return f"Close: {prompt}"

    checking = stepping("Check", check)
    checking.tools = (act,)
    sides = [_side(name, act, world) for name in ("Left", "Right")]
    return [stepping("Begin", begin), *sides, checking, stepping("Close", close)]


def _side(name: str, act: Tool, world: World) -> Agent:
    """An agent that makes two calls at once, and then one more."""

    def reply(request: object) -> object:
        said = request.messages  # type: ignore[attr-defined]
        answered = sum(message.role == "tool" for message in said)
        if answered == 0:
            world.happens("step", name)
            return [call("act", f"{name}{n}", what=f"{name.lower()}{n}") for n in range(2)]
        return call("act", f"{name}2", what=f"{name.lower()}2") if answered == 2 else f"{name} is done"

    return Agent(name, model=FakeModel(reply), tools=[act])  # type: ignore[arg-type]


def live(path: Path, point: Point, fault: object, told: int) -> None:
    """Run, or go on with what is there, and tell what came of it."""
    _, inline, idempotent = point
    gc.disable()
    world = World(path.with_suffix(".world"))

    async def main() -> dict[str, object]:
        async with (
            SQLiteStore(path, inline=inline, fault=fault) as store,  # type: ignore[arg-type]
            Orchestra(plugins=BARE, storage=store) as orchestra,
        ):
            result = await orchestra.execute(
                "task",
                TOPOLOGY,
                agents=team(world, idempotent),
                execution_config=ExecutionConfig(raise_errors=False),
                session_id="s",
                resume=True,
            )
            events = await orchestra.history(result.run_id)
            calls = {each.call_id: each.arguments for each in events if isinstance(each, e.ToolStarted)}
            runs = await orchestra.runs()
            return {
                "answer": result.final_response,
                "error": f"{type(result.error).__name__}: {result.error}",
                "uncertain": [
                    _what(calls[each.call_id]) for each in events if isinstance(each, e.ToolUncertain)
                ],
                "steps": result.total_steps,
                "runs": [info.status for info in runs],
                "sound": (await store.check()).ok,
            }

    os.write(told, json.dumps(trio.run(main)).encode())


def _what(arguments: object) -> str:
    plain = json.loads(arguments) if isinstance(arguments, str) else arguments
    return str(plain["what"])


def killed(path: Path, point: Point, told: int) -> None:
    """Run until the boundary with this number."""
    left = point[0]

    def fault(_name: str) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)

    live(path, point, fault, told)


def count(path: Path, point: Point, told: int) -> None:
    """Run without being killed, and tell the boundaries and what was imported."""
    points: list[str] = []
    quiet = os.open(os.devnull, os.O_WRONLY)
    live(path, point, points.append, quiet)
    modules = [name for name in sys.modules if name.partition(".")[0] in ("marsys", "marsys_core", "sqlite3")]
    os.write(told, json.dumps([points, modules]).encode())


def wrong_with(folder: Path, point: Point) -> list[str]:
    """Kill a run at `point`, go on with it, and return what is not as it should be."""
    name = "-".join(map(str, map(int, point)))
    path, told_path = folder / f"{name}.db", folder / f"{name}.told"
    told = os.open(told_path, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    problems = []
    ended = forked(killed, path, point, told)
    if ended not in (0, -signal.SIGKILL):
        problems.append(f"the first process ended with {ended}")
    os.ftruncate(told, 0)
    os.lseek(told, 0, os.SEEK_SET)
    if forked(live, path, point, None, told):
        problems.append("the second process failed")
    else:
        problems += _judged(
            json.loads(told_path.read_text()), path.with_suffix(".world"), idempotent=point[2]
        )
    os.close(told)
    for left in folder.glob(f"{name}.*"):
        left.unlink()
    return problems


def _judged(found: dict[str, object], world: Path, *, idempotent: bool) -> list[str]:
    lines = [line.split() for line in world.read_text().splitlines()]
    keys: dict[str, set[str]] = {}
    times: Counter[str] = Counter()
    for what, name, *key in lines:
        if what == "effect":
            times[name] += 1
            keys.setdefault(name, set()).update(key)
    uncertain = set(found["uncertain"])  # type: ignore[call-overload]
    problems = [f"{name} under several keys: {found}" for name, found in keys.items() if len(found) > 1]
    if not found["sound"] or len(found["runs"]) != 1:  # type: ignore[arg-type]
        problems.append(f"the store holds {found['runs']}, sound: {found['sound']}")
    if not idempotent:
        problems += [f"{name} {count} times" for name, count in times.items() if count > 1]
    if idempotent and uncertain:
        problems.append(f"uncertain, though idempotent: {uncertain}")
    if uncertain:
        if "UncertainOutcome" not in str(found["error"]):
            problems.append(f"uncertain and not told: {found['error']}")
        return problems
    if (found["answer"], found["steps"]) != (ANSWER, 5):
        problems.append(f"came to {found}")
    lost = (EFFECTS - times.keys()) | (STEPS - {name for what, name, *_ in lines if what == "step"})
    return problems + [f"{name} is lost" for name in sorted(lost)]


def worker(folder: Path, points: list[Point], told: int) -> None:
    wrong = [[point, problems] for point in points if (problems := wrong_with(folder, point))]
    os.write(told, (json.dumps([len(points), wrong]) + "\n").encode())


def main(folder: Path, most: int) -> None:
    """Try about `most` points, shared out among the processors, and print what was wrong with which."""
    kinds: set[str] = set()
    points: list[Point] = []
    for inline in (True, False):
        for idempotent in (False, True):
            first = (0, inline, idempotent)
            told_path = folder / "counted"
            told = os.open(told_path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            assert forked(count, folder / f"whole-{inline}-{idempotent}.db", first, told) == 0
            boundaries, modules = json.loads(told_path.read_text())
            for name in modules:
                importlib.import_module(name)
            kinds.update(boundaries)
            points += [(number, inline, idempotent) for number in range(len(boundaries))]
    while len(points) < most:  # in another order of branches each time
        points += points[: most - len(points)]
    tried = [points[index * len(points) // most] for index in range(most)]
    for each in team(World(Path(os.devnull)), idempotent=True):  # whose source need not be read by each child
        made_of(
            SimpleNamespace(  # type: ignore[arg-type]
                topology=Topology.of(TOPOLOGY),
                config=ExecutionConfig(),
                agents={
                    each.name: SimpleNamespace(
                        agent=each, model=None, tools={given.name: given for given in each.tools}
                    )
                },
            )
        )
    gc.collect()
    gc.freeze()
    workers = os.cpu_count() or 1
    told_path = folder / "tried"
    told = os.open(told_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    children = []
    for number in range(workers):
        pid = os.fork()
        if pid == 0:
            own = folder / str(number)
            own.mkdir()
            try:
                worker(own, tried[number::workers], told)
            finally:
                os._exit(0)
        children.append(pid)
    for pid in children:
        os.waitpid(pid, 0)
    parts = [json.loads(line) for line in told_path.read_text().splitlines()]
    wrong = [each for _, found in parts for each in found]
    print(json.dumps({"tried": sum(tried for tried, _ in parts), "kinds": sorted(kinds), "wrong": wrong}))
