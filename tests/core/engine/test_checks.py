"""What an agent's contract does to its steps: shapes of input and output, and its own guards."""

from __future__ import annotations

import json
from typing import Any

import attrs
import pytest
import trio

from marsys_core import Provider, hookimpl
from marsys_core import events as e
from marsys_core.actions import Finish, Invoke, Return
from marsys_core.agents import Agent, BaseAgent, FunctionAgent
from marsys_core.errors import ActionError, GuardRefused, PluginError, StepTimeout, ToolError, ValueRefused
from marsys_core.messages import Message
from marsys_core.models import Capabilities, ModelRequest
from marsys_core.plugins import PluginSettings
from marsys_core.protocols.guard import GuardSubject
from marsys_core.tools import tool
from tests.core.fakes import FakeModel, Reply, bare, call, run, virtually


@attrs.frozen
class Answer:
    text: str
    score: int = 0


class Unheld(FakeModel):
    capabilities = Capabilities(output_schema=False)


GOOD, BAD = '{"text": "yes", "score": 2}', '{"text": 1, "scor": 2}'
PLAIN = {"text": "yes", "score": 2}


# -- output --------------------------------------------------------------------------------------


def test_an_answer_of_the_right_shape_travels_as_plain_data() -> None:
    seen = []

    async def look(prompt: Any) -> str:
        seen.append(prompt)
        return "seen"

    a = Agent("A", model=FakeModel([f"```json\n{GOOD}\n```"]), output_type=Answer)
    ran = run("x", "A -> B", [a, FunctionAgent(look, name="B")])
    assert seen == [PLAIN]
    assert ran.of(e.StepFinished)[0].action.value == PLAIN


def test_an_answer_that_does_not_fit_is_steered_with_every_problem() -> None:
    model = FakeModel([BAD, GOOD])
    ran = run("x", "A", [Agent("A", model=model, output_type=Answer)])

    assert ran.result.unwrap() == PLAIN
    note = (
        "Your last reply is not the answer that was asked for, Answer:\n- $.text should be a string, not 1\n"
        "- unknown $.scor, did you mean 'score'?\nGive the whole answer again, as JSON alone."
    )
    assert model.said(1) == [("user", "x"), ("user", note)]
    assert [event.note for event in ran.of(e.StepSteered)] == [note]
    assert ran.of(e.StepFinished)[0].messages[-1].text == GOOD


def test_after_the_last_note_the_run_fails_with_the_last_reply() -> None:
    ran = run(
        "x", "A", [Agent("A", model=FakeModel(lambda _: BAD), output_type=Answer)], max_steering_retries=2
    )
    error = ran.result.error

    assert isinstance(error, ActionError)
    assert str(error).startswith("the answer is not Answer: $.text should be a string, not 1; unknown $.scor")
    assert "(asked 3 times)" in str(error)
    assert error.reply == BAD


@pytest.mark.parametrize("made", [Return, Finish])
def test_final_answers_by_action_are_checked_and_invocations_are_not(made: Any) -> None:
    model = FakeModel([call("invoke_agent", invocations=[{"agent_name": "B", "request": "no JSON"}]), GOOD])
    agents = [Agent("A", model=model, output_type=Answer), FunctionAgent(lambda prompt: "b", name="B")]
    assert run("x", "A <-> B", agents).result.unwrap() == PLAIN

    def act(prompt: Any) -> Any:
        return made(Answer("yes", 2))

    assert run("x", "A", [FunctionAgent(act, name="A", output_type=Answer)]).result.unwrap() == PLAIN


def test_the_reserved_tools_take_the_answer_as_it_has_to_be() -> None:
    model = FakeModel([call("finish", answer={"text": 5}), call("finish", answer=PLAIN)])
    assert run("x", "A", [Agent("A", model=model, output_type=Answer)]).result.unwrap() == PLAIN
    [spec] = model.requests[0].tools
    assert spec.parameters["properties"]["answer"]["required"] == ["text"]
    assert spec.parameters["required"] == ["answer"]


