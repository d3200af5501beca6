"""Runs that ask people: channels, answers, clocks, approvals, error routing, joins."""

from __future__ import annotations

import random
from typing import Any

import pytest
import trio
import trio.testing

from marsys_core import Provider, hookimpl
from marsys_core import events as e
from marsys_core.actions import AskUser, Invoke, Return
from marsys_core.agents import Agent, Team, agent
from marsys_core.config import ExecutionConfig, RetryConfig
from marsys_core.errors import (
    AnswerRefused,
    BranchTimeout,
    Cancelled,
    ConfigError,
    ConvergenceError,
    JoinTimeout,
    LifecycleError,
    RecoverableError,
    RunTimeout,
    StepTimeout,
    ToolError,
    UnknownName,
    UserTimeout,
    UserUnavailable,
)
from marsys_core.orchestra import Orchestra
from marsys_core.plugins import PluginSettings
from marsys_core.questions import Question
from marsys_core.tools import ToolContext, tool
from marsys_core.topology import ConvergencePolicy, Topology
from tests.core.fakes import BARE, FakeModel, Heard, Ran, bare, call, invoking, run, virtually


class Desk:
    """A channel that keeps questions until somebody answers them elsewhere; counts who is being asked."""

    name = "desk"

    def __init__(self, seconds: float | None = None, answer: Any = "yes") -> None:
        self.asked: list[Question] = []
        self.waiting = 0
        self.seconds, self.answer = seconds, answer

    async def ask(self, question: Question) -> Any:
        self.asked.append(question)
        self.waiting += 1
        try:
            if self.seconds is None:
                await trio.sleep_forever()
            await trio.sleep(self.seconds)
        finally:
            self.waiting -= 1
        return self.answer


def asker(name: str = "A", **more: Any) -> Any:
    """An agent that asks once, and then says what it heard."""

    @agent(name=name)
    async def ask(prompt: Any, context: Any) -> Any:
        return AskUser(f"{name}?", **more) if context.step == 1 else f"{name} heard {prompt}"

    return ask


def asking(agents: Any, channel: Any, topology: str = "A -> user", task: Any = "x", **config: Any) -> Ran:
    heard = Heard()
    settings = ExecutionConfig(**{"raise_errors": False, **config})

    async def main() -> Any:
        async with Orchestra(plugins=BARE, sinks=[heard], channel=channel) as orchestra:
            return await orchestra.execute(
                task, topology, agents=agents, execution_config=settings, session_id="s"
            )

    return Ran(virtually(main), heard)


# -- channels and answers ------------------------------------------------------------------------


def test_a_function_is_a_channel() -> None:
    seen: list[Question] = []

    def person(question: Question) -> str:
        seen.append(question)
        return "tea"

    ran = asking([asker(options=["tea", "coffee"])], person)
    assert ran.result.unwrap() == "A heard tea"
    (question,) = seen
    assert (question.request_id, question.branch, question.node, question.prompt) == ("0:3", "0", "A", "A?")
    assert (question.options, question.kind, question.session_id) == (("tea", "coffee"), "question", "s")
    assert question.run_id == ran.result.run_id
    assert [event.source for event in ran.of(e.UserAnswered)] == ["person"]


def test_an_async_function_is_a_channel_and_a_run_may_bring_its_own() -> None:
    async def person(question: Question) -> str:
        await trio.sleep(1)
        return "tea"

    async def main() -> Any:
        async with bare(channel=lambda question: "coffee") as orchestra:
            first = await orchestra.execute("x", "A -> user", agents=[asker()])
            second = await orchestra.execute("x", "A -> user", agents=[asker()], channel=person)
            return first.unwrap(), second.unwrap()

    assert virtually(main) == ("A heard coffee", "A heard tea")


def test_a_question_costs_no_step() -> None:
    assert asking([asker()], lambda question: "yes").result.total_steps == 2


@pytest.mark.parametrize("given", [3, "", object()])
def test_what_is_no_channel_is_refused(given: Any) -> None:
    with pytest.raises(ConfigError, match=r"^channel= takes a name, a function of the question or a channel"):
        Orchestra(channel=given)


def test_an_unknown_channel_is_named() -> None:
    ran = asking([asker()], "telepathy")
    assert type(ran.result.error) is UnknownName
    assert "no channel provider is called 'telepathy'" in str(ran.result.error)


