"""A pool used directly: leases, instances, what it refuses, and its end."""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
import trio.testing

from marsys_core.agents import Agent, BaseAgent, FunctionAgent, Registry, current_registry
from marsys_core.agents.pool import AgentPool, PoolStatistics
from marsys_core.errors import AgentError, ConfigError, ErrorClass, LifecycleError
from tests.core.fakes import FakeModel, virtually


class Worker(BaseAgent):
    """Knows how many were made before it, and may refuse to be made."""

    def __init__(self, *, made: list[Worker], refusals: Any = (), **kwargs: Any) -> None:
        if refusals:
            raise refusals.pop(0)
        super().__init__(**kwargs)
        self.number = len(made)
        made.append(self)

    async def _run(self, prompt: Any, context: Any, **kwargs: Any) -> Any:
        await trio.sleep(1)
        return f"{prompt} by {self.number}"


class Closing(Worker):
    """Writes down that it was closed."""

    log: list[Any]

    def __init__(self, *, log: list[Any], seconds: float = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.log, self.seconds = log, seconds

    async def aclose(self) -> None:
        await trio.sleep(self.seconds)
        self.log.append(self.number)


class Plain(Worker):
    """Has a `close` that need not be awaited, and may fail."""

    def __init__(self, *, log: list[Any], fails: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.log, self.fails = log, fails

    def close(self) -> None:
        self.log.append(self.number)
        if self.fails:
            msg = f"{self.number} is stuck"
            raise ValueError(msg)


def pool_of(size: int = 2, cls: type[BaseAgent] = Worker, **given: Any) -> AgentPool:
    with Registry():
        return AgentPool(cls, size, **{"made": [], **given})


def counted(pool: AgentPool) -> tuple[int, int, int]:
    """How many are idle, leased and waiting."""
    found = pool.statistics()
    return found.idle, found.leased, found.waiting


def within(main: Callable[[], Awaitable[Any]]) -> Any:
    """Run `main` on a clock that jumps; who waits for ever fails."""

    async def guarded() -> Any:
        with trio.fail_after(10_000):
            return await main()

    return virtually(guarded)


# -- making one -------------------------------------------------------------------------------------


def test_a_pool_is_an_agent_with_the_traits_of_its_class() -> None:
    with Registry() as registry:
        pool = AgentPool(Agent, 3, model=FakeModel(), description="Answers.")
        named = AgentPool(Agent, name="Desk")
        also = AgentPool(agent_class=Worker, agent_name="Other", made=[])

    assert isinstance(pool, BaseAgent)
    assert dict(registry) == {"Agent": pool, "Desk": named, "Other": also}
    assert (pool.accepts_notes, pool.acts_by_tools, pool.description) == (True, True, "Answers.")
    assert (also.accepts_notes, also.acts_by_tools, also.name) == (False, False, "Other")
    assert (named.name, named.num_instances) == ("Desk", 1)


def test_nothing_is_made_before_it_is_needed() -> None:
    made: list[Worker] = []
    pool = pool_of(3, made=made)
    assert (made, dict(pool.instances)) == ([], {})

    async def main() -> None:
        async with pool.acquire() as first, pool.acquire() as second:
            assert [first, second] == made
        async with pool.acquire() as again:
            assert again is first

    within(main)
    assert pool.instances == {0: made[0], 1: made[1]}


def test_a_warm_pool_makes_all_its_instances_with_the_first_lease() -> None:
    made: list[Worker] = []
    pool = pool_of(3, made=made, warm_start=True)
    assert made == []

    async def main() -> None:
        async with pool.acquire():
            assert counted(pool) == (2, 1, 0)

    within(main)
    assert len(made) == 3


def test_instances_bear_the_name_of_the_pool_and_stand_in_no_registry() -> None:
    with Registry() as registry:
        pools = [
            AgentPool(Worker, name="W", made=[]),  # takes a name among others
            AgentPool(Agent, name="A"),  # takes one by name
            AgentPool(FunctionAgent, name="F", function=lambda prompt: prompt),
        ]

        async def main() -> list[str]:
            names = []
            for pool in pools:
                async with pool.acquire() as agent:
                    names.append(agent.name)
            return names

        assert within(main) == ["W", "A", "F"]
        assert dict(registry) == {pool.name: pool for pool in pools}


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"agent_class": 3}, "agent_class is a subclass of BaseAgent, not 3"),
        ({"agent_class": AgentPool}, "agent_class is a subclass of BaseAgent, not <class 'marsys_core.agents.pool.AgentPool'>"),
        ({"num_instances": 0}, "num_instances is a whole number from 1, not 0"),
        ({"num_instances": True}, "num_instances is a whole number from 1, not True"),
        ({"num_instances": 2.0}, "num_instances is a whole number from 1, not 2.0"),
        ({"warm_start": 1}, "warm_start is True or False, not 1"),
        ({"max_idle_time": 0}, "max_idle_time is a number of seconds above 0, or None, not 0"),
        ({"max_idle_time": float("inf")}, "max_idle_time is a number of seconds above 0, or None, not inf"),
        ({"max_idle_time": "300"}, "max_idle_time is a number of seconds above 0, or None, not '300'"),
    ],
)  # fmt: skip
def test_settings_out_of_their_range_are_refused(given: dict[str, Any], told: str) -> None:
    before = dict(current_registry())
    with pytest.raises(ConfigError, match=f"^an AgentPool cannot be made like this:\n  - {re.escape(told)}$"):
        AgentPool(**{"agent_class": Agent, **given})
    assert dict(current_registry()) == before


