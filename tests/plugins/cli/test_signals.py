from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator

import pytest
import trio
import trio.testing

from marsys.cli.signals import Interruption, Interruptions


@pytest.fixture(autouse=True)
def _handlers_are_put_back() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_a_signal_with_nothing_to_cancel_is_raised_with_its_exit_code() -> None:
    with pytest.raises(Interruption) as raised, Interruptions():
        signal.raise_signal(signal.SIGTERM)
    assert raised.value.exit_code == 143


def test_a_signal_cancels_what_is_going_on_and_further_ones_are_counted() -> None:
    async def work() -> None:
        with trio.CancelScope() as scope:
            interruptions.cancel_with(scope.cancel)
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGTERM)
            await trio.sleep_forever()
        assert scope.cancelled_caught

    with Interruptions() as interruptions:
        trio.run(work)
    assert (interruptions.first, interruptions.again, interruptions.exit_code) == (signal.SIGINT, 1, 130)
    # The process is on its way out, and a second one must not trip it.
    interruptions = Interruptions()
    with contextlib.suppress(Interruption), interruptions:
        signal.raise_signal(signal.SIGINT)
    signal.raise_signal(signal.SIGINT)
    assert interruptions.again == 1


def test_a_signal_between_two_things_to_cancel_cancels_the_second() -> None:
    async def work() -> None:
        interruptions.cancel_with(lambda: None)
        signal.raise_signal(signal.SIGINT)
        await trio.testing.wait_all_tasks_blocked()
        with trio.CancelScope() as scope:
            interruptions.cancel_with(scope.cancel)
            await trio.sleep_forever()

    with Interruptions() as interruptions:
        trio.run(work)


def test_after_the_run_the_first_signal_is_raised() -> None:
    async def work() -> None:
        interruptions.cancel_with(lambda: None)

    with Interruptions() as interruptions:
        trio.run(work)
        with pytest.raises(Interruption) as raised:
            signal.raise_signal(signal.SIGINT)
    assert raised.value.exit_code == 130


def test_without_a_signal_everything_is_as_before() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with Interruptions() as interruptions:
        assert interruptions.first == 0
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
