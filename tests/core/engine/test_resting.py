"""Runs that rest with work left: paused, or waiting for people, and what they go on with in another process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import trio

from marsys_core.actions import AskUser, Invoke
from marsys_core.agents import Agent, Team, agent
from marsys_core.config import ExecutionConfig
from marsys_core.errors import (
    AgentError,
    AnswerRefused,
    ConfigError,
    CriticalError,
    LifecycleError,
    RecoverableError,
    UnknownName,
    UserTimeout,
)
from marsys_core.hosts.declared import uses_asyncio
from marsys_core.messages import Message, ToolCall
from marsys_core.results import RunResult
from marsys_core.run import Run
from marsys_core.tools import ToolContext, tool
from tests.core.engine.corpus import CORPUS
from tests.core.engine.lives import RUN, Life, first_life, given_to, later_life, meaning
from tests.core.fakes import FakeModel, bare, call, virtually
from tests.core.stores import MemoryStore

QUIET = ExecutionConfig(raise_errors=False)


class Dates:
    """A calendar that the test turns."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def lives(
    *parts: Callable[[Any], Any], store: MemoryStore | None = None, dates: Dates | None = None
) -> list[Any]:
    """Carry out each part in an orchestra of its own, all with one store."""
    kept = MemoryStore() if store is None else store

    async def main() -> list[Any]:
        came = []
        for part in parts:
            async with bare(storage=kept, execution_config=QUIET) as orchestra:
                if dates is not None:
                    orchestra.engine.wall = dates
                came.append(await part(orchestra))
        return came

    return virtually(main)


@agent(name="A")
async def asks(prompt: Any, context: Any) -> Any:
    return f"heard {prompt}" if context.answered else AskUser("Which?", ("red", "blue"))


def begin(topology: Any = "A -> user", agents: Any = None, **options: Any) -> Callable[[Any], Any]:
    async def part(orchestra: Any) -> RunResult:
        return await orchestra.execute("x", topology, agents=agents or [asks], **options)

    return part


def answer(
    waiting: Callable[[], RunResult], value: Any, index: int = 0, agents: Any = None
) -> Callable[[Any], Any]:
    async def part(orchestra: Any) -> RunResult:
        asked = waiting().questions[index]
        return await orchestra.answer(asked.run_id, asked.request_id, value, agents=agents or [asks])

    return part


def test_a_question_that_nobody_here_can_answer_ends_the_call_waiting():
    store = MemoryStore()
    (result,) = lives(begin(session_id="s"), store=store)

    assert (result.success, result.status, result.error, result.final_response) == (
        False,
        "waiting",
        None,
        None,
    )
    (asked,) = result.questions
    assert (asked.prompt, asked.options, asked.run_id, asked.session_id) == (
        "Which?",
        ("red", "blue"),
        result.run_id,
        "s",
    )
    assert store.kept[result.run_id].info.status == "waiting"
    with pytest.raises(AgentError, match="^run .* is waiting, and has come to no answer yet$"):
        result.unwrap()


def test_another_process_answers_and_the_run_goes_on_to_its_end():
    store, came = MemoryStore(), []

    async def first(orchestra: Any) -> None:
        came.append(await begin()(orchestra))

    _, result = lives(first, answer(lambda: came[0], "red"), store=store)

    assert (result.final_response, result.status, result.questions) == ("heard red", "succeeded", ())
    assert result.run_id == came[0].run_id
    kinds = [entry.kind for entry in store.kept[result.run_id].entries]
    assert kinds[-1] == "RunFinished"
    assert kinds.count("UserAsked") == kinds.count("UserAnswered") == kinds.count("RunWaiting") == 1


def test_an_answer_that_is_none_changes_nothing():
    came: list[RunResult] = []

    async def first(orchestra: Any) -> None:
        came.append(await begin()(orchestra))
        run_id, request_id = came[0].run_id, came[0].questions[0].request_id
        with pytest.raises(AnswerRefused, match="'green'"):
            await orchestra.answer(run_id, request_id, "green", agents=[asks])
        with pytest.raises(UnknownName, match="no open question is called '0:99'; there are: 0:3"):
            await orchestra.answer(run_id, "0:99", "red", agents=[asks])
        with pytest.raises(UnknownName, match="no run is called 'nobody'"):
            await orchestra.answer("nobody", request_id, "red")
        again = await orchestra.resume(run_id, agents=[asks])
        assert (again.status, again.questions) == ("waiting", came[0].questions)

    _, result = lives(first, answer(lambda: came[0], "blue"))

    assert result.final_response == "heard blue"


class LateStore(MemoryStore):
    """A store in which somebody else is faster when a run is taken."""

    def __init__(self) -> None:
        super().__init__()
        self.faster: list[Callable[[], Any]] = []

    async def take(self, run_id: str, holder: str = "") -> Any:
        if self.faster:
            await self.faster.pop()()
        return await super().take(run_id, holder)


