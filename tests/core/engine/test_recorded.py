"""Steps that are taken again: what they had done in any life of their run answers them, and is paid for once."""

from __future__ import annotations

from collections import Counter
from typing import Any

import attrs
import pytest
import trio

from marsys_core import events as e
from marsys_core.agents import Agent, Team, agent
from marsys_core.config import ExecutionConfig
from marsys_core.engine.rebuild import read_events
from marsys_core.engine.spending import usage_of
from marsys_core.errors import CriticalError
from marsys_core.results import RunResult
from marsys_core.tools import tool
from marsys_core.values import Converter
from tests.core.engine.lives import RUN, Life, forked_life, meaning
from tests.core.engine.test_resuming import KEPT, RACY, whole
from tests.core.fakes import FakeModel, bare, call, virtually
from tests.core.stores import MemoryStore

CONFIG = ExecutionConfig(raise_errors=False)
FAILING = {
    *{"max_steps", "max_steps_per_branch", "max_branch_depth", "timeout", "step_timeout", "branch_timeout"},
    *{"model_timeout", "max_tool_rounds", "rules", "a share of the budget", "code written for asyncio"},
}
DECIDING = {"a person decides about a join"}
"""What a person said after the fork is asked again, and this person says something else the second time."""
SOUND = [name for name in KEPT if name not in FAILING | RACY | DECIDING]
SHARED = ("response", "success", "state", "usage", "said")
"""What does not depend on how long steps take that are not taken: who is cancelled for coming late does."""


@attrs.define(eq=False)
class Lives:
    """A team in a store, and how often it has been at work.

    Attributes:
        number: Which life this is, from 1.
        models: What was asked, over all lives.
        paid: What the tool ``pay`` was called with, and in which life.
    """

    topology: str
    config: ExecutionConfig = CONFIG
    agents: list[Any] = attrs.field(factory=list)
    store: MemoryStore = attrs.field(factory=MemoryStore)
    number: int = 1
    model: FakeModel = attrs.field(
        factory=lambda: FakeModel(lambda request: f"re {request.messages[-1].text}")
    )
    paid: list[tuple[int, str]] = attrs.field(factory=list)

    def live(self) -> RunResult:
        """Begin, or go on."""

        async def main() -> RunResult:
            async with bare(storage=self.store, new_id=lambda: RUN, agents=self.agents) as orchestra:
                if self.number == 1:
                    return await orchestra.execute("t", self.topology, execution_config=self.config)
                return await orchestra.resume(RUN, execution_config=self.config)

        return virtually(main)

    def die_after(self, kind: type[e.Event]) -> None:
        """Let there be nothing after the last entry of this kind."""
        entries = self.store.kept[RUN].entries
        last = max(seq for seq, entry in enumerate(entries, 1) if entry.kind == kind.__name__)
        self.store = self.store.cut(RUN, last)

    @property
    def pay(self) -> Any:
        lives = self

        @tool
        async def pay(to: str) -> str:
            """Pay."""
            lives.paid.append((lives.number, to))
            return f"paid {to}"

        return pay


def breaking(lives: Lives, name: str = "C", until: int = 1, after: float = 2) -> Any:
    """Return an agent that fails in the first lives."""

    @agent(name=name)
    async def work(prompt: Any) -> Any:
        await trio.sleep(after)
        if lives.number <= until:
            raise CriticalError(f"{name} broke")
        return name

    return work


def test_what_a_step_did_after_a_failure_is_not_done_again_when_that_life_ends_too() -> None:
    lives = Lives("A -> [B, C]; B -> D")

    @agent
    async def A(prompt: Any) -> Any:
        return prompt

    @agent
    async def B(prompt: Any) -> Any:
        await trio.sleep(3 if lives.number == 1 else 0)
        return prompt

    @agent
    async def D(prompt: Any, context: Any) -> Any:
        await context.call_tool("pay", to="Ann")
        if lives.number == 1:
            raise CriticalError("D broke")
        await context.call_tool("pay", to="Bob")
        return "done"

    D.tools = (lives.pay,)
    lives.agents = [A, B, D, breaking(lives)]

    assert not lives.live().success
    lives.number = 2
    assert lives.live().unwrap() == ["done", "C"]
    lives.die_after(e.ToolFinished)
    lives.number = 3
    assert lives.live().unwrap() == ["done", "C"]
    assert lives.paid == [(1, "Ann"), (2, "Bob")]


