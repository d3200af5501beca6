"""How a model is held to its agent's output schema: natively, by a tool, or by its instruction."""

from __future__ import annotations

import json
from typing import Any, Literal

import attrs
import pytest

from marsys_core.agents import Agent, BaseAgent
from marsys_core.errors import ModelError
from marsys_core.messages import ReasoningPart, TextPart, ToolCall
from marsys_core.models import Capabilities, FinishReason, ModelResponse, ToolChoice
from marsys_core.tools import tool
from tests.core.fakes import FakeModel, call, invoking, run


@attrs.frozen
class Harbour:
    name: str
    berths: int = 1


@attrs.frozen
class Tree:
    name: str
    below: list[Tree] = attrs.field(factory=list)


class ByTool(FakeModel):
    capabilities = Capabilities(tool_choice=True)


class ByPrompt(FakeModel):
    capabilities = Capabilities(tools=False)


@tool
async def look(at: str) -> str:
    """Look."""
    return f"seen {at}"


def answer(**arguments: Any) -> ToolCall:
    return call("give_answer", "a1", **arguments)


def asked(model: Any, wanted: Any = Harbour, **settings: Any) -> Any:
    return run("x", "A", [Agent("A", model=model, output_type=wanted, instruction="Go.", **settings)]).result


def test_a_model_that_can_be_held_to_a_schema_is() -> None:
    model = FakeModel(['{"name": "Belt"}'])

    assert asked(model).unwrap() == {"name": "Belt", "berths": 1}
    [request] = model.requests
    assert request.output_schema is not None
    assert (request.system, request.tool_choice) == ("Go.", ToolChoice())
    assert model.offered() == ["finish"]


def test_a_model_that_can_be_made_to_call_a_tool_answers_by_one() -> None:
    model = ByTool([answer(name="Belt", berths=2)])

    assert asked(model).unwrap() == {"name": "Belt", "berths": 2}
    [request] = model.requests
    spec = request.tools[-1]
    assert model.offered() == ["finish", "give_answer"]
    assert (request.system, request.output_schema, request.tool_choice) == (
        "Go.", None, ToolChoice("required"),
    )  # fmt: skip
    assert spec.parameters["properties"].keys() == {"name", "berths"}


def test_a_model_that_can_do_neither_is_told() -> None:
    model = ByPrompt(['{"name": "Belt"}'])

    assert asked(model).unwrap() == {"name": "Belt", "berths": 1}
    assert model.requests[0].output_schema is None
    assert "Answer with JSON alone" in model.requests[0].system


def test_where_there_is_no_other_tool_it_has_to_call_that_one() -> None:
    class Bare(BaseAgent):
        async def _run(self, prompt: Any, context: Any, **kwargs: Any) -> Any:
            return await context.generate("q", output_schema=context.output_schema)

    model = ByTool([answer(name="Belt")])

    assert run("x", "A", [Bare(model, name="A", output_type=Harbour)]).result.unwrap()["name"] == "Belt"
    assert model.requests[0].tool_choice == ToolChoice("tool", "give_answer")


def test_beside_other_tools_it_has_to_call_one_of_them() -> None:
    model = ByTool([call("look", at="sea"), answer(name="Belt")])

    assert asked(model, tools=[look]).unwrap() == {"name": "Belt", "berths": 1}
    assert model.offered(0) == ["look", "finish", "give_answer"]
    assert [request.tool_choice for request in model.requests] == [ToolChoice("required")] * 2


def test_what_it_answers_by_tool_stands_in_its_history_as_text() -> None:
    thought = ModelResponse(
        content=(ReasoningPart("hm", "sig"), TextPart("here it is")),
        tool_calls=(answer(name="Belt", berths="many"),),
        finish_reason=FinishReason.TOOL_CALLS,
    )
    model = ByTool([thought, invoking("B"), answer(name="Belt")])
    agents = [Agent("A", model=model, output_type=Harbour), Agent("B", model=FakeModel(["back"]))]
    ran = run("x", "A <-> B", agents)

    assert ran.result.unwrap() == {"name": "Belt", "berths": 1}
    # FakeModel refuses a history with a call that nobody has answered.
    assert model.said(1)[-1][0] == "user"
    assert "$.berths should be an integer, not 'many'" in model.said(1)[-1][1]