def test_a_provider_that_opens_to_no_channel_is_named() -> None:
    class Plugin:
        @hookimpl
        def marsys_channels(self) -> Any:
            return [Provider("odd", make=lambda context, settings: print)]

    async def main() -> Any:
        plugins = PluginSettings(plugins={"odd": Plugin()}, discover=False)
        async with Orchestra(plugins=plugins) as orchestra:
            return await orchestra.execute("x", "A -> user", agents=[asker()], channel="odd")

    with pytest.raises(
        ConfigError, match=r"^channel= takes .* a channel with `ask`, not <built-in function print>$"
    ):
        virtually(main)


def test_without_a_channel_a_question_fails_at_once() -> None:
    ran = run("x", "A -> user", [asker()])
    assert type(ran.result.error) is UserUnavailable
    assert str(ran.result.error) == (
        "a person was asked 'A?', and there is no channel to one; give the run channel=... (at branch 0, node 'A', step 1)"
    )


def test_a_channel_may_decline() -> None:
    def nobody(question: Question) -> str:
        raise UserUnavailable("on holiday")

    error = asking([asker()], nobody).result.error
    assert type(error) is UserUnavailable
    assert str(error) == "on holiday (at branch 0, node 'A', step 1)"


def test_a_channel_that_breaks_is_named() -> None:
    def broken(question: Question) -> str:
        raise ValueError("no line")

    error = asking([asker()], broken).result.error
    assert str(error) == "channel 'broken' raised ValueError: no line (at branch 0, node 'A', step 1)"
    assert type(error.__cause__) is ValueError


def test_a_channel_whose_answer_is_refused_fails_the_branch() -> None:
    error = asking([asker(options=["a", "b"])], lambda question: "c").result.error
    assert type(error) is AnswerRefused
    assert str(error).startswith("the answer is one of 'a', 'b', not 'c' (question '0:3')")


def test_a_timeout_takes_the_default_or_fails() -> None:
    desk = Desk()
    ran = asking([asker(timeout=5, default="no")], desk)
    assert ran.result.unwrap() == "A heard no"
    assert ran.result.total_duration == pytest.approx(5)
    assert type(asking([asker(timeout=5)], desk).result.error) is UserTimeout
    assert desk.waiting == 0


def test_a_model_gets_the_answer_as_the_result_of_its_call() -> None:
    model = FakeModel([call("ask_user", question="tea?", options=["yes", "no"]), "fine"])
    ran = asking([Agent("A", model=model)], lambda question: "yes")
    assert ran.result.unwrap() == "fine"
    assert model.offered(0) == ["finish", "ask_user"]
    assert model.said(1)[-1] == ("tool", "yes")
    assert [m.role for m in model.requests[1].messages] == ["user", "assistant", "tool"]


def test_a_model_may_invoke_the_user_in_a_fork_beside_agents() -> None:
    model = FakeModel([invoking("B", "user", "C"), "fine"])
    helpers = [agent(name=name)(lambda prompt, name=name: name) for name in "BC"]
    ran = asking([Agent("A", model=model), *helpers], lambda question: "yes", "A <-> [B, C]; A -> user")
    assert ran.result.unwrap() == "fine"
    assert "yes" in model.said(1)[-1][1]


def test_a_background_run_lists_its_questions_and_takes_answers_in_any_order() -> None:
    desk = Desk()
    many = 200

    @agent
    async def A(prompt: Any, context: Any) -> Any:
        return Invoke([("W", i) for i in range(many)]) if context.step == 1 else prompt.values

    @agent
    async def W(prompt: Any) -> Any:
        return AskUser(f"q{prompt}") if type(prompt) is int else prompt

    async def main() -> Any:
        async with bare(channel=desk) as orchestra:
            config = ExecutionConfig(max_steps=1000)
            run = orchestra.start("x", "A -> W; W -> user", agents=[A, W], execution_config=config)
            while len(run.questions) < many or desk.waiting < many:
                await trio.testing.wait_all_tasks_blocked()
            questions = list(run.questions)
            random.Random(3).shuffle(questions)
            for question in questions:
                run.answer(question.request_id, question.prompt.upper())
            result = await run.result()
            return result, run

    result, over = virtually(main)
    assert result.unwrap() == [f"Q{i}" for i in range(many)]
    assert (over.questions, desk.waiting) == ((), 0)


