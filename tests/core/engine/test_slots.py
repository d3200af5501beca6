"""Slots go to those who asked first, and are never lost, whoever is cancelled."""

from __future__ import annotations

import trio
from hypothesis import given
from hypothesis import strategies as st

from marsys_core.engine.slots import Leave, Slots
from tests.core.examples import examples
from tests.core.fakes import virtually


def test_slots_are_handed_out_in_the_order_of_asking_but_first_to_those_who_come_back() -> None:
    order: list[str] = []

    async def worker(slots: Slots, name: str, after: float) -> None:
        await trio.sleep(after)
        async with slots:
            order.append(name)
            await trio.sleep(10)

    async def leaver(slots: Slots) -> None:
        async with slots:
            order.append("leaves")
            async with Leave(slots).aside():
                await trio.sleep(3)
            order.append("is back")

    async def main() -> None:
        slots = Slots(1)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(leaver, slots)
            nursery.start_soon(worker, slots, "1", 1)
            nursery.start_soon(worker, slots, "2", 2)
        assert slots.free == 1

    virtually(main)
    assert order == ["leaves", "1", "is back", "2"]


def test_a_step_needs_a_slot_of_the_run_round_its_own_as_well() -> None:
    running = most = 0

    async def worker(slots: Slots) -> None:
        nonlocal running, most
        async with slots:
            running += 1
            most = max(running, most)
            await trio.sleep(1)
            running -= 1

    async def main() -> None:
        outer = Slots(2)
        async with trio.open_nursery() as nursery:
            for slots in (outer, Slots(3, outer), Slots(3, outer)):
                for _ in range(3):
                    nursery.start_soon(worker, slots)
        assert outer.free == 2

    virtually(main)
    assert most == 2


def test_of_several_nested_runs_of_one_step_the_last_takes_the_slot_again() -> None:
    seen: list[int] = []

    async def main() -> None:
        slots = Slots(1)
        async with slots:
            leave = Leave(slots)

            async def away(seconds: float) -> None:
                async with leave.aside():
                    await trio.sleep(seconds)
                seen.append(slots.free)

            async with trio.open_nursery() as nursery:
                for seconds in (1, 2, 3):
                    nursery.start_soon(away, seconds)
            assert slots.free == 0
        assert slots.free == 1

    virtually(main)
    assert seen == [1, 1, 0]


sleeps = st.lists(st.floats(0, 5).map(lambda seconds: round(seconds, 1)), min_size=1, max_size=3)
works = st.tuples(st.booleans(), sleeps, st.none() | st.integers(0, 6))


@examples(100)
@given(st.lists(works, min_size=1, max_size=6), st.integers(1, 2), st.integers(1, 2), st.integers(0, 99))
def test_when_all_have_ended_all_slots_are_free(works, many: int, inner: int, seed: int) -> None:
    async def work(slots: Slots, pauses: list[float], cancelled_after: float | None) -> None:
        with trio.move_on_after(float("inf") if cancelled_after is None else cancelled_after):
            async with slots:
                leave = Leave(slots)
                async with trio.open_nursery() as nursery:
                    for pause in pauses:
                        nursery.start_soon(away, leave, pause)

    async def away(leave: Leave, pause: float) -> None:
        await trio.sleep(pause)
        async with leave.aside():
            await trio.sleep(pause)

    async def main() -> None:
        outer = Slots(many)
        nested = Slots(inner, outer)
        with trio.fail_after(1000):
            async with trio.open_nursery() as nursery:
                for is_nested, pauses, cancelled_after in works:
                    nursery.start_soon(work, nested if is_nested else outer, pauses, cancelled_after)
        assert (outer.free, nested.free) == (many, inner)

    virtually(main, seed=seed)
