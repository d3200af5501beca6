"""The model-and-tools loop, and what a model is offered and told."""

from __future__ import annotations

import functools
import json
from typing import Any

import pytest
import trio

from marsys_core import events as e
from marsys_core.actions import AskUser, EndConversation, Finish, Invoke, Malformed, Return
from marsys_core.agents import Agent, BaseAgent, FunctionAgent, Registry
from marsys_core.agents.agent import RESERVED
from marsys_core.agents.reserved import read_reserved, reserved_specs
from marsys_core.errors import ActionError, ConfigError, ToolError, UnknownName, UserUnavailable
from marsys_core.messages import DataPart, Message, TextPart, ToolCall, Usage
from marsys_core.models import ModelRequest, ModelResponse, Sampling
from marsys_core.orchestrator import Offer
from marsys_core.tools import tool
from tests.core.fakes import FakeModel, Ran, Reply, call, invoking, run


def said(name: str, value: Any = None) -> BaseAgent:
    async def act(prompt: Any) -> Any:
        return f"{name} to {prompt}" if value is None else value

    return FunctionAgent(act, name=name)


def team(
    topology: str, *others: BaseAgent, task: Any = "task", config: Any = None, **scripts: Any
) -> tuple[Ran, dict[str, FakeModel]]:
    """Run models by script, as many agents as there are keyword arguments, together with `others`."""
    models = {name: FakeModel(replies, name=name) for name, replies in scripts.items()}
    agents = [Agent(name, model=model) for name, model in models.items()]
    return run(task, topology, [*agents, *others], **(config or {})), models


# -- what is asked -------------------------------------------------------------------------------


def test_a_model_is_asked_with_what_its_agent_was_made_with() -> None:
    model = FakeModel(['{"said": "hello"}'])
    sampling, schema = Sampling(temperature=0.5), {"type": "object"}
    one = Agent("A", model=model, instruction="Be kind.", goal="Greet.", sampling=sampling, output_type=dict)
    ran = run("say hello", "A", [one])
    [request] = model.requests
    assert (ran.result.unwrap(), model.said()) == ({"said": "hello"}, [("user", "say hello")])
    assert request.system == "Be kind.\n\nYour goal: Greet."
    assert (request.sampling, request.output_schema) == (sampling, schema)
    assert model.offered() == ["finish"]
    assert ran.result.usage == Usage(2, 1, model_calls=1)


@pytest.mark.parametrize(
    ("instruction", "goal", "system"), [("", "", ""), ("I", "", "I"), ("", "G", "Your goal: G")]
)
def test_the_system_message_is_the_instruction_and_the_goal(instruction: str, goal: str, system: str) -> None:
    assert Agent("A", instruction=instruction, goal=goal).system == system


def test_a_tool_with_a_reserved_name_is_refused() -> None:
    @tool
    async def finish() -> str:
        """Finish."""
        return ""

    with pytest.raises(ConfigError, match="reserved name"):
        Agent("A", tools=[finish])
    with pytest.raises(ConfigError, match="reserved name"):
        Agent("A", tools=["invoke_agent"])


def test_an_agent_without_a_model_says_so() -> None:
    error = run("x", "A", [Agent("A")]).result.error
    assert type(error) is ConfigError
    assert "agent 'A' has no model; give it one, or name one in generate(model=...)" in str(error)


def test_a_model_that_no_plugin_provides_is_named() -> None:
    error = run("x", "A", [Agent("A", model="gpt")]).result.error
    assert type(error) is UnknownName
    assert "'gpt'" in str(error)


def test_parts_of_a_message_reach_the_model() -> None:
    parts = (TextPart("look"), DataPart("image/png", "AA=="))
    model = FakeModel(["seen"])
    run("x", "Giver -> A", [said("Giver", Message("user", parts)), Agent("A", model=model)])
    assert model.said() == [("user", parts)]


def test_several_inputs_are_one_message_with_a_labelled_block_each() -> None:
    ran, models = team("[B, C] -> A", said("B"), said("C"), A=["done"])
    assert models["A"].said() == [
        ("user", "[from B (branch 0.0)]\nB to task\n\n[from C (branch 0.1)]\nC to task")
    ]