def test_all_that_is_wrong_is_told_at_once() -> None:
    with pytest.raises(ConfigError) as raised:
        AgentPool(Agent, num_instances=-1, max_idle_time=-1)
    assert len(raised.value.problems) == 2


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"modle": "x"}, "Agent cannot be made for its pool: got an unexpected keyword argument 'modle'. Did you mean 'model'?"),
        ({"num_instance": 3}, "Agent cannot be made for its pool: got an unexpected keyword argument 'num_instance'. Did you mean 'num_instances'?"),
    ],
)  # fmt: skip
def test_arguments_that_the_class_does_not_take_are_refused_at_once(given: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=f"^{re.escape(told)}$"):
        AgentPool(Agent, **given)


# -- leases -----------------------------------------------------------------------------------------


def test_who_asks_first_is_served_first() -> None:
    pool, served = pool_of(2), []

    async def use(number: int) -> None:
        async with pool.acquire():
            served.append((number, trio.current_time()))
            await trio.sleep(1)

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            for number in range(5):
                nursery.start_soon(use, number)
                await trio.testing.wait_all_tasks_blocked()
            assert counted(pool) == (0, 2, 3)

    within(main)
    assert served == [(0, 0), (1, 0), (2, 1), (3, 1), (4, 2)]
    assert pool.statistics() == PoolStatistics(
        size=2, idle=2, leased=0, waiting=0, made=2, dropped=0, leases=5, longest_wait=2.0
    )


def test_an_instance_is_back_however_its_block_ends() -> None:
    pool = pool_of(1)

    async def main() -> None:
        with pytest.raises(ValueError, match="^no$"):
            async with pool.acquire():
                raise ValueError("no")
        assert counted(pool) == (1, 0, 0)
        with trio.move_on_after(1):
            async with pool.acquire():
                await trio.sleep_forever()
        assert counted(pool) == (1, 0, 0)

    within(main)


def test_who_is_cancelled_in_line_leaves_it() -> None:
    pool = pool_of(1)

    async def main() -> None:
        async with pool.acquire():
            with trio.move_on_after(1) as scope:
                async with pool.acquire():
                    raise AssertionError
            assert scope.cancelled_caught
            assert counted(pool) == (0, 1, 0)
        with trio.CancelScope() as scope:
            scope.cancel()
            async with pool.acquire():
                raise AssertionError
        assert counted(pool) == (1, 0, 0)
        assert pool.statistics().leases == 1

    within(main)


def test_a_place_given_to_somebody_who_is_cancelled_at_that_moment_is_passed_on() -> None:
    """In whichever order the two tasks and the scheduler take it."""
    for seed in range(20):
        pool, served = pool_of(1), []

        async def use(pool: AgentPool, served: list[str], name: str, scope: trio.CancelScope) -> None:
            with scope:
                async with pool.acquire():
                    served.append(name)

        async def main(pool: AgentPool = pool, served: list[str] = served) -> None:
            scope = trio.CancelScope()
            async with trio.open_nursery() as nursery:
                lease = await pool.lease()
                nursery.start_soon(use, pool, served, "cancelled", scope)
                await trio.testing.wait_all_tasks_blocked()
                nursery.start_soon(use, pool, served, "next", trio.CancelScope())
                await trio.testing.wait_all_tasks_blocked()
                await lease.end()
                scope.cancel()

        virtually(main, seed=seed)
        assert served[-1] == "next"
        assert counted(pool) == (1, 0, 0)