def test_the_first_answer_wins_and_others_are_refused() -> None:
    desk = Desk(seconds=10)

    async def main() -> Any:
        async with bare(channel=desk) as orchestra:
            run = orchestra.start("x", "A -> user", agents=[asker(options=["yes", "no"])])
            await trio.sleep(1)
            with pytest.raises(AnswerRefused, match=r"^the answer is one of 'yes', 'no', not 'maybe'"):
                run.answer("0:3", "maybe")
            with pytest.raises(UnknownName, match=r"^no open question is called '9:9'; there are: 0:3\."):
                run.answer("9:9", "no")
            run.answer("0:3", "no")
            with pytest.raises(UnknownName, match=r"there are: none\."):
                run.answer("0:3", "yes")
            return await run.result()

    assert virtually(main).unwrap() == "A heard no"
    assert desk.waiting == 0


def test_a_question_can_be_answered_as_soon_as_its_event_is_heard() -> None:
    async def main() -> Any:
        async with bare(channel=Desk()) as orchestra:
            run = orchestra.start("x", "A -> user", agents=[asker()])
            async for event in run.events():
                if type(event) is e.UserAsked:
                    run.answer(event.request_id, "at once")
            return await run.result()

    assert virtually(main).unwrap() == "A heard at once"


def test_cancelling_a_run_ends_what_its_channel_was_doing() -> None:
    desk = Desk()

    async def main() -> Any:
        async with bare(channel=desk) as orchestra:
            run = orchestra.start("x", "A -> user", agents=[asker()])
            await trio.sleep(1)
            assert desk.waiting == 1
            run.cancel()
            result = await run.result()
            return result, run.questions, desk.waiting

    result, questions, waiting = virtually(main)
    assert (type(result.error), questions, waiting) == (Cancelled, (), 0)


# -- clocks and slots ----------------------------------------------------------------------------


def test_the_time_of_a_branch_stands_still_while_it_waits() -> None:
    assert asking([asker()], Desk(seconds=50), branch_timeout=5).result.unwrap() == "A heard yes"

    @agent(name="A")
    async def slow(prompt: Any, context: Any) -> Any:
        await trio.sleep(3)
        return AskUser("?") if context.step == 1 else prompt

    assert type(asking([slow], Desk(seconds=50), branch_timeout=5).result.error) is BranchTimeout


def test_the_time_of_the_run_goes_on() -> None:
    assert type(asking([asker()], Desk(seconds=50), timeout=5).result.error) is RunTimeout


@agent
async def A(prompt: Any, context: Any) -> Any:
    return Invoke([("B", "b"), ("C", "c")]) if context.step == 1 else prompt.values


@pytest.mark.parametrize("limit", ["convergence_timeout", "branch_timeout"])
def test_a_join_stands_still_while_every_live_child_waits_for_a_person(limit: str) -> None:
    agents = [A, asker("B"), asker("C")]
    ran = asking(agents, Desk(seconds=50), "A <-> [B, C]; B -> user; C -> user", **{limit: 5})
    assert ran.result.unwrap() == ["B heard yes", "C heard yes"]


def test_a_join_runs_on_while_a_child_works() -> None:
    @agent(name="C")
    async def works(prompt: Any) -> Any:
        await trio.sleep(20)
        return "c"

    agents = [A, asker("B"), works]
    ran = asking(agents, Desk(seconds=50), "A <-> [B, C]; B -> user", convergence_timeout=5)
    assert type(ran.result.error) is ConvergenceError
    assert ran.result.total_duration == pytest.approx(5)
    assert ran.of(e.JoinCancelled)[0].reason.error == JoinTimeout.__name__


def test_a_join_that_stood_still_has_what_was_left_of_its_time() -> None:
    @agent(name="C")
    async def works(prompt: Any, context: Any) -> Any:
        if context.step == 1:
            await trio.sleep(3)
            return AskUser("?")
        await trio.sleep(20)
        return "c"

    ran = asking(
        [A, asker("B"), works], Desk(seconds=50), "A <-> [B, C]; B -> user; C -> user", convergence_timeout=5
    )
    # C works for 3 s, and waits from then until 53 s; of the 5 s there are 2 left.
    assert ran.result.total_duration == pytest.approx(55)


