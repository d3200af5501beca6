"""A run that was interrupted anywhere goes on to the same end, and does nothing twice without saying so.

Each workflow of the corpus is run once without interruption. Its journal is then cut after each entry, as if the
process had died there, and another process goes on from what is left.
"""

from __future__ import annotations

import functools
import os
import random
from collections.abc import Callable, Sequence
from typing import Any

import attrs
import pytest
import trio

from marsys_core import events as e
from marsys_core.agents import Agent, agent
from marsys_core.config import ExecutionConfig
from marsys_core.engine.spending import usage_of
from marsys_core.errors import ConfigError, CriticalError, ToolError
from marsys_core.keeping.steps import steps_of
from marsys_core.messages import Usage
from marsys_core.orchestrator import RunState
from marsys_core.results import RunResult
from marsys_core.tools import tool
from tests.core.engine.corpus import CORPUS, Books
from tests.core.engine.lives import RUN, UNDRAWN, Life, first_life, later_life, meaning
from tests.core.fakes import FakeModel, bare, call, virtually
from tests.core.stores import MemoryStore

SIMULATE = os.environ.get("MARSYS_SIMULATE") == "1"
MOST = 10_000 if SIMULATE else 24

NESTED = {"teams as tools"}
"""Two nested runs share one script, and what each has used up of it is not in the journal of the run."""

RACY = {"max_steps", "first_result", "calls that wait for the budget"}
"""How far their branches come depends on which of those that are ready at once goes first."""

CALLING = [
    "a team of models", "approvals", "code written for asyncio", "max_tool_rounds",
    "tool_timeout", "tools side by side",
]  # fmt: skip
"""Workflows with tools."""

JUMPING = {"a thread past its deadline"}
"""The clock jumps over its deadline while a thread is working, or does not."""

KEPT = [name for name in CORPUS if name not in NESTED | JUMPING]


@functools.cache
def whole(name: str, idempotent: bool) -> Life:
    return first_life(name, idempotent=idempotent)


def cuts(entries: int) -> list[int]:
    """Return after which entries to cut: all, or some of a long journal."""
    every = range(1, entries + 1)
    return list(every) if entries <= MOST else sorted(random.Random(entries).sample(every, MOST))


def unanswered(events: list[e.Event]) -> set[str]:
    asked = {event.request_id for event in events if isinstance(event, e.UserAsked)}
    return asked - {event.request_id for event in events if isinstance(event, e.UserAnswered)}


def assert_sound(life: Life) -> None:
    """The journal of all lives is one of one run."""
    assert [event.seq for event in life.events] == list(range(len(life.events)))
    events: list[e.Event] = []
    for event in life.events:
        if isinstance(event, e.RunResumed):  # what had failed does not hold any more
            events = [each for each in events if each.seq < event.at]
        events.append(event)
    assert len({event.id for event in events}) == len(events)
    assert [type(event) for event in events].count(e.RunFinished) == 1
    state = RunState()
    for event in events:
        state.apply(event)
    assert state.finished
    assert state.live == 0


def assert_same(name: str, idempotent: bool, life: Life, cut: int) -> None:
    was, now = whole(name, idempotent).result, life.result
    assert was is not None
    assert now is not None
    expected, found = meaning(was), meaning(now)
    if name in RACY:
        for each in (expected, found):
            del each["branches"], each["steps"]
    assert found == expected, f"cut after {cut} entries"


@pytest.mark.slow
@pytest.mark.parametrize("name", KEPT)
def test_a_run_goes_on_from_any_entry_to_the_same_end(name: str) -> None:
    before = whole(name, True)
    for cut in cuts(len(before.events)):
        later = later_life(name, before.store.cut(RUN, cut), idempotent=True)
        assert_sound(later)
        assert_same(name, True, later, cut)
        assert later.result is not None
        assert later.result.usage == (usage_of(later.events) or Usage())
        assert set(before.counted(cut)) | set(later.counted()) == set(before.counted())
        assert unanswered(before.events[:cut]) <= set(later.asked)
        assert not {
            event.request_id for event in before.events[:cut] if isinstance(event, e.UserAnswered)
        } & set(later.asked)


