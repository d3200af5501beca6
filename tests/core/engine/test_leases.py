"""Pools in runs: who takes a step, how many at a time, and that every instance is back however the run ends."""

from __future__ import annotations

import gc
import itertools
import threading
import weakref
from typing import Any

import pytest
import trio

from marsys_core import events as e
from marsys_core.actions import Fail, Invoke
from marsys_core.agents import Agent, BaseAgent, FunctionAgent, Registry, agent
from marsys_core.agents.pool import AgentPool
from marsys_core.config import ExecutionConfig, RetryConfig
from marsys_core.errors import (
    AgentError,
    BranchTimeout,
    CriticalError,
    LifecycleError,
    RecoverableError,
    RunTimeout,
    StepTimeout,
    UnknownName,
)
from marsys_core.orchestra import Orchestra
from marsys_core.topology import Node, Topology
from tests.core.fakes import FakeModel, Ran, bare, run, virtually

HUB = "Hub <-> Worker"


class Worker(BaseAgent):
    """Takes a second, and answers with its number; at most one caller at a time."""

    numbers = itertools.count()
    seconds = 1.0

    def __init__(self) -> None:
        super().__init__()
        self.number = next(self.numbers)
        self.busy = False

    async def _run(self, prompt: Any, context: Any, **kwargs: Any) -> Any:
        assert not self.busy
        self.busy = True
        try:
            return await self.work(prompt, context)
        finally:
            self.busy = False

    async def work(self, prompt: Any, context: Any) -> Any:
        await trio.sleep(self.seconds)
        return [self.number, trio.current_time()]


def worker(work: Any = None, **members: Any) -> type[Worker]:
    """A class of workers, counted from 0; `work` is what they do."""
    if work is not None:
        members["work"] = work
    return type("Worker", (Worker,), {"numbers": itertools.count(), **members})


def pool_of(size: int, cls: Any = None, **given: Any) -> AgentPool:
    with Registry():
        return AgentPool(cls or worker(), size, **{"name": "Worker", **given})


def hub(*payloads: Any) -> BaseAgent:
    """Asks the workers all at once, and answers with what they said."""

    async def ask(prompt: Any) -> Any:
        if isinstance(prompt, str):
            return Invoke([("Worker", payload) for payload in payloads])
        return prompt.values if hasattr(prompt, "values") else prompt

    with Registry():
        return FunctionAgent(ask, name="Hub")


def fork(pool: AgentPool, count: int, **config: Any) -> Ran:
    """Ask the pool so many times at once; a run that would wait for ever reaches its limit."""
    return run("go", HUB, [hub(*range(count)), pool], **{"timeout": 1000, **config})


def at_rest(pool: AgentPool) -> bool:
    """Whether every instance is back, and nobody waits."""
    found = pool.statistics()
    return (found.leased, found.waiting) == (0, 0)


# -- turns ------------------------------------------------------------------------------------------


def test_a_pool_of_two_works_on_a_fork_of_five_two_at_a_time() -> None:
    pool = pool_of(2)
    ran = fork(pool, 5)
    assert sorted(when for _, when in ran.result.final_response) == [1, 1, 2, 2, 3]
    assert {number for number, _ in ran.result.final_response} == {0, 1}
    found = pool.statistics()
    assert (found.idle, found.leased, found.waiting, found.leases, found.longest_wait) == (2, 0, 0, 5, 2.0)


def test_steps_are_taken_in_the_order_in_which_they_came_to_the_pool() -> None:
    orders = []
    for schedule in range(5):
        ran = fork(pool_of(1), 5, schedule=schedule)
        came, done = (
            [event.branch for event in ran.of(kind) if event.node == "Worker"]
            for kind in (e.StepStarted, e.StepFinished)
        )
        assert done == came
        orders.append(came)
    assert len(set(map(tuple, orders))) > 1


async def _note(taken: list[Any], prompt: Any) -> str:
    await trio.sleep(1)
    taken.append(prompt)
    return "noted"


def test_a_pool_is_found_in_the_registry_and_runs_alone() -> None:
    with Registry():
        AgentPool(worker(), 2)

        async def main() -> Any:
            return await Orchestra.run("go", "Worker", execution_config=ExecutionConfig())

        assert virtually(main).final_response == [0, 1.0]
    pool = pool_of(1)
    assert virtually(pool.run, "go").final_response == [0, 1.0]


