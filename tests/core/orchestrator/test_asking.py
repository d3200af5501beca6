"""People in a run, as the orchestrator sees them: questions, failed steps, failed joins."""

from __future__ import annotations

import random
from typing import Any

import pytest

from marsys_core import events as e
from marsys_core.actions import AskUser, Fail, Finish, Invoke, Return
from marsys_core.config import ExecutionConfig
from marsys_core.errors import AnswerRefused, RecoverableError, UnknownName, UserUnavailable
from marsys_core.orchestrator import Phase
from marsys_core.protocols.rule import Block, Modify, Stop
from marsys_core.topology import ConvergencePolicy, Node, Topology
from marsys_core.values import JoinInput
from tests.core.orchestrator.driver import TIMEOUT, Outcome, Simulation, drive, invoke

YES = lambda asked: "yes"  # noqa: E731


def ask(prompt: Any = "may I?", **more: Any) -> AskUser:
    return AskUser(prompt, **more)


@pytest.mark.parametrize("action", [ask(), Invoke([("user", "may I?")])])
def test_the_answer_is_the_value_of_the_next_step_at_the_same_node(action: Any) -> None:
    out = drive("A -> user", {"A": [action, lambda answer: f"heard {answer}"]}, answers=YES)
    assert (out.final, out.path) == ("heard yes", ["A", "A"])
    assert [(q.request_id, q.kind, q.prompt) for q in out.of(e.UserAsked)] == [("0:3", "question", "may I?")]
    assert [(a.request_id, a.value, a.source) for a in out.of(e.UserAnswered)] == [("0:3", "yes", "person")]
    assert [m.how for m in out.of(e.BranchMoved)] == ["answer"]


def test_a_question_costs_no_step_and_content_after_it_still_goes_onward() -> None:
    out = drive("A -> B; A -> user", {"A": [ask(), "on"]}, answers=YES)
    assert (out.path, out.state.steps) == (["A", "A", "B"], 3)


def test_asking_keeps_the_call_stack() -> None:
    out = drive(
        "A <-> B; B -> user", {"A": [invoke("B"), lambda v: f"A:{v}"], "B": [ask(), lambda v: v]}, answers=YES
    )
    assert (out.path, out.final) == (["A", "B", "B", "A"], "A:yes")


def test_a_fork_may_ask_a_person_beside_agents() -> None:
    out = drive("A <-> [B, C]; A -> user", {"A": [invoke("B", "user", "C"), "done"]}, answers=YES)
    assert out.inputs("A")[1] == JoinInput([("B", "0.0", "B"), ("user", "0.1", "yes"), ("C", "0.2", "C")])
    assert out.settled["0.1"] == "delivered"


def test_an_answer_may_meet_at_the_one_agent_that_was_invoked_beside_it() -> None:
    out = drive("A -> B; A -> user", {"A": invoke("B", "user"), "B": lambda got: got}, answers=YES)
    assert out.values == ["for B", "yes"]


def test_a_fork_may_ask_a_person_twice() -> None:
    out = drive(
        "A -> user", {"A": [invoke("user", "user"), lambda got: got.values]}, answers=lambda q: q.request_id
    )
    assert out.values == [["0.0:1", "0.1:1"]]


def test_a_detached_question_ends_in_a_branch_of_its_own() -> None:
    out = drive("A -> user", {"A": [invoke("user", wait=False), "done"]}, answers=YES)
    assert (out.final, out.state.branches["0.0"].result) == ("done", "yes")


def test_without_an_edge_to_user_asking_is_refused() -> None:
    out = drive("A -> B", {"A": ask()}, answers=YES)
    assert out.error == (
        "failed: ActionError: there is no edge from 'A' to 'user'; its edges lead to: B (at branch 0, node 'A', step 1)"
    )


def test_a_default_that_is_none_of_the_options_is_refused() -> None:
    out = drive("A -> user", {"A": ask(options=["a", "b"], default="c")}, answers=YES)
    assert "the default cannot be the answer: the answer is one of 'a', 'b', not 'c'" in out.error


def test_with_nobody_to_ask_the_branch_fails_at_once() -> None:
    out = drive("A -> user", {"A": ask()})
    assert out.error == (
        "failed: UserUnavailable: a person was asked 'may I?', and there is no channel to one; give the run channel=... "
        "(at branch 0, node 'A', step 1)"
    )
    assert [event.value for event in out.of(e.Dropped)] == ["may I?"]


def test_a_timeout_gives_the_default_or_fails() -> None:
    late = lambda asked: TIMEOUT  # noqa: E731
    out = drive("A -> user", {"A": [ask(timeout=3, default="no"), lambda v: v]}, answers=late)
    assert (out.final, out.of(e.UserAnswered)[0].source) == ("no", "timeout")
    out = drive("A -> user", {"A": ask(timeout=3)}, answers=late)
    assert out.error == (
        "failed: UserTimeout: nobody answered question '0:3' within timeout=3 s (at branch 0, node 'A', step 1)"
    )