@pytest.mark.parametrize("ends", [True, False])
def test_an_answer_that_comes_second_is_refused_and_changes_nothing(ends: bool):
    store = LateStore()

    @agent(name="A")
    async def twice(prompt: Any, context: Any) -> Any:
        return "done" if context.answered and (ends or prompt == "blue") else AskUser("Which?")

    async def both(orchestra: Any) -> RunResult:
        (asked,) = (await orchestra.execute("x", "A -> user", agents=[twice])).questions

        async def faster() -> None:
            await orchestra.answer(asked.run_id, asked.request_id, "red", agents=[twice])

        store.faster.append(faster)
        before = asked.run_id, asked.request_id, "blue"
        with pytest.raises(UnknownName, match=f"no open question is called '{asked.request_id}'"):
            await orchestra.answer(*before, agents=[twice])
        return await orchestra.resume(asked.run_id, agents=[twice])  # type: ignore[no-any-return]

    (result,) = lives(both, store=store)

    assert result.status == ("succeeded" if ends else "waiting")


def test_a_nested_run_that_was_never_kept_asks_nothing():
    store, inner = MemoryStore(), Team("B -> user", [asker("B")], name="T")

    @agent(name="A")
    async def outer(prompt: Any, context: Any) -> str:
        return "outer got " + await context.run_team(inner, prompt)

    async def first(orchestra: Any) -> Any:
        result = await orchestra.execute("x", "A", agents=[outer])
        del store.kept[result.questions[0].run_id]
        assert await orchestra.questions(result.run_id) == ()
        return await orchestra.resume(result.run_id, agents=[outer])

    (result,) = lives(first, store=store)

    assert [asked.prompt for asked in result.questions] == ["B?"]


def asker(name: str) -> Any:
    @agent(name=name)
    async def ask(prompt: Any, context: Any) -> Any:
        return f"{name} heard {prompt}" if context.answered else AskUser(f"{name}?")

    return ask


def test_what_can_go_on_without_people_does_before_the_run_waits_and_each_answer_takes_it_further():
    worked: list[str] = []

    @agent(name="W")
    async def works(prompt: Any, context: Any) -> str:
        await trio.sleep(50)
        worked.append("W")
        return "W worked"

    team = [asker("B"), asker("C"), works]
    came: list[RunResult] = []

    @agent(name="A")
    async def forks(prompt: Any, context: Any) -> Any:
        return str(prompt) if context.step > 1 else Invoke([("B", "b"), ("C", "c"), ("W", "w")])

    team.append(forks)

    async def first(orchestra: Any) -> None:
        came.append(await orchestra.execute("x", "A <-> [B, C, W]\nB -> user\nC -> user", agents=team))

    async def second(orchestra: Any) -> None:
        came.append(await answer(lambda: came[0], "two", 1, team)(orchestra))

    lives(first, second, answer_into(came, "one", team))

    assert [each.status for each in came] == ["waiting", "waiting", "succeeded"]
    assert [q.prompt for q in came[0].questions] == ["B?", "C?"]
    assert [q.prompt for q in came[1].questions] == ["B?"]
    assert worked == ["W"]
    assert "B heard one" in came[2].final_response
    assert "C heard two" in came[2].final_response
    assert "W worked" in came[2].final_response


def answer_into(came: list[RunResult], value: Any, agents: Any) -> Callable[[Any], Any]:
    async def part(orchestra: Any) -> None:
        came.append(await answer(lambda: came[-1], value, 0, agents)(orchestra))

    return part


class Shop:
    """An agent with a tool that a person has to allow, and what was done."""

    def __init__(self, replies: Any = None) -> None:
        self.bought: list[tuple[str, str]] = []
        self.model = FakeModel(replies or [call("buy", what="tea"), "done"])

        @tool(approval=True)
        async def buy(what: str, context: ToolContext) -> str:
            self.bought.append((what, context.idempotency_key))
            return f"bought {what}"

        self.agent = Agent(model=self.model, name="A", tools=[buy])


def test_a_call_that_a_person_has_to_allow_waits_over_processes_and_is_made_once():
    shop, came = Shop(), []

    async def first(orchestra: Any) -> None:
        came.append(await orchestra.execute("x", "A", agents=[shop.agent]))

    lives(first, answer_into(came, "approve", [shop.agent]))

    assert (came[0].status, came[0].questions[0].kind) == ("waiting", "approval")
    assert came[1].final_response == "done"
    assert [what for what, _ in shop.bought] == ["tea"]
    assert len(shop.model.requests) == 2


def test_a_call_that_a_person_refuses_in_another_process_is_never_made():
    shop, came = Shop(), []

    async def first(orchestra: Any) -> None:
        came.append(await orchestra.execute("x", "A", agents=[shop.agent]))

    lives(first, answer_into(came, {"decision": "reject", "reason": "too dear"}, [shop.agent]))

    assert came[1].final_response == "done"
    assert shop.bought == []
    assert "too dear" in shop.model.requests[1].messages[-1].text


