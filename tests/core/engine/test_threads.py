"""Plain functions run in threads, which nobody can interrupt: the run says so, and waits."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import trio

from marsys_core import events as e
from marsys_core.actions import AskUser, Invoke, Return
from marsys_core.agents import Agent, BaseAgent, agent
from marsys_core.errors import AgentError, ConvergenceError, StepTimeout
from marsys_core.tools import tool
from tests.core.engine.cancelling import assert_complete
from tests.core.fakes import FakeModel, Heard, bare, call, run, virtually


class Gate:
    """Holds threads until they are told to go on."""

    def __init__(self) -> None:
        self.inside = threading.Semaphore(0)
        self.opened = threading.Event()
        self.working = 0
        self.most = 0
        self._lock = threading.Lock()

    def wait(self) -> None:
        with self._lock:
            self.working += 1
            self.most = max(self.most, self.working)
        self.inside.release()
        if not self.opened.wait(10):
            raise AssertionError("nobody opened the gate")
        with self._lock:
            self.working -= 1

    async def entered(self, count: int = 1) -> None:
        for _ in range(count):
            await trio.to_thread.run_sync(self.inside.acquire)

    def release_after(self, nursery: trio.Nursery, heard: Heard) -> None:
        """Open as soon as somebody is said to be stuck."""

        async def watch() -> None:
            while not heard.of(e.Stuck):
                await trio.sleep(0)
            self.opened.set()

        nursery.start_soon(watch)


def held(gate: Gate, task: Any, topology: str, agents: Any, **config: Any) -> tuple[Any, Heard]:
    """Run with threads that go on only after the run has said that they are stuck."""
    from marsys_core.config import ExecutionConfig

    heard = Heard()

    async def main() -> Any:
        async with bare(sinks=[heard]) as orchestra, trio.open_nursery() as nursery:
            gate.release_after(nursery, heard)
            settings = ExecutionConfig(raise_errors=False, **config)
            result = await orchestra.execute(task, topology, agents=agents, execution_config=settings)
            assert gate.working == 0
            return result

    # A clock that jumps does not wait for threads, and here a thread waits for the clock.
    return trio.run(main, clock=_Fast()), heard


class _Fast(trio.abc.Clock):
    """Real time, a thousand times as fast."""

    def start_clock(self) -> None:
        import time

        self._start = time.perf_counter()

    def current_time(self) -> float:
        import time

        return (time.perf_counter() - self._start) * 1000

    def deadline_to_sleep_time(self, deadline: float) -> float:
        return (deadline - self.current_time()) / 1000


def test_a_thread_past_its_deadline_is_named_waited_for_and_its_value_dropped() -> None:
    gate = Gate()

    @agent
    def plain(prompt: str) -> str:
        gate.wait()
        return "too late"

    result, heard = held(gate, "x", "plain", [plain], step_timeout=2)
    assert type(result.error) is StepTimeout
    assert [(event.what, event.node) for event in heard.of(e.Stuck)] == [("agent 'plain'", "plain")]
    assert [(event.value, event.reason) for event in heard.of(e.Dropped)] == [
        ("too late", "its step was over")
    ]
    assert_complete(heard.events)


def test_what_a_thread_raises_past_its_deadline_does_not_hide_the_timeout() -> None:
    gate = Gate()

    @agent
    def plain(prompt: str) -> str:
        gate.wait()
        raise ValueError("too late")

    result, heard = held(gate, "x", "plain", [plain], step_timeout=2)
    assert type(result.error) is StepTimeout
    assert len(heard.of(e.Stuck)) == 1


def test_a_tool_in_a_thread_past_its_deadline_is_a_timeout_for_the_model() -> None:
    gate = Gate()

    @tool
    def plain() -> str:
        """Work."""
        gate.wait()
        return "too late"

    model = FakeModel([call("plain"), "gave up"])
    result, heard = held(gate, "x", "A", [Agent("A", model=model, tools=[plain])], tool_timeout=2)
    assert result.unwrap() == "gave up"
    assert model.said()[-1] == ("tool", "tool 'plain' took longer than 2 s")
    assert [event.what for event in heard.of(e.Stuck)] == ["tool 'plain'"]
    assert_complete(heard.events)


def test_a_cancelled_run_waits_for_its_threads() -> None:
    gate, heard = Gate(), Heard()

    @agent
    def plain(prompt: str) -> str:
        gate.wait()
        return "too late"

    async def main() -> Any:
        async with bare(sinks=[heard]) as orchestra, trio.open_nursery() as nursery:
            handle = orchestra.start("x", "plain", agents=[plain])
            await gate.entered()
            gate.release_after(nursery, heard)
            handle.cancel()
            result = await handle.result()
            assert gate.working == 0
            return result

    result = trio.run(main)
    assert str(result.error) == "the run was cancelled"
    assert len(heard.of(e.Stuck)) == 1
    assert_complete(heard.events)


def test_a_function_that_waits_for_a_free_thread_is_not_stuck() -> None:
    gate, heard = Gate(), Heard()

    @agent
    async def start(prompt: str) -> str:
        return prompt

    def held_up(prompt: str) -> str:
        gate.wait()
        return "done"

    agents = [start, agent(name="B")(held_up), agent(name="C")(held_up)]

    async def main() -> Any:
        async with bare(sinks=[heard], max_threads=1) as orchestra, trio.open_nursery() as nursery:
            handle = orchestra.start("x", "start -> [B, C]", agents=agents)
            await gate.entered()
            gate.release_after(nursery, heard)
            handle.cancel()
            return await handle.result()

    trio.run(main)
    assert gate.most == 1
    assert len(heard.of(e.Stuck)) == 1


def test_a_hundred_functions_at_once_share_the_threads_there_are() -> None:
    lock, working, most = threading.Lock(), 0, 0

    def work(prompt: int) -> int:
        nonlocal working, most
        with lock:
            working += 1
            most = max(most, working)
        threading.Event().wait(0.0001)
        with lock:
            working -= 1
        return prompt * 2

    class Hub(BaseAgent):
        async def _run(self, prompt: Any, context: Any, **kwargs: Any) -> Any:
            from marsys_core.actions import Invoke

            if prompt == "x":
                return Invoke([("work", i) for i in range(100)])
            return prompt.values

    ran = run("x", "Hub <-> work", [Hub(), agent(work)], max_steps=500, max_threads=7)
    assert ran.result.unwrap() == [i * 2 for i in range(100)]
    assert 1 <= most <= 7
    assert not ran.of(e.Stuck)


def test_a_thread_sees_the_context_variables_of_its_step() -> None:
    from contextvars import ContextVar

    seen: ContextVar[str] = ContextVar("seen", default="nothing")

    @agent
    def plain(prompt: str) -> str:
        return seen.get()

    async def main() -> Any:
        seen.set("the caller's")
        async with bare() as orchestra:
            return (await orchestra.execute("x", "plain", agents=[plain])).unwrap()

    assert virtually(main) == "the caller's"


@pytest.mark.parametrize("error", [ValueError("no"), StopIteration("no")], ids=repr)
def test_what_a_function_raises_is_the_steps_error(error: Exception) -> None:
    @agent
    def plain(prompt: str) -> str:
        raise error

    failure = run("x", "plain", [plain]).result.error
    assert type(failure) is AgentError
    assert "no" in str(failure)


def test_two_functions_that_fail_side_by_side_are_both_reported() -> None:
    @agent
    async def start(prompt: str) -> str:
        return prompt

    def broken(prompt: str) -> str:
        raise ValueError(prompt)

    ran = run("x", "start -> [B, C]", [start, agent(name="B")(broken), agent(name="C")(broken)])
    assert type(ran.result.error) is ConvergenceError
    assert len(ran.result.error.failures) == 2


def test_a_plain_function_may_return_something_to_await() -> None:
    async def later(prompt: str) -> str:
        await trio.sleep(1)
        return prompt + "!"

    assert run("x", "A", [agent(name="A")(lambda prompt: later(prompt))]).result.unwrap() == "x!"


@pytest.mark.parametrize(
    ("late", "dropped"),
    [
        (Return("answer"), ["answer"]),
        (Invoke([("plain", "a"), ("plain", "b")]), [["a", "b"]]),
        (AskUser("?"), []),
        (None, []),
        ({1}, ["{1}"]),
    ],
    ids=repr,
)
def test_an_agent_that_goes_on_past_its_deadline_has_its_value_dropped(late: Any, dropped: list[Any]) -> None:
    @agent
    async def deaf(prompt: Any) -> Any:
        with trio.CancelScope(shield=True):
            await trio.sleep(5)
        return late

    ran = run("x", "deaf", [deaf], step_timeout=2)
    assert type(ran.result.error) is StepTimeout
    assert [event.value for event in ran.of(e.Dropped)] == dropped
