from __future__ import annotations

import pytest

from marsys_core.actions import Fail, Finish, Invoke
from marsys_core.agents import FunctionAgent
from marsys_core.errors import AgentError, Cancelled
from marsys_core.results import RunResult
from tests.core.fakes import run


def giving(name: str, value: object) -> FunctionAgent:
    async def act(prompt: object) -> object:
        return value

    return FunctionAgent(act, name=name)


def test_a_result_that_succeeded_unwraps_to_its_response() -> None:
    result = RunResult(success=True, final_response="yes")
    assert result.unwrap() == result.response == "yes"


def test_one_that_did_not_raises_its_error() -> None:
    with pytest.raises(Cancelled, match="^stopped$"):
        RunResult(success=False, final_response="partly", error=Cancelled("stopped")).unwrap()
    with pytest.raises(AgentError, match="^the run came to no answer$"):
        RunResult(success=False, final_response=None).unwrap()


def test_each_branch_has_its_result_in_branch_order() -> None:
    hub = giving("H", Invoke([("A", 1), ("B", 2), ("C", 3)]))
    ran = run(
        "x", "H <-> [A, B, C]", [hub, giving("A", "a"), giving("B", Fail("no")), giving("C", Finish("c"))]
    )
    told = [
        (b.branch_id, b.agent, b.success, b.outcome, b.response, b.steps) for b in ran.result.branch_results
    ]
    assert told == [
        ("0", "H", False, "failed", None, 1),
        ("0.0", "A", True, "delivered", "a", 1),
        ("0.1", "B", False, "failed", None, 1),
        ("0.2", "C", True, "finished", "c", 1),
    ]
    assert "no" in str(ran.result.branch_results[2].error)
    assert ran.result.total_steps == 4


def test_several_contributions_are_a_list_in_branch_order() -> None:
    assert run("x", "[A, B]", [giving("A", "a"), giving("B", "b")]).result.unwrap() == ["a", "b"]


def test_an_answer_that_is_empty_is_an_answer() -> None:
    answers: list[object] = ["", [], {}, 0, False]
    for empty in answers:
        result = run("x", "A", [giving("A", empty)]).result
        assert (result.success, result.final_response) == (True, empty)
