"""Going on with a run in the background, and what the application wants to know again of one."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from marsys import ExecutionConfig, Orchestra, agent
from marsys.storage import SQLiteStore
from marsys_core.errors import Cancelled, ConfigError, LifecycleError, UnknownName
from marsys_core.protocols.store import RunInfo


@agent
async def Planner(prompt):
    return f"{prompt}, planned"


def waiting(gate):
    @agent(name="Writer")
    async def write(prompt):
        await gate.wait()
        return f"{prompt}, written"

    return write


async def cut_off(path, gate):
    """Begin a run, cancel it in its second step, and return its id."""
    config = ExecutionConfig(raise_errors=False)
    async with Orchestra(storage=path, execution_config=config) as orchestra:
        run = orchestra.start("x", "Planner -> Writer", agents=[Planner, waiting(gate)], origin="from here")
        async for event in run.events():
            if type(event).__name__ == "StepStarted" and event.node == "Writer":
                run.cancel()
        assert isinstance((await run.result()).error, Cancelled)
        return run.id


def test_a_run_goes_on_in_the_background_and_can_be_watched(tmp_path):
    async def main():
        gate = trio.Event()
        run_id = await cut_off(tmp_path / "runs.db", gate)
        async with Orchestra(storage=tmp_path / "runs.db") as orchestra:
            run = orchestra.take_up(
                run_id, agents=[Planner, waiting(gate)], execution_config=ExecutionConfig(raise_errors=False)
            )
            assert (run.id, run.status) == (run_id, "starting")
            gate.set()
            result = await run.result()
            kinds = [type(event).__name__ async for event in run.events()]
        assert result.final_response == "x, planned, written"
        assert run.status == "succeeded"
        assert kinds.count("StepFinished") == 2

    trio.run(main)


def test_a_run_that_goes_on_can_be_cancelled_and_goes_on_again(tmp_path):
    async def main():
        gate = trio.Event()
        run_id = await cut_off(tmp_path / "runs.db", gate)
        config = ExecutionConfig(raise_errors=False)
        async with Orchestra(storage=tmp_path / "runs.db", execution_config=config) as orchestra:
            agents = [Planner, waiting(gate)]
            run = orchestra.take_up(run_id, agents=agents)
            await trio.testing.wait_all_tasks_blocked(0.01)
            run.cancel()
            assert isinstance((await run.result()).error, Cancelled)
            gate.set()
            result = await orchestra.resume(run_id, agents=agents)
            assert result.final_response == "x, planned, written"

    trio.run(main)


def test_what_keeps_a_run_from_going_on_is_raised_by_its_result(tmp_path):
    async def main():
        async with Orchestra(storage=tmp_path / "runs.db") as orchestra:
            run = orchestra.take_up("none")
            with pytest.raises(UnknownName, match=r"^no run is called 'none'; there are: none\.$"):
                await run.result()
        async with Orchestra() as orchestra:
            with pytest.raises(LifecycleError, match=r"^this Orchestra keeps no runs"):
                await orchestra.take_up("none").result()
            with pytest.raises(ConfigError, match=r"^no option of a run is called 'agent'"):
                orchestra.take_up("none", agent=Planner)
        with pytest.raises(LifecycleError):
            orchestra.take_up("none")

    trio.run(main)


def test_what_the_application_wants_to_know_again_is_kept_with_the_run(tmp_path):
    async def main():
        gate = trio.Event()
        run_id = await cut_off(tmp_path / "runs.db", gate)
        gate.set()
        agents = [Planner, waiting(gate)]
        async with Orchestra(storage=tmp_path / "runs.db") as orchestra:
            config = ExecutionConfig(raise_errors=False)
            await orchestra.resume(run_id, agents=agents, execution_config=config)
            forked = await orchestra.fork(run_id, 2, agents=agents, execution_config=config)
            plain = await orchestra.run("x", "Planner", agents=[Planner])
            origins = {info.run_id: info.origin for info in await orchestra.runs()}
        assert origins == {run_id: "from here", forked.run_id: "from here", plain.run_id: ""}

    trio.run(main)


def test_what_would_be_kept_nowhere_is_refused():
    async def main():
        async with Orchestra() as orchestra:
            with pytest.raises(
                ConfigError, match=r"^origin= is kept with a run, and this Orchestra keeps none"
            ):
                await orchestra.run("x", "Planner", agents=[Planner], origin="here")
            with pytest.raises(ConfigError, match=r"^origin= takes text, not 3$"):
                await orchestra.run("x", "Planner", agents=[Planner], origin=3)

    trio.run(main)


def test_an_origin_goes_with_an_exported_run(tmp_path):
    async def main():
        async with SQLiteStore(tmp_path / "a.db") as store:
            await (await store.create(RunInfo(run_id="r", origin="ünï"))).release()
            await store.export("r", tmp_path / "r.jsonl")
        async with SQLiteStore(tmp_path / "b.db") as store:
            await store.import_(tmp_path / "r.jsonl")
            assert (await store.info("r")).origin == "ünï"

    trio.run(main)
