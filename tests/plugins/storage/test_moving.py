"""A run that has teams at work moves to another store, and goes on there."""

from __future__ import annotations

import pytest
import trio

from marsys import AskUser, Orchestra, Team, agent
from marsys.storage import SQLiteStore
from marsys_core.backend import BackendStore
from marsys_core.errors import LifecycleError, UnknownName
from tests.core.backend.backends import Kept

STORES = {
    "sqlite": lambda folder, name: SQLiteStore(folder / f"{name}.db"),
    "backend": lambda folder, name: BackendStore(Kept()),
}


class World:
    """A step with a team in it, in which another one works, which asks a person or stands still."""

    def __init__(self, waits):
        self.done, self.waits, self.still = [], waits, trio.Event()

        @agent(name="First")
        async def first(prompt):
            self.done.append(prompt)
            return f"t{prompt}"

        @agent(name="Second")
        async def second(prompt, context):
            if not waits:
                self.still.set()
                await trio.sleep(0 if len(self.done) > 1 or self.resumed else 3600)
                return f"heard {prompt}"
            return f"heard {prompt}" if context.answered else AskUser("Which?")

        self.resumed = False
        inner = Team("First -> Second\nSecond -> user", [first, second], name="inner")

        @agent(name="Middle")
        async def middle(prompt, context):
            return await context.run_team(inner, prompt)

        outer = Team("Middle -> user", [middle], name="outer")

        @agent(name="X")
        async def x(prompt, context):
            return await context.run_team(outer, prompt)

        self.agents = [x]

    async def begin(self, orchestra):
        """Leave a run behind that waits, or that was interrupted."""
        if self.waits:
            result = await orchestra.run("x", "X", agents=self.agents)
            assert result.status == "waiting"
            return
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: orchestra.run("x", "X", agents=self.agents))
            await self.still.wait()
            nursery.cancel_scope.cancel()

    async def go_on(self, orchestra, run_id):
        self.resumed = True
        if not self.waits:
            return await orchestra.resume(run_id, agents=self.agents)
        (question,) = await orchestra.questions(run_id)
        return await orchestra.answer(question.run_id, question.request_id, "red", agents=self.agents)


@pytest.mark.parametrize("kind", STORES)
@pytest.mark.parametrize("waits", [True, False], ids=["waiting", "interrupted"])
def test_a_run_whose_team_has_not_ended_goes_on_where_it_is_imported(tmp_path, kind, waits):
    opened, world, file = STORES[kind], World(waits), tmp_path / "run.jsonl"

    async def main():
        async with opened(tmp_path, "a") as a, opened(tmp_path, "b") as b:
            async with Orchestra(storage=a) as orchestra:
                await world.begin(orchestra)
            known = a._opened.places if kind == "backend" else [info.run_id for info in await a.runs()]
            infos = [await a.info(each) for each in known]
            (run_id,) = [info.run_id for info in infos if not info.parent]
            inner = [info.run_id for info in infos if info.parent]
            assert len(inner) == 2
            await a.export(run_id, file)
            assert await b.import_(file) == run_id
            async with Orchestra(storage=b) as orchestra:
                for each in inner:
                    with pytest.raises(
                        LifecycleError,
                        match=f"^run '{each}' is nested in run '{run_id}', and goes on with it: resume '{run_id}'$",
                    ):
                        await orchestra.resume(each, agents=world.agents)
                result = await world.go_on(orchestra, run_id)
            assert (result.success, result.final_response) == (True, f"heard {'red' if waits else 'tx'}")
            assert world.done == ["x"]  # the team did not begin anew
            await b.remove([run_id])
            for each in inner:
                with pytest.raises(UnknownName):
                    await b.info(each)

    trio.run(main)


def test_a_nested_run_whose_outer_run_is_not_kept_does_not_go_on(tmp_path):
    world, file = World(True), tmp_path / "run.jsonl"

    async def main():
        async with SQLiteStore(tmp_path / "a.db") as a, SQLiteStore(tmp_path / "b.db") as b:
            async with Orchestra(storage=a) as orchestra:
                await world.begin(orchestra)
            outer, middle, inner = [info.run_id for info in await a.runs()][::-1]
            await a.export(middle, file)
            await b.import_(file)
            async with Orchestra(storage=b) as orchestra:
                with pytest.raises(
                    LifecycleError,
                    match=f"^run '{inner}' is nested in run '{outer}', which is not kept here, and goes on only with it$",
                ):
                    await orchestra.resume(inner, agents=world.agents)

    trio.run(main)


def test_a_team_that_ended_long_ago_does_not_expire_before_its_run(tmp_path):
    now = [1000.0]

    @agent(name="Done")
    async def done(prompt):
        return prompt

    team = Team("Done -> user", [done], name="team")

    @agent(name="X")
    async def x(prompt, context):
        return await context.run_team(team, prompt)

    @agent(name="Y")
    async def y(prompt, context):
        return "done" if context.answered else AskUser("Which?")

    async def main():
        async with SQLiteStore(tmp_path / "a.db", clock=lambda: now[0]) as store:
            async with Orchestra(storage=store) as orchestra:
                assert (await orchestra.run("x", "X -> Y\nY -> user", agents=[x, y])).status == "waiting"
            statuses = [info.status for info in await store.runs()]
            assert statuses == ["succeeded", "waiting"]
            now[0] += 100
            assert await store.expire(50) == 0
            assert [info.status for info in await store.runs()] == statuses

    trio.run(main)