def test_a_journal_does_not_tell_how_many_instances_there_are() -> None:
    cls = worker(lambda self, prompt, context: _note([], prompt))
    single = fork(pool_of(1, cls), 4).heard.journal
    assert fork(pool_of(3, cls), 4).heard.journal == single
    with Registry():
        alone = FunctionAgent(lambda prompt: "noted", name="Worker")
    assert run("go", HUB, [hub(*range(4)), alone]).heard.journal == single


def test_agents_in_threads_take_turns_too() -> None:
    inside, most, lock = [0], [0], threading.Lock()

    def work(prompt: Any) -> str:
        with lock:
            inside[0] += 1
            most[0] = max(most[0], inside[0])
        with lock:
            inside[0] -= 1
        return "done"

    pool = pool_of(1, FunctionAgent, function=work)
    assert fork(pool, 5, timeout=None).result.final_response == ["done"] * 5
    assert most == [1]
    assert at_rest(pool)


def test_an_empty_answer_is_what_the_class_makes_of_it() -> None:
    with Registry():
        pool = AgentPool(FunctionAgent, function=lambda prompt: None, name="Worker")
    assert run("go", "Worker", [pool]).result.final_response == ""


def test_slots_and_leases_go_together() -> None:
    pool = pool_of(3)
    ran = fork(pool, 6, max_parallel_branches=2)
    assert sorted(when for _, when in ran.result.final_response) == [1, 1, 2, 2, 3, 3]
    assert at_rest(pool)


# -- instances --------------------------------------------------------------------------------------


def test_each_instance_has_a_model_of_its_own_and_the_pool_the_conversation() -> None:
    models: list[FakeModel] = []

    class Clerk(Agent):
        def __init__(self, **kwargs: Any) -> None:
            models.append(FakeModel(lambda request: f"answer {len(request.messages)}", delay=1))
            super().__init__(model=models[-1], **kwargs)

    with Registry():
        pool = AgentPool(Clerk, 2, name="Worker")
        # Somebody else holds the first instance in the second round.
        taken: list[Any] = []

        async def ask(prompt: Any) -> Any:
            if not taken:
                taken.append(None)
                return Invoke([("Worker", "one")])
            if taken == [None]:
                taken[:] = [await pool.lease()]
                return Invoke([("Worker", "two")])
            await taken[0].end()
            return prompt

        hub = FunctionAgent(ask, name="Hub")
    ran = run("go", HUB, [hub, pool])
    assert ran.result.final_response == "answer 3"
    first, second = models
    assert first.said() == [("user", "one")]
    assert second.said() == [("user", "one"), ("assistant", "answer 1"), ("user", "two")]
    assert [message.name for message in second.requests[0].messages] == ["", "Worker", ""]
    assert at_rest(pool)


def test_a_pool_goes_on_with_its_session_whichever_instance_takes_the_step() -> None:
    model = FakeModel(["one", "two"])
    pool = pool_of(2, Agent, model=model, memory_scope="session", allowed_peers=["Other"])
    assert pool.allowed_peers == ("Other",)

    async def main() -> None:
        async with bare() as orchestra:
            await orchestra.execute("first", "Worker", agents=[pool], session_id="s")
            async with pool.acquire():
                await orchestra.execute("second", "Worker", agents=[pool], session_id="s")

    virtually(main)
    assert model.said() == [("user", "first"), ("assistant", "one"), ("user", "second")]
    assert pool.statistics().made == 2


def test_instances_cannot_differ_from_the_pool_in_what_a_run_begins_with() -> None:
    class Clerk(Agent):
        def __init__(self, name: str) -> None:
            super().__init__(name, memory_scope="session")

    error = run("go", "Worker", [pool_of(1, Clerk)]).result.error
    assert str(error).startswith(
        "pool 'Worker' cannot make an instance of Clerk: ConfigError: it has memory_scope='session', and its pool "
        "'run'; give the pool memory_scope='session', and let the class take it"
    )