def test_of_two_calls_of_one_reply_each_gets_its_own_answer_in_any_order():
    two = [call("buy", what="tea"), call("buy", "c2", what="gold")]
    shop, came = Shop([two, "done"]), []

    async def first(orchestra: Any) -> None:
        came.append(await orchestra.execute("x", "A", agents=[shop.agent]))

    async def second(orchestra: Any) -> None:
        gold = next(i for i, q in enumerate(came[0].questions) if q.prompt["arguments"]["what"] == "gold")
        came.append(await answer(lambda: came[0], "reject", gold, [shop.agent])(orchestra))

    lives(first, second, answer_into(came, "approve", [shop.agent]))

    assert [len(each.questions) for each in came] == [2, 1, 0]
    assert [what for what, _ in shop.bought] == ["tea"]
    assert came[2].final_response == "done"


def test_a_call_beside_one_that_waits_for_a_person_is_done_first_and_once():
    looked: list[str] = []

    @tool
    async def look(where: str) -> str:
        await trio.sleep(30)
        looked.append(where)
        return "nothing"

    shop = Shop([[call("buy", what="tea"), call("look", "c2", where="here")], "done"])
    shop.agent.tools = (*shop.agent.tools, look)
    came: list[RunResult] = []

    async def first(orchestra: Any) -> None:
        came.append(await orchestra.execute("x", "A", agents=[shop.agent]))

    lives(first, answer_into(came, "approve", [shop.agent]))

    assert looked == ["here"]
    assert [what for what, _ in shop.bought] == ["tea"]
    assert came[1].final_response == "done"


@pytest.mark.parametrize("first", ["B", "C"])
def test_a_call_that_waits_for_a_person_who_is_not_here_gives_its_slot_to_others(first: str):
    shop, worked = Shop(), []
    config = ExecutionConfig(raise_errors=False, max_parallel_branches=1)

    @agent(name="C")
    async def works(prompt: Any, context: Any) -> str:
        worked.append("C")
        return "C worked"

    @agent(name="F")
    async def forks(prompt: Any, context: Any) -> Any:
        names = [first, *({"B", "C"} - {first})]
        return str(prompt) if context.step > 1 else Invoke([(name, "go") for name in names])

    buyer = Agent(model=shop.model, name="B", tools=shop.agent.tools)
    given: dict[str, Any] = {"agents": [forks, buyer, works], "execution_config": config}

    async def main(orchestra: Any) -> RunResult:
        result = await orchestra.execute("x", "F <-> [B, C]", **given)
        assert (result.status, worked) == ("waiting", ["C"])
        return await orchestra.answer(  # type: ignore[no-any-return]
            result.run_id, result.questions[0].request_id, "approve", **given
        )

    (result,) = lives(main)

    assert (result.status, len(shop.bought), worked) == ("succeeded", 1, ["C"])


def test_a_nested_run_waits_with_the_run_round_it_and_is_answered_under_its_own_id():
    inner = Team("B -> user", [asker("B")], name="T")
    came: list[RunResult] = []

    @agent(name="A")
    async def outer(prompt: Any, context: Any) -> str:
        return "outer got " + await context.run_team(inner, prompt)

    store = MemoryStore()

    async def first(orchestra: Any) -> None:
        came.append(await orchestra.execute("x", "A", agents=[outer]))

    lives(first, answer_into(came, "yes", [outer]), store=store)

    assert came[0].status == "waiting"
    assert came[0].questions[0].run_id != came[0].run_id == came[1].run_id
    assert came[1].final_response == "outer got B heard yes"
    assert sorted(kept.info.status for kept in store.kept.values()) == ["succeeded", "succeeded"]
    assert "TeamFailed" not in [entry.kind for entry in store.kept[came[0].run_id].entries]


@pytest.mark.parametrize("as_tool", [True, False])
def test_a_fork_of_a_run_whose_team_waits_has_a_team_of_its_own(as_tool: bool):
    store, worked = MemoryStore(), []

    @agent(name="W")
    async def works(prompt: Any, context: Any) -> str:
        worked.append(context.run_id)
        return "worked"

    inner = Team("W -> B\nB -> user", [works, asker("B")], name="T")

    @agent(name="M")
    async def between(prompt: Any, context: Any) -> Any:
        return await context.run_team(inner, prompt)

    middle = Team("M", [between], name="Mid")

    @agent(name="A")
    async def outer(prompt: Any, context: Any) -> Any:
        return await context.run_team(middle, prompt)

    model = FakeModel([call("Mid", request="go"), "all done", "all done"])
    agents = [Agent(model=model, name="A", tools=[middle.as_tool()]) if as_tool else outer]

    async def first(orchestra: Any) -> None:
        before = await orchestra.execute("x", "A", agents=agents)
        original = {run_id: list(kept.entries) for run_id, kept in store.kept.items()}
        fork = await orchestra.fork(before.run_id, 1, agents=agents)
        assert [asked.prompt for asked in fork.questions] == ["B?"]
        assert await orchestra.questions(fork.run_id) == fork.questions
        (asked,), (old,) = fork.questions, before.questions
        assert asked.run_id.startswith(f"{fork.run_id}-")

        done = await orchestra.answer(asked.run_id, asked.request_id, "yes", agents=agents)
        assert (done.run_id, done.status) == (fork.run_id, "succeeded")
        assert {run_id: list(store.kept[run_id].entries) for run_id in original} == original

        done = await orchestra.answer(old.run_id, old.request_id, "no", agents=agents)
        assert (done.run_id, done.status) == (before.run_id, "succeeded")
        assert len(worked) == 1

    lives(first, store=store)