def test_data_reaches_the_model_as_json() -> None:
    _, models = team("Giver -> A", said("Giver", {"a": ["ä"]}), A=["done"])
    assert models["A"].said() == [("user", '{"a": ["ä"]}')]


# -- tools ---------------------------------------------------------------------------------------


def test_the_calls_of_one_reply_run_side_by_side_and_are_answered_in_their_order() -> None:
    @tool
    async def wait(seconds: float) -> str:
        """Wait."""
        await trio.sleep(seconds)
        return f"waited {seconds:g}"

    calls = [call("wait", "1", seconds=3), call("wait", "2", seconds=1), call("wait", "3", seconds=2)]
    model = FakeModel([calls, "done"])
    ran = run("x", "A", [Agent("A", model=model, tools=[wait])])
    assert ran.result.total_duration == 3
    assert [(m.tool_call_id, m.content) for m in model.requests[1].messages if m.role == "tool"] == [
        ("1", "waited 3"),
        ("2", "waited 1"),
        ("3", "waited 2"),
    ]
    assert [event.call_id for event in ran.of(e.ToolFinished)] == ["2", "3", "1"]
    ids = [event.id for event in ran.of(e.ToolStarted, e.ToolFinished)]
    assert len(set(ids)) == 6


def test_calls_that_go_wrong_go_back_to_the_model() -> None:
    @tool
    async def look(at: int) -> str:
        """Look."""
        if at == 1:
            raise ToolError("nothing there")
        if at == 2:
            raise ValueError("two")
        return object()  # type: ignore[return-value]

    wrong = [
        call("look", "1", at=1),
        call("look", "2", at=2),
        call("look", "3", at=3),
        call("look", "4", at="one"),
        ToolCall("5", "look", "no json"),
        call("lok", "6"),
    ]
    model = FakeModel([wrong, "done"])
    assert run("x", "A", [Agent("A", model=model, tools=[look])]).result.unwrap() == "done"
    answers = [m for m in model.requests[1].messages if m.role == "tool"]
    assert all(m.is_error for m in answers)
    assert [m.content for m in answers[:2]] == ["nothing there", "ValueError: two"]
    assert "'object' cannot be recorded" in str(answers[2].content)
    assert "at" in str(answers[3].content)
    assert "no tool is called 'lok'; there are: look. Did you mean 'look'?" in str(answers[5].content)


def test_a_tool_that_misses_a_name_itself_ends_the_run() -> None:
    @tool
    async def look() -> str:
        """Look."""
        raise UnknownName("setting", "colour", ["color"])

    model = FakeModel([call("look"), "never"])
    assert type(run("x", "A", [Agent("A", model=model, tools=[look])]).result.error) is UnknownName


def test_a_tool_sees_where_it_is_called_from() -> None:
    @tool
    async def where(context: Any) -> list[Any]:
        """Say where."""
        return [context.branch_id, context.node, context.step, context.call_id, context.task]

    model = FakeModel([call("where", "c7"), "done"])
    run("task", "A", [Agent("A", model=model, tools=[where])])
    assert json.loads(model.said()[-1][1]) == ["0", "A", 1, "c7", "task"]


def test_text_beside_tool_calls_is_kept() -> None:
    @tool
    async def look() -> str:
        """Look."""
        return "seen"

    model = FakeModel([ModelResponse(content="let me see", tool_calls=(call("look"),)), "done"])
    ran = run("x", "A", [Agent("A", model=model, tools=[look])])
    assert model.said() == [("user", "x"), ("assistant", "let me see"), ("tool", "seen")]
    [finished] = ran.of(e.StepFinished)
    assert [m.content for m in finished.messages] == ["x", "let me see", "seen", "done"]