@pytest.mark.slow
@pytest.mark.parametrize("name", CALLING)
def test_a_tool_that_may_not_be_called_twice_is_called_once_or_reported(name: str) -> None:
    before = whole(name, False)
    assert before.effects
    for cut in cuts(len(before.events)):
        later = later_life(name, before.store.cut(RUN, cut))
        assert later.result is not None
        assert_sound(later)
        both = before.counted(cut) + later.counted()
        assert both <= before.counted(), f"called twice: {both - before.counted()} (cut after {cut} entries)"
        uncertain = [event for event in later.events if isinstance(event, e.ToolUncertain)]
        if uncertain:
            assert not later.result.success
            assert "UncertainOutcome" in f"{type(later.result.error).__name__}: {later.result.error}"
        else:
            assert both == before.counted(), f"lost: {before.counted() - both} (cut after {cut} entries)"
            assert_same(name, False, later, cut)


@pytest.mark.slow
@pytest.mark.parametrize("name", KEPT)
def test_a_run_that_is_interrupted_again_and_again_comes_to_the_same_end(name: str) -> None:
    chance = random.Random(name)
    for _ in range(20 if SIMULATE else 2):
        life, written = whole(name, True), 0
        while written + 1 < (unfinished := len(life.events) - 1):
            written = chance.randint(written + 2, unfinished)  # going on writes an entry itself
            life = later_life(name, life.store.cut(RUN, written), idempotent=True, seed=chance.randrange(100))
            assert_sound(life)
        assert_same(name, True, life, written)


@pytest.mark.parametrize("name", KEPT)
def test_the_steps_of_a_run_are_known_after_each_entry(name: str) -> None:
    state, store = RunState(), whole(name, True).store
    for event in whole(name, True).events:
        state.apply(event)
        entries = [(entry.seq, entry.kind, entry.data) for entry in store.kept[RUN].entries[: event.seq + 1]]
        assert steps_of(entries) == state.steps


def test_a_run_that_goes_on_after_a_failure_is_running_until_it_ends() -> None:
    told: list[Any] = []
    store = MemoryStore()

    @agent
    async def A(prompt: Any) -> Any:
        return prompt

    @agent
    async def B(prompt: Any) -> Any:
        info = await store.info(RUN)
        told.append((info.status, info.steps, info.error))
        if len(told) == 1:
            raise CriticalError("not yet")
        return prompt

    kept = Kept("A -> B", lambda: [A, B], store=store)
    kept.begin()
    ended = store.kept[RUN].info
    assert (ended.status, ended.steps) == ("failed", 2)

    async def main() -> None:
        async with bare(storage=store) as orchestra:
            await orchestra.resume(RUN, agents=[A, B], execution_config=kept.config)

    virtually(main)
    assert told == [("running", 1, ""), ("running", 2, "")]
    ended = store.kept[RUN].info
    assert (ended.status, ended.steps, ended.error) == ("succeeded", 2, "")


# -- what a step that is taken again is told ----------------------------------------------------


@attrs.define(eq=False)
class Kept:
    """A run of its own in a store, that can be cut and gone on with."""

    topology: Any
    agents: Callable[[], list[Any]]
    config: ExecutionConfig = attrs.field(factory=lambda: ExecutionConfig(raise_errors=False))
    store: MemoryStore = attrs.field(factory=MemoryStore)

    def begin(self) -> RunResult:
        async def main() -> RunResult:
            async with bare(storage=self.store, new_id=lambda: RUN) as orchestra:
                return await orchestra.execute(
                    "task", self.topology, agents=self.agents(), execution_config=self.config, session_id="s"
                )

        return virtually(main)

    def go_on(self, entries: int, topology: Any = None) -> tuple[RunResult, list[e.Event]]:
        store = self.store.cut(RUN, entries)

        async def main() -> Any:
            async with bare(storage=store) as orchestra:
                result = await orchestra.resume(
                    RUN, topology, agents=self.agents(), execution_config=self.config
                )
                return result, await orchestra.history(RUN)

        return virtually(main)

    def after(self, kind: type[e.Event], which: int = 0) -> int:
        """Return how many entries there are up to one of this kind."""
        entries = self.store.kept[RUN].entries
        return [seq for seq, entry in enumerate(entries, 1) if entry.kind == kind.__name__][which]


class Odd(Exception):
    pass


