"""Workflows that are interrupted: small ones, whose agents, tools and people leave a line each in a file of the world.

What is done a second time, or not at all, is told by these lines. They are the same for each number of processes that
a run takes: an agent that fails at first does so by what is recorded of it, and not by what this process has seen.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import attrs
import trio

from marsys_core.actions import AskUser, EndConversation, Fail
from marsys_core.agents import Agent, BaseAgent, FunctionAgent, Registry, Team
from marsys_core.config import ExecutionConfig, RetryConfig
from marsys_core.errors import CriticalError
from marsys_core.models import ModelRequest
from marsys_core.tools import Tool, tool
from tests.core.fakes import FakeModel, Reply, call

__all__ = ["JOURNEYS", "Declared", "Journey", "World"]

Declared = Literal["once", "verified", "retried", "idempotent"]
"""What is said of the tools: nothing, how to find out whether a call took effect, that it is to be made again, that
it may be."""

LARGE = "x" * 5000  # what is put away by its hash

Line = tuple[str, str]
"""What kind of thing happened, and which one."""


class World:
    """What is outside of the process, and stays when it is gone.

    Args:
        path: Its file: a line for each thing that happened, synced before whoever did it goes on.
        recorded: What the record says has happened, in processes before this one.
        breaks: Whether agents that can be broken are.
    """

    def __init__(
        self, path: Path, recorded: Mapping[Line, int] | None = None, *, breaks: bool = False
    ) -> None:
        self.path, self.breaks = path, breaks
        self.times = Counter(recorded or {})
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def happens(self, kind: str, name: str, key: str = "") -> int:
        """Write a line, and return how often that has happened now, by the record and in this process."""
        os.write(self._file, f"{kind} {name} {key}\n".encode())
        os.fsync(self._file)
        self.times[kind, name] += 1
        return self.times[kind, name]

    def lines(self) -> list[tuple[str, str, str]]:
        """Return all that happened."""
        text = self.path.read_text()
        return [(kind, name, key) for kind, name, key in (line.split(" ") for line in text.splitlines())]


@attrs.frozen
class Cast:
    """Those who play in a run, and the one tool that they have."""

    world: World
    declared: Declared

    @property
    def act(self) -> Tool:
        """A tool whose call can be seen from outside."""
        world = self.world

        async def seen(what: str) -> str | None:
            done = any((kind, name) == ("act", what) for kind, name, _ in world.lines())
            return f"did {what}" if done else None

        verify = seen if self.declared == "verified" else None

        @tool(idempotent=self.declared == "idempotent", verify=verify)
        async def act(what: str, context: Any) -> str:
            """Do something that can be seen from outside."""
            world.happens("act", what, context.idempotency_key)
            return f"did {what}"

        return act

    def plain(self, name: str, answer: Callable[[Any, Any], Awaitable[Any]] | None = None) -> FunctionAgent:
        """An agent that is a function; without one it says its name and what it was given."""
        world = self.world

        async def step(prompt: Any, context: Any) -> Any:
            world.happens("step", name)
            return f"{name}({prompt})" if answer is None else await answer(prompt, context)

        made = FunctionAgent(step, name=name)
        made.tools = (self.act,)
        return made

    def thinking(self, name: str, *rounds: Sequence[str], tools: Sequence[Tool] = ()) -> Agent:
        """An agent with a model that has these calls made, one round of them after the other."""
        world = self.world

        def reply(request: ModelRequest) -> Reply:
            world.happens("asked", name)
            made = sum(message.role == "assistant" for message in request.messages)
            if made == len(rounds):
                return f"{name}: {request.messages[-1].content}"
            return [call("act", f"{name}-{what}", what=what) for what in rounds[made]]

        return Agent(name, model=FakeModel(reply), tools=tools or (self.act,))


@attrs.frozen(kw_only=True)
class Journey:
    """A workflow.

    Args:
        topology: Its topology.
        cast: Makes its agents.
        person: Makes the function of a question that answers it; None where nobody is asked.
        settings: Its settings, but for the level.
        makes_file: Whether its process makes the file; otherwise it is there.
        mends: Whether a process before has carried it out while its agents were broken, so that it has failed.
    """

    topology: Any
    cast: Callable[[Cast], Sequence[BaseAgent]]
    person: Callable[[World], Any] | None = None
    settings: Mapping[str, Any] = attrs.field(factory=dict)
    makes_file: bool = False
    mends: bool = False

    def agents(self, world: World, declared: Declared) -> list[BaseAgent]:
        """Return its agents, made anew."""
        with Registry():
            return list(self.cast(Cast(world, declared)))

    def config(self, level: str, declared: Declared) -> ExecutionConfig:
        """Return the settings of a run."""
        uncertain = "retry" if declared == "retried" else "fail"
        given = {**self.settings, "durability": level, "on_uncertain": uncertain}
        return ExecutionConfig(raise_errors=False, **given)


def _chain(cast: Cast) -> list[BaseAgent]:
    async def begin(prompt: Any, context: Any) -> str:
        return f"{prompt} {LARGE}"

    return [cast.plain("Begin", begin), cast.thinking("Act", ["first"], ["second"])]


def _fork(cast: Cast) -> list[BaseAgent]:
    async def join(prompt: Any, context: Any) -> str:
        return " and ".join(entry.value for entry in prompt)

    sides = [cast.thinking("Left", ["left", "other"]), cast.thinking("Right", ["right"])]
    return [cast.plain("Begin"), *sides, cast.plain("Join", join)]


def _nested(cast: Cast) -> list[BaseAgent]:
    team = Team("First -> Second", [cast.plain("First"), cast.thinking("Second", ["inner"])], name="crew")
    return [team.as_node("Crew"), cast.plain("Close")]


def _conversation(cast: Cast) -> list[BaseAgent]:
    async def ann(prompt: Any, context: Any) -> Any:
        if len(prompt) > 20:
            return EndConversation(f"{prompt}, the end")
        return f"{prompt}, {await context.call_tool('act', what=f'note{context.step}')}"

    async def bob(prompt: Any, context: Any) -> Any:
        return f"{prompt}, yes"

    return [cast.plain("Ann", ann), cast.plain("Bob", bob), cast.plain("Close")]


def _people(cast: Cast) -> list[BaseAgent]:
    async def ask(prompt: Any, context: Any) -> Any:
        return f"heard {prompt}" if context.answered else AskUser("may I?", options=["yes", "no"])

    approved = attrs.evolve(cast.act, approval=True)
    return [cast.plain("Ask", ask), cast.thinking("Pay", ["pay"], tools=[approved])]


def _person(world: World) -> Any:
    async def person(question: Any) -> Any:
        approves = question.kind == "approval"
        world.happens("approval" if approves else "person", question.node)
        return "approve" if approves else "yes"

    return person


def _state(cast: Cast) -> list[BaseAgent]:
    world = cast.world

    @tool(idempotent=True)
    async def note(text: str, context: Any) -> str:
        """Write something down."""
        world.happens("note", text, context.idempotency_key)
        context.state["notes"] = [*context.state.get("notes", ()), text]
        return f"{len(context.state['notes'])} notes"

    async def write(prompt: Any, context: Any) -> Any:
        context.state["large"] = LARGE
        done = [await context.call_tool("note", text="a"), await context.call_tool("act", what="between")]
        context.state["count"] = context.state.get("count", 0) + 1
        return done

    async def read(prompt: Any, context: Any) -> Any:
        context.state["count"] = context.state.get("count", 0) + 1
        del context.state["large"]
        return f"{await context.call_tool('note', text='b')}, {sorted(context.state)}"

    agents = [cast.plain("Write", write), cast.plain("Read", read)]
    for each in agents:
        each.tools = (*each.tools, note)
    return list(agents)


def _retries(cast: Cast) -> list[BaseAgent]:
    world = cast.world

    async def flaky(prompt: Any, context: Any) -> str:
        attempt = world.times["step", "Flaky"]
        done = await context.call_tool("act", what=f"try{attempt}")
        if attempt == 1:
            msg = "not now"
            raise ConnectionError(msg)
        return f"{prompt}, {done}"

    return [cast.plain("Flaky", flaky), cast.plain("Close")]


def _mended_team(cast: Cast) -> list[BaseAgent]:
    async def second(prompt: Any, context: Any) -> Any:
        done = await context.call_tool("act", what="before")
        if cast.world.breaks:
            msg = "broken"
            raise CriticalError(msg)
        return f"{prompt}, {done}, {await context.call_tool('act', what='after')}"

    inner = [cast.thinking("First", ["inner"]), cast.plain("Second", second)]
    return [Team("First -> Second", inner, name="crew").as_node("Crew")]


def _mended_sides(cast: Cast) -> list[BaseAgent]:
    async def left(prompt: Any, context: Any) -> Any:
        return Fail("broken") if cast.world.breaks else "left"

    async def right(prompt: Any, context: Any) -> Any:
        await trio.sleep(0.001)  # until the left one has failed
        return await context.call_tool("act", what="right")

    async def last(prompt: Any, context: Any) -> Any:
        done = await context.call_tool("act", what="before")
        if cast.world.breaks:
            return Fail("broken")
        return f"{prompt}, {done}, {await context.call_tool('act', what='after')}"

    async def join(prompt: Any, context: Any) -> str:
        return " and ".join(entry.value for entry in prompt)

    agents = {"Left": left, "Right": right, "Last": last, "Join": join}
    return [cast.plain("Begin"), *[cast.plain(name, answer) for name, answer in agents.items()]]


JOURNEYS = {
    "chain": Journey(topology="Begin -> Act", cast=_chain, makes_file=True),
    "fork and join": Journey(topology="Begin -> [Left, Right] -> Join", cast=_fork),
    "nested team": Journey(topology="Crew -> Close", cast=_nested),
    "conversation": Journey(topology="Ann <~3> Bob; Ann -> Close", cast=_conversation),
    "people": Journey(topology="Ask -> Pay; Ask -> user; Pay -> user", cast=_people, person=_person),
    "state": Journey(topology="Write -> Read", cast=_state),
    "retries": Journey(
        topology="Flaky -> Close",
        cast=_retries,
        settings={"auto_retry_on_error": True, "retry": RetryConfig(initial_delay=0)},
    ),
    "mended team": Journey(topology="Crew", cast=_mended_team, mends=True),
    "mended sides": Journey(
        topology="Begin -> [Left, Right]; Left -> Join; Right -> Last -> Join", cast=_mended_sides, mends=True
    ),
}
