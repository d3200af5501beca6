"""Forks that are interrupted: they go on as if nothing had happened, whatever became of the run that they parted from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import attrs
import pytest

from marsys_core import events as e
from marsys_core.actions import AskUser
from marsys_core.agents import Agent, Team, agent
from marsys_core.config import ExecutionConfig
from marsys_core.engine.borrowed import copied_by
from marsys_core.engine.rebuild import parted, read_events
from marsys_core.errors import AgentError, CriticalError, LifecycleError
from marsys_core.keeping.steps import steps_of
from marsys_core.results import RunResult
from marsys_core.tools import tool
from marsys_core.values import Converter
from tests.core.engine.corpus import CORPUS
from tests.core.engine.lives import RUN, UNDRAWN, Life, forked_life, given_to, meaning
from tests.core.engine.test_recorded import SHARED, SOUND
from tests.core.engine.test_resuming import whole
from tests.core.fakes import FakeModel, bare, call, virtually
from tests.core.stores import MemoryStore

SOFT = ExecutionConfig(raise_errors=False)
FORK = "f"


def events_of(store: MemoryStore, run_id: str) -> list[e.Event]:
    return read_events(store.kept[run_id].entries, Converter(), run_id)


def only(store: MemoryStore, run_id: str, cut: int | None = None) -> MemoryStore:
    """Return what is left of one run after so many entries, and nothing of any other."""
    return store.cut(run_id, len(store.kept[run_id].entries) if cut is None else cut)


def later(name: str, store: MemoryStore, run_id: str) -> Life:
    """Go on with a fork of a workflow of the corpus, whose scripts are used up."""
    workflow, life = CORPUS[name], Life(store)

    async def main() -> RunResult:
        async with bare(storage=store, middleware=[life]) as orchestra:
            topology = workflow.topology if name in UNDRAWN else None
            return await orchestra.resume(run_id, topology, **given_to(workflow, life, idempotent=True))

    life.result = virtually(main)
    return life


def places(store: MemoryStore, run_id: str) -> Iterator[int]:
    """Yield after how many entries a fork may be cut off, from where it has parted."""
    events = events_of(store, run_id)
    yield from range(copied_by(events) + 1, len(events) + 1)


@pytest.mark.slow
@pytest.mark.parametrize("name", SOUND)
def test_a_fork_that_is_cut_off_anywhere_does_nothing_and_comes_to_the_same(name: str) -> None:
    before = whole(name, True)
    assert before.result is not None
    steps = sum(isinstance(event, e.StepStarted) for event in before.events)
    for at in {1, steps // 2 + 1, steps}:
        store = MemoryStore({RUN: before.store.kept[RUN]}, added=list(before.store.added))
        fork = forked_life(name, store, at, FORK)
        assert fork.result is not None
        then = meaning(fork.result)
        for cut in places(store, FORK):
            again = later(name, only(store, FORK, cut), FORK)
            assert again.result is not None
            assert (again.asked_models, again.effects) == ([], []), f"forked at {at}, cut after {cut}"
            now = meaning(again.result)
            assert {key: now[key] for key in SHARED} == {key: then[key] for key in SHARED}, f"{at}, {cut}"


@pytest.mark.parametrize("edit", [False, True])
def test_a_fork_that_is_cut_off_before_it_has_parted_is_refused(edit: bool) -> None:
    shop = Shop()
    shop.begin()
    shop.fork(1, **({"edit": "other"} if edit else {}))
    parts = copied_by(events_of(shop.store, FORK))
    for cut in range(parts + 1):
        shop.store = only(whole_store := shop.store, FORK, cut)
        with pytest.raises(
            LifecycleError,
            match="^run 'f' was cut off before it had parted from run 'r'; fork that one again$",
        ):
            shop.resume(FORK)
        assert shop.store.holders == {}
        shop.store = whole_store


# -- a run that waits, with a tool that may not be called twice -------------------------------------


@attrs.define(eq=False)
class Shop:
    """A team of a model, one with a tool, and one that asks: or, where it `breaks`, that fails."""

    breaks: bool = False
    store: MemoryStore = attrs.field(factory=MemoryStore)
    done: list[str] = attrs.field(factory=list)
    asked: list[str] = attrs.field(factory=list)

    def agents(self) -> list[Any]:
        @tool
        async def act(what: str) -> str:
            """Act."""
            self.done.append(what)
            return "ok"

        @agent(name="C")
        async def last(prompt: Any, context: Any) -> Any:
            if self.breaks:
                raise CriticalError("broke")
            return f"heard {prompt}" if context.answered else AskUser("ok?")

        def acting(request: Any) -> Any:
            self.asked.append(request.messages[-1].text)
            return call("act", what="tea") if request.messages[-1].role == "user" else "done"

        def saying(request: Any) -> Any:
            self.asked.append(request.messages[-1].text)
            return f"re {request.messages[-1].text}"

        return [
            Agent("A", model=FakeModel(saying)),
            Agent("B", model=FakeModel(acting), tools=[act]),
            last,
        ]

    def _live(self, ask: Any, new_id: str = RUN) -> RunResult:
        async def main() -> RunResult:
            agents = self.agents()
            async with bare(
                storage=self.store, agents=agents, execution_config=SOFT, new_id=lambda: new_id
            ) as orchestra:
                return await ask(orchestra)

        self.asked.clear()
        return virtually(main)

    def begin(self) -> RunResult:
        return self._live(lambda orchestra: orchestra.execute("x", "A -> B -> C\nC -> user"))

    def fork(self, at: int, run_id: str = RUN, new_id: str = FORK, **changes: Any) -> RunResult:
        return self._live(lambda orchestra: orchestra.fork(run_id, at, **changes), new_id)

    def resume(self, run_id: str) -> RunResult:
        return self._live(lambda orchestra: orchestra.resume(run_id))

    def pause_fork(self, at: int) -> RunResult:
        async def ask(orchestra: Any) -> RunResult:
            run = orchestra.start_fork(RUN, at)
            run.pause()
            return await run.result()

        return self._live(ask, FORK)


@pytest.mark.parametrize("at", [1, 2, 3])
def test_a_fork_that_is_paused_calls_nothing_again(at: int) -> None:
    shop = Shop()
    before = shop.begin()
    assert (before.status, shop.done) == ("waiting", ["tea"])
    assert shop.pause_fork(at).status == "paused"
    del shop.store.kept[RUN]
    result = shop.resume(FORK)
    assert (result.status, shop.done, shop.asked) == ("waiting", ["tea"], [])
    assert result.usage == before.usage


@pytest.mark.parametrize("breaks", [False, True])
@pytest.mark.parametrize("at", [1, 2, 3])
def test_a_fork_of_a_fork_that_is_cut_off_calls_nothing_again(at: int, breaks: bool) -> None:
    shop = Shop(breaks)
    before = shop.begin()
    shop.fork(at)
    shop.store = only(shop.store, FORK)
    for then in range(1, at + 1):
        new_id = f"g{then}"
        result = shop.fork(then, FORK, new_id)
        assert (result.status, result.usage, shop.asked) == (before.status, before.usage, [])
        for cut in places(shop.store, new_id):
            kept, shop.store = shop.store, only(shop.store, new_id, cut)
            shop.breaks = False
            again = shop.resume(new_id)
            # What had gone wrong before it was cut off stays so; one that had come to its end goes on from before.
            own = [
                entry.kind for entry in kept.kept[new_id].entries[copied_by(events_of(kept, new_id)) : cut]
            ]
            stays = "StepFailed" in own and "RunFinished" not in own
            assert again.status == ("failed" if stays else "waiting"), f"{then}, cut after {cut}"
            assert (again.usage, shop.asked) == (before.usage, []), f"{then}, cut after {cut}"
            shop.breaks, shop.store = breaks, kept
    assert shop.done == ["tea"]


def test_what_an_edited_step_did_in_the_other_run_is_no_part_of_a_fork_that_goes_on() -> None:
    shop = Shop()
    shop.begin()
    result = shop.fork(2, edit="other")
    assert (result.status, shop.done, len(shop.asked)) == ("waiting", ["tea", "tea"], 2)
    assert result.usage.model_calls == 3
    for cut in places(shop.store, FORK):
        kept, shop.store = shop.store, only(shop.store, FORK, cut)
        shop.done.clear()
        calls = [entry.kind for entry in shop.store.kept[FORK].entries].count("ToolFinished")
        again = shop.resume(FORK)
        unsure = again.status == "failed"
        if unsure:
            assert "UncertainOutcome" in f"{type(again.error).__name__}: {again.error}"
        else:
            assert (len(shop.done), again.usage) == (2 - calls, result.usage), f"cut after {cut}"
        shop.store = kept


def test_what_a_fork_does_not_share_counts_as_no_step_of_it() -> None:
    shop = Shop()
    shop.begin()
    shop.fork(2, edit="other")
    kept = shop.store.kept[FORK]
    original = shop.store.kept[RUN].entries
    assert [entry.seq for entry in kept.entries] == list(range(len(kept.entries)))
    assert [entry.kind for entry in kept.entries[: len(original)]] == [entry.kind for entry in original]
    parts = events_of(shop.store, FORK)[len(original) : len(original) + 3]
    assert [type(event) for event in parts] == [e.RunResumed, e.BranchEdited, e.RunResumed]
    assert isinstance(parts[-1], e.RunResumed)
    assert parts[-1].source == RUN
    held = parted(events_of(shop.store, FORK))[0]
    assert [event.node for event in held if isinstance(event, e.StepStarted)] == ["A", "B", "C"]
    assert steps_of((entry.seq, entry.kind, entry.data) for entry in kept.entries) == kept.info.steps == 3


@pytest.mark.parametrize("at", [1, 2])
def test_a_team_of_a_fork_that_is_cut_off_asks_nothing_again_and_counts_once(at: int) -> None:
    store, asked, broken = MemoryStore(), [], [True]

    def reply(request: Any) -> str:
        asked.append(request.messages[-1].text)
        return f"re {request.messages[-1].text}"

    @agent(name="Breaks")
    async def breaks(prompt: Any) -> str:
        if broken:
            raise AgentError("broken")
        return f"{prompt}!"

    inner = Team("P -> Breaks", [Agent("P", model=FakeModel(reply)), breaks], name="T")

    @agent(name="Outer")
    async def outer(prompt: Any, context: Any) -> Any:
        return await context.run_team(inner, prompt)

    agents = [Agent("First", model=FakeModel(reply)), outer]

    def live(kept: MemoryStore, ask: Any) -> RunResult:
        ids = iter((RUN, FORK))

        async def main() -> RunResult:
            async with bare(
                storage=kept, agents=agents, execution_config=SOFT, new_id=lambda: next(ids)
            ) as orchestra:
                return await ask(orchestra)

        return virtually(main)

    async def parts(orchestra: Any) -> RunResult:
        before = await orchestra.execute("x", "First -> Outer")
        assert not before.success
        broken.clear()
        return await orchestra.fork(RUN, at)

    fork = live(store, parts)
    assert (fork.final_response, fork.usage.model_calls, asked) == ("re re x!", 2, ["x", "re x"])
    for cut in places(store, FORK):
        others = {run_id: kept for run_id, kept in store.kept.items() if run_id != FORK}
        left = only(store, FORK, cut)
        left.kept |= {
            run_id: attrs.evolve(kept, entries=list(kept.entries), blobs=dict(kept.blobs))
            for run_id, kept in others.items()
        }
        asked.clear()
        result = live(left, lambda orchestra: orchestra.resume(FORK))
        assert (result.final_response, asked) == ("re re x!", []), f"cut after {cut}"
        assert result.usage == fork.usage, f"cut after {cut}"