@pytest.mark.parametrize(
    ("limit", "error"), [("convergence_timeout", ConvergenceError), ("branch_timeout", BranchTimeout)]
)
def test_the_clocks_stand_still_during_an_approval_too(limit: str, error: type) -> None:
    @tool(approval=True)
    async def slow(seconds: float) -> str:
        """Wait."""
        await trio.sleep(seconds)
        return "waited"

    def play(seconds: float) -> Any:
        model = FakeModel([call("slow", seconds=seconds), "b"])
        agents = [A, Agent("B", model=model, tools=[slow]), asker("C")]
        desk = Desk(50, "approve")
        return asking(agents, desk, "A <-> [B, C]; C -> user", **{limit: 5}).result

    assert play(4).unwrap() == ["b", "C heard approve"]
    assert type(play(6).error) is error


def test_a_slot_is_given_back_during_a_question() -> None:
    order: list[str] = []

    @agent(name="C")
    async def works(prompt: Any) -> Any:
        await trio.sleep(1)
        order.append("c")
        return "c"

    @agent(name="B")
    async def asks(prompt: Any, context: Any) -> Any:
        order.append(f"b{context.step}")
        return AskUser("?") if context.step == 1 else prompt

    ran = asking([A, asks, works], Desk(seconds=5), "A <-> [B, C]; B -> user", max_parallel_branches=1)
    assert ran.result.unwrap() == ["yes", "c"]
    assert order[-1] == "b2"
    assert ran.result.total_duration == pytest.approx(5, abs=1.01)


# -- approvals -----------------------------------------------------------------------------------


def deleting(
    calls: Any, answer: Any, *, delay: float | None = None, **config: Any
) -> tuple[Ran, list[str], FakeModel]:
    done: list[str] = []

    @tool(approval=True, timeout=2)
    async def delete(path: str) -> str:
        """Delete a file."""
        await trio.sleep(1)
        done.append(path)
        return f"deleted {path}"

    async def person(question: Question) -> Any:
        assert question.kind == "approval"
        assert question.options == ("approve", "reject")
        await trio.sleep(delay or 0)
        return answer(question) if callable(answer) else answer

    model = FakeModel([calls, "done"])
    ran = asking([Agent("A", model=model, tools=[delete])], None if answer is None else person, "A", **config)
    return ran, done, model


def test_a_tool_runs_when_a_person_approves() -> None:
    ran, done, model = deleting(call("delete", path="a"), "approve", delay=50, step_timeout=5, tool_timeout=3)
    assert (ran.result.unwrap(), done) == ("done", ["a"])
    assert model.said(1)[-1] == ("tool", "deleted a")
    (asked,), (answered,) = ran.of(e.UserAsked), ran.of(e.UserAnswered)
    assert asked.prompt == {"tool": "delete", "arguments": {"path": "a"}, "agent": "A"}
    assert (answered.request_id, answered.value) == (asked.request_id, "approve")
    kinds = [
        type(event) for event in ran.heard.events if getattr(event, "node", "") == "A" or event is answered
    ]
    assert kinds.index(e.ToolStarted) < kinds.index(e.UserAsked) < kinds.index(e.ToolFinished)


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ("reject", "a person rejected this call of 'delete'; it was not run"),
        (
            {"decision": "reject", "reason": "mine"},
            "a person rejected this call of 'delete': mine; it was not run",
        ),
    ],
)
def test_a_rejected_call_never_runs_and_the_model_is_told(answer: Any, told: str) -> None:
    ran, done, model = deleting(call("delete", path="a"), answer)
    assert (ran.result.unwrap(), done) == ("done", [])
    assert model.said(1)[-1] == ("tool", told)


def test_a_person_may_change_the_arguments() -> None:
    ran, done, _ = deleting(call("delete", path="a"), {"decision": "approve", "arguments": {"path": "b"}})
    assert done == ["b"]
    _, done, model = deleting(call("delete", path="a"), {"decision": "approve", "arguments": {"path": 3}})
    assert done == []
    assert "path" in model.said(1)[-1][1]