def test_middleware_round_a_step_sees_the_instance() -> None:
    seen: list[Any] = []

    class Looker:
        name = "looker"

        async def agent_step(self, call: Any, proceed: Any) -> Any:
            seen.append(call.agent)
            return await proceed(call)

    pool = pool_of(2)
    run("go", HUB, [hub(1, 2), pool], middleware=[Looker()])
    assert len(seen) == 4  # the hub's two among them
    assert {each for each in seen if each.name == "Worker"} == set(pool.instances.values())


def test_a_warm_pool_is_made_before_the_first_step() -> None:
    made: list[int] = []
    pool = pool_of(3, worker(), warm_start=True)

    @agent
    async def First(prompt: str) -> str:
        made.append(len(pool.instances))
        return prompt

    assert made == []
    run("go", "First -> Worker", [First, pool])
    assert made == [3]


def test_what_a_warm_pool_names_is_looked_up_before_anything_runs() -> None:
    pool = pool_of(2, Agent, model="nobody", warm_start=True)
    ran = run("go", "Worker", [pool])
    assert isinstance(ran.result.error, UnknownName)
    assert ran.heard.events == []
    ran = run("go", "Worker", [pool_of(2, Agent, model="nobody")])
    assert "(agent 'Worker')" in str(ran.result.error) or "'nobody'" in str(ran.result.error)
    assert isinstance(ran.result.error, UnknownName)


def test_an_instance_that_is_given_other_tools_is_made_ready_again() -> None:
    pool = pool_of(1, Agent, model=FakeModel(["first"]))

    async def main() -> Any:
        async with bare() as orchestra:
            before = await orchestra.execute("go", "Worker", agents=[pool])
            pool.instances[0].model = FakeModel(["second"])
            return before, await orchestra.execute("go", "Worker", agents=[pool])

    assert [result.final_response for result in virtually(main)] == ["first", "second"]


def test_an_engine_keeps_no_instance_alive_that_was_dropped() -> None:
    pool = pool_of(2, max_idle_time=5)

    async def main() -> None:
        async with bare() as orchestra:
            await orchestra.execute("go", HUB, agents=[hub(1, 2), pool])
            old = [weakref.ref(each) for each in pool.instances.values()]
            await trio.sleep(10)
            await orchestra.execute("go", HUB, agents=[hub(1), pool])
            gc.collect()
            assert [each() for each in old] == [None, None]

    virtually(main)


# -- endings ----------------------------------------------------------------------------------------


async def _raises(self: Any, prompt: Any, context: Any) -> Any:
    await trio.sleep(1)
    raise ValueError("no")


async def _fails(self: Any, prompt: Any, context: Any) -> Any:
    return Fail("no")


async def _sleeps(self: Any, prompt: Any, context: Any) -> Any:
    await trio.sleep(99)


async def _swallows(self: Any, prompt: Any, context: Any) -> Any:
    try:
        await trio.sleep(99)
    except trio.Cancelled:
        return "swallowed"


@pytest.mark.parametrize(
    ("work", "config", "error"),
    [
        (_raises, {}, AgentError),
        (_fails, {}, AgentError),
        (_sleeps, {"step_timeout": 5}, StepTimeout),
        (_sleeps, {"branch_timeout": 5}, BranchTimeout),
        (_sleeps, {"timeout": 5}, RunTimeout),
        (_swallows, {"step_timeout": 5}, StepTimeout),
        (_swallows, {"timeout": 5}, RunTimeout),
    ],
)
def test_every_instance_is_back_however_a_step_ends(work: Any, config: Any, error: Any) -> None:
    pool = pool_of(1, worker(work))
    ran = run("go", "Worker", [pool], **config)
    assert type(ran.result.error) is error
    assert at_rest(pool)
    pool = pool_of(2, worker(work))
    assert not fork(pool, 5, **config).result.success
    assert at_rest(pool)


def test_a_thread_past_its_deadline_keeps_its_instance_until_it_returns() -> None:
    release, held = threading.Event(), list[int]()
    pool = pool_of(1, FunctionAgent, function=lambda prompt: release.wait(60))

    class Stuck:
        def on_stuck(self, event: e.Stuck) -> None:
            held.append(pool.statistics().leased)
            release.set()

    async def main() -> Any:
        config = ExecutionConfig(step_timeout=0.001)
        async with bare(sinks=[Stuck()]) as orchestra:
            return await orchestra.execute("go", "Worker", agents=[pool], execution_config=config)

    assert isinstance(trio.run(main).error, StepTimeout)
    assert held == [1]
    assert at_rest(pool)