def test_tool_calls_may_be_written_as_json() -> None:
    @tool
    async def look(at: str) -> str:
        """Look."""
        return f"seen {at}"

    wanted = {
        "next_action": "call_tool",
        "tool_calls": [{"name": "look", "arguments": {"at": "it"}}, {"name": "lok"}],
    }
    model = FakeModel([json.dumps(wanted), "done"])
    run("x", "A", [Agent("A", model=model, tools=[look])])
    role, text = model.said()[-1]
    assert role == "user"
    assert text.startswith("Results of your tool calls:\nlook: seen it\nlok: no tool is called 'lok'")


# -- actions -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "reply",
    [
        invoking("B"),
        '{"next_action": "invoke_agent", "action_input": "B", "request": "for B"}',
        '```json\n{"next_action": "invoke_agent", "action_input": {"agent_name": "B", "request": "for B"}}\n```',
        '{"next_action": "invoke_agent", "invocations": [{"agent_name": "B", "request": "for B"}]}',
        '{"next_action": "parallel_invoke", "agents": ["B"], "agent_requests": {"B": "for B"}}',
    ],
    ids=str,
)
def test_one_invocation_along_an_edge_that_goes_both_ways_is_a_call(reply: Reply) -> None:
    ran, models = team("A <-> B", said("B"), A=[reply, "done"])
    assert ran.result.unwrap() == "done"
    assert models["A"].said()[-1][1] == "B to for B"


def test_several_invocations_are_a_fork_whose_answers_are_the_calls_answer() -> None:
    ran, models = team("A <-> [B, C]", said("B"), said("C"), A=[invoking("B", "C"), "done"])
    assert ran.result.unwrap() == "done"
    assert models["A"].said()[1:] == [
        ("assistant", ""),
        ("tool", "[from B (branch 0.0)]\nB to for B\n\n[from C (branch 0.1)]\nC to for C"),
    ]


def test_several_calls_of_invoke_agent_are_one_fork_and_each_has_its_own_answer() -> None:
    calls = [invoking("B", id="1"), invoking("C", "B", id="2")]
    ran, models = team("A <-> [B, C]", said("B"), said("C"), A=[calls, "done"])
    assert len(ran.of(e.BranchForked)) == 1
    answers = {m.tool_call_id: m.content for m in models["A"].requests[1].messages if m.role == "tool"}
    assert answers == {
        "1": "B to for B",
        "2": "[from C (branch 0.1)]\nC to for C\n\n[from B (branch 0.2)]\nB to for B",
    }


def test_of_several_reserved_calls_the_first_counts_and_the_others_are_told() -> None:
    calls = [invoking("B", id="1"), call("finish", "2", answer="no"), invoking("C", id="3")]
    ran, models = team("A <-> [B, C]; A -> end", said("B"), said("C"), A=[calls, "done"])
    answers = {m.tool_call_id: m.content for m in models["A"].requests[1].messages if m.role == "tool"}
    assert answers["2"] == "not done: invoke_agent was called first"
    assert (answers["1"], answers["3"]) == ("B to for B", "C to for C")


def test_ordinary_calls_beside_a_reserved_one_run_first() -> None:
    seen = []

    @tool
    async def note(text: str) -> str:
        """Note."""
        seen.append(text)
        return "noted"

    model = FakeModel([[invoking("B", id="1"), call("note", "2", text="before")], "done"])

    async def b(prompt: Any) -> str:
        seen.append("B")
        return "b"

    ran = run("x", "A <-> B", [Agent("A", model=model, tools=[note]), FunctionAgent(b, name="B")])
    assert ran.result.unwrap() == "done"
    assert seen == ["before", "B"]


def test_a_hand_off_is_answered_with_where_it_went() -> None:
    ran, _ = team("A -> B", said("B"), A=[invoking("B")])
    [finished, _] = ran.of(e.StepFinished)
    assert finished.messages[-1].content == "handed over to B"


def test_a_spoke_that_is_asked_again_goes_on_where_it_was() -> None:
    ran, models = team(
        "H <-> [S, T]", said("T"), H=[invoking("S", "T"), invoking("S", "T"), "done"], S=["one", "two"]
    )
    assert ran.result.unwrap() == "done"
    assert models["S"].said(1) == [("user", "for S"), ("assistant", "one"), ("user", "for S")]


