"""A team inside a step is a run of its own: within the step's limits, ended with it, and one call of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import trio

from marsys_core import events as e
from marsys_core.actions import Content, Fail, Invoke, Return
from marsys_core.agents import Agent, BaseAgent, FunctionAgent, Team
from marsys_core.agents.pool import AgentPool
from marsys_core.config import ExecutionConfig
from marsys_core.context import Budget
from marsys_core.errors import (
    AgentError,
    CriticalError,
    GuardRefused,
    LimitError,
    RecoverableError,
    RunTimeout,
    StepTimeout,
    TopologyError,
    UnknownName,
)
from marsys_core.messages import Usage
from marsys_core.tools import ToolContext, tool
from tests.core.engine.cancelling import assert_complete
from tests.core.fakes import FakeModel, Heard, Ran, bare, call, run, virtually


def function(name: str, act: Callable[..., Any]) -> BaseAgent:
    return FunctionAgent(act, name=name)


def saying(name: str, value: Any = None) -> BaseAgent:
    async def act(prompt: Any) -> Any:
        await trio.lowlevel.checkpoint()
        return f"{prompt}{name}" if value is None else value

    return function(name, act)


def sleeping(name: str, seconds: float) -> BaseAgent:
    async def act(prompt: Any) -> Any:
        await trio.sleep(seconds)
        return f"{prompt}{name}"

    return function(name, act)


def raising(name: str, error: BaseException) -> BaseAgent:
    async def act(prompt: Any) -> Any:
        await trio.lowlevel.checkpoint()
        raise error

    return function(name, act)


def team_of(*agents: BaseAgent, name: str = "crew", **settings: Any) -> Team:
    return Team(" -> ".join(agent.name for agent in agents), agents, name=name, **settings)


def chain(node: BaseAgent, **config: Any) -> Ran:
    return run("", f"A -> {node.name} -> Z", [saying("A"), node, saying("Z")], **config)


def of_run(ran: Ran, run_id: str) -> list[Any]:
    return [event for event in ran.heard.events if event.run_id == run_id]


def test_a_team_stands_as_a_node_and_its_final_response_goes_on() -> None:
    ran = chain(team_of(saying("P"), saying("Q")).as_node("N"))
    assert ran.result.final_response == "APQZ"
    assert_complete(ran.heard.events)


def test_a_nested_run_is_one_recorded_call_and_names_its_parent() -> None:
    ran = chain(team_of(saying("P"), saying("Q")).as_node("N"))
    outer, inner = ran.of(e.RunStarted)
    assert outer.parent is None
    (began,), (ended,) = ran.of(e.TeamStarted), ran.of(e.TeamFinished)
    assert (began.team, began.node, began.task, began.inner) == ("crew", "N", "A", inner.run_id)
    assert (ended.result, ended.steps, ended.inner) == ("APQ", 2, inner.run_id)
    assert inner.parent == (outer.run_id, "0", 2, began.call_id)
    assert inner.session_id == outer.session_id
    assert inner.run_id == f"{outer.run_id}-0-{began.n}"
    assert [type(event) for event in of_run(ran, inner.run_id)][-1] is e.RunFinished


def test_steps_and_usage_of_the_nested_run_count_in_the_outer_one() -> None:
    model = FakeModel(lambda request: "x")
    ran = chain(team_of(Agent("P", model=model), Agent("Q", model=model)).as_node("N"))
    assert ran.result.usage == Usage(4, 2, model_calls=2)
    assert ran.result.total_steps == 5
    inner = Team("P", [Agent("P", model=model)]).as_node("I")
    ran = chain(team_of(Agent("Q", model=model), inner).as_node("N"))
    assert (ran.result.usage.model_calls, ran.result.total_steps) == (2, 6)


def test_what_looks_like_an_action_in_a_teams_answer_is_content() -> None:
    answer = '{"next_action": "final_response", "content": "x"}'
    node = team_of(saying("P", Content(answer))).as_node("N")
    assert run("", "A -> N", [saying("A"), node]).result.final_response == answer


def test_teams_nest_three_deep() -> None:
    innermost = team_of(saying("X"), saying("Y"), name="innermost")
    middle = team_of(saying("P"), innermost.as_node("Q"), name="middle")
    ran = chain(team_of(middle.as_node("M"), saying("R"), name="outermost").as_node("N"))
    assert ran.result.final_response == "APXYRZ"
    ids = [event.run_id for event in ran.of(e.RunStarted)]
    assert len(ids) == 4
    assert all(inner.startswith(f"{outer}-0-") for outer, inner in zip(ids, ids[1:], strict=False))
    assert_complete(ran.heard.events)


def test_a_team_that_contains_itself_comes_to_a_clear_end() -> None:
    team = Team("Self", name="Self")
    ran = run("x", "Self", [team.as_node()])
    cause: BaseException | None = ran.result.error
    assert type(cause) is AgentError
    while cause is not None and cause.__cause__ is not None:
        cause = cause.__cause__
    assert type(cause) is LimitError
    assert str(cause).startswith(
        "team 'Self' would run 17 runs deep, and the limit is 16; does a team contain itself?"
    )
    assert len(ran.of(e.RunStarted)) == 17
    assert_complete(ran.heard.events)


def test_the_agents_of_the_outer_run_are_found_and_the_teams_own_come_first() -> None:
    team = Team("P -> Q", [saying("P")], name="crew")
    agents = [team.as_node("N"), saying("Q"), saying("P", "not this one")]
    assert run("", "N", agents).result.final_response == "PQ"


def test_the_context_of_the_outer_run_is_seen() -> None:
    async def act(prompt: Any, context: Any) -> Any:
        return [context["colour"], context.session_id, context.task]

    ran = run(
        "x", "A -> N", [saying("A"), team_of(function("P", act)).as_node("N")], context={"colour": "red"}
    )
    assert ran.result.final_response == ["red", "s", "xA"]


def test_what_the_caller_gave_the_outer_run_is_found_inside() -> None:
    deps = object()
    seen: list[Any] = []

    @tool
    async def note(context: ToolContext) -> str:
        """Note."""
        seen.append(context.deps)
        return "noted"

    async def act(prompt: Any, context: Any) -> Any:
        seen.append(context.deps)
        return await context.call_tool("note")

    acting = function("P", act)
    acting.tools = (note,)

    async def main() -> Any:
        async with bare() as orchestra:
            return await orchestra.execute("x", "N", agents=[team_of(acting).as_node("N")], deps=deps)

    assert virtually(main).final_response == "noted"
    assert seen == [deps, deps]


# -- errors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "wanted"),
    [
        (ValueError("broke"), AgentError),
        (CriticalError("no key"), CriticalError),
        (GuardRefused("no"), CriticalError),
        (RecoverableError("busy"), RecoverableError),
        (ConnectionError("gone"), RecoverableError),
    ],
)
def test_a_failure_keeps_its_class_and_the_inner_error_is_its_cause(
    error: Exception, wanted: type[Exception]
) -> None:
    node = team_of(saying("P"), raising("Q", error)).as_node("N")
    found = chain(node).result.error
    assert type(found) is wanted
    assert "team 'crew' failed: " in str(found)
    assert str(error) in str(found)
    chained = found
    while chained.__cause__ is not None:
        chained = chained.__cause__  # type: ignore[assignment]
    assert chained is error


@pytest.mark.parametrize(
    ("error", "wanted"),
    [(CriticalError("no key"), CriticalError), (RecoverableError("busy"), RecoverableError)],
)
def test_what_nobody_inside_can_mend_is_raised_to_the_outer_caller(
    error: Exception, wanted: type[Exception]
) -> None:
    node = team_of(raising("P", error)).as_node("N")
    with pytest.raises(wanted) as caught:
        run("", "A -> N", [saying("A"), node], raise_errors=True)
    result = caught.value.result  # type: ignore[attr-defined]
    assert [branch.agent for branch in result.branch_results] == ["N"]
    assert result.total_steps == 3


def test_a_recoverable_failure_of_a_team_is_not_repeated_by_the_step() -> None:
    node = team_of(raising("P", ConnectionError("gone"))).as_node("N")
    ran = run("", "A -> N", [saying("A"), node], auto_retry_on_error=True)
    assert len(ran.of(e.TeamStarted)) == 1  # the step inside has had its own attempts
    assert [event.run_id for event in ran.of(e.StepRetried)] == [ran.of(e.RunStarted)[1].run_id] * 2


def test_a_team_without_an_answer_has_failed() -> None:
    async def act(prompt: Any) -> Any:
        return Invoke([("R", 1)], wait=False) if isinstance(prompt, str) else Fail("gave up")

    ran = run("", "N", [Team("P <-> R", [function("P", act), saying("R")], name="crew").as_node("N")])
    assert type(ran.result.error) is AgentError
    assert "team 'crew' failed: gave up" in str(ran.result.error)


def test_a_failure_inside_may_be_let_pass_outside() -> None:
    node = team_of(raising("P", ValueError("broke"))).as_node("N")
    ran = run("", "A <-> [N, B]", [_asking("A", "N", "B"), node, saying("B")], convergence_policy="any")
    assert ran.result.final_response == "a"


def _asking(name: str, *names: str) -> BaseAgent:
    async def act(prompt: Any) -> Any:
        return Invoke([(each, "") for each in names]) if prompt == "" else Return(name.lower())

    return function(name, act)


def test_a_topology_that_cannot_run_is_critical() -> None:
    ran = run("", "N", [Team("P -> Nobody", [saying("P")], name="crew").as_node("N")])
    error = ran.result.error
    assert type(error) is CriticalError
    assert type(error.__cause__) is TopologyError
    assert "Nobody" in str(error)
    assert [type(event) for event in ran.of(e.TeamFailed)] == [e.TeamFailed]


def test_a_guard_sees_the_task_of_a_nested_run() -> None:
    from marsys_core import Provider, hookimpl
    from marsys_core.plugins import PluginSettings

    class Wary:
        name = "wary"

        async def check(self, subject: Any) -> None:
            if subject.kind == "task" and subject.value == "A":
                raise GuardRefused("not that")

    class Plugin:
        @hookimpl
        def marsys_guards(self) -> Any:
            return [Provider("wary", make=lambda context, settings: Wary())]

    ran = chain(
        team_of(saying("P")).as_node("N"), plugins=PluginSettings(discover=False, plugins={"wary": Plugin()})
    )
    assert type(ran.result.error) is CriticalError
    assert "not that" in str(ran.result.error)


# -- limits ---------------------------------------------------------------------------------------


def test_the_outer_steps_deadline_ends_the_nested_run() -> None:
    ran = chain(team_of(sleeping("P", 9)).as_node("N"), step_timeout=2)
    assert type(ran.result.error) is StepTimeout
    assert ran.result.total_duration == 2
    assert [event.error for event in ran.of(e.TeamFailed)] == ["interrupted"]
    assert_complete(ran.heard.events)


def test_a_teams_own_timeout_fails_its_step() -> None:
    team = team_of(sleeping("P", 9), execution_config=ExecutionConfig(timeout=3))
    ran = chain(team.as_node("N"), timeout=60)
    assert type(ran.result.error) is AgentError
    assert type(ran.result.error.__cause__) is RunTimeout
    assert ran.result.total_duration == 3


def test_steps_of_nested_runs_count_against_the_outer_limit() -> None:
    node = team_of(saying("P"), saying("Q"), saying("R")).as_node("N")
    ran = chain(node, max_steps=4)
    assert "all steps of a run that this one is nested in are used up: 4 (max_steps=4)" in str(
        ran.result.error
    )
    assert (ran.result.total_steps, ran.result.success) == (4, False)
    assert chain(node, max_steps=6).result.success
    ran = chain(node, max_steps=5)
    assert "the run took 5 steps (max_steps=5)" in str(ran.result.error)


def test_nested_runs_side_by_side_cannot_overshoot_in_steps_together() -> None:
    def node(name: str) -> BaseAgent:
        return team_of(*[saying(each) for each in "PQRST"]).as_node(name)

    for schedule in range(5):
        agents = [_asking("A", "B", "C"), node("B"), node("C")]
        ran = run("", "A <-> [B, C]", agents, max_steps=8, schedule=schedule)
        assert not ran.result.success
        assert ran.result.total_steps == len(ran.of(e.StepStarted)) == 8
        assert_complete(ran.heard.events)


def test_a_teams_own_limit_on_steps_holds_as_well() -> None:
    team = team_of(saying("P"), saying("Q"), execution_config=ExecutionConfig(max_steps=1))
    assert "the run took 1 step (max_steps=1)" in str(chain(team.as_node("N")).result.error)


@tool
async def look() -> str:
    """Look."""
    await trio.lowlevel.checkpoint()
    return "seen"


def _looker(name: str, times: int) -> BaseAgent:
    async def act(prompt: Any, context: Any) -> Any:
        for _ in range(times):
            await context.generate("x", model=FakeModel(["x"]))
            await context.call_tool("look")
        return context.budget.tool_calls

    made = FunctionAgent(act, name=name)
    made.tools = (look,)
    return made


def test_tokens_and_tool_calls_are_spent_from_the_outer_budget() -> None:
    ran = chain(team_of(_looker("P", 2)).as_node("N"), max_tool_calls=5)
    assert ran.result.final_response == "3Z"
    ran = chain(team_of(_looker("P", 3)).as_node("N"), max_tool_calls=2)
    assert "2 calls made (max_tool_calls=2)" in str(ran.result.error)
    ran = chain(team_of(_looker("P", 3)).as_node("N"), max_tokens=5)
    assert "(max_tokens=5)" in str(ran.result.error)
    assert ran.result.usage.total_tokens == 6  # nobody knew how long the second answer could be


def test_the_smaller_of_both_budgets_holds() -> None:
    team = team_of(_looker("P", 2), execution_config=ExecutionConfig(max_tool_calls=1))
    assert "(max_tool_calls=1)" in str(chain(team.as_node("N"), max_tool_calls=5).result.error)
    assert "(max_tool_calls=1)" in str(chain(team.as_node("N")).result.error)


def test_what_nested_runs_spend_is_in_the_fold_of_the_outer_journal() -> None:
    from marsys_core.orchestrator import RunState

    inner = team_of(_looker("P", 2), name="inner").as_node("I")
    ran = chain(team_of(_looker("Q", 1), inner).as_node("N"), max_tokens=1000, max_tool_calls=9)
    assert ran.result.success
    state = RunState()
    for event in of_run(ran, ran.result.run_id):
        state.apply(event)
    assert state.share is not None
    assert (state.steps, state.share.steps) == (6, 6)
    assert (state.share.tokens, state.share.tool_calls) == (ran.result.usage.total_tokens, 3)
    assert state.share.tokens == 9


def test_an_agent_of_a_nested_run_sees_what_is_left_to_all() -> None:
    seen: list[Budget] = []

    async def act(prompt: Any, context: Any) -> Any:
        seen.append(context.budget)
        return "x"

    team = team_of(
        function("P", act), execution_config=ExecutionConfig(timeout=5, max_tokens=50, max_steps=3)
    )
    chain(team.as_node("N"), max_tokens=100, max_tool_calls=7, timeout=9, max_steps=30)
    assert seen == [Budget(steps=2, tokens=50, tool_calls=7, seconds=5)]


def test_nested_runs_side_by_side_with_one_slot_do_not_wait_for_each_other_for_ever() -> None:
    running = most = 0

    async def act(prompt: Any) -> Any:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await trio.sleep(1)
        running -= 1
        return "x"

    def node(name: str) -> BaseAgent:
        inner = Team("X -> [Y, Z]", [function(each, act) for each in "XYZ"], name="inner")
        return team_of(function("P", act), inner.as_node("I")).as_node(name)

    agents = [_asking("A", "B", "C", "D"), node("B"), node("C"), node("D")]
    ran = run("", "A <-> [B, C, D]", agents, max_parallel_branches=1, timeout=1000)
    assert ran.result.final_response == "a"
    assert (most, ran.result.total_duration) == (1, 12)


def test_a_slot_is_free_for_others_while_a_nested_run_goes_on() -> None:
    team = team_of(sleeping("P", 5), execution_config=ExecutionConfig(max_parallel_branches=2))
    agents = [_asking("A", "B", "C"), team.as_node("B"), sleeping("C", 5)]
    ran = run("", "A <-> [B, C]", agents, max_parallel_branches=2)
    assert ran.result.total_duration == 5


def test_the_instance_of_a_pool_is_free_for_the_team_it_asks() -> None:
    async def act(prompt: Any, context: Any) -> Any:
        await trio.sleep(1)
        return f"{prompt}p" if prompt else await context.run_team(team, "again")

    pool = AgentPool(FunctionAgent, 1, name="P", function=act)
    team = Team("P -> Q", [pool, saying("Q")], name="crew")
    for most in (None, 1):
        ran = run("", "P", [pool], max_parallel_branches=most, timeout=1000)
        assert ran.result.final_response == "againpQ"


# -- tools ----------------------------------------------------------------------------------------


def test_a_model_calls_a_team_as_a_tool() -> None:
    team = team_of(saying("P"), saying("Q"), name="the crew", description="Works.")
    given = team.as_tool()
    assert (given.name, given.description) == ("the_crew", "Works.")
    assert list(given.parameters["properties"]) == ["request"]
    model = FakeModel([call("the_crew", request="do "), "done"])
    ran = run("x", "A", [Agent("A", model=model, tools=[given])])
    assert ran.result.final_response == "done"
    assert model.said()[-1] == ("tool", "do PQ")
    (began,) = ran.of(e.ToolStarted)
    (nested,) = ran.of(e.TeamStarted)
    assert nested.call_id == began.call_id
    assert ran.of(e.RunStarted)[1].parent == (ran.result.run_id, "0", 1, "c1")
    assert ran.result.total_steps == 3


def test_an_agent_is_a_tool_and_works_alone() -> None:
    helper = Agent("Fact finder", model=FakeModel(["a fact"]), description="Finds facts.")
    model = FakeModel([call("Fact_finder", request="what?"), "done"])
    ran = run("x", "A", [Agent("A", model=model, tools=[helper.as_tool()])])
    assert model.said()[-1] == ("tool", "a fact")
    assert ran.result.usage.model_calls == 3
    named = helper.as_tool("ask", "Ask it.")
    assert (named.name, named.description) == ("ask", "Ask it.")


def test_teams_called_side_by_side_keep_their_places_in_the_journal() -> None:
    team = team_of(sleeping("P", 1))
    calls = [call("crew", str(index), request=str(index)) for index in range(3)]

    def journal(schedule: int) -> list[Any]:
        agent = Agent("A", model=FakeModel([calls, "done"]), tools=[team.as_tool()])
        ran = run("x", "A", [agent], schedule=schedule)
        ids = {event.run_id: event.run_id.partition("-")[2] for event in ran.of(e.RunStarted)}
        told = [(ids[event.run_id], event.id, type(event).__name__) for event in ran.heard.events]
        assert_complete(ran.heard.events)
        assert ran.result.total_duration == 1
        return sorted(told)

    first = journal(0)
    assert all(journal(schedule) == first for schedule in range(1, 6))


@pytest.mark.parametrize(
    ("error", "wanted"),
    [(CriticalError("no key"), CriticalError), (RecoverableError("busy"), RecoverableError)],
)
def test_a_tool_that_is_a_team_ends_the_run_for_grave_causes(error: Exception, wanted: type) -> None:
    given = team_of(raising("P", error)).as_tool()
    ran = run("x", "A", [Agent("A", model=FakeModel([call("crew", request="x")]), tools=[given])])
    assert type(ran.result.error) is wanted


def test_a_model_is_told_of_other_failures_of_a_team() -> None:
    given = team_of(raising("P", ValueError("broke"))).as_tool()
    model = FakeModel([call("crew", request="x"), "without it then"])
    ran = run("x", "A", [Agent("A", model=model, tools=[given])])
    assert ran.result.final_response == "without it then"
    assert "team 'crew' failed: agent 'P' raised ValueError: broke" in str(model.said()[-1])


def test_the_limit_of_a_tool_call_ends_a_nested_run() -> None:
    given = team_of(sleeping("P", 9)).as_tool()
    model = FakeModel([call("crew", request="x"), "done"])
    ran = run("x", "A", [Agent("A", model=model, tools=[given])], tool_timeout=2)
    assert "took longer than 2 s" in str(model.said()[-1])
    assert ran.result.total_duration == 2
    assert_complete(ran.heard.events)


def test_an_agent_may_run_a_team_in_its_own_code() -> None:
    team = team_of(saying("P"))

    async def act(prompt: Any, context: Any) -> Any:
        return [await context.run_team(team, each) for each in "xy"]

    ran = run("", "A", [function("A", act)])
    assert ran.result.final_response == ["xP", "yP"]


# -- by itself -------------------------------------------------------------------------------------


def test_a_cancelled_run_takes_its_nested_ones_along() -> None:
    heard = Heard()

    async def main() -> Any:
        async with bare(sinks=[heard]) as orchestra:
            handle = orchestra.start("x", "N", agents=[team_of(sleeping("P", 99)).as_node("N")])
            await trio.sleep(1)
            assert len(orchestra.engine.runs) == 2
            handle.cancel()
            await handle.result()
            assert len(orchestra.engine.runs) == 0

    virtually(main)
    assert [event.error for event in heard.of(e.TeamFailed)] == ["interrupted"]
    assert_complete(heard.events)


def test_names_nobody_provides_are_told_with_the_agent() -> None:
    ran = run("x", "N", [team_of(Agent("P", model="nothing")).as_node("N")])
    assert type(ran.result.error) is CriticalError
    assert type(ran.result.error.__cause__) is UnknownName


@pytest.mark.parametrize("given", [None, "inner", saying("X")])
def test_what_is_no_team_is_refused_by_name(given: Any) -> None:
    async def act(prompt: Any, context: Any) -> Any:
        return await context.run_team(given, prompt)

    error = run("x", "A", [function("A", act)]).result.error
    assert f"raised TypeError: run_team takes a Team, not {given!r}" in str(error)