def test_what_a_person_has_changed_is_put_before_the_guards_again() -> None:
    seen: list[tuple[str, str]] = []

    class Everywhere:
        name = "everywhere"

        async def check(self, subject: Any) -> None:
            if subject.kind == "tool":
                seen.append(("engine", subject.value["path"]))

    async def own(subject: Any) -> None:
        if subject.kind == "tool":
            seen.append(("agent", subject.value["path"]))

    class Plugin:
        @hookimpl
        def marsys_guards(self) -> Any:
            return [Provider("everywhere", make=lambda context, settings: Everywhere())]

    @tool(approval=True)
    async def delete(path: str) -> str:
        """Delete a file."""
        return path

    answers = iter([{"decision": "approve", "arguments": {"path": "b"}}, "approve"])
    model = FakeModel([call("delete", path="a"), call("delete", path="c"), "done"])
    agents = [Agent("A", model=model, tools=[delete], guards=[own])]

    async def main() -> Any:
        plugins = PluginSettings(plugins={"guard": Plugin()}, discover=False)
        async with Orchestra(plugins=plugins, channel=lambda question: next(answers)) as orchestra:
            return await orchestra.execute("x", "A", agents=agents)

    assert virtually(main).unwrap() == "done"
    assert seen == [(who, path) for path in "abc" for who in ("engine", "agent")]


def test_with_nobody_to_ask_the_tool_never_runs() -> None:
    ran, done, model = deleting(call("delete", path="a"), None)
    assert done == []
    assert model.said(1)[-1][1].startswith(
        "tool 'delete' needs a person's approval, and there is no channel to one (give the run channel=...); it was not run"
    )


def test_an_answer_that_is_no_approval_refuses_the_call() -> None:
    _, done, model = deleting(call("delete", path="a"), "perhaps")
    assert done == []
    assert "the answer is one of 'approve', 'reject', not 'perhaps'" in model.said(1)[-1][1]


def test_wrong_arguments_are_not_put_to_a_person() -> None:
    ran, _, _ = deleting(call("delete"), "approve")
    assert ran.of(e.UserAsked) == []


def test_calls_of_one_reply_are_approved_side_by_side_with_steady_ids() -> None:
    calls = [call("delete", str(i), path=f"p{i}") for i in range(3)]

    def journal(delays: list[float]) -> Any:
        waits = dict(zip(("p0", "p1", "p2"), delays, strict=True))
        done: list[str] = []

        @tool(approval=True)
        async def delete(path: str) -> str:
            """Delete."""
            done.append(path)
            return path

        async def person(question: Question) -> str:
            await trio.sleep(waits[question.prompt["arguments"]["path"]])
            return "approve"

        model = FakeModel([calls, "done"])
        ran = asking([Agent("A", model=model, tools=[delete])], person, "A")
        assert ran.result.total_duration == pytest.approx(3)
        return done, ran.heard.journal

    (first, one), (second, other) = journal([1, 2, 3]), journal([3, 2, 1])
    assert (first, second) == (["p0", "p1", "p2"], ["p2", "p1", "p0"])
    assert one == other


def test_a_step_has_its_own_time_after_an_approval() -> None:
    @tool(approval=True)
    async def slow(seconds: float) -> str:
        """Wait."""
        await trio.sleep(seconds)
        return "waited"

    def play(seconds: float) -> Any:
        model = FakeModel([call("slow", seconds=seconds), "done"], delay=1)
        return asking(
            [Agent("A", model=model, tools=[slow])], Desk(50, "approve"), "A", step_timeout=5
        ).result

    assert play(2).unwrap() == "done"
    assert type(play(9).error) is StepTimeout


def test_code_that_waits_no_longer_withdraws_its_question() -> None:
    @tool(approval=True)
    async def slow() -> str:
        """Wait."""
        return "never"

    class Hasty(Agent):
        async def _run(self, prompt: Any, context: Any, **kwargs: Any) -> Any:
            with trio.move_on_after(3):
                await context.call_tool("slow")
            return "enough"

    desk = Desk()
    ran = asking([Hasty("A", model=FakeModel(), tools=[slow])], desk, "A")
    assert (ran.result.unwrap(), desk.waiting) == ("enough", 0)
    assert [event.error.error for event in ran.of(e.UserAnswered)] == ["Cancelled"]