def test_an_agent_invoked_three_times_in_one_fork_is_three() -> None:
    ran, models = team(
        "H <-> W", H=[invoking("W", "W", "W"), invoking("W", "W", "W"), "done"], W=lambda request: "w"
    )
    assert ran.result.unwrap() == "done"
    assert sorted(len(request.messages) for request in models["W"].requests) == [1, 1, 1, 3, 3, 3]


def test_an_agent_reached_by_hand_off_from_two_children_is_two() -> None:
    ran, models = team(
        "H -> [A, B]; A -> C; B -> C; C -> end",
        said("H", Invoke([("A", 1), ("B", 2)])),
        said("A", Invoke([("C", "a")])),
        said("B", Invoke([("C", "b")])),
        C=lambda request: "c",
    )
    assert all(len(request.messages) == 1 for request in models["C"].requests)


# -- steering ------------------------------------------------------------------------------------


def test_a_wrong_action_is_told_to_the_model_and_not_kept() -> None:
    ran, models = team("A <-> B", said("B"), A=[invoking("Nobody"), "not { json", "done"])
    assert ran.result.unwrap() == "not { json"
    note = models["A"].said(1)[-1]
    assert note[0] == "user"
    assert "there is no edge from 'A' to 'Nobody'; its edges lead to: B" in note[1]
    assert models["A"].said(1)[:-1] == [("user", "task")]
    [finished] = ran.of(e.StepFinished)
    assert [m.content for m in finished.messages] == ["task", "not { json"]
    assert ran.result.total_steps == 1


def test_one_wrong_name_among_several_is_steered_too() -> None:
    ran, models = team(
        "A <-> [B, C]", said("B"), said("C"), A=[invoking("B", "Nobody"), invoking("B", "C"), "done"]
    )
    assert ran.result.unwrap() == "done"
    assert "'Nobody'" in models["A"].said(1)[-1][1]


def test_from_the_third_time_on_the_note_has_the_exact_call() -> None:
    ran, models = team(
        "A <-> B",
        said("B"),
        A=[invoking("X"), '{"next_action": "dance"}', call("invoke_agent"), invoking("B"), "done"],
    )
    assert ran.result.unwrap() == "done"
    notes = [models["A"].said(i)[-1][1] for i in (1, 2, 3)]
    exact = 'Call invoke_agent with exactly {"invocations": [{"agent_name": "B", "request": "..."}]}'
    assert [exact in note for note in notes] == [False, False, True]
    assert "next_action 'dance' is not known" in notes[1]
    assert "'invocations' is missing" in notes[2]


def test_an_agent_that_takes_no_notes_fails_at_once() -> None:
    ran = run("x", "A", [said("A", Invoke([("B", 1)])), said("B")])
    assert type(ran.result.error) is ActionError
    assert ran.result.total_steps == 1


def test_the_error_of_an_action_carries_the_last_reply() -> None:
    ran, _ = team("A <-> B", said("B"), A=['{"next_action": "dance"}'] * 4)
    error = ran.result.error
    assert type(error) is ActionError
    assert error.reply == '{"next_action": "dance"}'


def test_a_step_that_failed_leaves_no_trace_when_the_agent_is_asked_again() -> None:
    hub = [invoking("S", "T"), invoking("S", "T"), "done"]
    ran, models = team(
        "H <-> [S, T]",
        said("T"),
        H=hub,
        S=[invoking("X"), invoking("X"), "two"],
        config={"convergence_policy": 0.5, "max_steering_retries": 1},
    )
    assert ran.result.unwrap() == "done"
    assert models["S"].said(2) == [("user", "for S")]