def test_the_definitions_of_an_answer_are_those_of_the_tool() -> None:
    import pydantic

    class Node(pydantic.BaseModel):
        below: list[Node] = []  # noqa: F821

    Node.model_rebuild(_types_namespace={"Node": Node})
    model = FakeModel([call("finish", answer={"below": [{}]})])
    ran = run("x", "A", [Agent("A", model=model, output_type=Node)])
    assert ran.result.unwrap() == {"below": [{"below": []}]}
    parameters = model.requests[0].tools[0].parameters
    assert parameters["properties"]["answer"]["$ref"].removeprefix("#/$defs/") in parameters["$defs"]


def test_a_model_that_cannot_be_held_to_a_schema_is_told_it() -> None:
    held, told = FakeModel([GOOD]), Unheld([GOOD])
    agents = [
        Agent("A", model=held, output_type=Answer),
        Agent("B", model=told, output_type=Answer, instruction="Be."),
    ]
    assert run("x", "A -> B", agents).result.unwrap() == PLAIN
    schema = agents[0].output_schema
    assert (held.requests[0].system, held.requests[0].output_schema) == ("", schema)
    assert told.requests[0].output_schema is None
    assert told.requests[0].system == (
        "Be.\n\nAnswer with JSON alone, no other text, that meets this JSON Schema:\n"
        + json.dumps(schema, separators=(",", ":"))
    )


def test_an_agent_of_ones_own_is_held_to_its_schema_as_well() -> None:
    model = Unheld([GOOD])

    class Own(BaseAgent):
        async def _run(self, prompt: Any, context: Any, **kwargs: Any) -> Any:
            return await context.generate(prompt, output_schema=context.output_schema)

    assert run("x", "Own", [Own(model, output_type=Answer)]).result.unwrap() == PLAIN
    assert model.requests[0].system.startswith("Answer with JSON alone")


def test_a_function_whose_output_does_not_fit_fails_at_once() -> None:
    def act(prompt: Any) -> Any:
        return {"text": 1}

    ran = run("x", "A", [FunctionAgent(act, name="A", output_type=Answer)])
    assert isinstance(ran.result.error, ActionError)
    assert str(ran.result.error) == (
        "the answer is not Answer: $.text should be a string, not 1 (at branch 0, node 'A', step 1)"
    )
    assert ran.result.error.reply == {"text": 1}


@pytest.mark.parametrize(("wanted", "ok"), [(int | None, True), (Answer, False)])
def test_none_from_a_function_is_an_answer_where_its_type_says_so(wanted: Any, ok: bool) -> None:
    ran = run("x", "A", [FunctionAgent(lambda prompt: None, name="A", output_type=wanted)])
    assert (ran.result.success, ran.of(e.Warned)) == (ok, [])


def test_what_cannot_be_recorded_in_an_answer_is_steered() -> None:
    model = FakeModel(['{"n": ' + "9" * 2000 + "}", "[" * 70 + "]" * 70, '{"n": 1}'])
    ran = run("x", "A", [Agent("A", model=model, output_type=dict)])
    assert ran.result.unwrap() == {"n": 1}
    assert ["digits" in event.note or "object" in event.note for event in ran.of(e.StepSteered)] == [
        True,
        False,
    ]
    assert "nested deeper than 64" in ran.of(e.StepSteered)[1].note


# -- the output of a run -------------------------------------------------------------------------


def test_an_agent_alone_is_held_to_the_output_type_of_its_run() -> None:
    model = FakeModel([BAD, GOOD, "free text"])
    one = Agent("A", model=model)

    async def main() -> None:
        result = await one.run("x", output_type=Answer)
        assert result.final_response == result.response == result.unwrap() == Answer("yes", 2)
        assert (await one.run("x")).unwrap() == "free text"  # its own contract is as it was

    virtually(main)
    assert model.requests[0].output_schema == model.requests[1].output_schema is not None
    assert model.requests[2].output_schema is None