def test_a_person_who_is_not_there_fails_the_branch() -> None:
    out = drive("A -> user", {"A": ask()}, answers=lambda q: UserUnavailable("out"))
    assert out.error == "failed: UserUnavailable: out (at branch 0, node 'A', step 1)"


def test_two_hundred_questions_are_answered_in_any_order() -> None:
    many = Invoke([("W", f"q{i}") for i in range(200)])
    first = {"W": lambda got: ask(got) if got.startswith("q") else got}
    made = Simulation.of(
        "A -> W; W -> user",
        {"A": [many, lambda got: got.values], **first},
        config=ExecutionConfig(max_steps=1000),
        answers=lambda q: q.prompt.upper(),
    ).start()
    while made.running or made.ready:
        made.advance()
    assert len(made.orchestrator.open_questions) == 200
    random.Random(1).shuffle(made.asked)
    assert made.run().final == [f"Q{i}" for i in range(200)]


def test_an_answer_to_no_open_question_names_those_that_are_open() -> None:
    made = Simulation.of("A -> user", {"A": ask(options=["yes", "no"])}, answers=YES).start()
    made.advance()
    made.advance()
    with pytest.raises(
        UnknownName, match=r"^no open question is called '0:4'; there are: 0:3\. Did you mean '0:3'\?$"
    ):
        made.orchestrator.on_answer("0:4", "yes")
    with pytest.raises(
        AnswerRefused, match=r"^the answer is one of 'yes', 'no', not 'maybe' \(question '0:3'\)$"
    ):
        made.orchestrator.on_answer("0:3", "maybe")
    made.accept(made.orchestrator.on_answer("0:3", "yes"))
    with pytest.raises(UnknownName, match=r"^no open question is called '0:3'; there are: none\.$"):
        made.orchestrator.on_answer("0:3", "no")


def test_an_open_question_is_the_same_one_after_a_resume() -> None:
    made = Simulation.of("A -> user", {"A": [ask(), lambda v: v]}, answers=YES).start()
    made.advance()
    made.advance()
    again = Simulation.of("A -> user", {"A": [ask(), lambda v: v]}, answers=YES).resume(made.events)
    assert [asked.request_id for asked in again.asked] == ["0:3"]
    assert again.run().final == "yes"


def test_open_questions_of_a_cancelled_branch_are_closed() -> None:
    policy = ConvergencePolicy(quorum=1, early=True)
    script = {"A": invoke("B", "C", policy=policy), "B": ask(), "C": Return("c")}
    made = Simulation.of("A <-> [B, C]; B -> user", script, answers=YES).start()
    while made.running or made.ready:
        if made.orchestrator.state.branches["0"].phase is Phase.SETTLED:
            break
        made.advance()
    assert made.orchestrator.open_questions == []


# -- steps that failed ---------------------------------------------------------------------------

ROUTED = ExecutionConfig(error_routing_enabled=True)


def routed(decision: Any, replies: list[Any], topology: Any = "A -> B", **more: Any) -> Outcome:
    decisions = iter(decision if isinstance(decision, list) else [decision])
    return drive(topology, {"A": replies}, config=ROUTED, answers=lambda asked: next(decisions), **more)


def failing() -> Fail:
    return Fail(RecoverableError("busy"))


def test_a_recoverable_error_is_put_to_a_person_and_the_step_is_taken_again() -> None:
    out = routed(["retry", "retry"], [failing(), failing(), "a"])
    assert (out.success, out.path, out.final) == (True, ["A", "B"], "B")
    (first, second) = out.of(e.UserAsked)
    assert (first.kind, first.options) == ("error", ("retry", "skip", "abort"))
    assert first.prompt.startswith("the step of 'A' failed: RecoverableError: busy")
    assert first.request_id != second.request_id


def test_a_skipped_step_says_nothing_and_the_branch_goes_on() -> None:
    out = routed("skip", [failing()])
    assert (out.path, out.inputs("B")) == (["A", "B"], [""])


def test_a_skipped_step_of_a_map_has_no_items() -> None:
    topology = Topology(nodes=[Node("A", dispatch="map"), "B"], edges=["A -> B"], entry_point="A")
    assert routed("skip", [failing()], topology).success is False


def test_a_skipped_turn_of_a_conversation_says_nothing_to_the_other_side() -> None:
    out = routed("skip", [failing(), "a"], "A <~3> B")
    assert (out.path, out.inputs("B")) == (["A", "B", "A"], [""])