def test_a_run_may_fail_in_another_place_each_time_and_nothing_is_done_twice() -> None:
    lives = Lives("A -> B; B -> C")

    def worker(name: str, until: int) -> Any:
        @agent(name=name)
        async def work(prompt: Any, context: Any) -> Any:
            await context.call_tool("pay", to=f"{name}1")
            if lives.number <= until:
                raise CriticalError(f"{name} broke")
            await context.call_tool("pay", to=f"{name}2")
            return (await context.generate(str(prompt), model=lives.model)).text

        work.tools = (lives.pay,)
        return work

    lives.agents = [worker("A", 1), worker("B", 3), worker("C", 4)]
    results = []
    for number in range(1, 6):
        lives.number = number
        results.append(lives.live())

    assert [result.success for result in results] == [False] * 4 + [True]
    assert lives.paid == [(1, "A1"), (2, "A2"), (2, "B1"), (4, "B2"), (4, "C1"), (5, "C2")]
    assert results[-1].usage.model_calls == len(lives.model.requests) == 3


# -- what was spent ------------------------------------------------------------------------------


def steered(lives: Lives) -> Any:
    def reply(request: Any) -> Any:
        lives.model.requests.append(request)
        told = "could not be carried out" in f"{request.system} {request.messages}"
        return (
            "done" if told else call("invoke_agent", invocations=[{"agent_name": "nobody", "request": "x"}])
        )

    return Agent("D", model=FakeModel(reply))


def retried(lives: Lives) -> Any:
    tries: Counter[int] = Counter()

    @agent(name="D")
    async def work(prompt: Any, context: Any) -> Any:
        await context.generate("x", model=lives.model)
        tries[lives.number] += 1
        if lives.number == 1 and tries[1] < 3:
            raise ConnectionError("not now")
        return "done"

    return work


def failed(lives: Lives) -> Any:
    @agent(name="D")
    async def work(prompt: Any, context: Any) -> Any:
        await context.generate("x", model=lives.model)
        if lives.number == 1:
            raise CriticalError("no")
        await context.generate("y", model=lives.model)
        return "done"

    return work


def cut_off(lives: Lives) -> Any:
    @agent(name="D")
    async def work(prompt: Any, context: Any) -> Any:
        await context.generate("x", model=lives.model)
        await trio.sleep(1000 if lives.number == 1 else 1)
        return "done"

    return work


def asking_something_else(lives: Lives) -> Any:
    @agent(name="D")
    async def work(prompt: Any, context: Any) -> Any:
        if lives.number == 1:
            await context.generate("x", model=lives.model)
            await context.generate("y", model=lives.model)
        return "done"

    return work


def nested(lives: Lives) -> Any:
    @agent(name="In")
    async def inside(prompt: Any, context: Any) -> Any:
        await context.generate("x", model=lives.model)
        if lives.number == 1:
            raise CriticalError("inside")
        return "done"

    return Team(["In"], [inside]).as_node("D")


def calling(lives: Lives) -> Any:
    def reply(request: Any) -> Any:
        lives.model.requests.append(request)
        return call("pay", to="x") if request.messages[-1].role == "user" else "done"

    return Agent("D", model=FakeModel(reply), tools=[lives.pay])


KINDS = [steered, retried, failed, cut_off, asking_something_else, nested, calling]


@pytest.mark.parametrize("after", [0, 2, 50])
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_a_run_that_goes_on_has_spent_what_all_its_attempts_have(kind: Any, after: float) -> None:
    lives = Lives("A -> [D, C]")

    @agent
    async def A(prompt: Any, context: Any) -> Any:
        return (await context.generate("a", model=lives.model)).text

    lives.agents = [A, kind(lives), breaking(lives, after=after)]
    lives.live()
    lives.number = 2
    result = lives.live()

    assert result.unwrap() == ["done", "C"]
    assert result.usage.model_calls == len(lives.model.requests)
    assert result.usage == usage_of(read_events(lives.store.kept[RUN].entries, Converter(), RUN))


