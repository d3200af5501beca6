"""Sessions that a store keeps: what agents remember goes on in the next process."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import attrs
import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from marsys_core import events as e
from marsys_core.agents import Agent, BaseAgent, agent
from marsys_core.agents.team import Team
from marsys_core.config import ExecutionConfig
from marsys_core.errors import Cancelled, StoreError
from marsys_core.messages import Message
from marsys_core.orchestra import Orchestra
from marsys_core.protocols.store import Entry
from marsys_core.results import RunResult
from marsys_core.values import Ref
from tests.core.engine.cancelling import Points
from tests.core.fakes import FakeModel, bare, invoking, virtually
from tests.core.stores import MemoryStore

SOFT = ExecutionConfig(raise_errors=False)


def clerk(replies: Any, **given: Any) -> Agent:
    return Agent("A", model=FakeModel(replies, **given), memory_scope="session")


def turn(store: MemoryStore, task: str, one: BaseAgent, run_id: str, **options: Any) -> RunResult:
    """Run in a process of its own."""

    async def main() -> RunResult:
        async with bare(agents=[one], storage=store, new_id=lambda: run_id) as orchestra:
            return await orchestra.execute(task, "A", session_id="s", execution_config=SOFT, **options)

    return virtually(main)


def again(store: MemoryStore, run_id: str, *agents: BaseAgent) -> RunResult:
    """Resume in a process of its own."""

    async def main() -> RunResult:
        async with bare(agents=agents, storage=store) as orchestra:
            return await orchestra.resume(run_id, execution_config=SOFT, accept_changes=True)

    return virtually(main)


def remembered(store: MemoryStore, session_id: str = "s", agent: str = "A") -> list[str]:
    """Return the texts that an agent of the next run would begin with."""
    model = FakeModel(["x"])
    copy = MemoryStore(added=list(store.added))
    one = Agent(agent, model=model, memory_scope="session")

    async def main() -> None:
        async with bare(agents=[one], storage=copy) as orchestra:
            await orchestra.execute("", agent, session_id=session_id)

    virtually(main)
    return [text for _, text in model.said()][:-1]


def test_an_agent_goes_on_where_it_stopped_in_another_process() -> None:
    store, model = MemoryStore(), FakeModel(["three"])
    turn(store, "first", clerk(["one"]), "r1")
    turn(store, "second", clerk(["two"]), "r2")
    turn(store, "third", Agent("A", model=model, memory_scope="session", instruction="Be new."), "r3")
    assert [text for _, text in model.said()][-5:] == ["first", "one", "second", "two", "third"]
    assert [role for role, _ in model.said()][-5:] == ["user", "assistant", "user", "assistant", "user"]


def test_a_run_records_what_its_agents_began_with_by_its_hash() -> None:
    store, large = MemoryStore(), "x" * 10_000
    turn(store, large, clerk(["one"]), "r1")

    async def main() -> Sequence[Sequence[e.Event]]:
        async with bare(agents=[clerk(["two"])], storage=store, new_id=lambda: "r2") as orchestra:
            result = await orchestra.execute("second", "A", session_id="s")
            assert [message.text for message in result.messages] == [large, "one", "second", "two"]
            return [await orchestra.history("r1"), await orchestra.history("r2")]

    first, second = [events[0] for events in virtually(main)]
    assert isinstance(first, e.RunStarted)
    assert isinstance(second, e.RunStarted)
    assert (first.given, first.session_version) == ({}, 0)
    assert (list(second.given), second.session_version) == (["A"], 1)
    assert type(second.given["A"]) is Ref
    assert second.given["A"].sha256 not in store.kept["r2"].blobs
    assert large not in "".join(entry.data for entry in store.kept["r2"].entries)


def test_agents_that_do_not_remember_leave_no_trace() -> None:
    store = MemoryStore()
    turn(store, "first", Agent("A", model=FakeModel(["one"])), "r1")
    turn(store, "first", clerk(["one"]), "r2", messages=None)

    async def main() -> Any:
        async with bare(storage=store) as orchestra:
            return (await orchestra.history("r1"))[0], (await orchestra.history("r2"))[0]

    plain, lasting = virtually(main)
    assert (plain.given, plain.session_version) == ({}, None)
    assert lasting.session_version == 0
    assert [added.run_id for added in store.added] == ["r2"]


def test_the_callers_messages_and_a_session_stand_beside_each_other() -> None:
    store, model = MemoryStore(), FakeModel([invoking("A")])
    turn(store, "first", clerk(["one"]), "r1")
    lasting = clerk(["two"])

    async def main() -> RunResult:
        lead = Agent("Lead", model=model)
        async with bare(agents=[lead, lasting], storage=store, new_id=lambda: "r2") as orchestra:
            await orchestra.execute(
                "go", "Lead -> A", session_id="s", messages=[Message("user", "a"), Message("assistant", "b")]
            )
            return await orchestra.resume("r2")

    result = virtually(main)
    assert result.success
    assert [message.text for message in result.messages][:3] == ["a", "b", "go"]
    assert remembered(store)[:2] == ["first", "one"]


def test_a_bare_call_with_a_store_does_not_warn_that_it_forgets() -> None:
    store, model = MemoryStore(), FakeModel(["one", "two"])

    async def main() -> list[RunResult]:
        return [
            await Orchestra.run(
                task,
                "A",
                agents=[Agent("A", model=model, memory_scope="session")],
                session_id="s",
                storage=store,
            )
            for task in ("first", "second")
        ]

    results = virtually(main)
    assert [result.metadata["warnings"] for result in results] == [(), ()]
    assert model.said() == [("user", "first"), ("assistant", "one"), ("user", "second")]


def test_two_runs_of_one_session_at_once_lose_nothing_and_it_is_said() -> None:
    store = MemoryStore()
    model = FakeModel(lambda request: request.messages[-1].text.upper(), delay=1)

    async def main() -> list[RunResult]:
        one = Agent("A", model=model, memory_scope="session")
        async with bare(agents=[one], storage=store) as first, bare(agents=[one], storage=store) as second:
            results: list[RunResult] = []

            async def run(orchestra: Orchestra, task: str) -> None:
                results.append(await orchestra.execute(task, "A", session_id="s"))

            async with trio.open_nursery() as nursery:
                nursery.start_soon(run, first, "a")
                nursery.start_soon(run, second, "b")
            return results

    results = virtually(main)
    warned = [warning for result in results for warning in result.metadata["warnings"]]
    assert sorted(remembered(store)) == ["A", "B", "a", "b"]
    assert set(warned) == {
        "another run of session 's' has ended meanwhile: what 'A' said in this one stands after it"
    }


def test_a_run_that_failed_has_added_what_was_said_and_adds_it_once_when_it_goes_on() -> None:
    @agent(name="B")
    async def broken(prompt: str) -> str:
        raise ValueError(prompt)

    @agent(name="B")
    async def whole(prompt: str) -> str:
        return "b"

    store = MemoryStore()

    async def main() -> RunResult:
        agents = [clerk([invoking("B")]), broken]
        async with bare(agents=agents, storage=store, new_id=lambda: "r1") as orchestra:
            return await orchestra.execute("first", "A <-> B", session_id="s", execution_config=SOFT)

    assert not virtually(main).success
    assert remembered(store)[0] == "first"
    assert remembered(store)[-1] == "interrupted" or len(remembered(store)) == 3
    turn(store, "second", clerk(["two"]), "r2")
    result = again(store, "r1", clerk(["back"]), whole)
    assert result.final_response == "back"
    texts = remembered(store)
    assert texts[:2] == ["second", "two"]
    assert (texts[2], texts[-1], texts.count("first")) == ("first", "back", 1)
    assert result.metadata["warnings"][-1].startswith("another run of session 's' has ended meanwhile")
    assert [message.text for message in again(store, "r2", clerk([])).messages] == [
        "first", *_tool_texts(store), "second", "two",
    ]  # fmt: skip
    before = list(store.added)
    assert again(store, "r1", clerk([]), whole).final_response == "back"
    assert store.added == before


def _tool_texts(store: MemoryStore) -> Iterator[str]:
    """The texts that the run that failed had added between its task and its end, as they were then."""
    import json

    for message in json.loads(store.added[0].said["A"])[1:]:
        yield message.get("content", "")


def test_a_run_that_was_cancelled_has_added_what_steps_that_ended_said() -> None:
    store = MemoryStore()

    async def main() -> None:
        async with bare(agents=[clerk(["one"], delay=5)], storage=store, new_id=lambda: "r1") as orchestra:
            run = orchestra.start("first", "A", session_id="s", execution_config=SOFT)
            await trio.sleep(1)
            run.cancel()
            assert isinstance((await run.result()).error, Cancelled)

    virtually(main)
    assert remembered(store) == []
    assert again(store, "r1", clerk(["one"])).success
    assert remembered(store) == ["first", "one"]


@pytest.mark.parametrize("before", [0, 1, 2])
def test_a_run_that_is_killed_anywhere_and_goes_on_adds_once(before: int) -> None:
    store, earlier = MemoryStore(), list[str]()
    for number in range(before):
        turn(store, f"t{number}", clerk([f"a{number}"]), f"e{number}")
        earlier += [f"t{number}", f"a{number}"]
    turn(store, "task", clerk(["answer"]), "r")
    for entries in range(1, len(store.kept["r"].entries) + 1):
        cut = store.cut("r", entries)
        result = again(cut, "r", clerk(["answer"]))
        assert result.final_response == "answer"
        assert [message.text for message in result.messages] == [*earlier, "task", "answer"]
        assert remembered(cut) == [*earlier, "task", "answer"]
        assert [added.run_id for added in cut.added].count("r") == 1


def test_a_run_begins_again_from_what_it_began_from_whatever_came_since() -> None:
    store = MemoryStore()
    turn(store, "t0", clerk(["a0"]), "e0")
    turn(store, "task", clerk(["answer"]), "r")
    cut = store.cut("r", 3)
    turn(cut, "t1", clerk(["a1"]), "e1")
    model = FakeModel(["answer"])
    result = again(cut, "r", Agent("A", model=model, memory_scope="session"))
    assert [text for _, text in model.said()] == ["t0", "a0", "task"]
    assert remembered(cut)[:6] == ["t0", "a0", "t1", "a1", "task", "answer"]
    assert len(result.metadata["warnings"]) == 1


def test_a_fork_adds_beside_the_run_that_it_was_forked_from() -> None:
    store = MemoryStore()
    for task, run_id in (("a", "e0"), ("b", "r")):
        turn(store, task, clerk(["yes"]), run_id)

    async def main() -> RunResult:
        async with bare(agents=[clerk(["yes"])], storage=store, new_id=lambda: "f") as orchestra:
            await orchestra.fork("r", 1, edit="c", execution_config=SOFT)
            return await orchestra.resume("f", execution_config=SOFT)

    assert [message.text for message in virtually(main).messages] == ["a", "yes", "c", "yes"]
    assert remembered(store) == ["a", "yes", "b", "yes", "c", "yes"]


def test_a_forgotten_session_begins_anew_and_runs_that_began_with_it_do_not_go_on() -> None:
    store = MemoryStore()
    turn(store, "t0", clerk(["a0"]), "e0")
    turn(store, "task", clerk(["answer"]), "r")
    store.kept["cut"] = store.cut("r", 3).kept["r"]
    store.kept["cut"].info = attrs.evolve(store.kept["cut"].info, run_id="cut")

    async def main() -> None:
        async with bare(agents=[clerk(["new"])], storage=store) as orchestra:
            await orchestra.forget_session("s")
            result = await orchestra.execute("task", "A", session_id="s")
            assert [message.text for message in result.messages] == ["task", "new"]
            told = "run 'cut' cannot go on: what agent 'A' remembered of session 's' as it began was forgotten; begin a new run"
            with pytest.raises(StoreError, match=f"^{re.escape(told)}$"):
                await orchestra.resume("cut", execution_config=SOFT)
            assert (await orchestra.resume("r", execution_config=SOFT)).final_response == "answer"

    virtually(main)
    assert remembered(store) == ["task", "new"]
    assert store.holders == {}


def test_a_session_without_a_store_is_forgotten_too() -> None:
    model = FakeModel(["one", "two", "three"])

    async def main() -> None:
        async with bare(agents=[Agent("A", model=model, memory_scope="session")]) as orchestra:
            await orchestra.execute("first", "A", session_id="s")
            await orchestra.execute("other", "A", session_id="t")
            await orchestra.forget_session("s")
            await orchestra.execute("second", "A", session_id="s")

    virtually(main)
    assert model.said() == [("user", "second")]


def test_a_team_inside_a_run_goes_on_with_the_session_too() -> None:
    store, model = MemoryStore(), FakeModel(["one", "two"])

    class Lead(BaseAgent):
        async def _run(self, prompt: Any, context: Any, **kwargs: Any) -> Any:
            return await context.run_team(
                Team("A", [Agent("A", model=model, memory_scope="session")], name="team"), prompt
            )

    for number, task in enumerate(("first", "second")):

        async def main(task: str = task, run_id: str = f"r{number}") -> RunResult:
            async with bare(agents=[Lead(name="Lead")], storage=store, new_id=lambda: run_id) as orchestra:
                return await orchestra.execute(task, "Lead", session_id="s")

        assert virtually(main).success
    assert model.said() == [("user", "first"), ("assistant", "one"), ("user", "second")]
    assert remembered(store) == ["first", "one", "second", "two"]


def test_a_run_begins_without_reading_the_logs_of_those_before() -> None:
    store, read = MemoryStore(), list[str]()
    for number in range(5):
        turn(store, f"t{number}", clerk([f"a{number}"]), f"e{number}")

    class Watched(MemoryStore):
        async def entries(self, run_id: str, start: int = 0, stop: int | None = None) -> Sequence[Entry]:
            read.append(run_id)
            return await super().entries(run_id, start, stop)

    watched = Watched(store.kept, added=store.added)
    turn(watched, "task", clerk(["answer"]), "r")
    assert read == []
    assert len(remembered(watched)) == 12


def test_a_run_cancelled_at_any_point_adds_what_it_has_recorded_and_nothing_else() -> None:
    for point in range(1, 400):
        store = MemoryStore()
        turn(store, "t0", clerk(["a0"]), "e0")

        async def main(store: MemoryStore = store, point: int = point) -> bool:
            with trio.CancelScope() as scope:
                points = Points(set())
                points.arm({point: scope.cancel})
                trio.lowlevel.add_instrument(points)
                async with bare(
                    agents=[clerk(["answer"], delay=1)], storage=store, new_id=lambda: "r"
                ) as orchestra:
                    await orchestra.execute("task", "A", session_id="s")
            trio.lowlevel.remove_instrument(points)
            return points.passed < point

        if virtually(main):
            assert point > 10
            break
        kept = store.kept.get("r")
        finished = kept is not None and any(entry.kind == "StepFinished" for entry in kept.entries)
        assert remembered(store) == ["t0", "a0", *(["task", "answer"] if finished else [])]
    else:
        pytest.fail("there was no end to it")


TURNS = st.lists(
    st.tuples(st.sampled_from(["turn", "kill", "resume", "fork", "two", "forget"]), st.integers(0, 30)),
    max_size=8,
)


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(TURNS)
def test_a_session_is_what_its_runs_said_in_the_order_in_which_they_ended(
    turns: list[tuple[str, int]],
) -> None:
    store, model, open_runs, count = MemoryStore(), list[str](), list[str](), 0
    began: dict[str, list[str]] = {}
    forgotten: set[str] = set()
    for what, number in turns:
        count += 1
        run_id = f"r{count}"
        said = [f"task {count}", f"answer {count}"]
        if what == "turn":
            result = turn(store, said[0], clerk([said[1]]), run_id)
            assert [message.text for message in result.messages] == [*model, *said]
            began[run_id] = list(model)
            model += said
        elif what == "two":
            _overlapping(store, count)
            model += [*said, f"task {count} b", f"answer {count} b"]
        elif what == "kill":
            copy = MemoryStore(dict(store.kept), added=list(store.added))
            turn(copy, said[0], clerk([said[1]]), run_id)
            entries = 1 + number % (len(copy.kept[run_id].entries) - 1)
            cut = copy.cut(run_id, entries)
            store.kept[run_id] = cut.kept[run_id]
            if len(cut.added) > len(store.added):
                store.added = cut.added
                began[run_id] = list(model)
                model += said
            began[run_id] = began.get(run_id, list(model))
            open_runs.append(run_id)
        elif what == "resume" and open_runs:
            run_id = open_runs.pop(number % len(open_runs))
            said = [f"task {run_id[1:]}", f"answer {run_id[1:]}"]
            if run_id in forgotten and began[run_id]:
                with pytest.raises(StoreError, match="cannot go on"):
                    again(store, run_id, clerk([said[1]]))
                continue
            result = again(store, run_id, clerk([said[1]]))
            assert [message.text for message in result.messages] == [*began[run_id], *said]
            if said[0] not in model:
                model += said
        elif what == "forget":
            virtually(lambda: store.forget_session("s"))
            model = []
            forgotten |= began.keys()
        assert remembered(store) == model


def _overlapping(store: MemoryStore, count: int) -> None:
    """Run two turns of which the second ends a second after the first, in one process."""

    async def main() -> None:
        def reply(request: Any) -> str:
            return str(request.messages[-1].text).replace("task", "answer")

        ids = iter((f"r{count}", f"r{count}b"))
        slow, fast = clerk(reply, delay=2), clerk(reply, delay=1)
        async with (
            bare(storage=store, agents=[fast], new_id=lambda: next(ids)) as one,
            bare(storage=store, agents=[slow], new_id=lambda: next(ids)) as two,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(lambda: one.execute(f"task {count}", "A", session_id="s"))
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(lambda: two.execute(f"task {count} b", "A", session_id="s"))

    virtually(main)