@pytest.mark.parametrize("decision", ["abort", UserUnavailable("out")])
def test_an_aborted_step_fails_as_it_would_have(decision: Any) -> None:
    out = routed(decision, [failing()])
    assert out.error == "failed: RecoverableError: busy (at branch 0, node 'A', step 1)"


@pytest.mark.parametrize("error", [Fail("no"), Fail(ValueError("no"))])
def test_errors_that_will_not_pass_are_not_put_to_a_person(error: Fail) -> None:
    assert routed("retry", [error]).of(e.UserAsked) == []


def test_without_a_channel_error_routing_is_as_if_it_were_off() -> None:
    out = drive("A", {"A": failing()}, config=ROUTED)
    assert (out.of(e.UserAsked), out.success) == ([], False)


class Ruling:
    """A rule that says the same at one point, but of a step that failed."""

    def __init__(self, point: str, said: Any) -> None:
        setattr(self, point, lambda facts: None if isinstance(facts.action, Fail) else said)


def test_rules_are_asked_about_what_a_skipped_step_comes_to() -> None:
    changed = routed("skip", [failing()], rules=[Ruling("after_step", Modify("instead"))])
    assert changed.inputs("B") == ["instead"]
    fork = Topology(nodes=[Node("A", dispatch="all"), "B", "C"], edges=["A -> B", "A -> C"], entry_point="A")
    blocked = routed("skip", [failing()], fork, rules=[Ruling("before_fork", Block("too many"))])
    assert blocked.error.startswith("failed: RuleBlocked: rule Ruling blocked the fork at 'A': too many")
    stopped = routed("skip", [failing()], rules=[Ruling("after_step", Stop("enough"))])
    assert stopped.error.startswith("failed: RuleStopped: rule Ruling stopped the run at 'A': enough")
    assert blocked.path == stopped.path == ["A"]


def test_a_skip_that_is_ruled_on_is_resumed_from_any_prefix() -> None:
    rules = [Ruling("after_step", Modify("instead"))]
    whole = routed("skip", [failing()], rules=rules)
    for cut in range(1, len(whole.events)):
        again = Simulation.of(
            "A -> B", {"A": failing()}, config=ROUTED, rules=rules, answers=lambda asked: "skip"
        ).resume(whole.events[:cut])
        assert again.run().final == whole.final


# -- joins that failed ---------------------------------------------------------------------------

ASKING = ConvergencePolicy(min_ratio=1.0, on_insufficient="user")


def joined(decisions: list[Any], second: list[Any], policy: Any = ASKING, **more: Any) -> Outcome:
    answers = iter(decisions)
    visits: dict[str, int] = {}

    def reply(value: Any) -> Any:
        visits["S2"] = visits.get("S2", 0) + 1
        return second[visits["S2"] - 1]

    script = {"H": [invoke("S1", "S2", policy=policy), lambda got: got], "S1": Return("s1"), "S2": reply}
    return drive("H <-> [S1, S2]", script, answers=lambda asked: next(answers), **more)


def test_a_failed_join_is_put_to_a_person_and_the_failed_calls_are_made_again() -> None:
    out = joined(["retry", "retry"], [Fail("1"), Fail("2"), Return("s2")])
    assert out.values == ["s1", "s2"]
    assert [(event.branch, event.name) for event in out.of(e.BranchStarted)][2:] == [
        ("0.1", "0/S2#0"),
        ("0.2", "0/S2#0"),
        ("0.3", "0/S2#0"),
    ]
    (first, _) = out.of(e.UserAsked)
    assert (first.kind, first.options) == ("policy", ("retry", "proceed", "abort"))
    assert first.prompt.startswith(
        "1 of 2 calls from 'H' delivered, the policy asks for more: 'S2' (0.1): failed"
    )


def test_proceeding_gives_the_hub_what_there_is() -> None:
    out = joined(["proceed"], [Fail("1")])
    assert [item.value if item.node == "S1" else item.node for item in out.inputs("H")[1]] == ["s1", "S2"]


@pytest.mark.parametrize(
    ("decision", "told"), [("abort", ""), (UserUnavailable("out"), "; nobody could be asked: out")]
)
def test_aborting_fails_as_the_policy_says(decision: Any, told: str) -> None:
    out = joined([decision], [Fail("1")])
    assert out.error.startswith(
        "failed: ConvergenceError: 1 of 2 calls from 'H' delivered, the policy asks for more"
    )
    assert told in out.error
    assert [event.value for event in out.of(e.Dropped)] == ["s1"]


def test_with_nobody_to_ask_a_failed_join_fails_and_says_so() -> None:
    out = drive("H <-> [S1, S2]", {"H": invoke("S1", "S2", policy=ASKING), "S1": Fail("1"), "S2": Fail("2")})
    assert "; nobody could be asked: there is no channel to a person (at branch 0" in out.error


