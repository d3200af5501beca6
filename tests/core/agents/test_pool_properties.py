"""Whatever is done to a pool, it does what a small model of it does: who has what, who waits, what is made and dropped."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from marsys_core.agents import BaseAgent, Registry
from marsys_core.agents.pool import AgentPool, Lease
from marsys_core.errors import AgentError, LifecycleError
from tests.core.examples import examples
from tests.core.fakes import virtually

IDLE = 10.0


@attrs.define(eq=False)
class Model:
    """A pool as a table of who is where. Users and instances are numbers."""

    size: int
    now: float = 0.0
    free: list[int] = attrs.field(factory=list)  # instances, in the order in which they were given back
    since: dict[int, float] = attrs.field(factory=dict)
    awaited: dict[int, list[int]] = attrs.field(factory=dict)  # by instance: who has set it aside
    returning: dict[int, list[int]] = attrs.field(factory=dict)  # by instance: who waits to have it back
    holds: dict[int, int] = attrs.field(factory=dict)
    aside: dict[int, int] = attrs.field(factory=dict)
    line: list[int] = attrs.field(factory=list)
    made: int = 0
    dropped: int = 0
    leases: int = 0
    closed: bool = False
    fails: bool = False

    @property
    def live(self) -> int:
        return self.made - self.dropped

    @property
    def users(self) -> list[int]:
        back = [user for users in self.returning.values() for user in users]
        return sorted([*self.holds, *self.aside, *self.line, *back])

    def tidy(self) -> None:
        for instance in list(self.free):
            old = self.closed or self.now - self.since[instance] > IDLE
            if old and not self.awaited.get(instance):
                self.free.remove(instance)
                self.dropped += 1

    def acquire(self, user: int) -> None:
        self.tidy()
        if self.closed:
            return
        plain = [each for each in self.free if not self.awaited.get(each)]
        if not plain and self.live < self.size:
            self.leases += 1
            if self.fails:
                self.fails = False
                return
            self.holds[user] = self.made
            self.made += 1
        elif self.free:
            self.leases += 1
            self.holds[user] = (plain or self.free)[-1]
            self.free.remove(self.holds[user])
        else:
            self.line.append(user)

    def release(self, instance: int) -> None:
        if self.returning.get(instance):
            user = self.returning[instance].pop(0)
            self.awaited[instance].remove(user)
            self.holds[user] = instance
        elif self.line and not self.closed:
            self.holds[self.line.pop(0)] = instance
            self.leases += 1
        else:
            self.free.append(instance)
            self.since[instance] = self.now
            self.tidy()

    def set_aside(self, user: int) -> None:
        instance = self.aside[user] = self.holds.pop(user)
        self.awaited.setdefault(instance, []).append(user)
        self.release(instance)

    def come_back(self, user: int) -> None:
        instance = self.aside.pop(user)
        if instance in self.free:
            self.free.remove(instance)
            self.awaited[instance].remove(user)
            self.holds[user] = instance
        else:
            self.returning.setdefault(instance, []).append(user)

    def cancel(self, user: int) -> None:
        if user in self.aside:
            self.come_back(user)  # at once, or not at all
        if user in self.line:
            self.line.remove(user)
        elif user in self.holds:
            self.release(self.holds.pop(user))
        else:
            for instance, users in self.returning.items():
                if user in users:
                    users.remove(user)
                    self.awaited[instance].remove(user)


class Numbered(BaseAgent):
    """Counts how many there are, and may refuse to be made."""

    def __init__(self, made: list[int], fails: list[bool], closed: list[int]) -> None:
        if fails and fails.pop():
            raise ValueError("no")
        super().__init__()
        self.number, self.closed = len(made), closed
        made.append(self.number)

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()
        self.closed.append(self.number)


@attrs.define(eq=False)
class Person:
    """A task that takes a lease and then does as it is told."""

    pool: AgentPool
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    lease: Lease | None = None
    aside: bool = False
    over: bool = False
    _told: trio.Event = attrs.field(factory=trio.Event)
    _word: str = ""

    def tell(self, word: str) -> None:
        self._word, told, self._told = word, self._told, trio.Event()
        told.set()

    async def _listen(self) -> str:
        await self._told.wait()
        return self._word

    async def live(self) -> None:
        with self.scope:
            try:
                lease = await self.pool.lease()
            except (AgentError, LifecycleError):
                self.over = True
                return
            try:
                self.lease = lease
                while await self._listen() == "aside":
                    self.lease, self.aside = None, True
                    async with lease.set_aside():
                        try:
                            await self._listen()
                        finally:
                            self.aside = False
                    self.lease = lease
            finally:
                self.lease = None
                await lease.end()
        self.over = True


OPERATIONS = ("acquire", "acquire", "acquire", "release", "aside", "back", "cancel", "fail", "idle", "close")
operations = st.lists(st.tuples(st.sampled_from(OPERATIONS), st.integers(0, 30)), max_size=40)


def do(word: str, number: int, model: Model, people: list[Person], fails: list[bool]) -> None:
    """Do one thing to the model and to the pool; what cannot be done now is left out."""

    def chosen(users: Any) -> int | None:
        found = sorted(users)
        return found[number % len(found)] if found else None

    acts: dict[str, tuple[Any, Callable[[int], None], Callable[[Person], None]]] = {
        "release": (
            model.holds,
            lambda user: model.release(model.holds.pop(user)),
            lambda person: person.tell("release"),
        ),
        "aside": (model.holds, model.set_aside, lambda person: person.tell("aside")),
        "back": (model.aside, model.come_back, lambda person: person.tell("back")),
        "cancel": (model.users, model.cancel, lambda person: person.scope.cancel()),
    }
    if word in acts:
        users, to_model, to_person = acts[word]
        if (user := chosen(users)) is not None:
            to_model(user)
            to_person(people[user])
    elif word == "fail":
        model.fails = True
        fails[:] = [True]


async def _story(size: int, steps: list[tuple[str, int]]) -> None:
    made: list[int] = []
    fails: list[bool] = []
    closed: list[int] = []
    with Registry():
        pool = AgentPool(Numbered, size, max_idle_time=IDLE, made=made, fails=fails, closed=closed)
    model, people = Model(size), list[Person]()
    with trio.fail_after(10_000):
        await _play(pool, model, people, steps, fails)
    assert (pool.statistics().leased, pool.statistics().waiting) == (0, 0)
    await pool.aclose()
    assert sorted(closed) == made
    assert pool.statistics().dropped == len(made)


async def _play(
    pool: AgentPool, model: Model, people: list[Person], steps: list[tuple[str, int]], fails: list[bool]
) -> None:
    async with trio.open_nursery() as nursery:
        for word, number in steps:
            if word == "acquire":
                people.append(Person(pool))
                model.acquire(len(people) - 1)
                nursery.start_soon(people[-1].live)
            elif word == "idle":
                await trio.sleep(number)
                model.now += number
            elif word == "close" and number > 24:
                model.closed, model.line = True, []
                await pool.aclose()
            else:
                do(word, number, model, people, fails)
            await trio.testing.wait_all_tasks_blocked()
            _compare(pool, model, people)
        nursery.cancel_scope.cancel()


def _compare(pool: AgentPool, model: Model, people: list[Person]) -> None:
    found = pool.statistics()
    model.tidy()
    holding = {i: person.lease.agent for i, person in enumerate(people) if person.lease is not None}
    assert {i: getattr(agent, "number", None) for i, agent in holding.items()} == model.holds
    assert {i for i, person in enumerate(people) if person.aside} == set(model.aside)
    assert [i for i, person in enumerate(people) if not person.over] == model.users
    waiting = len(model.line) + sum(map(len, model.returning.values()))
    assert (found.idle, found.leased, found.waiting) == (len(model.free), len(model.holds), waiting)
    assert (found.made, found.dropped, found.leases) == (model.made, model.dropped, model.leases)


@pytest.mark.slow
@examples(300)
@given(st.integers(1, 3), operations)
def test_a_pool_does_what_its_model_does(size: int, steps: list[tuple[str, int]]) -> None:
    virtually(_story, size, steps)