def test_code_gets_a_rejection_as_an_error() -> None:
    @tool(approval=True)
    async def slow() -> str:
        """Wait."""
        return "never"

    class Asks(Agent):
        async def _run(self, prompt: Any, context: Any, **kwargs: Any) -> Any:
            with pytest.raises(ToolError, match="a person rejected"):
                await context.call_tool("slow")
            return "so be it"

    assert (
        asking([Asks("A", model=FakeModel(), tools=[slow])], lambda q: "reject", "A").result.unwrap()
        == "so be it"
    )


# -- error routing -------------------------------------------------------------------------------


def flaky(times: int) -> Any:
    left = iter(range(times))

    @agent(name="A")
    async def work(prompt: str) -> str:
        if next(left, None) is not None:
            raise ConnectionError("gone")
        return "done"

    return work


def test_a_recoverable_error_that_is_still_there_after_the_retries_is_put_to_a_person() -> None:
    decisions = iter(["retry", "retry"])
    ran = asking(
        [flaky(6)],
        lambda question: next(decisions),
        "A",
        error_routing_enabled=True,
        auto_retry_on_error=True,
        retry=RetryConfig(max_attempts=3),
    )
    assert (ran.result.unwrap(), ran.result.total_steps) == ("done", 1)
    assert len(ran.of(e.UserAsked)) == 2
    assert [event.attempt for event in ran.of(e.StepRetried)] == [1, 2, 0, 1, 2, 0]


def test_skip_goes_on_with_nothing_and_abort_fails() -> None:
    @agent(name="B")
    async def last(prompt: Any) -> str:
        return f"got {prompt!r}"

    ran = asking([flaky(1), last], lambda question: "skip", "A -> B", error_routing_enabled=True)
    assert ran.result.unwrap() == "got ''"
    ran = asking([flaky(1), last], lambda question: "abort", "A -> B", error_routing_enabled=True)
    assert "ConnectionError: gone" in str(ran.result.error)


def test_without_a_channel_error_routing_raises_as_if_it_were_off() -> None:
    async def main() -> Any:
        async with bare() as orchestra:
            config = ExecutionConfig(error_routing_enabled=True)
            await orchestra.execute("x", "A", agents=[flaky(1)], execution_config=config)

    with pytest.raises(RecoverableError, match="gone"):
        virtually(main)


def test_a_retried_step_leaves_nothing_of_the_failed_one_in_the_conversation() -> None:
    model = FakeModel([RecoverableError("busy"), "fine"])
    ran = asking([Agent("A", model=model)], lambda question: "retry", "A", error_routing_enabled=True)
    assert ran.result.unwrap() == "fine"
    assert model.said(0) == [("user", "x")]


# -- joins ---------------------------------------------------------------------------------------


def test_the_failed_calls_of_a_join_are_made_again_when_a_person_says_so() -> None:
    left = iter([1, 2])

    @agent(name="C")
    async def flaky_once(prompt: Any) -> Any:
        if next(left, None) is not None:
            raise ValueError("no")
        return "c"

    @agent(name="B")
    async def good(prompt: Any) -> Any:
        return Return("b")

    policy = ConvergencePolicy(on_insufficient="user")
    seen: list[str] = []

    def person(question: Question) -> str:
        seen.append(question.kind)
        return "retry"

    ran = asking([A, good, flaky_once], person, "A <-> [B, C]", convergence_policy=policy)
    assert (ran.result.unwrap(), seen) == (["b", "c"], ["policy", "policy"])


def test_without_a_channel_the_join_fails_and_says_that_nobody_could_be_asked() -> None:
    @agent(name="B")
    async def bad(prompt: Any) -> Any:
        raise ValueError("no")

    policy = ConvergencePolicy(on_insufficient="user")
    ran = run("x", "A <-> [B, C]", [A, bad, agent(name="C")(lambda prompt: "c")], convergence_policy=policy)
    assert type(ran.result.error) is ConvergenceError
    assert "; nobody could be asked: there is no channel to a person" in str(ran.result.error)