def test_a_fork_of_a_run_whose_team_failed_leaves_that_as_it_is():
    store, spent, good = MemoryStore(), [], []

    @tool
    async def pay() -> str:
        spent.append(1)
        return "paid"

    @agent(name="B")
    async def breaks(prompt: Any, context: Any) -> str:
        if not good:
            raise AgentError("broken")
        return "whole"

    payer = Agent("P", model=FakeModel([call("pay"), "paid"]), tools=[pay])
    inner = Team("P -> B", [payer, breaks], name="T")

    @agent(name="A")
    async def outer(prompt: Any, context: Any) -> Any:
        return await context.run_team(inner, prompt)

    async def first(orchestra: Any) -> None:
        before = await orchestra.execute("x", "A", agents=[outer])
        original = {run_id: list(kept.entries) for run_id, kept in store.kept.items()}
        good.append(True)
        fork = await orchestra.fork(before.run_id, 1, agents=[outer])
        assert (fork.final_response, len(spent)) == ("whole", 1)
        assert fork.usage.model_calls == 2
        assert {run_id: list(store.kept[run_id].entries) for run_id in original} == original
        again = await orchestra.resume(before.run_id, agents=[outer])
        assert (again.final_response, len(spent)) == ("whole", 1)
        assert again.usage.model_calls == 2

    lives(first, store=store)


def test_a_team_that_is_a_tool_waits_too():
    inner = Team("B -> user", [asker("B")], name="T")
    model = FakeModel([call("T", request="go"), "all done"])
    outer = Agent(model=model, name="A", tools=[inner.as_tool()])
    came: list[RunResult] = []

    async def first(orchestra: Any) -> None:
        came.append(await orchestra.execute("x", "A", agents=[outer]))

    lives(first, answer_into(came, "yes", [outer]))

    assert [each.status for each in came] == ["waiting", "succeeded"]
    assert came[1].final_response == "all done"
    assert "B heard yes" in model.requests[1].messages[-1].text


def timed(**more: Any) -> Any:
    @agent(name="A")
    async def ask(prompt: Any, context: Any) -> Any:
        return f"heard {prompt}" if context.answered else AskUser("Which?", timeout=100, **more)

    return ask


@pytest.mark.parametrize(("away", "status"), [(60, "waiting"), (99, "waiting"), (101, "succeeded")])
def test_the_time_for_an_answer_goes_on_while_no_process_has_the_run(away: int, status: str):
    dates, came = Dates(), []
    impatient = timed(default="red")

    async def first(orchestra: Any) -> None:
        came.append(await orchestra.execute("x", "A -> user", agents=[impatient]))
        dates.now += away

    async def later(orchestra: Any) -> RunResult:
        return await orchestra.resume(came[0].run_id, agents=[impatient])

    _, result = lives(first, later, dates=dates)

    assert result.status == status
    if status == "succeeded":
        assert result.final_response == "heard red"


def test_a_question_without_a_default_that_ran_out_of_time_fails_its_branch():
    dates, came = Dates(), []

    async def first(orchestra: Any) -> None:
        came.append(await orchestra.execute("x", "A -> user", agents=[timed()]))
        dates.now += 500

    async def later(orchestra: Any) -> RunResult:
        return await orchestra.resume(came[0].run_id, agents=[timed()])

    _, result = lives(first, later, dates=dates)

    assert result.status == "failed"
    assert isinstance(result.error, UserTimeout)


# -- pausing ------------------------------------------------------------------------------------


def chain(done: list[str], seconds: float = 10) -> list[Any]:
    def make(name: str) -> Any:
        @agent(name=name)
        async def work(prompt: Any, context: Any) -> str:
            await trio.sleep(seconds)
            done.append(name)
            return f"{prompt}{name}"

        return work

    return [make(name) for name in "ABC"]