def test_ending_a_lease_again_does_nothing() -> None:
    pool = pool_of(1)

    async def main() -> None:
        first = await pool.lease()
        await first.end()
        second = await pool.lease()
        await first.end()
        assert counted(pool) == (0, 1, 0)
        async with first.set_aside():
            assert counted(pool) == (0, 1, 0)
        await second.end()

    within(main)
    assert counted(pool) == (1, 0, 0)


def test_an_agent_of_a_pool_can_be_asked_without_an_engine() -> None:
    pool = pool_of(1)
    with Registry():
        threads = AgentPool(FunctionAgent, name="F", function=lambda prompt: f"{prompt}!")

    async def main() -> list[str]:
        context: Any = None
        return [await pool._run("work", context), await threads._run("work", context)]

    assert virtually(main) == ["work by 0", "work!"]
    assert counted(pool) == counted(threads) == (1, 0, 0)


# -- set aside --------------------------------------------------------------------------------------


def test_a_lease_that_is_set_aside_comes_back_before_all_others() -> None:
    pool, order = pool_of(1), []

    async def use(name: str) -> None:
        async with pool.acquire():
            order.append(name)
            await trio.sleep(1)

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            lease = await pool.lease()
            for name in ("first", "second"):
                nursery.start_soon(use, name)
                await trio.testing.wait_all_tasks_blocked()
            async with lease.set_aside():
                await trio.sleep(0.5)
                assert order == ["first"]
            order.append("back")
            assert trio.current_time() == 1
            await trio.sleep(1)
            assert order == ["first", "back"]
            await lease.end()

    within(main)
    assert order == ["first", "back", "second"]
    assert counted(pool) == (1, 0, 0)


def test_blocks_side_by_side_set_it_aside_once() -> None:
    pool = pool_of(1)

    async def main() -> None:
        lease = await pool.lease()

        async def aside(seconds: float) -> None:
            async with lease.set_aside():
                await trio.sleep(seconds)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(aside, 1)
            nursery.start_soon(aside, 2)
            await trio.sleep(1.5)
            assert counted(pool) == (1, 0, 0)
        assert counted(pool) == (0, 1, 0)
        await lease.end()

    within(main)


def test_what_is_set_aside_is_neither_dropped_nor_given_where_another_will_do() -> None:
    pool = pool_of(2, max_idle_time=1)

    async def main() -> None:
        lease = await pool.lease()
        async with lease.set_aside():
            await trio.sleep(5)
            async with pool.acquire() as other:
                assert other is not lease.agent
            await trio.sleep(5)
            assert pool.statistics().dropped == 1
        assert pool.instances == {0: lease.agent}
        await lease.end()

    within(main)


def test_a_lease_that_cannot_come_back_because_of_a_cancellation_is_over() -> None:
    pool = pool_of(1)

    async def main() -> None:
        lease = await pool.lease()
        with trio.move_on_after(1) as scope:
            async with lease.set_aside():
                other = await pool.lease()
        assert scope.cancelled_caught
        assert counted(pool) == (0, 1, 0)
        async with lease.set_aside():  # clean-up of the cancelled code
            assert counted(pool) == (0, 1, 0)
        await lease.end()
        await other.end()
        assert counted(pool) == (1, 0, 0)

    within(main)


# -- instances that cannot be made ------------------------------------------------------------------


def test_an_instance_that_cannot_be_made_is_an_error_and_takes_no_place() -> None:
    pool = pool_of(1, refusals=[ValueError("no power"), ConfigError("no name")])

    async def main() -> None:
        with pytest.raises(
            AgentError, match="^pool 'Worker' cannot make an instance of Worker: ValueError: no power$"
        ) as raised:
            await pool.lease()
        assert isinstance(raised.value.__cause__, ValueError)
        assert raised.value.error_class is ErrorClass.FAILURE
        with pytest.raises(ConfigError, match="^pool 'Worker' cannot make .*: ConfigError: no name$"):
            await pool.lease()
        async with pool.acquire():
            assert counted(pool) == (0, 1, 0)

    within(main)
    assert pool.statistics().made == 1


