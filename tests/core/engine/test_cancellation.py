"""Whatever is going on: a run that is cancelled leaves nothing behind, and its journal is complete.

Each workflow of the corpus is cancelled at every point at which one of its tasks is resumed or waits: 10,000
points by default, 100,000 with MARSYS_SIMULATE=1.
"""

from __future__ import annotations

from typing import Any

import pytest
import trio

from marsys_core import events as e
from marsys_core.agents import agent
from marsys_core.errors import Cancelled
from tests.core.engine.cancelling import DRIVERS, all_tasks, assert_complete, campaign
from tests.core.engine.corpus import CORPUS
from tests.core.fakes import Heard, bare, run, virtually


@pytest.mark.slow
@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize("workflow", CORPUS)
def test_a_run_can_be_cancelled_at_every_checkpoint(workflow: str, driver: str) -> None:
    tally = campaign(workflow, driver)
    assert tally["caught"] > 0.7 * tally["points"]  # the rest ended before anybody could look


def test_the_journal_check_sees_a_branch_that_never_settled() -> None:
    @agent
    async def one(prompt: str) -> str:
        return prompt

    events = run("x", "one", [one]).heard.events
    assert_complete(events)
    cut = [event for event in events if type(event) is not e.BranchSettled]
    with pytest.raises(AssertionError):
        assert_complete(cut)


def test_a_leftover_task_is_seen() -> None:
    async def main() -> None:
        before = all_tasks()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep, 1)
            assert len(all_tasks() - before) == 1
        assert all_tasks() == before

    virtually(main)


def test_closing_the_orchestra_ends_runs_that_nobody_waits_for() -> None:
    heard = Heard()
    ended: list[Any] = []

    @agent
    async def sleeper(prompt: Any) -> Any:
        try:
            await trio.sleep(99)
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(3)
            ended.append(prompt)
        return prompt

    async def main() -> Any:
        async with bare(sinks=[heard]) as orchestra:
            runs = [orchestra.start(i, "sleeper", agents=[sleeper]) for i in range(3)]
            await trio.sleep(1)
        return runs, [(run.status, type((await run.result()).error)) for run in runs]

    runs, seen = virtually(main)
    assert len(runs) == 3
    assert sorted(ended) == [0, 1, 2]
    assert seen == [("cancelled", Cancelled)] * 3


def test_a_run_that_is_cancelled_before_it_began_calls_no_agent() -> None:
    heard = Heard()
    called: list[str] = []

    @agent
    async def one(prompt: str) -> str:
        called.append(prompt)
        return prompt

    async def main() -> Any:
        async with bare(sinks=[heard]) as orchestra:
            handle = orchestra.start("x", "one", agents=[one])
            handle.cancel()
            result = await handle.result()
            handle.cancel()
            return handle, result

    handle, result = virtually(main)
    assert handle.status == "cancelled"
    assert type(result.error) is Cancelled
    assert str(result.error) == "the run was cancelled"
    assert called == []
    assert_complete(heard.events)


def test_cancelling_a_run_that_has_ended_changes_nothing() -> None:
    @agent
    async def one(prompt: str) -> str:
        return prompt

    async def main() -> Any:
        async with bare() as orchestra:
            handle = orchestra.start("x", "one", agents=[one])
            assert handle.status == "starting"
            result = await handle.result()
            handle.cancel()
            return handle.status, result.unwrap()

    assert virtually(main) == ("succeeded", "x")


def test_a_failing_run_does_not_take_its_neighbours_along() -> None:
    @agent
    async def moody(prompt: str) -> str:
        await trio.sleep(1)
        if prompt == "bad":
            raise ValueError("bad")
        return prompt

    async def main() -> Any:
        async with bare() as orchestra:
            runs = [orchestra.start(task, "moody", agents=[moody]) for task in ("good", "bad", "fine")]
            return [(await each.result()).final_response for each in runs]

    assert virtually(main) == ["good", None, "fine"]


def test_an_error_in_the_clean_up_of_a_cancelled_sibling_is_recorded_and_stays_inside() -> None:
    from marsys_core.topology import ConvergencePolicy

    @agent
    async def hub(prompt: Any) -> Any:
        return "start"

    @agent
    async def quick(prompt: Any) -> Any:
        await trio.sleep(1)
        return "quick"

    @agent
    async def messy(prompt: Any) -> Any:
        async def broken() -> None:
            try:
                await trio.sleep_forever()
            finally:
                raise ValueError("while cleaning up")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(broken)
            await trio.sleep_forever()

    policy = ConvergencePolicy(quorum=1, early=True)
    ran = run("x", "hub -> [quick, messy]", [hub, quick, messy], convergence_policy=policy)
    assert ran.result.unwrap() == "quick"
    assert_complete(ran.heard.events)