@pytest.mark.parametrize(
    ("wanted", "said", "expected"),
    [
        (list[int], {"answer": [1, 2]}, [1, 2]),
        (Literal["yes", "no"], {"answer": "yes"}, "yes"),
        (list[Harbour], {"answer": [{"name": "ü"}]}, [{"name": "ü", "berths": 1}]),
        (int | str, {"answer": 5}, 5),
    ],
)
def test_what_is_no_object_is_wrapped_in_one(wanted: Any, said: Any, expected: Any) -> None:
    model = ByTool([answer(**said)])

    assert asked(model, wanted).unwrap() == expected
    parameters = model.requests[0].tools[-1].parameters
    assert (parameters["type"], [*parameters["properties"]]) == ("object", ["answer"])


def test_a_type_that_refers_to_itself_keeps_its_definitions() -> None:
    model = ByTool([answer(name="root", below=[{"name": "leaf"}])])

    assert asked(model, Tree).unwrap()["below"] == [{"name": "leaf", "below": []}]


@pytest.mark.parametrize("arguments", ["{", '{"other": 1}', "5", ""])
def test_a_call_that_cannot_be_read_is_told_back(arguments: str) -> None:
    model = ByTool([ToolCall("a1", "give_answer", arguments), answer(answer=[3])])

    assert asked(model, list[int]).unwrap() == [3]
    assert len(model.requests) == 2


def test_an_answer_beside_other_calls_is_left_out_until_their_results_are_there() -> None:
    model = ByTool([[call("look", "c1", at="sea"), answer(name="Early")], answer(name="Late")])

    assert asked(model, tools=[look]).unwrap() == {"name": "Late", "berths": 1}
    assistant = next(each for each in model.requests[1].messages if each.role == "assistant")
    assert [each.name for each in assistant.tool_calls] == ["look"]


def test_a_plain_answer_that_fits_is_as_good() -> None:
    assert asked(ByTool(['{"name": "Belt"}'])).unwrap() == {"name": "Belt", "berths": 1}


def test_a_tool_of_that_name_of_its_own_stands_for_itself() -> None:
    own = attrs.evolve(look, name="give_answer")
    model = ByTool(['{"name": "Belt"}'])

    assert asked(model, tools=[own]).unwrap() == {"name": "Belt", "berths": 1}
    assert model.offered() == ["give_answer", "finish"]
    assert "Answer with JSON alone" in model.requests[0].system


class Asks(BaseAgent):
    """Asks its model with what it was made with."""

    def __init__(self, model: Any, **given: Any) -> None:
        super().__init__(model, name="A", tools=[look])
        self.given = given

    async def _run(self, prompt: Any, context: Any, **kwargs: Any) -> Any:
        return (await context.generate("q", tools=context.tool_specs(), **self.given)).text or "called"


def test_what_an_agent_asks_for_reaches_the_model() -> None:
    from marsys_core.models import Caching, Reasoning

    model = ByTool([call("look", at="x")])
    given = {
        "tool_choice": ToolChoice("required"),
        "parallel_tool_calls": False,
        "reasoning": "low",
        "caching": Caching(key="k"),
        "options": {"service_tier": "flex"},
    }
    run("x", "A", [Asks(model, **given)])
    [request] = model.requests

    assert (request.tool_choice, request.parallel_tool_calls) == (ToolChoice("required"), False)
    assert (request.reasoning, request.caching) == (Reasoning(effort="low"), Caching(key="k"))
    assert request.options == {"service_tier": "flex"}


def test_an_agent_says_how_much_its_model_is_to_think() -> None:
    from marsys_core.models import Reasoning

    model = FakeModel(["a", "b"])
    for effort in ("high", Reasoning(max_tokens=9)):
        run("x", "A", [Agent("A", model=model, reasoning=effort)])

    assert [request.reasoning for request in model.requests] == [
        Reasoning(effort="high"), Reasoning(max_tokens=9),
    ]  # fmt: skip


def test_a_model_that_cannot_be_made_to_call_a_tool_is_not_asked_to() -> None:
    error = run("x", "A", [Asks(FakeModel(["no"]), tool_choice=ToolChoice("required"))]).result.error

    assert isinstance(error, ModelError)
    assert "model 'fake' cannot be made to call a tool, and was asked to" in str(error)
    assert json.dumps(str(error))


def test_a_schema_of_another_question_is_not_put_elsewhere() -> None:
    error = run("x", "A", [Asks(ByTool(["no"]), output_schema={"type": "object"})]).result.error

    assert "model 'fake' cannot be held to an output schema, and was asked to" in str(error)