@pytest.mark.parametrize(("after", "immediate"), [(5, False), (15, False), (5, True), (15, True), (25, True)])
def test_a_run_is_paused_and_goes_on_to_the_same_answer(after: float, immediate: bool):
    done: list[str] = []
    came: list[RunResult] = []
    team, store = chain(done), MemoryStore()

    async def first(orchestra: Any) -> None:
        run = orchestra.start("x", "A -> B -> C", agents=team)
        await trio.sleep(after)
        run.pause(immediate=immediate)
        came.append(await run.result())
        assert run.status == "paused"
        # A step that is under way ends; only one that is cut off is taken again.
        assert trio.current_time() == pytest.approx(after if immediate else after + 5)

    async def later(orchestra: Any) -> RunResult:
        return await orchestra.resume(came[0].run_id, agents=team)

    _, result = lives(first, later, store=store)

    assert (came[0].status, came[0].success, came[0].error) == ("paused", False, None)
    assert result.final_response == "xABC"
    assert done == ["A", "B", "C"]
    assert [entry.kind for entry in store.kept[result.run_id].entries].count("RunPaused") == 1


def test_a_pause_that_comes_too_late_is_none():
    async def part(orchestra: Any) -> RunResult:
        run = orchestra.start("x", "A -> B -> C", agents=chain([]))
        await trio.sleep(25)
        run.pause()
        return await run.result()

    (result,) = lives(part)

    assert (result.status, result.final_response) == ("succeeded", "xABC")


def test_a_run_can_be_paused_before_it_begins():
    done: list[str] = []
    came: list[RunResult] = []
    team = chain(done)

    async def first(orchestra: Any) -> None:
        run = orchestra.start("x", "A -> B -> C", agents=team)
        run.pause()
        came.append(await run.result())
        assert done == []

    async def later(orchestra: Any) -> RunResult:
        return await orchestra.resume(came[0].run_id, agents=team)

    _, result = lives(first, later)

    assert (came[0].status, result.final_response) == ("paused", "xABC")


def test_a_run_that_is_kept_nowhere_cannot_be_paused():
    async def main() -> None:
        async with bare() as orchestra:
            run = orchestra.start("x", "A -> B -> C", agents=chain([]))
            await trio.sleep(1)
            with pytest.raises(LifecycleError, match=r"storage='runs.db'"):
                run.pause()
            assert (await run.result()).final_response == "xABC"

    virtually(main)


def test_a_pause_does_not_wait_for_a_person_who_is_being_asked():
    class Nobody:
        name = "nobody"

        async def ask(self, question: Any) -> Any:
            await trio.sleep_forever()

    async def part(orchestra: Any) -> None:
        run: Run = orchestra.start("x", "A -> user", agents=[asks], channel=Nobody())
        await trio.sleep(5)
        run.pause()
        result = await run.result()
        assert (result.status, len(result.questions)) == ("paused", 1)
        again = await orchestra.answer(run.id, result.questions[0].request_id, "red", agents=[asks])
        assert again.final_response == "heard red"

    lives(part)


def test_a_pause_stops_a_nested_run_at_its_next_step():
    done: list[str] = []
    inner = Team("A -> B -> C", chain(done), name="T")
    came: list[RunResult] = []

    @agent(name="O")
    async def outer(prompt: Any, context: Any) -> str:
        return "got " + await context.run_team(inner, prompt)

    async def first(orchestra: Any) -> None:
        run = orchestra.start("x", "O", agents=[outer])
        await trio.sleep(12)
        run.pause()
        came.append(await run.result())
        assert done == ["A", "B"]

    async def later(orchestra: Any) -> RunResult:
        return await orchestra.resume(came[0].run_id, agents=[outer])

    _, result = lives(first, later)

    assert result.final_response == "got xABC"
    assert done == ["A", "B", "C"]


def test_an_open_run_hears_an_answer_through_the_orchestra():
    class Slow:
        name = "slow"

        async def ask(self, question: Any) -> Any:
            await trio.sleep_forever()

    async def part(orchestra: Any) -> None:
        run = orchestra.start("x", "A -> user", agents=[asks], channel=Slow())
        await trio.sleep(1)
        result = await orchestra.answer(run.id, run.questions[0].request_id, "blue")
        assert result.final_response == "heard blue" == (await run.result()).final_response

    lives(part)


# -- timers --------------------------------------------------------------------------------------


def sleeper(log: list[float]) -> Any:
    @agent(name="A")
    async def naps(prompt: Any, context: Any) -> str:
        await context.sleep(100)
        log.append(trio.current_time())
        return "awake"

    return naps


@pytest.mark.parametrize(("away", "left"), [(0, 70), (50, 20), (1000, 0)])
def test_a_timer_is_not_begun_anew_by_another_process(away: float, left: float):
    dates, came, log = Dates(), [], []
    naps = sleeper(log)

    async def first(orchestra: Any) -> None:
        run = orchestra.start("x", "A", agents=[naps])
        await trio.sleep(30)
        run.pause()
        came.append(await run.result())
        dates.now += 30 + away

    async def later(orchestra: Any) -> float:
        began = trio.current_time()
        result = await orchestra.resume(came[0].run_id, agents=[naps])
        assert result.final_response == "awake"
        return trio.current_time() - began

    _, took = lives(first, later, dates=dates)

    assert took == pytest.approx(left)
    assert len(log) == 1