def test_the_output_type_of_a_run_over_several_is_of_its_final_response() -> None:
    async def main() -> None:
        agents = [FunctionAgent(lambda p: "a", name="A"), FunctionAgent(lambda p: GOOD, name="B")]
        async with bare(agents=agents) as orchestra:
            assert (await orchestra.execute("x", "A -> B", output_type=Answer)).unwrap() == Answer("yes", 2)
            both = await orchestra.execute(
                "x", "A -> [B, C]", agents={"C": agents[1]}, output_type=list[Answer]
            )
            assert both.unwrap() == [Answer("yes", 2)] * 2
            wrong = await orchestra.execute("x", "B -> A", output_type=Answer)
            assert (wrong.success, wrong.final_response) == (False, "a")
            assert str(wrong.error).startswith("the run's answer is not Answer: $ is not JSON: ")
            assert isinstance(wrong.error, ActionError)
            assert wrong.error.reply == "a"
            assert (await orchestra.start("x", "A -> B", output_type=Answer).result()).unwrap() == Answer(
                "yes", 2
            )

    virtually(main)


# -- input ---------------------------------------------------------------------------------------


def taking(seen: list[Any], name: str = "B", **contract: Any) -> FunctionAgent:
    async def act(prompt: Any) -> str:
        seen.append(prompt)
        return "taken"

    return FunctionAgent(act, name=name, **contract)


def test_other_code_is_handed_an_instance_and_a_model_what_it_can_read() -> None:
    seen: list[Any] = []
    model = FakeModel(["done"])
    agents = [taking(seen, input_type=Answer), Agent("C", model=model, input_type=Answer)]
    assert run(GOOD, "B", agents).result.success
    assert run(PLAIN, "C", agents).result.success
    assert seen == [Answer("yes", 2)]
    assert model.said() == [("user", json.dumps(PLAIN))]


def test_an_agent_of_ones_own_that_is_handed_an_instance_reads_it_as_data() -> None:
    class Own(BaseAgent):
        async def _run(self, prompt: Any, context: Any, **kwargs: Any) -> Any:
            return f"{prompt!r} {context.incoming()[0].text}"

    ran = run(GOOD, "Own", [Own(input_type=Answer)])
    assert ran.result.unwrap() == f"{Answer('yes', 2)!r} {json.dumps(PLAIN)}"


def asking(*requests: Any) -> list[Reply]:
    made: list[Reply] = [
        call("invoke_agent", f"c{i}", invocations=[{"agent_name": "B", "request": request}])
        for i, request in enumerate(requests)
    ]
    return [*made, "done"]


def test_a_model_that_hands_over_what_is_not_taken_is_steered_and_was_told_before() -> None:
    seen: list[Any] = []
    model = FakeModel(asking("free text", PLAIN))
    ran = run("x", "A <-> B", [Agent("A", model=model), taking(seen, input_type=Answer)])

    assert (ran.result.unwrap(), seen) == ("done", [Answer("yes", 2)])
    [steered] = ran.of(e.StepSteered)
    assert steered.note.startswith(
        "Your last reply could not be carried out: 'B' takes Answer, and not this: $ is"
    )
    spec = model.requests[0].tools[0]
    assert "The request to 'B' is JSON that meets: {" in spec.description
    assert "type" not in spec.parameters["properties"]["invocations"]["items"]["properties"]["request"]


def test_large_requests_are_looked_at_too() -> None:
    seen: list[Any] = []
    long = {"text": "a" * 10_000}
    agents = [
        Agent("A", model=FakeModel(asking({"text": ["a"] * 3000}, long))),
        taking(seen, input_type=Answer),
    ]
    assert len(run("x", "A <-> B", agents).of(e.StepSteered)) == 1
    assert seen == [Answer("a" * 10_000)]


