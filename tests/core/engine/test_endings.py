"""The three ways in which a run ends for its caller: a result, a critical error, a recoverable one."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from marsys_core import events as e
from marsys_core.actions import Fail, Finish, Invoke
from marsys_core.agents import Agent, BaseAgent, FunctionAgent, agent
from marsys_core.config import ExecutionConfig
from marsys_core.errors import (
    ActionError,
    AgentError,
    ConfigError,
    ConvergenceError,
    CriticalError,
    ErrorClass,
    LimitError,
    MarsysError,
    ModelError,
    ModelErrorKind,
    Place,
    RecoverableError,
    ToolError,
    TopologyError,
    ValueRefused,
)
from marsys_core.results import RunResult
from marsys_core.tools import tool
from tests.core.fakes import FakeModel, Ran, bare, call, run, virtually


def raising(name: str, error: BaseException | type[BaseException]) -> BaseAgent:
    async def act(prompt: Any) -> Any:
        await trio.lowlevel.checkpoint()
        raise error

    return FunctionAgent(act, name=name)


def saying(name: str, value: Any = "fine") -> BaseAgent:
    async def act(prompt: Any) -> Any:
        await trio.lowlevel.checkpoint()
        return value

    return FunctionAgent(act, name=name)


def ask(topology: Any, *agents: BaseAgent, task: Any = "task", **config: Any) -> RunResult:
    """Run as a caller does who takes the defaults: what is to be raised is raised."""

    async def main() -> RunResult:
        async with bare() as orchestra:
            return await orchestra.execute(
                task, topology, agents=agents, execution_config=ExecutionConfig(**config)
            )

    return virtually(main)


# -- the agents came to an end, good or bad ------------------------------------------------------


def test_an_exception_in_an_agents_own_code_is_in_the_result() -> None:
    cause = ValueError("seven is not even")
    result = ask("A", raising("A", cause))
    assert not result.success
    assert type(result.error) is AgentError
    assert result.error.__cause__ is cause
    assert result.error.place == Place("0", "A", 1)
    assert str(result.error) == (
        "agent 'A' raised ValueError: seven is not even (at branch 0, node 'A', step 1)"
    )
    with pytest.raises(AgentError) as raised:
        result.unwrap()
    assert raised.value is result.error


@pytest.mark.parametrize("error", ["out of ideas", ValueError("out of ideas")])
def test_an_agent_that_gives_up_ends_the_run_with_its_words(error: Any) -> None:
    result = ask("A", saying("A", Fail(error)))
    assert not result.success
    assert "out of ideas" in str(result.error)
    assert [(b.outcome, b.success) for b in result.branch_results] == [("failed", False)]


def test_a_failed_run_keeps_its_contributions() -> None:
    result = ask(
        "A <-> [B, C]",
        saying("A", Invoke([("B", 1), ("C", 2)])),
        saying("B", Finish("kept")),
        saying("C", Fail("no")),
    )
    assert not result.success
    assert result.final_response == "kept"
    assert type(result.error) is ConvergenceError


def test_a_join_that_fails_names_every_child_and_carries_their_errors() -> None:
    hub = saying("H", Invoke([("A", 1), ("B", 2), ("C", 3)]))
    result = ask("H <-> [A, B, C]", hub, saying("A"), raising("B", KeyError("b")), saying("C", Fail("c")))
    assert type(result.error) is ConvergenceError
    assert [type(failure) for failure in result.error.failures] == [AgentError, AgentError]
    assert "1 of 3 calls from 'H' delivered" in str(result.error)
    assert "'B' (0.1)" in str(result.error)
    assert "'C' (0.2)" in str(result.error)


def test_a_policy_that_lets_failures_pass_raises_nothing() -> None:
    hub_replies = iter([Invoke([("A", 1), ("B", 2)]), "went on"])

    @agent
    async def H(prompt: Any) -> Any:
        return next(hub_replies)

    result = ask(
        "H <-> [A, B]", H, saying("A"), raising("B", CriticalError("no key")), convergence_policy=0.5
    )
    assert result.unwrap() == "went on"


# -- a critical cause ----------------------------------------------------------------------------

CRITICAL = [
    CriticalError("no key"),
    CriticalError(),
    ConfigError("bad setting"),
    ModelError("denied", kind=ModelErrorKind.AUTHENTICATION),
    ModelError("forbidden", kind=ModelErrorKind.PERMISSION),
    ModelError("no such model", kind=ModelErrorKind.NOT_FOUND),
    ModelError("no money", kind=ModelErrorKind.QUOTA),
]
RECOVERABLE = [
    RecoverableError("later"),
    RecoverableError(),
    ModelError("slow down", kind=ModelErrorKind.RATE_LIMIT),
    ModelError("busy", kind=ModelErrorKind.OVERLOADED),
    ModelError("took too long", kind=ModelErrorKind.TIMEOUT),
    ModelError("no route", kind=ModelErrorKind.NETWORK),
    ConnectionError("reset"),
    TimeoutError("slow"),
]
PASSING = [
    ModelError("filtered", kind=ModelErrorKind.CONTENT_FILTER),
    ModelError("gibberish"),
    ToolError("no"),
    ValueError("own code"),
    LimitError("enough", "calls"),
    ActionError("nothing to do"),
    MarsysError("plain"),
]


@pytest.mark.parametrize("error", CRITICAL, ids=repr)
def test_a_critical_cause_is_raised(error: MarsysError) -> None:
    with pytest.raises(CriticalError) as raised:
        ask("A", raising("A", error))
    assert raised.value is error or raised.value.__cause__ is error
    assert raised.value.result is not None
    assert raised.value.result.error is error
    assert raised.value.result.success is False


@pytest.mark.parametrize("error", RECOVERABLE, ids=repr)
def test_a_recoverable_cause_is_raised_as_one(error: Exception) -> None:
    with pytest.raises(RecoverableError) as raised:
        ask("A", raising("A", error))
    chain: list[Any] = [raised.value]
    while chain[-1].__cause__ is not None:
        chain.append(chain[-1].__cause__)
    assert error in chain
    assert raised.value.result is not None
    assert [branch.outcome for branch in raised.value.result.branch_results] == ["failed"]


@pytest.mark.parametrize("error", PASSING, ids=repr)
def test_any_other_error_is_in_the_result(error: Exception) -> None:
    result = ask("A", raising("A", error))
    assert not result.success
    assert error in (result.error, result.error and result.error.__cause__)


@pytest.mark.parametrize("error", [*CRITICAL, *RECOVERABLE], ids=repr)
def test_with_raise_errors_off_everything_is_in_the_result(error: Exception) -> None:
    result = ask("A", raising("A", error), raise_errors=False)
    assert not result.success
    assert error in (result.error, result.error and result.error.__cause__)
    assert result.error is not None
    with pytest.raises(type(result.error)):
        result.unwrap()


def test_an_agent_run_alone_has_all_its_errors_in_the_result() -> None:
    one = raising("A", CriticalError("no key"))
    result = virtually(one.run, "task")
    assert type(result.error) is CriticalError


def test_the_class_of_a_join_is_the_worst_of_its_causes_and_the_others_are_notes() -> None:
    hub = saying("H", Invoke([(name, name) for name in "ABCD"]))
    agents = [
        raising("A", ValueError("own")),
        raising("B", ConnectionError("reset")),
        raising("C", CriticalError("no key")),
        raising("D", CriticalError("no model")),
    ]
    with pytest.raises(CriticalError) as raised:
        ask("H <-> [A, B, C, D]", hub, *agents)
    assert "no key" in str(raised.value)
    assert [note.split(":")[1].strip() for note in raised.value.__notes__] == [
        "AgentError",
        "AgentError",
        "CriticalError",
    ]
    assert raised.value.result is not None
    assert type(raised.value.result.error) is ConvergenceError
    assert raised.value.result.error.error_class is ErrorClass.CRITICAL


def test_a_recoverable_cause_in_a_nested_join_is_raised() -> None:
    hubs = {"H": Invoke([("A", 1), ("B", 2)]), "A": Invoke([("C", 3), ("D", 4)])}
    with pytest.raises(RecoverableError) as raised:
        ask(
            "H <-> [A, B]; A <-> [C, D]",
            saying("H", hubs["H"]),
            saying("A", hubs["A"]),
            saying("B"),
            saying("C"),
            raising("D", ConnectionError("reset")),
        )
    assert "reset" in str(raised.value)


def test_a_child_that_gives_up_with_a_foreign_error_beside_a_critical_one_is_a_note() -> None:
    hub = saying("H", Invoke([("A", 1), ("B", 2)]))
    with pytest.raises(CriticalError) as raised:
        ask("H <-> [A, B]", hub, saying("A", Fail(ValueError("own"))), raising("B", CriticalError("no key")))
    assert raised.value.__notes__ == ["beside it: ValueError: own"]


# -- before the first step -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("topology", "text"),
    [("A -> Nobody", "Nobody"), ("A ->", "expected"), ({"nodes": 5, "edges": []}, "nodes"), (5, "topology")],
)
def test_a_topology_that_cannot_run_is_raised(topology: Any, text: str) -> None:
    with pytest.raises(TopologyError, match=text) as raised:
        ask(topology, saying("A"))
    assert raised.value.result is not None
    assert raised.value.result.error is raised.value


def test_a_task_that_cannot_be_recorded_is_raised_as_critical() -> None:
    with pytest.raises(CriticalError, match="max_value_bytes") as raised:
        ask("A", saying("A"), task="x" * 10_000_000)
    assert type(raised.value.__cause__) is ValueRefused
    result = ask("A", saying("A"), task="x" * 10_000_000, raise_errors=False)
    assert type(result.error) is ValueRefused


def test_a_large_task_within_the_limit_arrives_whole() -> None:
    task = "x" * 10_000_000

    @agent
    async def A(prompt: str, context: Any) -> Any:
        return [len(prompt), len(context.task)]

    assert ask("A", A, task=task, max_value_bytes=50_000_000).unwrap() == [len(task)] * 2


# -- what agents hand on -------------------------------------------------------------------------


def model_run(*replies: Any, tools: Any = (), **config: Any) -> tuple[Ran, FakeModel]:
    model = FakeModel(replies)
    return run("task", "A", [Agent("A", model=model, tools=tools)], **config), model


@pytest.mark.parametrize("error", [CriticalError("no key"), RecoverableError("later")], ids=repr)
def test_a_tool_may_end_the_run(error: MarsysError) -> None:
    @tool
    async def look() -> str:
        """Look."""
        raise error

    ran, _ = model_run(call("look"), "never", tools=[look])
    assert ran.result.error is error
    assert [event.error for event in ran.of(e.ToolFailed)] == [f"{type(error).__name__}: {error.args[0]}"]


@pytest.mark.parametrize("schedule", range(4))
def test_of_two_tools_that_end_the_run_side_by_side_the_first_is_raised(schedule: int) -> None:
    @tool
    async def look(at: str) -> str:
        """Look."""
        raise CriticalError(f"no key for {at}")

    model = FakeModel([[call("look", "1", at="one"), call("look", "2", at="two")], "never"])
    ran = run("task", "A", [Agent("A", model=model, tools=[look])], schedule=schedule)
    assert type(ran.result.error) is CriticalError
    assert "no key for one" in str(ran.result.error)
    assert ran.result.error.__notes__ == ["beside it: CriticalError: no key for two"]
    assert len(ran.of(e.ToolFailed)) == 2


def test_no_contribution_is_no_success() -> None:
    result = ask(
        "A <-> [B, C]",
        saying("A", Invoke([("B", 1), ("C", 2)])),
        saying("B", Fail("b")),
        saying("C", Fail("c")),
    )
    assert (result.success, result.final_response) == (False, None)


def test_a_run_without_an_error_that_came_to_nothing_can_be_unwrapped_too() -> None:
    with pytest.raises(AgentError, match="^the run came to no answer$"):
        RunResult(success=False, final_response=None).unwrap()