def test_a_hopeless_early_join_makes_the_cancelled_calls_again_too() -> None:
    early = ConvergencePolicy(quorum=2, early=True, on_insufficient="user")
    out = joined(["retry"], [Fail("1"), Return("s2")], early, seed=3)
    assert sorted(out.values) == ["s1", "s2"]


def test_a_run_that_ends_while_a_person_is_asked_about_a_join_drops_what_arrived() -> None:
    topology = "A <-> [H, X]; H <-> [S1, S2]"
    script = {
        "A": invoke("H", "X"),
        "H": invoke("S1", "S2", policy=ASKING),
        "S1": Return("s1"),
        "S2": Fail("1"),
    }
    made = Simulation.of(
        topology, {**script, "X": Finish("x")}, answers=YES, config=ExecutionConfig(first_result=True)
    ).start()
    while not made.asked:
        for waiting in (made.running, made.ready):
            for branch in [branch for branch in waiting if branch.node != "X"][:1]:
                waiting.remove(branch)
                made.end(branch) if waiting is made.running else made.begin(branch)
    out = made.run()
    assert out.final == "x"
    assert "s1" in [event.value for event in out.of(e.Dropped)]
    assert made.orchestrator.open_questions == []


# -- approvals -----------------------------------------------------------------------------------


def running() -> Simulation:
    made = Simulation.of("A", {}, answers=YES).start()
    made.advance()
    return made


def test_an_approval_leaves_the_step_running_and_has_places_of_its_own() -> None:
    made = running()
    machine, branch = made.orchestrator, made.orchestrator.state.branches["0"]
    first = machine.on_asked_within(branch, "approval", "one", 3)
    second = machine.on_asked_within(branch, "approval", "two", 7, {first.request_id})
    assert branch.phase is Phase.RUNNING
    machine.on_answer(second.request_id, {"decision": "reject", "reason": "no"})
    machine.on_answer(first.request_id, "approve")
    assert [event.id for event in made.events if type(event) is e.UserAnswered] == [("0", 8), ("0", 4)]
    assert (branch.n, machine.open_questions) == (9, [])


def test_two_calls_of_the_same_prompt_are_two_questions() -> None:
    made = running()
    branch = made.orchestrator.state.branches["0"]
    first = made.orchestrator.on_asked_within(branch, "approval", "same", 3)
    second = made.orchestrator.on_asked_within(branch, "approval", "same", 7, {first.request_id})
    assert (first.request_id, second.request_id) == ("0:3", "0:7")


def test_an_approval_that_was_open_is_the_same_one_after_a_resume() -> None:
    made = running()
    made.orchestrator.on_asked_within(made.orchestrator.state.branches["0"], "approval", "tool", 3)
    again = Simulation.of("A", {}, answers=YES).resume(made.events)
    branch = again.orchestrator.state.branches["0"]
    assert again.running == [branch]
    assert again.orchestrator.on_asked_within(branch, "approval", "tool", branch.n).request_id == "0:3"
    assert again.events == []
    assert again.run().final == "A"
    assert again.orchestrator.open_questions == []


def test_the_end_of_a_step_closes_what_it_asked() -> None:
    made = running()
    made.orchestrator.on_asked_within(made.orchestrator.state.branches["0"], "approval", "tool", 3)
    made.advance()
    assert made.orchestrator.open_questions == []


def test_a_task_that_comes_from_the_user_may_ask_back() -> None:
    out = drive("user <-> A", {"A": [ask(), lambda answer: f"heard {answer}"]}, answers=YES)
    assert (out.final, out.path) == ("heard yes", ["A", "A"])


def test_the_time_that_a_branch_waits_is_counted_once_however_many_questions_are_open() -> None:
    made = running()
    machine, branch = made.orchestrator, made.orchestrator.state.branches["0"]
    now = [0.0]

    def stamp(event: e.Event) -> None:
        event.time = now[0]

    machine.append = stamp
    machine.on_asked_within(branch, "approval", "one", 3)
    now[0] = 2.0
    machine.on_asked_within(branch, "approval", "two", 7, {"0:3"})
    now[0] = 5.0
    machine.on_answer("0:3", "approve")
    now[0] = 6.0
    machine.on_answer("0:7", "approve")
    assert branch.person is not None
    assert branch.person.waited == 6.0


def test_a_person_who_always_says_retry_does_so_no_more_often_than_there_are_steps() -> None:
    asked: list[tuple[str, ...]] = []

    def answer(question: Any) -> str:
        asked.append(question.options)
        return question.options[0] if "retry" in question.options else "abort"

    config = ExecutionConfig(error_routing_enabled=True, max_steps=3)
    out = drive("A", {"A": failing()}, config=config, answers=answer)
    assert [options[0] for options in asked] == ["retry", "retry", "retry", "skip"]
    assert out.settled == {"0": "failed"}