# -- forks ---------------------------------------------------------------------------------------


def begun(life: Life) -> list[e.StepStarted]:
    return [event for event in life.events if isinstance(event, e.StepStarted)]


@pytest.mark.slow
@pytest.mark.parametrize("name", SOUND)
def test_a_fork_at_any_step_of_a_run_that_succeeded_does_nothing_and_comes_to_the_same(name: str) -> None:
    before = whole(name, True)
    assert before.result is not None
    assert before.result.success
    for at in range(1, len(begun(before)) + 1):
        fork = forked_life(name, before.store, at, f"{name} {at}")
        assert fork.result is not None
        assert (fork.asked_models, fork.effects) == ([], []), f"forked at {at}"
        now, then = meaning(fork.result), meaning(before.result)
        assert {key: now[key] for key in SHARED} == {key: then[key] for key in SHARED}, f"forked at {at}"


def forked(lives: Lives, at: int, **changes: Any) -> RunResult:
    async def main() -> RunResult:
        async with bare(storage=lives.store, agents=lives.agents) as orchestra:
            return await orchestra.fork(RUN, at, execution_config=CONFIG, **changes)

    lives.model.requests.clear()
    return virtually(main)


def test_a_fork_with_another_input_asks_the_models_of_what_depends_on_it() -> None:
    lives = Lives("A -> [B, C] -> D")
    lives.agents = [Agent(name, model=lives.model) for name in "ABCD"]
    before = lives.live()
    nodes = [
        event.node
        for event in read_events(lives.store.kept[RUN].entries, Converter(), RUN)
        if isinstance(event, e.StepStarted)
    ]

    edited = forked(lives, nodes.index("B") + 1, edit="other")
    asked = [request.messages[-1].text for request in lives.model.requests]

    assert before.final_response.startswith("re ")
    assert asked[0] == "other"
    assert "re other" in asked[1]
    assert len(asked) == 2
    assert edited.final_response == f"re {asked[1]}"
    assert edited.usage.model_calls == 4


def test_a_fork_with_another_input_may_call_other_tools() -> None:
    lives = Lives("A")

    @agent
    async def A(prompt: Any, context: Any) -> Any:
        return await context.call_tool("pay", to=prompt)

    A.tools = (lives.pay,)
    lives.agents = [A]
    lives.live()
    assert forked(lives, 1, edit="Bob").unwrap() == "paid Bob"
    assert lives.paid == [(1, "t"), (1, "Bob")]
    assert forked(lives, 1).unwrap() == "paid t"
    assert len(lives.paid) == 2


def test_a_fork_of_a_run_that_had_failed_and_gone_on_does_nothing_again() -> None:
    lives = Lives("A -> [D, C]; D -> B")
    lives.agents = [
        Agent("A", model=lives.model),
        failed(lives),
        Agent("B", model=lives.model),
        breaking(lives),
    ]
    lives.live()
    lives.number = 2
    before = lives.live()
    for at in (1, 2, 3, 4):
        again = forked(lives, at)
        assert (again.final_response, lives.model.requests) == (before.final_response, [])


def test_a_step_that_is_given_something_else_after_a_failure_is_not_answered_what_another_question_was() -> (
    None
):
    config = attrs.evolve(CONFIG, convergence_policy=0.5)
    lives = Lives("A -> [B, C] -> D", config=config)

    @agent
    async def D(prompt: Any, context: Any) -> Any:
        await context.call_tool("pay", to="Ann")
        said = await context.generate(f"{'broke' in str(prompt)}", model=lives.model)
        if lives.number == 1:
            raise CriticalError("D broke")
        return said.text

    D.tools = (lives.pay,)
    same = [breaking(lives, name, until=0, after=3) for name in "AB"]
    lives.agents = [*same, D, breaking(lives)]
    lives.live()
    lives.number = 2
    result = lives.live()

    assert result.unwrap() == "re False"
    assert lives.paid == [(1, "Ann")]
    assert [request.messages[-1].text for request in lives.model.requests] == ["True", "False"]
    assert result.usage.model_calls == 2
