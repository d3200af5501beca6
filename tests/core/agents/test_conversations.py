"""Models in conversation: what they are shown and offered, what is kept, and how they end it."""

from __future__ import annotations

from typing import Any

import pytest

from marsys_core import events as e
from marsys_core.actions import EndConversation, Return
from marsys_core.agents import Agent, BaseAgent, FunctionAgent
from tests.core.fakes import FakeModel, Ran, Reply, call, invoking, run


def team(topology: str, *others: BaseAgent, **scripts: list[Reply]) -> tuple[Ran, dict[str, FakeModel]]:
    """Run models by script, as many agents as there are keyword arguments, together with `others`."""
    models = {name: FakeModel(replies, name=name) for name, replies in scripts.items()}
    return run(
        "task", topology, [*(Agent(name, model=model) for name, model in models.items()), *others]
    ), models


def says(name: str, value: Any) -> BaseAgent:
    async def act(prompt: Any) -> Any:
        return value

    return FunctionAgent(act, name=name)


def test_a_models_text_is_its_turn_and_both_sides_keep_what_was_said() -> None:
    ran, models = team("A <~4> B", A=["a1", "a2"], B=["b1", "b2"])
    assert ran.result.unwrap() == "b2"
    assert models["A"].said() == [("user", "task"), ("assistant", "a1"), ("user", "b1")]
    assert models["B"].said() == [("user", "a1"), ("assistant", "b1"), ("user", "a2")]
    assert ran.result.total_steps == 4


def test_inside_one_a_model_is_offered_to_end_it_and_not_to_invoke_the_other_side() -> None:
    _, models = team("A <~2> B; B <-> C", says("C", "c"), A=["a"], B=["b"])
    assert models["A"].offered() == ["finish", "end_conversation"]
    assert models["B"].offered() == ["invoke_agent", "end_conversation"]
    [spec, _] = models["B"].requests[0].tools
    assert spec.parameters["properties"]["invocations"]["items"]["properties"]["agent_name"]["enum"] == ["C"]


def test_outside_one_a_model_may_open_it_again() -> None:
    ran, models = team(
        "A <~2> B; A <-> C", says("C", "c"), A=[invoking("C"), invoking("B", id="c2"), "a"], B=["b"]
    )
    assert models["A"].offered(1) == ["invoke_agent", "finish"]
    assert models["A"].said(2)[-2:] == [("tool", "handed over to B"), ("user", "b")]
    assert ran.result.unwrap() == "a"


def test_a_model_ends_it_with_a_summary_and_its_call_is_answered() -> None:
    ran, models = team(
        "M <-> A; A <~> B",
        M=[invoking("A"), invoking("A", id="c2"), "m"],
        A=["a1", call("end_conversation", summary="agreed"), "a3"],
        B=["b1", call("end_conversation", "c9", summary="again")],
    )
    assert models["M"].said()[-3:] == [("tool", "agreed"), ("assistant", ""), ("tool", "again")]
    assert models["A"].said()[-3:] == [("assistant", ""), ("tool", "done"), ("user", "for A")]
    assert ran.result.unwrap() == "m"


@pytest.mark.parametrize(
    "reply",
    [
        '{"next_action": "end_conversation", "summary": "agreed"}',
        '```json\n{"next_action": "end_conversation", "action_input": {"summary": "agreed"}}\n```',
        '{"next_action": "end_conversation", "action_input": "agreed"}',
        call("end_conversation", summary="agreed"),
    ],
    ids=str,
)
def test_a_model_names_the_end_by_text_or_by_a_call(reply: Reply) -> None:
    ran, _ = team("A <~> B -> C", says("C", Return("c")), A=["a"], B=[reply])
    assert ran.of(e.StepFinished)[1].action == EndConversation("agreed")
    assert ran.result.unwrap() == "c"


def test_a_model_that_ends_what_was_never_opened_is_told_so() -> None:
    ran, models = team("A", A=[call("end_conversation", summary="x"), "done"])
    assert ran.result.unwrap() == "done"
    role, note = models["A"].said()[-1]
    assert role == "user"
    assert note == (
        "Your last reply could not be carried out: there is no conversation to end here. "
        "Here there are: agents you may invoke: none; finish."
    )


def test_a_wrong_action_in_a_turn_is_steered_and_still_one_turn() -> None:
    ran, models = team("A <~2> B", A=[invoking("Nobody"), "a"], B=["b"])
    assert "end_conversation" in models["A"].said(1)[-1][1]
    assert [(event.node, event.turn) for event in ran.of(e.StepStarted)] == [("A", 1), ("B", 2)]
    assert models["B"].said() == [("user", "a")]


def test_what_a_side_hands_over_as_its_last_word_is_plain_data() -> None:
    ran, _ = team("A <~> B", says("A", "a"), says("B", EndConversation({"agreed": ("on", 1)})))
    assert ran.result.unwrap() == {"agreed": ["on", 1]}
