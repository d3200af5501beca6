"""Every limit ends what it bounds, names itself, and leaves nothing running."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from marsys_core import events as e
from marsys_core.actions import Invoke, Return
from marsys_core.agents import Agent, BaseAgent, FunctionAgent, agent
from marsys_core.errors import (
    BranchTimeout,
    ConvergenceError,
    JoinTimeout,
    LimitError,
    ModelTimeout,
    Place,
    RunTimeout,
    StepTimeout,
    ToolTimeout,
)
from marsys_core.messages import ToolCall
from marsys_core.tools import tool
from marsys_core.topology import ConvergencePolicy
from tests.core.engine.cancelling import assert_complete
from tests.core.fakes import FakeModel, call, invoking, run


def sleeper(name: str, seconds: float, ended: list[str] | None = None) -> BaseAgent:
    async def sleep(prompt: Any) -> str:
        try:
            await trio.sleep(seconds)
        finally:
            if ended is not None:
                ended.append(name)
        return name

    return FunctionAgent(sleep, name=name)


def asking(name: str, *replies: Any) -> BaseAgent:
    script = iter(replies)

    async def act(prompt: Any) -> Any:
        await trio.lowlevel.checkpoint()
        return next(script)

    return FunctionAgent(act, name=name)


def test_the_run_ends_at_its_timeout() -> None:
    ended: list[str] = []
    ran = run(
        "x", "A -> [B, C]", [sleeper("A", 1), sleeper("B", 1, ended), sleeper("C", 99, ended)], timeout=5
    )
    error = ran.result.error
    assert type(error) is RunTimeout
    assert (error.limit, error.seconds) == ("timeout", 5)
    assert str(error) == "the run took longer than timeout=5 s"
    assert ran.result.total_duration == 5
    assert ended == ["B", "C"]
    assert [event.reason for event in ran.of(e.RunStopped)] == ["timeout"]
    assert {b.branch_id: b.outcome for b in ran.result.branch_results} == {
        "0": "failed",
        "0.0": "delivered",
        "0.1": "cancelled",
    }
    assert_complete(ran.heard.events)


def test_a_timeout_that_is_not_reached_does_not_name_itself_when_somebody_cancels() -> None:
    from marsys_core.config import ExecutionConfig
    from tests.core.fakes import Heard, bare, virtually

    heard = Heard()

    async def main() -> None:
        async with bare(sinks=[heard]) as orchestra:
            handle = orchestra.start(
                "x", "A", agents=[sleeper("A", 9)], execution_config=ExecutionConfig(timeout=5)
            )
            await trio.sleep(1)
            handle.cancel()
            await handle.result()

    virtually(main)
    assert [event.reason for event in heard.of(e.RunStopped)] == ["cancelled"]


def test_a_step_that_takes_too_long_fails_with_its_place() -> None:
    ended: list[str] = []
    ran = run("x", "A -> B", [sleeper("A", 1), sleeper("B", 9, ended)], step_timeout=2)
    error = ran.result.error
    assert type(error) is StepTimeout
    assert (error.limit, error.seconds, error.place) == ("step_timeout", 2, Place("0", "B", 2))
    assert str(error) == "the step of 'B' took longer than step_timeout=2 s (at branch 0, node 'B', step 2)"
    assert (ended, ran.result.total_duration) == (["B"], 3)


def test_an_agent_that_never_returns_ends_with_its_step() -> None:
    @agent
    async def endless(prompt: Any) -> Any:
        while True:
            await trio.lowlevel.checkpoint()
            await trio.sleep(1)

    ran = run("x", "endless", [endless], step_timeout=3)
    assert type(ran.result.error) is StepTimeout


def test_a_branch_that_takes_too_long_fails_in_the_step_that_passes_the_limit() -> None:
    ran = run("x", "A -> B -> C", [sleeper(name, 2) for name in "ABC"], branch_timeout=5, step_timeout=9)
    error = ran.result.error
    assert type(error) is BranchTimeout
    assert (error.limit, error.seconds, error.place) == ("branch_timeout", 5, Place("0", "C", 3))
    assert ran.result.total_duration == 5


def test_a_branch_that_waits_for_its_join_has_its_limit_all_the_same() -> None:
    ended: list[str] = []
    agents = [sleeper("A", 1), sleeper("B", 2, ended), sleeper("C", 99, ended), sleeper("D", 0)]
    ran = run("x", "A -> [B, C] -> D", agents, branch_timeout=5)
    error = ran.result.error
    assert type(error) is BranchTimeout
    assert (error.seconds, error.place) == (5, Place("0", "A", 1))
    assert ran.result.total_duration == 5
    assert [each.outcome for each in ran.result.branch_results] == ["failed", "delivered", "cancelled"]
    assert ended == ["B", "C"]
    assert_complete(ran.heard.events)


def test_of_a_step_and_its_branch_the_earlier_limit_holds() -> None:
    ran = run("x", "A -> B", [sleeper("A", 2), sleeper("B", 9)], branch_timeout=9, step_timeout=3)
    assert type(ran.result.error) is StepTimeout
    ran = run("x", "A -> B", [sleeper("A", 2), sleeper("B", 9)], branch_timeout=4, step_timeout=3)
    assert type(ran.result.error) is BranchTimeout


def test_a_join_that_takes_too_long_goes_by_its_policy() -> None:
    ended: list[str] = []
    agents = [sleeper("A", 0), sleeper("B", 1, ended), sleeper("C", 99, ended)]
    ran = run("x", "A -> [B, C]", agents, convergence_timeout=5)
    assert type(ran.result.error) is ConvergenceError
    late = ran.result.error.failures[0]
    assert type(late) is JoinTimeout
    assert str(late) == "the join of branch 0 at 'A' took longer than 5 s"
    assert ended == ["B", "C"]
    ran = run(
        "x", "A -> [B, C] -> D", [*agents, asking("D", "done")], convergence_timeout=5, convergence_policy=0.5
    )
    assert (ran.result.unwrap(), ran.result.total_duration) == ("done", 5)
    assert_complete(ran.heard.events)


def test_a_policy_has_a_timeout_of_its_own() -> None:
    policy = ConvergencePolicy(quorum=1, timeout=3)
    hub = asking("A", Invoke([("B", 1), ("C", 2)], policy=policy), "went on")
    ran = run("x", "A <-> [B, C]", [hub, sleeper("B", 1), sleeper("C", 9)], convergence_timeout=99)
    assert (ran.result.unwrap(), ran.result.total_duration) == ("went on", 3)


def test_a_model_that_takes_too_long_is_a_passing_cause() -> None:
    model = FakeModel(["late"], delay=9)
    ran = run("x", "A", [Agent("A", model=model)], model_timeout=2)
    error = ran.result.error
    assert type(error) is ModelTimeout
    assert (error.limit, error.seconds, error.place) == ("model_timeout", 2, Place("0", "A", 1))
    assert model.requests[0].deadline == 2
    assert [event.retryable for event in ran.of(e.ModelFailed)] == [True]


def test_a_tool_that_takes_too_long_is_told_to_the_model() -> None:
    ended = []

    @tool(timeout=3)
    async def slow() -> str:
        """Wait."""
        try:
            await trio.sleep(9)
        finally:
            ended.append("slow")
        return "slow"

    @tool
    async def slower() -> str:
        """Wait."""
        await trio.sleep(9)
        return "slower"

    model = FakeModel([[call("slow", "1"), call("slower", "2")], "gave up"])
    ran = run("x", "A", [Agent("A", model=model, tools=[slow, slower])], tool_timeout=4)
    assert ran.result.unwrap() == "gave up"
    assert model.said()[-2:] == [
        ("tool", "tool 'slow' took longer than 3 s"),
        ("tool", "tool 'slower' took longer than 4 s"),
    ]
    assert (ended, ran.result.total_duration) == (["slow"], 4)
    errors = [event.error for event in ran.of(e.ToolFailed)]
    assert errors == [
        "ToolTimeout: tool 'slow' took longer than 3 s",
        "ToolTimeout: tool 'slower' took longer than 4 s",
    ]


def test_an_agents_own_call_of_a_tool_raises_the_timeout() -> None:
    @tool
    async def slow() -> str:
        """Wait."""
        await trio.sleep(9)
        return "slow"

    class Caller(BaseAgent):
        async def _run(self, prompt: Any, context: Any, **kwargs: Any) -> Any:
            try:
                return await context.call_tool("slow")
            except ToolTimeout as error:
                return [error.limit, error.seconds]

    assert run("x", "Caller", [Caller(tools=[slow])], tool_timeout=2).result.unwrap() == ["tool_timeout", 2]


# -- counts --------------------------------------------------------------------------------------


def test_the_run_ends_at_max_steps() -> None:
    ping = asking("A", *[Invoke([("B", i)]) for i in range(99)])
    pong = asking("B", *[Invoke([("A", i)]) for i in range(99)])
    ran = run("x", "A -> B; B -> A", [ping, pong], max_steps=7)
    error = ran.result.error
    assert type(error) is LimitError
    assert error.limit == "max_steps"
    assert "max_steps=7" in str(error)
    assert ran.result.total_steps == 7
    assert [(event.limit, event.value) for event in ran.of(e.LimitReached)] == [("max_steps", 7)]
    assert_complete(ran.heard.events)


def test_of_two_limits_on_steps_the_smaller_holds() -> None:
    agents = [sleeper(name, 0) for name in "ABCD"]
    assert run("x", "A -> B -> C -> D", agents, max_steps=2).result.total_steps == 2
    ran = run("x", "A -> B -> C -> D", agents, max_steps=4)
    assert ran.result.success
    from marsys_core.config import ExecutionConfig
    from tests.core.fakes import bare, virtually

    async def main(argument: int, setting: int) -> int:
        async with bare() as orchestra:
            config = ExecutionConfig(max_steps=setting)
            result = await orchestra.execute(
                "x", "A -> B -> C -> D", agents=agents, execution_config=config, max_steps=argument
            )
            return result.total_steps

    assert virtually(main, 2, 3) == 2
    assert virtually(main, 3, 2) == 2


def test_what_runs_beside_the_last_step_is_cancelled_before_the_run_ends() -> None:
    ended: list[str] = []
    loop = asking("B", *[Invoke([("B2", i)]) for i in range(99)])
    pool = asking("B2", *[Invoke([("B", i)]) for i in range(99)])
    ran = run(
        "x",
        "A -> [B, C]; B -> B2; B2 -> B",
        [sleeper("A", 0), loop, pool, sleeper("C", 9, ended)],
        max_steps=6,
    )
    assert type(ran.result.error) is LimitError
    assert ended == ["C"]
    assert type(ran.heard.events[-1]) is e.RunFinished


def test_a_branch_ends_at_max_steps_per_branch() -> None:
    ping = asking("A", *[Invoke([("B", i)]) for i in range(99)])
    pong = asking("B", *[Invoke([("A", i)]) for i in range(99)])
    ran = run("x", "A -> B; B -> A", [ping, pong], max_steps_per_branch=3)
    error = ran.result.error
    assert type(error) is LimitError
    assert error.limit == "max_steps_per_branch"
    assert error.place == Place("0", "B", 3)


def test_forks_nest_no_deeper_than_max_branch_depth() -> None:
    hub = asking("A", Invoke([("B", 1), ("C", 2)]), "a")
    inner = asking("B", Invoke([("D", 1), ("E", 2)]), Return("b"))
    agents = [hub, inner, *[sleeper(name, 0) for name in "CDE"]]
    ran = run("x", "A <-> [B, C]; B <-> [D, E]", agents, max_branch_depth=1)
    assert type(ran.result.error) is ConvergenceError
    deep = ran.result.error.failures[0]
    assert type(deep) is LimitError
    assert (deep.limit, deep.place) == ("max_branch_depth", Place("0.0", "B", 1))


def test_a_model_that_never_stops_calling_tools_ends_at_max_tool_rounds() -> None:
    @tool
    async def look() -> str:
        """Look."""
        return "seen"

    model = FakeModel(lambda request: call("look", f"c{len(request.messages)}"))
    ran = run("x", "A", [Agent("A", model=model, tools=[look])], max_tool_rounds=3)
    error = ran.result.error
    assert type(error) is LimitError
    assert (error.limit, error.place) == ("max_tool_rounds", Place("0", "A", 1))
    assert len(model.requests) == 3


def test_a_model_that_never_gets_its_action_right_ends_at_max_steering_retries() -> None:
    from marsys_core.errors import ActionError

    model = FakeModel(lambda request: invoking("Nobody"))
    ran = run("x", "A <-> B", [Agent("A", model=model), sleeper("B", 0)], max_steering_retries=2)
    error = ran.result.error
    assert type(error) is ActionError
    assert len(model.requests) == 3
    assert len(ran.of(e.StepSteered)) == 2
    assert ran.result.total_steps == 1


# -- how many at a time --------------------------------------------------------------------------


@pytest.mark.parametrize(("limit", "most"), [(1, 1), (2, 2), (None, 5)])
def test_no_more_steps_run_at_a_time_than_max_parallel_branches(limit: int | None, most: int) -> None:
    running, seen = 0, []

    async def work(prompt: Any) -> str:
        nonlocal running
        running += 1
        seen.append(running)
        await trio.sleep(1)
        running -= 1
        return "done"

    agents = [sleeper("A", 0), *[FunctionAgent(work, name=name) for name in "BCDEF"]]
    ran = run("x", "A -> [B, C, D, E, F]", agents, max_parallel_branches=limit)
    assert ran.result.success
    assert max(seen) == most
    assert ran.result.total_duration == -(-5 // most)


def test_without_allow_parallel_steps_run_one_after_another() -> None:
    agents = [sleeper(name, 1) for name in "ABC"]
    assert run("x", "A -> [B, C]", agents, allow_parallel=False).result.total_duration == 3


def test_nested_forks_do_not_deadlock_on_a_single_slot() -> None:
    hub = asking("A", Invoke([("B", 1), ("C", 2)]), "a")
    inner = asking("B", Invoke([("D", 1), ("E", 2)]), Return("b"))
    agents = [hub, inner, *[sleeper(name, 1) for name in "CDE"]]
    ran = run("x", "A <-> [B, C]; B <-> [D, E]", agents, max_parallel_branches=1)
    assert (ran.result.unwrap(), ran.result.total_duration) == ("a", 3)


def test_a_malformed_tool_call_counts_for_nothing_but_a_round() -> None:
    @tool
    async def look(at: str) -> str:
        """Look."""
        return "seen"

    model = FakeModel([ToolCall("1", "look", "{"), call("look", "2", at=5), call("lok", "3"), "done"])
    ran = run("x", "A", [Agent("A", model=model, tools=[look])], max_tool_rounds=4)
    assert ran.result.unwrap() == "done"
    answers = [text for role, text in model.said() if role == "tool"]
    assert len(answers) == 3
    assert "look" in answers[2]