def test_who_is_in_line_gets_the_place_of_an_instance_that_could_not_be_made() -> None:
    pool, got = pool_of(1, refusals=[ValueError("no")]), []

    async def use() -> None:
        try:
            async with pool.acquire() as agent:
                got.append(agent)
        except AgentError as error:
            got.append(error)

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(use)
            nursery.start_soon(use)

    within(main)
    assert sorted(type(each).__name__ for each in got) == ["AgentError", "Worker"]
    assert counted(pool) == (1, 0, 0)


def test_a_warm_start_that_fails_keeps_what_it_has_made_and_goes_on_next_time() -> None:
    made: list[Worker] = []
    refusals: list[Exception] = []

    class Second(Worker):
        def __init__(self, **kwargs: Any) -> None:
            super().__init__(refusals=refusals if made else (), made=made, **kwargs)

    with Registry():
        pool = AgentPool(Second, 3, warm_start=True)
    refusals.append(ValueError("no"))

    async def main() -> None:
        with pytest.raises(AgentError, match="^pool 'Second' cannot make an instance of Second: Val"):
            await pool.lease()
        assert counted(pool) == (1, 0, 0)
        await (await pool.lease()).end()

    within(main)
    assert counted(pool) == (3, 0, 0)


# -- idle instances ---------------------------------------------------------------------------------


def test_an_instance_that_is_idle_for_too_long_is_dropped_and_closed() -> None:
    log: list[Any] = []
    pool = pool_of(2, Closing, log=log, max_idle_time=10)

    async def main() -> None:
        async with pool.acquire(), pool.acquire():
            pass
        await trio.sleep(10)
        assert counted(pool) == (2, 0, 0)
        async with pool.acquire() as used:  # the one given back last, which is the first one
            await trio.sleep(1)
            assert counted(pool) == (0, 1, 0)
            assert log == []  # statistics have dropped it, and cannot wait for its end
        assert log == [1]
        await trio.sleep(10.5)
        async with pool.acquire() as fresh:
            assert log == [1, 0]
            assert fresh is not used

    within(main)
    assert pool.statistics().dropped == 2
    assert pool.statistics().made == 3


def test_an_instance_that_fails_to_close_is_logged_and_troubles_no_lease(caplog: Any) -> None:
    pool = pool_of(2, Plain, log=[], fails=True, max_idle_time=1)

    async def main() -> None:
        async with pool.acquire():
            pass
        await trio.sleep(2)
        async with pool.acquire():
            pass

    with caplog.at_level(logging.ERROR, "marsys.agents"):
        within(main)
    assert [record.getMessage() for record in caplog.records] == [
        "an instance of pool 'Plain' failed to close"
    ]


def test_an_instance_that_takes_too_long_to_close_is_left() -> None:
    log: list[Any] = []
    pool = pool_of(1, Closing, log=log, seconds=60)

    async def main() -> None:
        async with pool.acquire():
            pass
        with pytest.raises(
            LifecycleError,
            match="^an instance of pool 'Closing' did not close within 5 s: <Closing 'Closing'>$",
        ):
            await pool.aclose()
        assert trio.current_time() == 5

    within(main)
    assert log == []