def test_what_somebody_who_gave_up_said_is_not_kept() -> None:
    class Quitter(Agent):
        async def _run(self, prompt: Any, context: Any, **kwargs: Any) -> Any:
            from marsys_core.actions import Fail

            answer = await super()._run(prompt, context, **kwargs)
            return Fail("no") if answer.value == "quit" else answer

    model = FakeModel(["quit", "stay"])
    hub = FakeModel([invoking("S", "T"), invoking("S", "T"), "done"])
    agents = [Agent("H", model=hub), Quitter("S", model=model), said("T")]
    ran = run("x", "H <-> [S, T]", agents, convergence_policy=0.5)
    assert ran.result.unwrap() == "done"
    assert model.said(1) == [("user", "for S")]


# -- what is offered -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("topology", "offered"),
    [
        ("A", ["finish"]),
        ("A -> end", ["finish"]),
        ("A -> B", ["invoke_agent"]),
        ("A <-> B", ["invoke_agent", "finish"]),
        ("A -> B; A -> end", ["invoke_agent", "finish"]),
        ("A -> B; A -> user", ["invoke_agent", "ask_user"]),
        ("B -> A", ["finish"]),
        ("B -> A -> C -> end", ["invoke_agent"]),
    ],
)
def test_at_its_place_an_agent_is_offered_what_it_may_do(topology: str, offered: list[str]) -> None:
    _, models = team(topology, said("B"), said("C"), A=lambda request: "text")
    assert models["A"].offered(0) == offered


def test_inside_a_fork_an_agent_may_return_and_not_finish() -> None:
    _, models = team("H <-> [A, B]", said("H", Invoke([("A", 1), ("B", 2)])), said("B"), A=["text"])
    assert models["A"].offered() == ["return_result"]


def test_inside_a_call_an_agent_may_return_and_does_not_see_its_caller() -> None:
    _, models = team("H <-> A; A <-> C", said("C"), H=[invoking("A"), "done"], A=["text"])
    assert models["A"].offered() == ["invoke_agent", "return_result"]
    [spec, _] = models["A"].requests[0].tools
    assert spec.parameters["properties"]["invocations"]["items"]["properties"]["agent_name"]["enum"] == ["C"]


def test_agents_already_asked_are_offered_again() -> None:
    _, models = team("A <-> B", said("B"), A=[invoking("B"), "done"])
    assert "invoke_agent" in models["A"].offered(1)


def test_finish_and_return_end_where_they_should() -> None:
    ran, _ = team("A", A=[call("finish", answer="the end")])
    assert ran.result.unwrap() == "the end"
    ran, models = team("H <-> A", H=[invoking("A"), "done"], A=[call("return_result", result="back")])
    assert models["H"].said(1)[-1] == ("tool", "back")


def test_asking_a_person_without_a_channel_fails_at_once() -> None:
    ran, _ = team("A -> user", A=[call("ask_user", question="which?")])
    assert type(ran.result.error) is UserUnavailable
    assert "which?" in str(ran.result.error)


def test_the_reserved_tools_are_those_that_are_offered() -> None:
    everything = Offer(("B",), answer=True, finish=True, ask=True, end=True)
    assert [spec.name for spec in reserved_specs(everything)] == [
        "invoke_agent",
        "return_result",
        "finish",
        "ask_user",
        "end_conversation",
    ]
    assert reserved_specs(Offer()) == ()
    assert {spec.name for spec in reserved_specs(everything)} == RESERVED


ONE: Any = ("a",)


@pytest.mark.parametrize(
    ("given", "action"),
    [
        (call("return_result", result=5), Return(5)),
        (call("finish", answer=None), Finish(None)),
        (call("ask_user", question="q", options=["a"]), AskUser("q", ONE, replies=(("c1", 0, 1),))),
        (call("ask_user", question="q"), AskUser("q", replies=(("c1", 0, 1),))),
        (call("end_conversation", summary="so"), EndConversation("so")),
    ],
    ids=str,
)
def test_reserved_calls_are_read(given: ToolCall, action: Any) -> None:
    assert read_reserved([given]) == (action, {})


