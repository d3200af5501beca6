"""What is run under every host: a use of everything that a run is made of, and each way in which a run may end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import attrs
import trio

from marsys import (
    Agent,
    AgentPool,
    BaseAgent,
    CriticalError,
    ExecutionConfig,
    FunctionAgent,
    Invoke,
    Orchestra,
    RecoverableError,
    RetryConfig,
    ToolCall,
    tool,
)
from marsys.models import ScriptedModel

__all__ = ["Call", "Sink", "calls", "isolated", "use_cache"]


@attrs.define(eq=False, kw_only=True)
class Call:
    """One run, as the arguments of `Orchestra.run`, and what has to come of it.

    Args:
        task: The task.
        topology: The topology.
        options: The other arguments.
        outcome: The final response, or ``no success``, or the name of the exception, or ``cancelled``.
        inside: Whether it is a run of an open `Orchestra`, which has a broken sink.
        cancel: Set by the host where it is not None: an agent of the run calls it, and the run is cancelled.
    """

    task: Any
    topology: Any
    options: dict[str, Any]
    outcome: str
    inside: bool = False
    cancel: Callable[[], None] | None = None


class Sink:
    """Raises at the first event, which the engine logs."""

    def on_event(self, event: object) -> None:
        msg = "a broken sink"
        raise RuntimeError(msg)


@tool(isolation="process")
def isolated(number: int) -> int:
    """Double a number in a process.

    Args:
        number: What to double.
    """
    return 2 * number


@tool
def in_thread(number: int) -> str:
    """Say in which thread it is.

    Args:
        number: Whatever.
    """
    return f"{number} {threading.current_thread() is threading.main_thread()}"


@tool
async def waiting(number: int) -> int:
    """Wait.

    Args:
        number: What to return.
    """
    await trio.sleep(0.01)
    return number


async def lead(prompt: Any, context: Any) -> Any:
    """Ask everyone at once, and then a process by itself."""
    if context.step == 1:
        return Invoke([(name, f"for {name}") for name in ("Tools", "Plain", "Inner", "Pooled")])
    return "done"


def plain(prompt: Any) -> str:
    """Take a moment in a thread."""
    time.sleep(0.01)
    return f"plain {prompt}"


async def inner(prompt: Any) -> Any:
    """Run a team inside the run."""
    result = await Orchestra.run(prompt, "Deep", agents=[FunctionAgent(plain, name="Deep")])
    return result.final_response


class Pooled(BaseAgent):
    """An agent of which there are several."""

    async def _run(self, prompt: Any, context: Any, **kwargs: Any) -> Any:
        await trio.sleep(0.01)
        return f"pooled {prompt}"


def team() -> list[BaseAgent]:
    """Make the agents of the run that uses everything."""
    asked = [
        ToolCall(f"c{each.name}", each.name, '{"number": 21}') for each in (in_thread, waiting, isolated)
    ]
    model = ScriptedModel([asked, "used"])
    return [
        FunctionAgent(lead, name="Lead"),
        Agent("Tools", model=model, tools=[in_thread, waiting, isolated], memory_scope="session"),
        FunctionAgent(plain, name="Plain"),
        FunctionAgent(inner, name="Inner"),
        AgentPool(Pooled, num_instances=2),
    ]


def failing(prompt: Any) -> str:
    """Fail, in a thread."""
    msg = "on purpose"
    raise CriticalError(msg)


async def passing(prompt: Any) -> str:
    """Fail as what is overloaded does: the engine tries again."""
    await trio.sleep(0)
    msg = "for now"
    raise RecoverableError(msg)


async def endless(prompt: Any) -> str:
    """Never answer."""
    await trio.sleep_forever()
    return "never"


def calls(*, cancelling: bool) -> list[Call]:
    """Make the runs; all may go on at once.

    Args:
        cancelling: Whether the host can cancel a run from outside.
    """

    def of(function: Any, outcome: str, *, inside: bool = False, **settings: Any) -> Call:
        agent = FunctionAgent(function, name="Only")
        config = ExecutionConfig(**settings)
        return Call(
            task="go",
            topology="Only",
            options={"agents": [agent], "execution_config": config},
            outcome=outcome,
            inside=inside,
        )

    everything = "Lead <-> [Tools, Plain, Inner, Pooled]"
    found = [
        Call(
            task="go",
            topology=everything,
            options={"agents": team(), "session_id": "s"},
            outcome="done",
            inside=where,
        )
        for where in (False, True)
    ]
    found += [
        of(failing, "CriticalError"),
        of(failing, "CriticalError", inside=True),
        of(passing, "RecoverableError", retry=RetryConfig(max_attempts=2, initial_delay=0.01)),
        of(endless, "no success", timeout=0.05),
        of(endless, "no success", timeout=0.05, inside=True),
    ]
    if cancelling:
        found += [_cancelled(inside) for inside in (False, True)]
    return found


def _cancelled(inside: bool) -> Call:
    """Make a run that is cancelled while it waits for a thread, a process and a sleeping agent."""

    async def begin(prompt: Any) -> Any:
        await trio.sleep(0.05)
        assert call.cancel is not None  # the host has set it
        call.cancel()
        return await endless(prompt)

    agents = [FunctionAgent(begin, name="Begin"), *team()]
    call = Call(
        task="go",
        topology="Lead <-> [Tools, Plain, Inner, Pooled, Begin]",
        options={"agents": [FunctionAgent(all_and_begin, name="Lead"), *agents[:1], *agents[2:]]},
        outcome="cancelled",
        inside=inside,
        cancel=lambda: None,
    )
    return call


def all_and_begin(prompt: Any) -> Any:
    """Ask everyone, and the one that has the run cancelled."""
    return Invoke([(name, "go") for name in ("Tools", "Plain", "Inner", "Pooled", "Begin")])


async def use_cache(orchestra: Orchestra) -> None:
    """Keep something in the cache, and find it again."""
    cache = await orchestra.engine.services.get("cache", "memory")
    await cache.set("key", b"value")
    assert await cache.get("key") == b"value"