def test_a_step_that_only_waits_for_a_time_is_within_its_deadline_and_holds_no_slot():
    @agent(name="B")
    async def quick(prompt: Any, context: Any) -> str:
        return "quick"

    async def part(orchestra: Any) -> None:
        config = ExecutionConfig(step_timeout=5, max_parallel_branches=1, raise_errors=False)
        result = await orchestra.execute(
            "x", "S <-> [A, B]", agents=[sleeper([]), quick, starts], execution_config=config
        )
        assert result.success, result.error

    @agent(name="S")
    async def starts(prompt: Any, context: Any) -> Any:
        return str(prompt) if context.step > 1 else Invoke([("A", "a"), ("B", "b")])

    lives(part)


@pytest.mark.parametrize("seconds", [-1, float("nan"), float("inf"), "1", True])
def test_a_timer_takes_a_number_of_seconds(seconds: Any):
    @agent(name="A")
    async def wrong(prompt: Any, context: Any) -> str:
        await context.sleep(seconds)
        return ""

    (result,) = lives(begin("A", [wrong]))

    assert isinstance(result.error, ConfigError | CriticalError)
    assert "context.sleep takes seconds" in str(result.error)


def test_a_clock_that_was_set_back_makes_nobody_wait_longer():
    dates, came = Dates(), []

    @agent(name="A")
    async def sleeps(prompt: Any, context: Any) -> str:
        await context.sleep(60)
        return "up"

    async def nobody(question: Any) -> None:
        await trio.sleep_forever()

    async def first(orchestra: Any) -> None:
        run = orchestra.start("x", "A", agents=[sleeps])
        await trio.sleep(5)
        run.pause()
        came.extend([await run.result(), await begin(agents=[timed(default="blue")])(orchestra)])
        dates.now -= 86_400

    async def second(orchestra: Any) -> tuple[float, ...]:
        began = trio.current_time()
        assert (await orchestra.resume(came[0].run_id, agents=[sleeps])).final_response == "up"
        woken = trio.current_time()
        team = [timed(default="blue")]
        heard = await orchestra.resume(came[1].run_id, agents=team, channel=nobody)
        assert heard.final_response == "heard blue"
        return woken - began, trio.current_time() - woken

    _, waited = lives(first, second, dates=dates)

    assert waited == (60, 100)


# -- calls that were cut off ---------------------------------------------------------------------


class Bank:
    """An agent whose tool takes ten seconds, and what it has done."""

    def __init__(self) -> None:
        self.paid: list[str] = []
        self.model = FakeModel([call("pay", whom="Ann"), "done"])

        @tool
        async def pay(whom: str) -> str:
            self.paid.append(whom)
            await trio.sleep(10)
            return f"paid {whom}"

        self.agent = Agent(model=self.model, name="A", tools=[pay])

    async def cut_off(self, orchestra: Any) -> str:
        run = orchestra.start("x", "A", agents=[self.agent])
        await trio.sleep(5)
        run.pause(immediate=True)
        assert (await run.result()).status == "paused"
        return str(run.id)


@pytest.mark.parametrize(
    ("said", "times", "heard"),
    [
        ("retry", 2, "paid Ann"),
        ("done", 1, "null"),
        ({"decision": "done", "result": "receipt 7"}, 1, "receipt 7"),
    ],
)
def test_a_person_says_what_became_of_a_call_that_was_cut_off(said: Any, times: int, heard: str):
    bank, came = Bank(), []
    asks_them = ExecutionConfig(raise_errors=False, on_uncertain="ask")

    async def first(orchestra: Any) -> None:
        run_id = await bank.cut_off(orchestra)
        came.append(await orchestra.resume(run_id, agents=[bank.agent], execution_config=asks_them))

    async def second(orchestra: Any) -> RunResult:
        asked = came[0].questions[0]
        return await orchestra.answer(
            asked.run_id,
            asked.request_id,
            said,
            agents=[bank.agent],
            execution_config=asks_them,
        )

    _, result = lives(first, second)

    asked = came[0].questions[0]
    assert (came[0].status, asked.kind, asked.options) == ("waiting", "uncertain", ("retry", "done", "fail"))
    assert asked.prompt == {"tool": "pay", "arguments": '{"whom": "Ann"}', "agent": "A", "call": "c1"}
    assert result.final_response == "done"
    assert bank.paid == ["Ann"] * times
    assert bank.model.requests[1].messages[-1].text == heard