def test_a_function_that_hands_over_what_is_not_taken_fails() -> None:
    agents = [FunctionAgent(lambda p: Invoke([("B", 5)]), name="A"), taking([], input_type=Answer)]
    ran = run("x", "A -> B", agents)
    assert isinstance(ran.result.error, ActionError)
    assert str(ran.result.error) == (
        "'B' takes Answer, and not this: $ should be an object, not 5 (at branch 0, node 'A', step 1)"
    )


@pytest.mark.parametrize(
    ("topology", "source"),
    [("B", "the run"), ("A -> B", "'A'"), ("A -> [B, C]", "'A'"), ("[A, C] -> B", "'A', 'C'")],
)
def test_plain_content_that_is_not_taken_fails_the_step_and_names_who_gave_it(
    topology: str, source: str
) -> None:
    agents = [FunctionAgent(lambda p: "a", name="A"), FunctionAgent(lambda p: "c", name="C")]
    seen: list[Any] = []
    error = run("x", topology, [*agents, taking(seen, input_type=Answer)]).result.error
    found = getattr(error, "failures", [error])[0]
    assert isinstance(found, ValueRefused)
    assert str(found).startswith(f"'B' takes Answer, and not what {source} handed it: $ ")
    assert seen == []


def test_what_meets_is_checked_as_a_list_and_answers_to_own_calls_are_not() -> None:
    seen: list[Any] = []
    agents = {"A": FunctionAgent(lambda p: p, name="A"), "B": taking(seen, input_type=list[int])}
    assert run(1, "[A1, A2] -> B", {"A1": agents["A"], "A2": agents["A"], "B": agents["B"]}).result.success
    assert seen == [[1, 1]]
    hub = Agent("H", model=FakeModel(asking("x")), input_type=Answer)
    assert run(PLAIN, "H <-> B", [hub, taking([])]).result.unwrap() == "done"


# -- schemas -------------------------------------------------------------------------------------


class Checking:
    """A plugin whose checker knows `required` only."""

    name = "required"

    @hookimpl
    def marsys_schema_checkers(self) -> list[Provider[Any]]:
        return [Provider("required", make=lambda context, settings: self)]

    def prepare(self, schema: Any, whose: str) -> Any:
        return lambda value: [f"$ lacks {key!r}" for key in schema["required"] if key not in value]


SCHEMA = {"title": "Named", "type": "object", "required": ["name"]}


def test_a_schema_is_checked_by_what_a_plugin_offers() -> None:
    model = FakeModel(["{}", '{"name": "x"}'])
    plugins = PluginSettings(discover=False, plugins={"checking": Checking()})
    ran = run("x", "A", [Agent("A", model=model, output_schema=SCHEMA)], plugins=plugins)
    assert ran.result.unwrap() == {"name": "x"}
    assert ran.of(e.StepSteered)[0].note.splitlines()[:2] == [
        "Your last reply is not the answer that was asked for, Named:",
        "- $ lacks 'name'",
    ]
    assert model.requests[0].output_schema == SCHEMA


@pytest.mark.parametrize("side", ["input", "output"])
def test_without_a_checker_a_schema_is_an_error_before_the_first_step(side: str) -> None:
    contract: Any = {f"{side}_schema": SCHEMA}
    ran = run("x", "A", [Agent("A", model=FakeModel(["x"]), **contract)])
    assert isinstance(ran.result.error, PluginError)
    assert str(ran.result.error) == (
        f"the {side} schema of agent 'A' cannot be checked: there is no schema checker provider. "
        "It takes a plugin: pip install 'marsys-core[schema]'"
    )
    assert ran.heard.events == []


# -- guards --------------------------------------------------------------------------------------


