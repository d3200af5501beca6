"""What agents are shown of their run: their own conversation, their branch's, or all that led to the step."""

from __future__ import annotations

import pytest

from marsys_core.agents import Agent, Registry, agent
from marsys_core.errors import ConfigError
from tests.core.fakes import FakeModel, call, invoking, run


def test_an_agent_is_shown_its_own_conversation_unless_it_asks_for_more() -> None:
    model = FakeModel(["seen"])
    run("go", "A -> B", [Agent("A", model=FakeModel(["first"])), Agent("B", model=model)])
    assert model.said() == [("user", "first")]


def test_the_history_of_its_branch_has_what_others_said_there_with_their_names() -> None:
    model = FakeModel(["seen"])
    agents = [
        Agent("A", model=FakeModel(["alpha"])),
        Agent("B", model=FakeModel(["beta"])),
        Agent("C", model=model, history="branch"),
    ]
    run("go", "A -> B -> C", agents)
    assert model.said() == [("user", "go"), ("user", "[A]: alpha"), ("user", "[B]: beta")]


def test_functions_are_heard_too() -> None:
    model = FakeModel(["seen"])

    @agent
    async def A(prompt: str) -> str:
        return f"{prompt}, said A"

    run("go", "A -> B", [A, Agent("B", model=model, history="branch")])
    assert model.said() == [("user", "[A]: go, said A")]


def test_what_led_to_a_step_includes_the_branches_that_met_before_it() -> None:
    model = FakeModel(["seen"])
    agents = [
        Agent("A", model=FakeModel(["alpha"])),
        Agent("B", model=FakeModel(["beta"])),
        Agent("C", model=FakeModel(["gamma"])),
        Agent("D", model=model, history="run"),
    ]
    run("go", "A -> [B, C] -> D", agents)
    assert model.said()[:4] == [
        ("user", "go"),
        ("user", "[A]: alpha"),
        ("user", "[B]: beta"),
        ("user", "[C]: gamma"),
    ]
    assert len(model.said()) == 5  # and what the join handed over


def test_a_child_of_a_fork_sees_what_led_to_the_fork_and_nothing_beside_it() -> None:
    model = FakeModel(["seen"])
    agents = [
        Agent("A", model=FakeModel(["alpha"])),
        Agent("B", model=FakeModel(["beta"])),
        Agent("C", model=model, history="run"),
    ]
    run("go", "A -> [B, C]", agents)
    assert model.said() == [("user", "go"), ("user", "[A]: alpha")]


def test_its_branch_alone_does_not_reach_beyond_the_fork() -> None:
    model = FakeModel(["seen"])
    agents = [
        Agent("A", model=FakeModel(["alpha"])),
        Agent("B", model=FakeModel(["beta"])),
        Agent("C", model=model, history="branch"),
    ]
    run("go", "A -> [B, C]", agents)
    assert model.said() == [("user", "alpha")]


def test_what_others_say_never_stands_between_a_call_and_its_answer() -> None:
    model = FakeModel([invoking("B"), "done"])
    agents = [Agent("A", model=model, history="branch"), Agent("B", model=FakeModel(["beta"]))]
    result = run("go", "A <-> B", agents).result
    assert result.final_response == "done"
    roles = [role for role, _ in model.said()]
    assert roles == ["user", "assistant", "tool", "user", "user"]
    assert model.said()[-1] == ("user", "[B]: beta")


def test_a_failed_attempt_leaves_no_trace_in_what_others_are_shown() -> None:
    model = FakeModel(["seen"])
    agents = [
        Agent("A", model=FakeModel([call("finish"), "alpha"])),
        Agent("B", model=model, history="run"),
    ]
    run("go", "A -> B; A -> end", agents)
    run("go", "A -> B", [Agent("A", model=FakeModel(['{"next_action": ', "alpha"])), agents[1]])
    assert model.said() == [("user", "go"), ("user", "[A]: alpha")]


@pytest.mark.slow
def test_a_long_run_costs_the_same_for_each_step() -> None:
    """The transcript grows with the run and is not made anew: what was read before is not read again."""
    replies = [
        *[
            call("invoke_agent", f"c{i}", invocations=[{"agent_name": "B", "request": str(i)}])
            for i in range(60)
        ],
        "end",
    ]
    model = FakeModel(replies)
    run(
        "go",
        "A <-> B",
        [Agent("A", model=model, history="run"), Agent("B", model=FakeModel(lambda _: "b"))],
        max_steps=200,
    )
    assert len(model.said()) > 120


def test_a_history_that_is_not_known_is_refused_with_the_nearest() -> None:
    with (
        Registry(),
        pytest.raises(
            ConfigError,
            match=r"^history is one of 'own', 'branch', 'run', not 'brunch'\. Did you mean 'branch' or 'run'\?$",
        ),
    ):
        Agent("A", history="brunch")


def test_an_agent_that_is_asked_again_below_its_own_open_call_is_shown_that_call_closed() -> None:
    model = FakeModel([invoking("B"), "below", "below", "done"])  # which refuses an invalid history
    b = FakeModel([invoking("A", "A", id="b1"), "beta"])
    agents = [Agent("A", model=model, history="run"), Agent("B", model=b, history="run")]
    assert run("go", "start -> A; A <-> B", agents).result.final_response == "done"
    assert model.said(1)[:3] == [("user", "go"), ("assistant", ""), ("tool", "handed over")]
    assert ("tool", "handed over") not in model.said()
    assert ("tool", "beta") in model.said()


def test_what_the_agent_said_below_its_own_open_call_is_told_after_the_answer() -> None:
    model = FakeModel([invoking("B"), "left", "right", "done"])
    b = FakeModel([invoking("A", "A", id="b1"), "beta"])
    agents = [Agent("A", model=model, history="run"), Agent("B", model=b)]
    assert run("go", "start -> A; A <-> B", agents).result.final_response == "done"
    roles, texts = zip(*model.said(), strict=True)
    assert roles[:3] == ("user", "assistant", "tool")
    assert set(roles[3:]) == {"user"}
    assert {"[A]: left", "[A]: right"} <= set(texts[3:])


def test_a_call_that_its_branch_never_came_back_to_is_closed_where_branches_meet() -> None:
    """W asks B, which delivers to the join itself; D is the same agent and is shown W's call with an answer."""
    model = FakeModel([invoking("B", id="w1"), "seen"])
    w = Agent("W", model=model, history="run")
    agents = {
        "A": Agent("A", model=FakeModel(["alpha"])),
        "W": w,
        "C": Agent("C", model=FakeModel(["gamma"])),
        "B": Agent(
            "B", model=FakeModel([call("invoke_agent", invocations=[{"agent_name": "D", "request": "to D"}])])
        ),
        "D": w,
    }
    ran = run("go", ["A -> [W, C]", "W <-> B", "B -> D", "C -> D", "W -> D"], agents)
    assert ran.result.final_response == "seen"
    assert ("tool", "handed over") in model.said()