def test_the_answer_about_a_call_that_was_cut_off_is_heard_without_the_setting():
    bank, came = Bank(), []

    async def first(orchestra: Any) -> None:
        asks_them = ExecutionConfig(raise_errors=False, on_uncertain="ask")
        run_id = await bank.cut_off(orchestra)
        came.append(await orchestra.resume(run_id, agents=[bank.agent], execution_config=asks_them))

    async def waits_again(orchestra: Any) -> None:
        came.append(await orchestra.resume(came[0].run_id, agents=[bank.agent]))

    _, _, result = lives(first, waits_again, answer(lambda: came[1], "done", agents=[bank.agent]))

    assert [each.status for each in came] == ["waiting", "waiting"]
    assert (result.error, result.final_response, bank.paid) == (None, "done", ["Ann"])


def test_a_run_that_waits_for_word_on_an_error_raises_nothing():
    calls: list[Any] = []

    @agent(name="A")
    async def fails_once(prompt: Any) -> str:
        calls.append(prompt)
        if len(calls) == 1:
            raise RecoverableError("busy")
        return "reached"

    config = ExecutionConfig(error_routing_enabled=True)  # it raises errors

    async def first(orchestra: Any) -> RunResult:
        result: RunResult = await orchestra.run("x", "A", agents=[fails_once], execution_config=config)
        return result

    async def second(orchestra: Any) -> RunResult:
        (info,) = await orchestra.runs(status="waiting")
        (asked,) = await orchestra.questions(info.run_id)
        result: RunResult = await orchestra.answer(
            info.run_id, asked.request_id, "retry", agents=[fails_once], execution_config=config
        )
        return result

    waiting, done = lives(first, second)

    assert (waiting.status, waiting.error, waiting.questions[0].kind) == ("waiting", None, "error")
    assert (done.status, done.final_response) == ("succeeded", "reached")


def test_questions_about_calls_of_one_reply_come_in_the_order_of_the_calls():
    @tool(approval=True)
    async def pay(whom: str) -> str:
        return f"paid {whom}"

    names = ["Ann", "Bob", "Cy", "Di"]
    reply = [ToolCall(f"c{at}", "pay", {"whom": whom}) for at, whom in enumerate(names)]
    payer = Agent(model=FakeModel([reply, "done"]), name="A", tools=[pay])
    came: list[RunResult] = []

    async def first(orchestra: Any) -> None:
        came.append(await begin("A", [payer])(orchestra))

    async def later(orchestra: Any) -> Any:
        return await orchestra.questions(came[0].run_id)

    _, kept = lives(first, later)

    assert [each.prompt["arguments"]["whom"] for each in came[0].questions] == names
    assert [each.prompt["arguments"]["whom"] for each in kept] == names


@pytest.mark.parametrize(
    "given",
    [{"session_id": "other"}, {"state": {"a": 1}}, {"resume": True}, {"messages": [Message("user", "x")]}],
)
def test_what_belongs_to_the_beginning_of_a_run_is_refused_later(given: dict[str, Any]):
    came: list[RunResult] = []

    async def first(orchestra: Any) -> None:
        came.append(await begin()(orchestra))

    async def second(orchestra: Any) -> None:
        refusal = (
            f"^{next(iter(given))}= belongs to the beginning of a run, and this one has begun; leave it out$"
        )
        for going_on in (
            orchestra.resume(came[0].run_id, **given),
            orchestra.fork(came[0].run_id, 1, **given),
        ):
            with pytest.raises(ConfigError, match=refusal):
                await going_on

    lives(first, second)


def test_a_status_that_no_run_has_is_an_unknown_name():
    async def part(orchestra: Any) -> None:
        with pytest.raises(
            UnknownName, match=r"^no status of a run is called 'wating'; .+ Did you mean 'waiting'"
        ):
            await orchestra.runs(status=["waiting", "wating"])

    lives(part)


def test_a_call_that_a_person_knows_nothing_of_fails():
    bank, came = Bank(), []
    asks_them = ExecutionConfig(raise_errors=False, on_uncertain="ask")
    given: dict[str, Any] = {"agents": [bank.agent], "execution_config": asks_them}

    async def first(orchestra: Any) -> None:
        came.append(await orchestra.resume(await bank.cut_off(orchestra), **given))

    async def second(orchestra: Any) -> RunResult:
        return await orchestra.answer(came[0].run_id, came[0].questions[0].request_id, "fail", **given)

    _, result = lives(first, second)

    assert bank.paid == ["Ann"]
    assert "nobody knows whether it took effect" in str(result.error)