class Asked:
    """A guard that notes what it is asked and answers from a table by kind, or by a function."""

    __name__ = "asked"

    def __init__(self, **verdicts: Any) -> None:
        self.verdicts = verdicts
        self.subjects: list[GuardSubject] = []

    def __call__(self, subject: GuardSubject) -> Any:
        self.subjects.append(subject)
        verdict = self.verdicts.get(subject.kind)
        if isinstance(verdict, list):
            verdict = verdict.pop(0)
        if isinstance(verdict, Exception):
            raise verdict
        return verdict


@tool
async def look(at: str) -> str:
    """Look."""
    return f"seen {at}"


def test_a_guard_is_asked_about_input_tool_calls_and_output() -> None:
    guard = Asked()
    model = FakeModel(
        [
            call("look", at="it"),
            call("invoke_agent", "c2", invocations=[{"agent_name": "B", "request": "r"}]),
            "done",
        ]
    )
    one = Agent("A", model=model, tools=[look], guards=[guard])
    assert run("x", "A <-> B", [one, taking([])]).result.success
    assert [(s.kind, s.value, s.name, s.node, bool(s.run_id)) for s in guard.subjects] == [
        ("input", "x", "", "A", True),
        ("tool", {"at": "it"}, "look", "A", True),
        ("output", "r", "B", "A", True),
        ("input", "taken", "", "A", True),
        ("output", "done", "", "A", True),
    ]


def test_a_guard_sees_plain_data_of_the_shape() -> None:
    guard = Asked()

    def act(prompt: Any) -> Any:
        return Answer("yes", 2)

    assert run("x", "A", [FunctionAgent(act, name="A", output_type=Answer, guards=[guard])]).result.success
    assert guard.subjects[-1].value == PLAIN


def test_async_guards_and_all_of_several_are_asked() -> None:
    order = []

    async def first(subject: GuardSubject) -> bool:
        order.append("first")
        return True

    def second(subject: GuardSubject) -> None:
        order.append("second")

    assert run("x", "A", [taking([], "A", guards=[first, second])]).result.success
    assert order == ["first", "second"] * 2


@pytest.mark.parametrize(
    ("verdict", "why"),
    [
        (False, "it does not say why"),
        ("too long", "too long"),
        ("", "it does not say why"),
        (ValueError("oh"), "it broke: ValueError: oh"),
        (GuardRefused("never"), "never"),
        (1, "it returned 1"),
    ],
)
@pytest.mark.parametrize("kind", ["input", "output"])
def test_a_refused_input_or_output_ends_the_run(kind: str, verdict: Any, why: str) -> None:
    seen: list[Any] = []
    ran = run("x", "A", [taking(seen, "A", guards=[Asked(**{kind: verdict})])])
    text = f"guard 'asked' of agent 'A' refused the {kind}: {why}"

    assert isinstance(ran.result.error, GuardRefused)
    assert str(ran.result.error) == f"{text} (at branch 0, node 'A', step 1)"
    assert [(event.guard, event.subject, event.reason) for event in ran.of(e.GuardRefusedInput)] == [
        ("asked", kind, text)
    ]
    assert seen == (["x"] if kind == "output" else [])


def test_a_text_about_an_output_steers_who_takes_notes() -> None:
    guard = Asked(output=["no names, please", None])
    model = FakeModel(["Ada", "somebody"])
    ran = run("x", "A", [Agent("A", model=model, guards=[guard])])

    assert ran.result.unwrap() == "somebody"
    note = "Your last reply was refused by 'asked': no names, please. Give another one."
    assert model.said(1)[-1] == ("user", note)
    assert [event.note for event in ran.of(e.StepSteered)] == [note]
    assert len(ran.of(e.GuardRefusedInput)) == 1


def test_an_output_that_stays_refused_ends_the_run_as_refused() -> None:
    agent = Agent("A", model=FakeModel(lambda _: "Ada"), guards=[Asked(output="no names")])
    ran = run("x", "A", [agent], max_steering_retries=2)

    assert isinstance(ran.result.error, GuardRefused)
    assert (len(ran.of(e.StepSteered)), len(ran.of(e.GuardRefusedInput))) == (2, 3)