@pytest.mark.parametrize(
    "error",
    [
        ValueError("no"),
        KeyError("k"),
        ToolError("not now"),
        Odd("odd"),
        OSError(2, "gone"),
        ConnectionError("x"),
    ],
)
def test_a_call_that_failed_says_the_same_again(error: Exception) -> None:
    @tool
    async def broken() -> str:
        """Fail."""
        raise error

    told: list[Any] = []

    def agents() -> list[Any]:
        def reply(request: Any) -> Any:
            if request.messages[-1].role == "tool":
                told.append(request.messages[-1].content)
                return "done"
            return call("broken")

        return [Agent("A", model=FakeModel(reply), tools=[broken])]

    kept = Kept("A", agents)
    kept.begin()
    result, _ = kept.go_on(kept.after(e.ToolFailed))

    assert result.unwrap() == "done"
    assert told[0] == told[1]


def test_an_error_that_ends_a_run_ends_it_again() -> None:
    @tool
    async def broken() -> str:
        """Fail."""
        raise CriticalError("the account is closed")

    kept = Kept("A", lambda: [Agent("A", model=FakeModel([call("broken")]), tools=[broken])])
    kept.begin()
    result, events = kept.go_on(kept.after(e.ToolFailed))

    assert isinstance(result.error, CriticalError)
    assert "the account is closed" in str(result.error)
    assert [type(event) for event in events].count(e.ModelCalled) == 1


def test_what_a_tool_wrote_to_the_shared_state_is_there_though_it_is_not_called_again() -> None:
    @tool
    async def note(text: str, context: Any) -> str:
        """Write something down."""
        context.state["notes"] = [*context.state.get("notes", ()), text]
        context.state["last"] = text
        del context.state["last"]
        if text == "b":
            raise ToolError("and fail")
        return f"{len(context.state)} {'notes' in context.state} {list(context.state)}"

    def agents() -> list[Any]:
        @agent
        async def A(prompt: Any, context: Any) -> Any:
            context.state["own"] = 1
            first = await context.call_tool("note", text="a")
            try:
                await context.call_tool("note", text="b")
            except ToolError as error:
                return f"{first} {error}"

        A.tools = (note,)
        return [A]

    kept = Kept("A", agents)
    whole = kept.begin()
    assert whole.state == {"own": 1, "notes": ["a", "b"]}
    for kind in (e.ToolFinished, e.ToolFailed):
        result, _ = kept.go_on(kept.after(kind))
        assert (result.state, result.final_response) == (whole.state, whole.final_response)


def _asks_at_once(texts: Sequence[str]) -> Callable[[], list[Any]]:
    def agents() -> list[Any]:
        @agent
        async def A(prompt: Any, context: Any) -> Any:
            found: dict[str, str] = {}

            async def ask(text: str, delay: float) -> None:
                model = FakeModel(lambda request: f"{request.messages[-1].content}!", delay=delay)
                found[text] = (await context.generate(text, model=model)).text

            async with trio.open_nursery() as nursery:
                for number, text in enumerate(texts):
                    nursery.start_soon(ask, text, 9 - number)
            await trio.sleep(1)
            return [found[text] for text in texts]

        return [A]

    return agents


@pytest.mark.parametrize("replies", [0, 1, 2])
def test_replies_to_questions_that_were_asked_at_once_are_told_apart(replies: int) -> None:
    kept = Kept("A", _asks_at_once("abc"))
    assert kept.begin().unwrap() == ["a!", "b!", "c!"]
    result, events = kept.go_on(kept.after(e.ModelReplied, replies))

    assert result.unwrap() == ["a!", "b!", "c!"]
    assert [type(event) for event in events].count(e.ModelReplied) == 3


def test_a_prompt_that_differs_each_time_gets_the_recorded_reply_where_only_one_was_under_way() -> None:
    times = iter(range(9))

    def agents() -> list[Any]:
        @agent
        async def A(prompt: Any, context: Any) -> Any:
            model = FakeModel(lambda request: f"{request.messages[-1].content}!")
            said = [(await context.generate(f"at {next(times)}", model=model)).text for _ in range(2)]
            await trio.sleep(1)
            return said

        return [A]

    kept = Kept("A", agents)
    assert kept.begin().unwrap() == ["at 0!", "at 1!"]
    result, _ = kept.go_on(kept.after(e.ModelReplied))
    assert result.unwrap() == ["at 0!", "at 3!"]


