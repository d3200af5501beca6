"""A run that failed goes on from what went wrong, and may be interrupted once more while it does."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import attrs
import pytest
import trio

from marsys_core import events as e
from marsys_core.actions import Fail, Invoke
from marsys_core.agents import Agent, BaseAgent, FunctionAgent, Team
from marsys_core.config import ExecutionConfig
from marsys_core.engine.rebuild import read_events
from marsys_core.errors import CriticalError
from marsys_core.orchestrator import RunState
from marsys_core.results import RunResult
from marsys_core.tools import tool
from marsys_core.values import Converter
from tests.core.fakes import FakeModel, bare, call, virtually
from tests.core.stores import MemoryStore

RUN = "r"


@attrs.define(eq=False)
class Works:
    """A team whose agents do things that can be counted, and that is broken until it is mended."""

    topology: str
    cast: Callable[[Works], list[BaseAgent]]
    store: MemoryStore = attrs.field(factory=MemoryStore)
    broken: bool = True
    done: list[str] = attrs.field(factory=list)
    keys: dict[str, set[str]] = attrs.field(factory=dict)

    def function(self, name: str, act: Callable[..., Any]) -> FunctionAgent:
        """An agent with a tool that leaves a trace."""

        @tool
        async def do(what: str, context: Any) -> str:
            """Do something."""
            self.done.append(what)
            self.keys.setdefault(what, set()).add(context.idempotency_key)
            return what

        made = FunctionAgent(act, name=name)
        made.tools = (do,)
        return made

    def live(self, **settings: Any) -> RunResult:
        """Begin the run, or go on with it, in a process of its own."""
        config = ExecutionConfig(raise_errors=False, **settings)

        async def main() -> RunResult:
            async with bare(storage=self.store, new_id=lambda: RUN) as orchestra:
                given: Any = {"agents": self.cast(self), "execution_config": config}
                if self.store.kept:
                    return await orchestra.resume(RUN, accept_changes=True, **given)
                return await orchestra.execute("task", self.topology, **given)

        return virtually(main)

    def mended(self) -> RunResult:
        """Go on with what was broken until now."""
        self.broken = False
        return self.live()

    def cut(self, entries: int) -> Works:
        """Return what the next process finds where the last one died after so many entries."""
        store = self.store.cut(RUN, entries)
        begun = [event.inner for event in self.events[:entries] if isinstance(event, e.TeamStarted)]
        store.kept.update({inner: self.store.kept[inner] for inner in begun})
        return Works(self.topology, self.cast, store, broken=False)

    @property
    def events(self) -> list[e.Event]:
        return read_events(self.store.kept[RUN].entries, Converter(), RUN)


def sides(works: Works) -> list[BaseAgent]:
    """One side fails first; the other goes on, does something, and fails in its second step."""

    async def begin(prompt: Any) -> Any:
        return prompt

    async def left(prompt: Any) -> Any:
        return Fail("broken") if works.broken else "left"

    async def right(prompt: Any, context: Any) -> Any:
        await trio.sleep(1)
        return await context.call_tool("do", what="right")

    async def last(prompt: Any, context: Any) -> Any:
        before = await context.call_tool("do", what="before")
        if works.broken:
            return Fail("broken")
        after = [await context.call_tool("do", what=what) for what in ("between", "after")]
        return f"{prompt} {before} {' '.join(after)}"

    async def join(prompt: Any) -> Any:
        return [entry.value for entry in prompt]

    agents = {"Begin": begin, "Left": left, "Right": right, "Last": last, "Join": join}
    return [works.function(name, act) for name, act in agents.items()]


SIDES = "Begin -> [Left, Right]; Left -> Join; Right -> Last -> Join"


def test_what_was_done_after_a_failure_is_not_done_again_when_the_process_dies() -> None:
    first = Works(SIDES, sides)
    assert not first.live().success
    failed = len(first.events)
    assert first.mended().final_response == ["left", "right before between after"]
    assert Counter(first.done) == Counter(["right", "before", "between", "after"])

    for entries in range(failed, len(first.events) + 1):
        found = first.cut(entries)
        calls: Counter[str] = Counter()
        for event in found.events:
            calls[getattr(event, "call_id", "")] += {e.ToolStarted: 1, e.ToolFinished: -1}.get(type(event), 0)
        result = found.live()
        recorded = [event for event in first.events[:entries] if type(event) is e.ToolFinished]
        assert found.done == ["right", "before", "between", "after"][len(recorded) :][: len(found.done)]
        if any(calls.values()):
            assert "nobody knows whether it took effect" in str(result.error)
            assert found.done == []
        else:
            assert result.final_response == ["left", "right before between after"]
            assert len(found.done) == 4 - len(recorded)


def test_steps_of_one_branch_are_told_apart_however_often_it_went_back() -> None:
    # What a life did in its second step is void; what the next one did in its third is not mixed up with that.
    def cast(works: Works) -> list[BaseAgent]:
        async def third(prompt: Any, context: Any) -> Any:
            return f"{prompt} {await context.call_tool('do', what='third')}"

        return [*sides(works), works.function("Third", third)]

    first = Works("Begin -> [Left, Right]; Left -> Join; Right -> Last -> Third -> Join", cast)
    assert not first.live().success
    assert first.mended().final_response == ["left", "right before between after third"]
    begun = [seq for seq, event in enumerate(first.events) if getattr(event, "node", "") == "Third"]

    for entries in range(begun[0], len(first.events) + 1):
        found = first.cut(entries)
        result = found.live(on_uncertain="retry")
        assert result.final_response == ["left", "right before between after third"]
        assert found.done in ([], ["third"])


def nested(works: Works) -> list[BaseAgent]:
    """A team whose second member fails after it has done something."""

    async def first(prompt: Any, context: Any) -> Any:
        return await context.call_tool("do", what="first")

    async def second(prompt: Any, context: Any) -> Any:
        before = await context.call_tool("do", what="before")
        if works.broken:
            msg = "broken"
            raise CriticalError(msg)
        return f"{prompt} {before} {await context.call_tool('do', what='after')}"

    inner = [works.function("First", first), works.function("Second", second)]
    return [Team("First -> Second", inner, name="crew").as_node("Crew")]


def as_tool(works: Works) -> list[BaseAgent]:
    """The same team, as a tool of an agent."""
    (crew,) = nested(works)

    async def asks(prompt: Any, context: Any) -> Any:
        return await context.call_tool("crew", request="task")

    asker = FunctionAgent(asks, name="Asker")
    asker.tools = (crew.team.as_tool(),)  # type: ignore[attr-defined]
    return [asker]


@pytest.mark.parametrize(("topology", "cast"), [("Crew", nested), ("Asker", as_tool)])
def test_a_team_that_failed_goes_on_from_its_own_step_that_did(topology: str, cast: Any) -> None:
    works = Works(topology, cast)
    failed = works.live()
    assert failed.error is not None
    assert "broken" in str(failed.error)
    result = works.mended()

    assert result.final_response == "first before after"
    assert works.done == ["first", "before", "after"]
    assert [len(keys) for keys in works.keys.values()] == [1, 1, 1]
    assert result.total_steps == failed.total_steps == 3


@pytest.mark.parametrize(("topology", "cast"), [("Crew", nested), ("Asker", as_tool)])
def test_a_team_that_fails_again_and_again_repeats_nothing(topology: str, cast: Any) -> None:
    works = Works(topology, cast)
    for _ in range(3):
        assert not works.live().success
        assert works.done == ["first", "before"]
    result = works.mended()

    assert works.done == ["first", "before", "after"]
    assert result.total_steps == 3
    state = RunState()
    for event in works.events:
        if isinstance(event, e.RunResumed):
            state = RunState()
            for earlier in works.events[: event.at]:
                if not isinstance(earlier, e.RunResumed) and earlier.seq < event.at:
                    state.apply(earlier)
        else:
            state.apply(event)
    assert state.steps == 3


def spending(works: Works) -> list[BaseAgent]:
    """A team of two models, under a budget."""
    inner = [Agent(name, model=FakeModel(lambda request: "said")) for name in ("First", "Second")]
    crew = Team("First -> Second", inner, name="crew").as_node("Crew")

    async def asks(prompt: Any, context: Any) -> Any:
        if context.step == 1:
            return Invoke([("Crew", "task"), ("Side", "task")], budget={"max_steps": 9, "max_tokens": 999})
        return "done"

    async def side(prompt: Any) -> Any:
        return prompt

    return [FunctionAgent(asks, name="Asker"), crew, FunctionAgent(side, name="Side")]


def test_what_a_team_had_spent_before_a_crash_counts_where_it_goes_on() -> None:
    whole = Works("Asker <-> [Crew, Side]", spending)
    before = whole.live(max_steps=9, max_tokens=999)
    assert (before.total_steps, before.usage.total_tokens) == (6, 6)

    for entries in range(1, len(whole.events)):
        found = whole.cut(entries)
        result = found.live(max_steps=9, max_tokens=999)
        assert (result.total_steps, result.usage) == (before.total_steps, before.usage), entries
        (ended,) = [event for event in found.events if isinstance(event, e.TeamFinished)]
        assert (ended.steps, ended.usage.total_tokens) == (2, 6)


def test_a_step_that_takes_another_way_when_it_is_mended_begins_another_team() -> None:
    def cast(works: Works) -> list[BaseAgent]:
        async def inner(prompt: Any) -> Any:
            return Fail("broken") if works.broken else f"{prompt}!"

        crew = Team("Inner", [FunctionAgent(inner, name="Inner")], name="crew")

        async def begin(prompt: Any) -> Any:
            return prompt

        async def left(prompt: Any) -> Any:
            return Fail("broken") if works.broken else "left"

        async def right(prompt: Any, context: Any) -> Any:
            await trio.sleep(1)  # what it does is void, since the left one has failed
            return await context.run_team(crew, "bad" if works.broken else "good")

        agents = {"Begin": begin, "Left": left, "Right": right}
        return [FunctionAgent(act, name=name) for name, act in agents.items()]

    works = Works("Begin -> [Left, Right]", cast)
    assert not works.live().success
    result = works.mended()
    assert result.success, result.error
    assert {each.response for each in result.branch_results if each.agent == "Right"} == {"good!"}
    assert len(works.store.kept) == 3


def test_a_team_that_goes_on_is_held_to_what_the_run_round_it_has_left() -> None:
    def cast(works: Works) -> list[BaseAgent]:
        agents = nested(works)

        async def after(prompt: Any) -> Any:
            return f"{prompt}, closed"

        return [*agents, FunctionAgent(after, name="Close")]

    works = Works("Crew -> Close", cast)
    assert not works.live(max_steps=3).success
    works.broken = False
    result = works.live(max_steps=3)

    assert works.done == ["first", "before", "after"]
    assert "max_steps" in str(result.error)


def test_replies_of_models_in_a_team_that_failed_are_not_asked_for_again() -> None:
    asked: list[int] = []

    def cast(works: Works) -> list[BaseAgent]:
        def reply(request: Any) -> Any:
            asked.append(len(request.messages))
            return call("do", what="once") if len(request.messages) == 1 else "said"

        async def second(prompt: Any) -> Any:
            return Fail("broken") if works.broken else f"{prompt}!"

        tools = works.function("First", second).tools
        first = Agent("First", model=FakeModel(reply), tools=tools)
        crew = Team("First -> Second", [first, FunctionAgent(second, name="Second")], name="crew")
        return [crew.as_node("Crew")]

    works = Works("Crew", cast)
    assert not works.live().success
    assert works.mended().final_response == "said!"
    assert (asked, works.done) == ([1, 3], ["once"])
