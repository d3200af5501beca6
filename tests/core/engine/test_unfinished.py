"""Which run of a session goes on."""

from __future__ import annotations

from typing import Any

import pytest

from marsys_core.agents import agent
from marsys_core.engine.resuming import unfinished
from marsys_core.protocols.store import RunInfo
from tests.core.fakes import bare, virtually
from tests.core.stores import Kept, MemoryStore


def found(*statuses: str, held: tuple[int, ...] = ()) -> str:
    """Return which of the runs of a session with these statuses goes on, by its place from the oldest; or nothing."""
    store = MemoryStore()
    for number, status in enumerate(statuses):
        info = RunInfo(run_id=str(number), session_id="s", status=status)
        store.kept[str(number)] = Kept(info)
        if number in held:
            store.holders[str(number)] = "another process"
    store.kept["other"] = Kept(RunInfo(run_id="other", session_id="t"))

    async def main() -> Any:
        async with bare(storage=store) as orchestra:
            return await unfinished(orchestra.engine, "s")

    return str(virtually(main))


@pytest.mark.parametrize(
    ("statuses", "goes_on"),
    [
        ((), ""),
        *[((status,), "0") for status in ("running", "paused", "waiting", "failed", "succeeded")],
        (("succeeded", "running"), "1"),
        (("running", "succeeded"), "1"),
        (("failed", "failed"), "1"),
        (("cancelled",), ""),
        (("cancelled", "cancelled"), ""),
        (("running", "cancelled"), "0"),
        (("failed", "cancelled", "cancelled"), "0"),
        (("paused", "waiting", "cancelled"), "1"),
        (("succeeded", "cancelled"), ""),
        (("running", "succeeded", "cancelled"), ""),
        (("cancelled", "failed"), "1"),
    ],
)
def test_the_newest_run_goes_on_and_cancelled_ones_are_passed_over(
    statuses: tuple[str, ...], goes_on: str
) -> None:
    assert found(*statuses) == goes_on


def test_a_run_that_somebody_has_is_the_newest_all_the_same() -> None:
    assert found("failed", "running", held=(1,)) == "1"
    assert found("running", "cancelled", held=(0,)) == "0"


def test_many_cancelled_runs_hide_none() -> None:
    assert found("failed", *["cancelled"] * 300) == "0"


def test_a_run_before_one_that_was_cancelled_goes_on_in_place_of_a_new_one() -> None:
    store, took = MemoryStore(), []

    @agent
    async def A(prompt: Any) -> Any:
        took.append(prompt)
        return f"{prompt}!"

    async def main() -> Any:
        async with bare(storage=store, agents=[A]) as orchestra:
            first = await orchestra.execute("first", "A", session_id="s")
            second = await orchestra.execute("second", "A", session_id="s")
        cut = store.cut(first.run_id, 3)
        cut.kept[second.run_id] = store.kept[second.run_id]
        cut.kept[second.run_id].info = RunInfo(run_id=second.run_id, session_id="s", status="cancelled")
        async with bare(storage=cut, agents=[A]) as orchestra:
            again = await orchestra.execute("third", "A", session_id="s", resume=True)
            return first.run_id, again

    first_id, again = virtually(main)

    assert (again.run_id, again.final_response) == (first_id, "first!")
    assert took == ["first", "second", "first"]