def test_waiting_for_an_instance_does_not_count_for_the_limit_of_a_step() -> None:
    pool = pool_of(1)
    assert fork(pool, 5, step_timeout=2).result.success
    assert at_rest(pool)


def test_waiting_for_an_instance_counts_for_the_limits_of_a_branch_and_a_run() -> None:
    pool = pool_of(1)

    async def main(config: ExecutionConfig) -> Any:
        async with bare() as orchestra, pool.acquire():
            result = await orchestra.execute("go", "Worker", agents=[pool], execution_config=config)
            return result.error, trio.current_time()

    error, when = virtually(main, ExecutionConfig(branch_timeout=6, step_timeout=1))
    assert (type(error), when) == (BranchTimeout, 6)
    error, when = virtually(main, ExecutionConfig(timeout=3))
    assert (type(error), when) == (RunTimeout, 3)
    assert at_rest(pool)


def test_a_step_that_is_tried_again_gives_its_instance_back_in_between() -> None:
    free: list[int] = []
    errors = iter([ConnectionError("1"), ConnectionError("2")])

    async def flaky(self: Any, prompt: Any, context: Any) -> Any:
        if (error := next(errors, None)) is not None:
            raise error
        return "done"

    pool = pool_of(1, worker(flaky))

    async def main() -> Any:
        async def watch() -> None:
            await trio.sleep(0.5)
            free.append(pool.statistics().idle)

        async with bare() as orchestra, trio.open_nursery() as nursery:
            nursery.start_soon(watch)
            retry = RetryConfig(initial_delay=1, jitter="none", max_attempts=3)
            config = ExecutionConfig(auto_retry_on_error=True, retry=retry)
            return await orchestra.execute("go", "Worker", agents=[pool], execution_config=config)

    assert virtually(main).final_response == "done"
    assert free == [1]
    assert pool.statistics().leases == 3


def test_an_instance_that_cannot_be_made_fails_the_step_by_its_cause() -> None:
    causes: list[Exception] = [ValueError("no power"), ConnectionError("no line")]

    class Weak(BaseAgent):
        def __init__(self) -> None:
            if causes:
                raise causes.pop(0)
            super().__init__()

        async def _run(self, prompt: Any, context: Any, **kwargs: Any) -> str:
            return "done"

    pool = pool_of(1, Weak)
    told = "pool 'Worker' cannot make an instance of Weak: ValueError: no power"
    error = run("go", "Worker", [pool]).result.error
    assert isinstance(error, AgentError)
    assert str(error).startswith(told)
    assert error.place is not None
    error = run("go", "Worker", [pool]).result.error
    assert isinstance(error, AgentError)
    causes.append(ConnectionError("no line"))
    with pytest.raises(RecoverableError):
        run("go", "Worker", [pool], raise_errors=True)
    assert run("go", "Worker", [pool]).result.final_response == "done"
    causes[:] = [ValueError("not warm")]
    with pytest.raises(
        CriticalError, match="^pool 'Worker' cannot make an instance of Weak: ValueError: not"
    ):
        run("go", "Worker", [pool_of(1, Weak, warm_start=True)], raise_errors=True)


def test_a_pool_that_is_closed_fails_the_step() -> None:
    pool = pool_of(1)
    pool.close()
    error = run("go", "Worker", [pool]).result.error
    assert isinstance(error, LifecycleError)
    assert "the pool 'Worker' is closed" in str(error)


def test_a_run_that_is_cancelled_leaves_no_lease() -> None:
    pool = pool_of(2, worker(_sleeps))

    async def main() -> None:
        async with bare() as orchestra:
            with trio.move_on_after(5):
                await orchestra.execute("go", HUB, agents=[hub(*range(5)), pool])
            assert at_rest(pool)
            background = orchestra.start("go", HUB, agents=[hub(*range(5)), pool])
            await trio.sleep(1)
            assert not at_rest(pool)
        assert background.status == "cancelled"
        assert at_rest(pool)

    virtually(main)