def test_an_agent_knows_an_answer_from_a_task_wherever_it_stands() -> None:
    @agent
    async def First(prompt: Any) -> Any:
        return prompt

    @agent
    async def Asker(prompt: Any, context: Any) -> Any:
        return f"heard {prompt}" if context.answered else AskUser("may I?")

    async def main() -> Any:
        async with bare(channel=lambda question: "yes") as orchestra:
            return await orchestra.execute("go", "First -> Asker; Asker -> user", agents=[First, Asker])

    assert virtually(main).final_response == "heard yes"


def test_a_tool_writes_to_the_shared_state() -> None:
    @tool
    async def note(text: str, context: ToolContext) -> str:
        """Note."""
        context.state["notes"] = text
        return "noted"

    model = FakeModel([call("note", text="a"), "done"])
    topology = Topology(["A"], state={"notes": "append"})
    result = run("go", topology, [Agent("A", model=model, tools=[note])]).result
    assert result.state == {"notes": ["a"]}


def test_an_approval_that_comes_to_nothing_is_told_to_the_caller_too() -> None:
    @tool(approval=True)
    async def delete() -> str:
        """Delete."""
        return "deleted"

    def result(channel: Any) -> Any:
        async def main() -> Any:
            model = FakeModel([call("delete"), "done"])
            async with bare(channel=channel) as orchestra:
                return await orchestra.execute("go", "A", agents=[Agent("A", model=model, tools=[delete])])

        return virtually(main)

    assert result(None).metadata["warnings"] == (
        "tool 'delete' needs a person's approval, and the run has no channel",
    )
    (warned,) = result(lambda question: "yes").metadata["warnings"]
    assert warned.startswith("the approval of tool 'delete' came to nothing: the answer is one of 'approve'")


def test_a_channel_class_is_no_channel() -> None:
    class Line:
        async def ask(self, question: Any) -> Any:
            return "x"

    async def main() -> None:
        async with bare() as orchestra:
            with pytest.raises(ConfigError, match=r"^channel= takes an object: write Line\(\)$"):
                await orchestra.execute("go", "A", agents=[Agent("A", model=FakeModel(["a"]))], channel=Line)

    virtually(main)


def test_an_answer_from_another_thread_is_refused_and_the_question_stays_open() -> None:
    async def main() -> Any:
        async with bare(channel=Desk()) as orchestra:
            run = orchestra.start("x", "A -> user", agents=[asker()])
            await trio.testing.wait_all_tasks_blocked()
            [question] = run.questions
            with pytest.raises(LifecycleError, match=r"^Run\.answer is called in the thread of the run; "):
                await trio.to_thread.run_sync(run.answer, question.request_id, "from afar")
            assert run.questions == (question,)
            await trio.to_thread.run_sync(
                trio.from_thread.run_sync, run.answer, question.request_id, "from near"
            )
            return (await run.result()).unwrap()

    assert trio.run(main) == "A heard from near"


def test_the_questions_of_nested_runs_are_answered_through_the_outer_one() -> None:
    inner = Team("A -> user", [asker()], name="inner")

    @agent(name="Hub")
    async def hub(prompt: Any) -> Any:
        return Invoke([("N", 1), ("N", 2), ("B", 3)]) if prompt == "x" else prompt.values

    async def main() -> Any:
        async with bare(channel=Desk()) as orchestra:
            edges = ["Hub <-> N", "Hub <-> B", "B -> user"]
            run = orchestra.start("x", edges, agents=[hub, inner.as_node("N"), asker("B")])
            await trio.sleep(1)
            asked = {each.run_id: each for each in run.questions}
            assert [each.node for each in run.questions] == ["B", "A", "A"]
            outer = run.questions[0].run_id
            with pytest.raises(
                ConfigError, match=r"^question '0:3' is open in the runs .* say which with run_id=$"
            ):
                run.answer("0:3", "whose?")
            for run_id, each in asked.items():
                run.answer(each, run_id.removeprefix(outer))
            value = (await run.result()).unwrap()
            assert run.questions == ()
            with pytest.raises(UnknownName, match=r"^no open question is called '0:3'; there are: none\.$"):
                run.answer("0:3", "too late", run_id=outer)
            return value

    first, second, third = virtually(main)
    assert first.startswith("A heard -0.0-")
    assert second.startswith("A heard -0.1-")
    assert third == "B heard "