def test_only_a_text_steers() -> None:
    ran = run("x", "A", [Agent("A", model=FakeModel(["Ada"]), guards=[Asked(output=False)])])
    assert isinstance(ran.result.error, GuardRefused)


def test_a_refused_invocation_is_steered_as_an_output() -> None:
    guard = Asked(output=["not to B", None])
    ran = run("x", "A <-> B", [Agent("A", model=FakeModel([*asking("r")]), guards=[guard]), taking([])])
    assert ran.result.unwrap() == "done"


@pytest.mark.parametrize("verdict", [False, "not now", ValueError("oh")])
def test_a_refused_tool_call_is_a_result_that_says_so(verdict: Any) -> None:
    model = FakeModel([call("look", at="it"), "done"])
    ran = run("x", "A", [Agent("A", model=model, tools=[look], guards=[Asked(tool=verdict)])])

    assert ran.result.unwrap() == "done"
    told: Message = model.requests[1].messages[-1]
    assert (told.role, told.is_error) == ("tool", True)
    assert told.text.startswith("guard 'asked' of agent 'A' refused a tool call: ")
    assert [(event.guard, event.subject) for event in ran.of(e.GuardRefusedInput)] == [("asked", "tool")]
    assert len(ran.of(e.ToolFailed)) == 1


def test_a_guard_can_end_the_run_at_a_tool_call() -> None:
    model = FakeModel([call("look", at="it")])
    ran = run("x", "A", [Agent("A", model=model, tools=[look], guards=[Asked(tool=GuardRefused("enough"))])])
    assert isinstance(ran.result.error, GuardRefused)


def test_code_of_ones_own_gets_the_refusal_of_a_tool_call_as_an_error() -> None:
    class Own(BaseAgent):
        async def _run(self, prompt: Any, context: Any, **kwargs: Any) -> Any:
            with pytest.raises(ToolError, match="refused a tool call: no"):
                await context.call_tool("look", at="it")
            return "went on"

    assert run("x", "Own", [Own(tools=[look], guards=[Asked(tool="no")])]).result.unwrap() == "went on"


def test_guards_are_asked_in_every_run_of_a_team(request: Any) -> None:
    guard = Asked()

    def reply(request: ModelRequest) -> Reply:
        return "x"

    one = Agent("A", model=FakeModel(reply), guards=[guard])

    async def main() -> None:
        async with bare(agents=[one]) as orchestra:
            for _ in range(3):
                await orchestra.execute("x", "A")
        one.contract = None  # its owner may change it between runs
        async with bare(agents=[one]) as orchestra:
            await orchestra.execute("x", "A")

    virtually(main)
    assert len(guard.subjects) == 6


def test_guards_take_time_of_the_step() -> None:
    async def slow(subject: GuardSubject) -> None:
        await trio.sleep(5)

    ran = run("x", "A", [taking([], "A", guards=[slow])], step_timeout=3)
    assert isinstance(ran.result.error, StepTimeout)


def test_an_input_is_guarded_once_however_often_the_step_is_taken_again() -> None:
    guard = Asked(output=["again", "again", None])
    assert run("x", "A", [Agent("A", model=FakeModel(lambda _: "y"), guards=[guard])]).result.success
    assert [subject.kind for subject in guard.subjects] == ["input", "output", "output", "output"]


def test_a_plain_function_is_checked_in_its_thread_and_through_middleware() -> None:
    class Louder:
        name = "louder"

        async def agent_step(self, step_call: Any, proceed: Any) -> Any:
            return {"text": await proceed(step_call)}

    def act(prompt: Answer) -> str:
        return prompt.text.upper()

    one = FunctionAgent(act, name="A", input_type=Answer, output_type=Answer)
    ran = run(GOOD, "A", [one], middleware=[Louder()])
    assert ran.result.unwrap() == {"text": "YES", "score": 0}