def test_idle_time_goes_on_between_two_programs_of_trio(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each has a clock of its own: between them the machine's counts."""
    pool = pool_of(1, max_idle_time=50)

    async def use(seconds: float = 0) -> int:
        async with pool.acquire() as agent:
            await trio.sleep(seconds)
        return agent.number  # type: ignore[attr-defined,no-any-return]

    assert virtually(use, 1000.0) == 0
    assert virtually(use) == 0  # whose clock begins at 0 again
    later = time.monotonic() + 51
    monkeypatch.setattr(time, "monotonic", lambda: later)
    assert pool.statistics().dropped == 1  # outside of Trio, too
    assert virtually(use) == 1


# -- the end ----------------------------------------------------------------------------------------


def test_a_closed_pool_gives_no_more_leases_and_closes_its_instances() -> None:
    log: list[Any] = []
    pool = pool_of(2, Closing, log=log)
    closed = "^the pool 'Closing' is closed, and gives no more leases; make a new one$"

    async def main() -> None:
        async with pool:
            first, second = await pool.lease(), await pool.lease()
            await second.end()
        assert log == [1]
        with pytest.raises(LifecycleError, match=closed):
            await pool.lease()
        assert counted(pool) == (0, 1, 0)
        async with first.set_aside():  # a lease that is out goes on to its end
            assert log == [1]
        await first.end()
        assert log == [1, 0]
        await pool.aclose()

    within(main)
    assert counted(pool) == (0, 0, 0)
    assert pool.statistics().dropped == 2


def test_who_waits_in_line_is_told_that_the_pool_is_closed() -> None:
    pool, told = pool_of(1), []

    async def use() -> None:
        try:
            await pool.lease()
        except LifecycleError as error:
            told.append(str(error))

    async def main() -> None:
        async with pool.acquire(), trio.open_nursery() as nursery:
            nursery.start_soon(use)
            nursery.start_soon(use)
            await trio.testing.wait_all_tasks_blocked()
            await pool.aclose()

    within(main)
    assert told == ["the pool 'Worker' is closed, and gives no more leases; make a new one"] * 2


def test_all_instances_are_closed_whichever_fails() -> None:
    log: list[Any] = []
    pool = pool_of(3, Plain, log=log, fails=True, warm_start=True)

    async def main() -> None:
        await (await pool.lease()).end()
        with pytest.raises(ValueError, match="^0 is stuck\n") as raised:
            await pool.aclose()
        assert raised.value.__notes__ == [
            "beside it: ValueError: 1 is stuck",
            "beside it: ValueError: 2 is stuck",
        ]

    within(main)
    assert log == [0, 1, 2]


def test_a_pool_can_be_closed_by_code_that_cannot_wait() -> None:
    log: list[Any] = []
    plain, waiting = pool_of(2, Plain, log=log, warm_start=True), pool_of(1, Closing, log=log)
    plain.warm_up()
    plain.close()
    plain.warm_up()
    assert sorted(log) == [0, 1]
    assert counted(plain) == (0, 0, 0)
    with pytest.raises(
        LifecycleError,
        match=r"^the instances of pool 'Closing' are closed by waiting for them: await pool.aclose\(\) instead$",
    ):
        waiting.close()

    async def main() -> None:
        async with waiting.acquire():
            pass

    within(main)  # it is still open


# -- threads ----------------------------------------------------------------------------------------


def test_threads_share_a_pool_and_wake_each_other() -> None:
    pool, inside, most = pool_of(2), [0], []
    lock = threading.Lock()

    async def use() -> None:
        async with pool.acquire():
            with lock:
                inside[0] += 1
                most.append(inside[0])
            await trio.lowlevel.checkpoint()
            with lock:
                inside[0] -= 1

    async def main() -> None:
        for _ in range(20):
            async with trio.open_nursery() as nursery:
                for _ in range(3):
                    nursery.start_soon(use)
            with trio.move_on_after(0):  # some give up
                await use()

    threads = [threading.Thread(target=trio.run, args=(main,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)
    assert max(most) <= 2
    assert counted(pool) == (2, 0, 0)
    assert pool.statistics().made == 2
    assert len(most) == 4 * 20 * 3


def test_a_waiter_is_woken_across_threads_in_its_turn() -> None:
    pool, order = pool_of(1), []
    asked, end = threading.Event(), threading.Event()

    async def other() -> None:
        async with trio.open_nursery() as nursery:

            async def watch() -> None:
                await trio.testing.wait_all_tasks_blocked()
                asked.set()

            nursery.start_soon(watch)
            async with pool.acquire():
                order.append("other")
                end.set()

    async def main() -> None:
        async with pool.acquire():
            thread = threading.Thread(target=trio.run, args=(other,))
            thread.start()
            await trio.to_thread.run_sync(asked.wait, 60)
            order.append("main")
        await trio.to_thread.run_sync(end.wait, 60)
        await trio.to_thread.run_sync(thread.join)

    trio.run(main)
    assert order == ["main", "other"]
    assert counted(pool) == (1, 0, 0)