@pytest.mark.parametrize(
    "given",
    [
        ToolCall("1", "finish", "{"),
        call("finish"),
        call("return_result", value=1),
        call("ask_user", options=[]),
        call("invoke_agent", invocations=[]),
        call("invoke_agent", invocations=["B"]),
        call("invoke_agent", invocations=[{"request": "x"}]),
        call("invoke_agent", invocations=[{"agent_name": 5}]),
        ToolCall("1", "invoke_agent", "[]"),
        call("end_conversation", value="bye"),
    ],
    ids=str,
)
def test_reserved_calls_that_cannot_be_read_are_malformed(given: ToolCall) -> None:
    action, undone = read_reserved([given])
    assert type(action) is Malformed
    assert action.reason
    assert undone == {}


def test_a_subclass_may_wrap_the_loop() -> None:
    class Polite(Agent):
        async def _run(self, prompt: Any, context: Any, **kwargs: Any) -> Any:
            answer = await super()._run(prompt, context, **kwargs)
            return f"Dear user, {answer.value}"

    assert run("x", "A", [Polite("A", model=FakeModel(["hello"]))]).result.unwrap() == "Dear user, hello"


def test_any_agent_may_ask_a_model_itself() -> None:
    model = FakeModel(lambda request: f"{request.system}: {request.messages[-1].text}")

    class Asker(BaseAgent):
        async def _run(self, prompt: Any, context: Any, **kwargs: Any) -> Any:
            first = await context.generate("one", system="S")
            second = await context.generate([Message("user", "two")], model=model)
            return [first.text, second.text]

    with Registry():
        ran = run("x", "Asker", [Asker(model)])
    assert ran.result.unwrap() == ["S: one", ": two"]
    assert [event.n for event in ran.of(e.ModelCalled, e.ModelReplied)] == [2, 3, 4, 5]


def test_calls_that_an_agent_makes_side_by_side_have_places_of_their_own_in_the_journal() -> None:
    @tool
    async def wait(seconds: float) -> float:
        """Wait."""
        await trio.sleep(seconds)
        return seconds

    class Both(BaseAgent):
        async def _run(self, prompt: Any, context: Any, **kwargs: Any) -> Any:
            async with trio.open_nursery() as nursery:
                for seconds in (3.0, 1.0, 2.0):
                    nursery.start_soon(functools.partial(context.call_tool, "wait", seconds=seconds))
            return "both"

    ran = run("x", "Both", [Both(tools=[wait])])
    assert ran.result.unwrap() == "both"
    ids = [event.id for event in ran.heard.events]
    assert len(ids) == len(set(ids))


def test_what_a_caller_hands_to_a_tool_is_recorded_as_plain_data() -> None:
    @tool
    async def size(values: list[int]) -> int:
        """Count."""
        return len(values)

    class Caller(BaseAgent):
        async def _run(self, prompt: Any, context: Any, **kwargs: Any) -> Any:
            values = [1, 2]
            found = await context.call_tool("size", values=values)
            values.append(3)
            return found

    ran = run("x", "Caller", [Caller(tools=[size])])
    assert ran.result.unwrap() == 2
    assert ran.of(e.ToolStarted)[0].arguments == {"values": [1, 2]}


def test_an_unknown_request_is_none_of_the_fakes_business() -> None:
    from tests.core.fakes import invalid

    asked = Message("assistant", "", (call("look", "1"), call("look", "2")))
    answers = [Message("tool", "", tool_call_id=id) for id in "12"]
    assert invalid([asked, *answers]) is None
    assert invalid([asked, *reversed(answers)]) is None
    assert invalid([asked, answers[0]]) == "the calls ['2'] have no answer"
    assert (
        invalid([asked, answers[0], Message("user"), answers[1]])
        == "message 2 (user) comes before the answers to ['2']"
    )
    assert invalid([asked, *answers, answers[0]]) == "message 3 answers '1', which is not open: []"


def test_a_request_is_not_changed_by_what_is_said_later() -> None:
    requests: list[ModelRequest] = []

    def reply(request: ModelRequest) -> Reply:
        requests.append(request)
        return invoking("B", id=f"c{len(requests)}") if len(requests) < 3 else "done"

    team("A <-> B", said("B"), A=reply)
    assert [len(request.messages) for request in requests] == [1, 3, 5]
