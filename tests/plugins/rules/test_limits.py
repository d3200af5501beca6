"""Each limit of a rule acts: a run that breaks it ends, the error names the rule, and nothing is left running."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from marsys.rules import AgentTimeout, MaxAgents, MaxSteps, MaxTurns, Timeout
from marsys_core.agents import FunctionAgent
from marsys_core.errors import LimitError, RunTimeout, StepTimeout, TopologyError
from marsys_core.events import RunFinished
from marsys_core.plugins.knobs import PluginSettings
from marsys_core.topology import NO_LIMITS, Topology
from tests.core.fakes import Ran, run

RULES = PluginSettings(only=["rules"])


class Books:
    """Counts who is inside."""

    def __init__(self) -> None:
        self.now = self.most = 0

    def agents(self, names: str, seconds: float) -> list[FunctionAgent]:
        async def act(prompt: Any, context: Any) -> str:
            self.now += 1
            self.most = max(self.most, self.now)
            try:
                await trio.sleep(seconds)
            finally:
                self.now -= 1
            return f"{context.node}"

        return [FunctionAgent(act, name=name) for name in names]


def ruled(edges: str, *rules: Any, seconds: float = 10, **config: Any) -> tuple[Ran, Books]:
    books = Books()
    names = "".join(sorted({char for char in edges if char.isupper()}))
    topology = Topology(edges=[edges], rules=rules)
    ran = run("x", topology, books.agents(names, seconds), plugins=RULES, **config)
    assert books.now == 0
    assert type(ran.heard.events[-1]) is RunFinished
    return ran, books


@pytest.mark.parametrize(
    "rule", ["timeout(15)", {"timeout": 15}, {"type": "timeout", "seconds": 15}, Timeout(15)]
)
def test_a_run_that_takes_too_long_ends(rule: Any) -> None:
    ran, _ = ruled("A -> [B, C]", rule)

    assert isinstance(ran.result.error, RunTimeout)
    assert str(ran.result.error) == "the run took longer than timeout=15 s (rule timeout(15))"


@pytest.mark.parametrize("rule", ["max_steps(2)", {"max_steps": 2}, MaxSteps(2)])
def test_a_run_that_takes_too_many_steps_ends(rule: Any) -> None:
    ran, _ = ruled("A -> B -> C", rule)

    assert isinstance(ran.result.error, LimitError)
    assert str(ran.result.error) == "the run took 2 steps (rule max_steps(2)) (max_steps=2)"


@pytest.mark.parametrize("rule", ["max_agents(2)", {"max_agents": 2}, MaxAgents(2)])
def test_no_more_steps_run_at_a_time_than_are_allowed(rule: Any) -> None:
    free, without = ruled("A -> [B, C, D, E]")
    ran, books = ruled("A -> [B, C, D, E]", rule)

    assert (without.most, books.most) == (4, 2)
    assert ran.result.final_response == free.result.final_response


@pytest.mark.parametrize(
    "rule",
    ["agent_timeout(B:5, default:50)", {"agent_timeout": {"B": 5, "default": 50}}, AgentTimeout(50, B=5)],
)
def test_a_step_that_takes_too_long_fails(rule: Any) -> None:
    ran, _ = ruled("A -> B", rule)

    assert isinstance(ran.result.error, StepTimeout)
    assert str(ran.result.error) == (
        "the step of 'B' took longer than agent_timeout=5 s (rule agent_timeout(B:5, default:50)) "
        "(at branch 0, node 'B', step 2)"
    )


def test_an_agent_that_is_not_named_has_the_default_or_no_limit() -> None:
    assert isinstance(ruled("A -> B", "agent_timeout(5)")[0].result.error, StepTimeout)
    assert ruled("A -> B", "agent_timeout(B:15)")[0].result.success


@pytest.mark.parametrize("rule", ["max_turns(A: 3, default: 5)", {"max_turns": {"A": 3}}, MaxTurns(3, B=1)])
def test_a_conversation_ends_after_the_turns_that_its_opener_has(rule: Any) -> None:
    ran, _ = ruled("A <~> B", rule)

    assert ran.result.unwrap() == "A"
    assert ran.result.total_steps == 3


def test_of_several_limits_the_smallest_holds() -> None:
    rules = ["timeout(40)", "timeout(25)", Timeout(30)]

    assert "timeout=25 s (rule timeout(25))" in str(ruled("A -> B -> C", *rules)[0].result.error)
    assert str(ruled("A -> B", *rules, timeout=15)[0].result.error) == "the run took longer than timeout=15 s"


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (MaxTurns(6), {"": 6}),
        (MaxTurns(A=6, B=4, default=10), {"A": 6, "B": 4, "": 10}),
        (MaxTurns({"Research Lead": 3}), {"Research Lead": 3}),
    ],
)
def test_turns_are_bounded_by_the_node_that_opens_a_conversation(rule: MaxTurns, expected: Any) -> None:
    assert rule.limits(NO_LIMITS).max_turns == expected
    assert rule.nodes == tuple(node for node in expected if node)


@pytest.mark.parametrize(
    "rule", [Timeout(2.5), MaxSteps(3), MaxAgents(1), MaxTurns(A=2), MaxTurns(4), AgentTimeout(9, B=1)]
)
def test_an_object_and_its_form_as_data_are_the_same_rule(rule: Any) -> None:
    one, other = Topology(["A", "B"], rules=[rule]), Topology(["A", "B"], rules=[rule.to_dict()])

    assert one == other
    assert one.to_text() == other.to_text()


@pytest.mark.parametrize(
    ("make", "given", "why"),
    [
        (Timeout, 0, "a number of seconds above 0, at most 1e9, is expected, not 0"),
        (Timeout, "30", "a number of seconds above 0, at most 1e9, is expected, not '30'"),
        (MaxSteps, 2.5, "a whole number, at least 1, is expected, not 2.5"),
        (MaxAgents, True, "a whole number, at least 1, is expected, not True"),
        (MaxTurns, None, "it needs a limit, as in (90), (A:120) or (A:120, default:90)"),
        (
            lambda given: AgentTimeout(*given),
            (1, 2),
            "one limit is for all nodes that are not named, and 2 are given",
        ),
        (AgentTimeout, {"A": -1}, "a number of seconds above 0, at most 1e9, is expected, not -1"),
    ],
)
def test_a_wrong_limit_is_refused(make: Any, given: Any, why: str) -> None:
    with pytest.raises(TopologyError) as caught:
        make(given)
    assert str(caught.value) == why