@pytest.mark.parametrize("said", ["retry", {"decision": "retry"}])
def test_a_call_that_is_cut_off_again_when_it_was_to_be_retried_is_asked_about_again(said: Any):
    bank = Bank()
    asks_them = ExecutionConfig(raise_errors=False, on_uncertain="ask")
    given: dict[str, Any] = {"agents": [bank.agent], "execution_config": asks_them, "accept_changes": True}

    async def first(orchestra: Any) -> RunResult:
        run_id = await bank.cut_off(orchestra)
        asked = (await orchestra.resume(run_id, **given)).questions[0]
        run = orchestra.take_up(run_id, answer=(asked.request_id, said), **given)
        await trio.sleep(5)
        run.pause(immediate=True)
        assert (await run.result()).status == "paused"
        return await orchestra.resume(run_id, **given)  # type: ignore[no-any-return]

    (result,) = lives(first)

    assert (result.status, [asked.kind for asked in result.questions]) == ("waiting", ["uncertain"])
    assert bank.paid == ["Ann", "Ann"]


def test_the_outside_world_is_asked_about_the_arguments_that_a_person_gave():
    asked_about: list[str] = []

    def look(what: str) -> str:
        asked_about.append(what)
        return f"bought {what}"

    @tool(approval=True, verify=look)
    async def buy(what: str) -> str:
        await trio.sleep(10)
        return f"bought {what}"

    model = FakeModel([call("buy", what="tea"), "done"])
    shop = Agent(model=model, name="A", tools=[buy])

    async def first(orchestra: Any) -> RunResult:
        (asked,) = (await orchestra.execute("x", "A", agents=[shop])).questions
        word = {"decision": "approve", "arguments": {"what": "coffee"}}
        run = orchestra.take_up(asked.run_id, agents=[shop], answer=(asked.request_id, word))
        await trio.sleep(5)
        run.pause(immediate=True)
        await run.result()
        return await orchestra.resume(asked.run_id, agents=[shop])  # type: ignore[no-any-return]

    (result,) = lives(first)

    assert (result.status, asked_about) == ("succeeded", ["coffee"])
    assert model.requests[1].messages[-1].text == "bought coffee"


# -- every workflow of the corpus ----------------------------------------------------------------


ODD = {
    "teams as tools",
    "a thread past its deadline",
    "max_steps",
    "first_result",
    "calls that wait for the budget",
}
RESTING = [name for name in CORPUS if name not in ODD]


def rested(name: str, at: int, immediate: bool) -> tuple[RunResult, RunResult]:
    """Pause a workflow when so many entries are written, and go on with it; return what both came to."""
    workflow, life = CORPUS[name], Life(MemoryStore())

    async def main() -> RunResult:
        given: dict[str, Any] = given_to(workflow, life, True)
        async with bare(storage=life.store, middleware=[life], new_id=lambda: RUN) as orchestra:
            run = orchestra.start("task", workflow.topology, **given)
            count = 0
            async for _ in run.events():
                count += 1
                if count == at:
                    run.pause(immediate=immediate)
            return await run.result()

    first = virtually(main)
    if first.status != "paused":
        return first, first
    last = later_life(name, life.store, idempotent=True).result
    assert last is not None
    return first, last


@pytest.mark.slow
@pytest.mark.parametrize("immediate", [False, True])
@pytest.mark.parametrize("name", RESTING)
def test_every_workflow_that_is_paused_anywhere_comes_to_the_same(name: str, immediate: bool):
    whole = first_life(name, idempotent=True)
    assert whole.result is not None
    wanted = meaning(whole.result)
    paused = 0
    for at in range(1, len(whole.events), max(1, len(whole.events) // 12)):
        first, last = rested(name, at, immediate)
        paused += first.status == "paused"
        assert meaning(last) == wanted, at
    assert paused or whole.result.total_steps < 2


@pytest.mark.parametrize("name", [name for name in RESTING if CORPUS[name].person is not None])
def test_every_workflow_with_people_is_answered_by_one_process_after_another(name: str):
    whole = first_life(name, idempotent=True)
    assert whole.result is not None
    workflow, life = CORPUS[name], Life(MemoryStore())
    came: list[RunResult] = []

    async def main() -> None:
        given: dict[str, Any] = given_to(workflow, life, True)
        person, given["channel"] = given["channel"], None
        async with bare(storage=life.store, middleware=[life], new_id=lambda: "r") as orchestra:
            came.append(await orchestra.execute("task", workflow.topology, **given))
        while came[-1].status == "waiting":
            asked = came[-1].questions[0]
            said = await person(asked)
            async with bare(storage=life.store, middleware=[life]) as orchestra:
                came.append(
                    await orchestra.answer(asked.run_id, asked.request_id, said, workflow.topology, **given)
                )

    virtually(main)

    assert len(came) > 1
    assert meaning(came[-1]) == meaning(whole.result)


def test_an_agent_that_is_written_for_asyncio_waits_for_a_time_too():
    import asyncio

    @agent(name="A")
    @uses_asyncio
    async def naps(prompt: Any, context: Any) -> str:
        await context.sleep(0.01)
        await asyncio.sleep(0)
        return "awake"

    async def main() -> RunResult:
        async with bare(storage=MemoryStore()) as orchestra:
            return await orchestra.execute("x", "A", agents=[naps])

    assert trio.run(main).final_response == "awake"
