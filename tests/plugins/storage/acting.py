"""A team of five that does something outside of its process at every step, for tests of what is left when that ends."""

from __future__ import annotations

import os
from pathlib import Path

from marsys_core.agents import Agent, FunctionAgent
from marsys_core.tools import Tool, tool
from tests.core.fakes import FakeModel, call

__all__ = ["ANSWER", "EFFECTS", "TOPOLOGY", "World", "team"]

TOPOLOGY = "Begin -> [Left, Right] -> Check -> Close"
ANSWER = "Close: Check: 2 came, with 8"
EFFECTS = {f"{side}{number}" for side in ("left", "right") for number in range(3)} | {"check0", "check1"}
LARGE = "x" * 5000  # what is put away by its hash


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