@pytest.mark.parametrize("which", [0, 1])
def test_calls_that_are_answered_from_the_record_are_not_counted_again(which: int) -> None:
    @tool(idempotent=True)
    async def look(at: int) -> str:
        """Look."""
        await trio.sleep(at)
        return f"seen {at}"

    def agents() -> list[Any]:
        def reply(request: Any) -> Any:
            asked = request.messages[-1].role == "user"
            return [call("look", "1", at=1), call("look", "2", at=2)] if asked else "done"

        return [Agent("A", model=FakeModel(reply), tools=[look])]

    kept = Kept("A", agents, ExecutionConfig(raise_errors=False, max_tool_calls=2))
    assert kept.begin().unwrap() == "done"
    assert kept.go_on(kept.after(e.ToolStarted, which))[0].unwrap() == "done"
    assert kept.go_on(kept.after(e.ToolFinished, which))[0].unwrap() == "done"


def test_a_call_that_is_made_again_is_known_by_the_same_id() -> None:
    ids: list[str] = []

    @tool(idempotent=True)
    async def pay(context: Any) -> str:
        """Pay."""
        ids.append(context.call_id)
        return "paid"

    def agents() -> list[Any]:
        @agent
        async def A(prompt: Any, context: Any) -> Any:
            return await context.call_tool("pay")

        A.tools = (pay,)
        return [A]

    kept = Kept("A", agents)
    kept.begin()
    _, events = kept.go_on(kept.after(e.ToolStarted))
    (finished,) = [event for event in events if isinstance(event, e.ToolFinished)]

    assert len(ids) == 2
    assert len({*ids, finished.call_id}) == 1


def test_code_without_a_source_file_is_the_same_when_it_is_made_again() -> None:
    text = (
        "async def A(prompt):\n    return [(lambda: p)() for p in (prompt,) if p not in {'x', 'y', 'z'}][0]\n"
    )

    def agents() -> list[Any]:
        names: dict[str, Any] = {}
        exec(text, names)  # noqa: S102
        return [agent(names["A"])]

    kept = Kept("A", agents)
    kept.begin()
    assert kept.go_on(2)[0].unwrap() == "task"


@pytest.mark.parametrize("idempotent", [True, False])
def test_a_team_that_is_a_tool_is_answered_from_the_record_and_counted_once(idempotent: bool) -> None:
    def agents() -> list[Any]:
        writer = Agent("Writer", model=FakeModel(["written"]))
        helper = attrs.evolve(writer.as_tool(), idempotent=idempotent)

        def reply(request: Any) -> Any:
            last = request.messages[-1]
            return call("Writer", request="x") if last.role == "user" else f"read {last.content}"

        return [Agent("A", model=FakeModel(reply), tools=[helper])]

    kept = Kept("A", agents)
    whole = kept.begin()
    for kind in (
        (e.TeamFinished, e.ToolFinished, e.StepFinished) if idempotent else (e.ToolFinished, e.StepFinished)
    ):
        result, _ = kept.go_on(kept.after(kind))
        assert (result.final_response, result.usage) == ("read written", whole.usage)


# -- before the beginning -----------------------------------------------------------------------


def test_what_a_run_begins_with_is_kept_before_its_first_step() -> None:
    store, written = MemoryStore(), []

    @agent
    async def A(prompt: Any, context: Any) -> Any:
        written.extend(entry.kind for entry in store.kept[RUN].entries)
        return prompt

    async def main() -> None:
        async with bare(storage=store, new_id=lambda: RUN) as orchestra:
            await orchestra.execute("task", "A", agents=[A], state={"known": 1})

    virtually(main)
    assert written[:1] == ["RunStarted"]


async def _says(prompt: Any) -> Any:
    return f"_says: {prompt}"


def test_a_run_that_had_not_begun_begins_with_its_task() -> None:
    kept = Kept("_says", lambda: [agent(_says)])
    kept.begin()

    assert kept.go_on(0)[0].unwrap() == "_says: task"


@pytest.mark.parametrize("name", UNDRAWN)
def test_a_topology_with_functions_in_it_has_to_be_given_again(name: str) -> None:
    workflow, store = CORPUS[name], whole(name, True).store.cut(RUN, 3)

    async def main() -> None:
        async with bare(storage=store) as orchestra:
            await orchestra.resume(RUN, agents=workflow.agents(Books()), execution_config=workflow.config)

    with pytest.raises(ConfigError, match=r"^run 'r' has a topology with functions or objects in it, which "):
        virtually(main)
