"""Taking a step again, and the loop that callers write round a run."""

from __future__ import annotations

import random
from typing import Any

import pytest
import trio

from marsys_core import events as e
from marsys_core.agents import Agent, BaseAgent, FunctionAgent
from marsys_core.config import ExecutionConfig, RetryConfig
from marsys_core.errors import (
    AgentError,
    CriticalError,
    MaxRetriesExceeded,
    ModelError,
    ModelErrorKind,
    RecoverableError,
)
from marsys_core.results import RunResult
from marsys_core.tools import tool
from tests.core.engine.cancelling import assert_complete
from tests.core.fakes import FakeModel, bare, run, virtually


def flaky(name: str, *outcomes: Any) -> tuple[BaseAgent, list[float]]:
    """An agent that raises or returns one outcome after another, and when it was called."""
    script, called = iter(outcomes), []

    async def act(prompt: Any) -> Any:
        called.append(trio.current_time())
        await trio.lowlevel.checkpoint()
        outcome = next(script)
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    return FunctionAgent(act, name=name), called


PLAIN = RetryConfig(initial_delay=1, jitter="none")


def test_a_step_that_fails_for_a_passing_reason_is_taken_again() -> None:
    one, called = flaky("A", ConnectionError("1"), TimeoutError("2"), "done")
    ran = run("x", "A", [one], auto_retry_on_error=True, retry=PLAIN)
    assert ran.result.unwrap() == "done"
    assert called == [0, 1, 3]
    assert ran.result.total_steps == 1
    assert [(event.attempt, event.delay) for event in ran.of(e.StepRetried)] == [(1, 1), (2, 2)]
    assert_complete(ran.heard.events)


def test_without_auto_retry_it_fails_at_once() -> None:
    one, called = flaky("A", ConnectionError("1"), "done")
    ran = run("x", "A", [one])
    assert type(ran.result.error) is AgentError
    assert len(called) == 1


def test_the_last_attempt_is_the_result() -> None:
    one, called = flaky("A", *[ConnectionError(str(i)) for i in range(9)])
    ran = run("x", "A", [one], auto_retry_on_error=True, retry=PLAIN)
    assert len(called) == 3
    assert "ConnectionError: 2" in str(ran.result.error)


@pytest.mark.parametrize(
    "error", [ValueError("own"), CriticalError("no key"), RecoverableError("for the caller")], ids=repr
)
def test_what_cannot_pass_or_is_meant_for_the_caller_is_not_tried_again(error: Exception) -> None:
    one, called = flaky("A", error, "done")
    ran = run("x", "A", [one], auto_retry_on_error=True, retry=PLAIN)
    assert not ran.result.success
    assert len(called) == 1


def test_a_call_that_was_recorded_has_had_its_own_retries() -> None:
    model = FakeModel([ModelError("busy", kind=ModelErrorKind.OVERLOADED), "done"])
    ran = run("x", "A", [Agent("A", model=model)], auto_retry_on_error=True, retry=PLAIN)
    assert type(ran.result.error) is ModelError
    assert len(model.requests) == 1
    assert not ran.of(e.StepRetried)


def test_an_error_that_wraps_that_of_a_recorded_call_is_not_tried_again_either() -> None:
    @tool
    async def look() -> str:
        """Look."""
        raise ConnectionError("reset")

    class Wrapping(BaseAgent):
        async def _run(self, prompt: Any, context: Any, **kwargs: Any) -> Any:
            try:
                return await context.call_tool("look")
            except ConnectionError as error:
                raise TimeoutError("given up") from error

    ran = run("x", "Wrapping", [Wrapping(tools=[look])], auto_retry_on_error=True, retry=PLAIN)
    assert not ran.result.success
    assert len(ran.of(e.ToolStarted)) == 1


def test_waits_are_drawn_with_full_jitter_from_the_seed() -> None:
    retry = RetryConfig(initial_delay=2, multiplier=3, max_attempts=4, max_delay=10)
    one, called = flaky("A", *[ConnectionError("x")] * 3, "done")
    run("x", "A", [one], auto_retry_on_error=True, retry=retry, seed=7)
    drawn = random.Random(7)
    waits = [drawn.random() * longest for longest in (2, 6, 10)]
    assert [b - a for a, b in zip(called, called[1:], strict=False)] == pytest.approx(waits)


def test_a_failed_attempt_leaves_no_trace_in_the_conversation() -> None:
    class Moody(Agent):
        failures = 1

        async def _run(self, prompt: Any, context: Any, **kwargs: Any) -> Any:
            answer = await super()._run(prompt, context, **kwargs)
            if Moody.failures:
                Moody.failures -= 1
                raise ConnectionError("reset")
            return answer

    model = FakeModel(["first", "second"])
    ran = run("x", "A", [Moody("A", model=model)], auto_retry_on_error=True, retry=PLAIN)
    assert ran.result.unwrap() == "second"
    assert model.said(1) == [("user", "x")]
    [finished] = ran.of(e.StepFinished)
    assert [message.content for message in finished.messages] == ["x", "second"]


def test_the_usage_of_all_attempts_counts() -> None:
    class Moody(Agent):
        failures = 1

        async def _run(self, prompt: Any, context: Any, **kwargs: Any) -> Any:
            answer = await super()._run(prompt, context, **kwargs)
            if Moody.failures:
                Moody.failures -= 1
                raise ConnectionError("reset")
            return answer

    ran = run("x", "A", [Moody("A", model=FakeModel(["a", "b"]))], auto_retry_on_error=True, retry=PLAIN)
    assert ran.result.usage.model_calls == 2


# -- the loop that callers write -----------------------------------------------------------------


async def robust(topology: Any, agents: Any, attempts: int = 3) -> RunResult:
    """Retry a run: critical causes at once to the caller, passing ones after a wait that doubles."""
    async with bare() as orchestra:
        for attempt in range(attempts):
            try:
                result = await orchestra.execute(
                    "task", topology, agents=agents, execution_config=ExecutionConfig()
                )
                if result.success:
                    return result
            except CriticalError:
                raise
            except RecoverableError:
                if attempt == attempts - 1:
                    raise
                await trio.sleep(2**attempt)
    raise MaxRetriesExceeded


def test_the_callers_loop_returns_a_success_at_once() -> None:
    one, called = flaky("A", "done")
    assert virtually(robust, "A", [one]).unwrap() == "done"
    assert called == [0]


def test_the_callers_loop_sees_a_passing_cause_twice_and_then_success() -> None:
    one, called = flaky("A", RecoverableError("1"), RecoverableError("2"), "done")
    assert virtually(robust, "A", [one]).unwrap() == "done"
    assert called == [0, 1, 3]


def test_a_passing_cause_that_stays_comes_out_of_the_third_attempt() -> None:
    last = RecoverableError("3")
    one, called = flaky("A", RecoverableError("1"), RecoverableError("2"), last)
    with pytest.raises(RecoverableError) as raised:
        virtually(robust, "A", [one])
    assert raised.value is last
    assert called == [0, 1, 3]


def test_a_critical_cause_ends_the_callers_loop_at_once() -> None:
    one, called = flaky("A", CriticalError("no key"))
    with pytest.raises(CriticalError, match="no key"):
        virtually(robust, "A", [one])
    assert called == [0]


def test_three_results_without_success_exceed_the_callers_retries() -> None:
    one, called = flaky("A", *[ValueError("own")] * 3)
    with pytest.raises(MaxRetriesExceeded):
        virtually(robust, "A", [one])
    assert called == [0, 0, 0]