# -- runs inside a step -----------------------------------------------------------------------------


@pytest.mark.parametrize("opened", [False, True])
def test_an_instance_is_given_back_while_its_step_waits_for_a_run_of_its_own(opened: bool) -> None:
    """A pool of one, whose agent asks a team with the same pool in it: three deep."""

    async def work(self: Any, prompt: Any, context: Any) -> Any:
        self.busy = False  # the code waits here; others may have the instance
        if prompt == 0:
            return "end"
        ask = context["orchestra"].execute if opened else Orchestra.run
        answer = await ask(prompt - 1, "Worker", agents=[pool], context=context.data)
        return [prompt, answer.final_response]

    pool = pool_of(1, worker(work))

    async def main() -> Any:
        with trio.fail_after(60):
            async with bare() as orchestra:
                return await orchestra.execute(2, "Worker", agents=[pool], context={"orchestra": orchestra})

    assert virtually(main).final_response == [2, [1, "end"]]
    assert at_rest(pool)
    assert pool.statistics().made == 1


def test_a_run_started_in_the_background_leaves_the_instance_with_its_step() -> None:
    seen: list[Any] = []

    async def work(self: Any, prompt: Any, context: Any) -> Any:
        background = context["orchestra"].start("x", "Other", agents=[Other], context=context.data)
        await trio.sleep(1)
        seen.append(pool.statistics().leased)
        await background.result()
        return "done"

    @agent
    async def Inner(prompt: str) -> str:
        await trio.sleep(3)
        return prompt

    @agent
    async def Other(prompt: str, context: Any) -> Any:
        await context["orchestra"].execute("x", "Inner", agents=[Inner])
        return "other"

    pool = pool_of(1, worker(work))

    async def main() -> Any:
        async with bare() as orchestra:
            return await orchestra.execute("go", "Worker", agents=[pool], context={"orchestra": orchestra})

    assert virtually(main).final_response == "done"
    assert seen == [1]


# -- more than one run ------------------------------------------------------------------------------


def test_runs_and_engines_share_a_pool() -> None:
    pool = pool_of(2)

    async def main() -> list[Any]:
        results = []

        async def one() -> None:
            async with bare() as orchestra:
                results.append(await orchestra.execute("go", HUB, agents=[hub(1, 2, 3), pool]))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(one)
            nursery.start_soon(one)
        return results

    for again in (1, 2):  # one program of Trio after the other
        results = virtually(main)
        whens = sorted(when for result in results for _, when in result.final_response)
        assert whens == [1, 1, 2, 2, 3, 3]
        assert pool.statistics().leases == 6 * again
    assert pool.statistics().made == 2


def test_threads_with_runs_of_their_own_share_a_pool() -> None:
    async def work(self: Any, prompt: Any, context: Any) -> Any:
        await trio.lowlevel.checkpoint()
        return "done"

    pool, answers = pool_of(2, worker(work)), []

    async def main() -> None:
        async with bare() as orchestra:
            for _ in range(5):
                result = await orchestra.execute("go", HUB, agents=[hub(*range(4)), pool])
                answers.append(result.final_response)

    threads = [threading.Thread(target=trio.run, args=(main,)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert answers == [["done"] * 4] * 15
    assert at_rest(pool)
    assert pool.statistics().made == 2


def test_a_run_without_a_pool_takes_the_short_way() -> None:
    """No attribute of a pool is looked at on it: the long way is for threads, deadlines and middleware."""

    @agent
    async def plain(prompt: str) -> str:
        return prompt

    async def main() -> Any:
        async with bare() as orchestra:
            prepared = await orchestra.engine.prepared(plain)
            pooled = await orchestra.engine.prepared(pool_of(1))
            return prepared, pooled

    prepared, pooled = virtually(main)
    assert (prepared.is_async, prepared.leases) == (True, None)
    assert not pooled.is_async
    assert pooled.leases is not None


def test_a_pool_may_stand_at_several_nodes() -> None:
    pool = pool_of(1)
    topology = Topology([Node("A", agent="Worker"), Node("B", agent="Worker")], ["A -> B"])
    assert run("go", topology, [pool]).result.final_response == [0, 2.0]
    assert pool.statistics().leases == 2
