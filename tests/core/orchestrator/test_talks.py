"""Conversations: when one opens, whose turn it is, how it ends, and where what was said last goes on."""

from __future__ import annotations

from typing import Any

import pytest

from marsys_core import events as e
from marsys_core.actions import AskUser, EndConversation, Fail, Finish, Invoke, Return
from marsys_core.config import ExecutionConfig
from marsys_core.orchestrator import Traits, max_turns_of
from marsys_core.orchestrator.talks import turn_of
from marsys_core.topology import Edge, Node, Topology
from marsys_core.values import JoinInput
from tests.core.orchestrator.driver import Outcome, Simulation, Turn, drive, fold, invoke


def turns(out: Outcome) -> list[tuple[str, int]]:
    return [(event.node, event.turn) for event in out.of(e.StepStarted)]


def talking(*said: str) -> list[str]:
    return [*said, "nothing more"]


# -- opening and taking turns --------------------------------------------------------------------


def test_each_side_gets_what_the_other_said() -> None:
    out = drive("A <~4> B", {"A": ["a1", "a2"], "B": ["b1", "b2"]})
    assert [(node, value) for _, node, value in out.steps] == [
        ("A", "task"),
        ("B", "a1"),
        ("A", "b1"),
        ("B", "a2"),
    ]
    assert turns(out) == [("A", 1), ("B", 2), ("A", 3), ("B", 4)]
    assert [(event.node, event.how) for event in out.of(e.BranchMoved)] == [
        ("B", "turn"),
        ("A", "turn"),
        ("B", "turn"),
    ]
    assert (out.final, list(out.state.branches)) == ("b2", ["0"])


def test_ten_turns_are_the_default_and_each_is_a_step() -> None:
    out = drive("A <~> B", {})
    assert (len(out.path), out.success, out.final) == (10, True, "B")
    limited = drive("A <~> B", {}, config=ExecutionConfig(max_steps=7))
    assert "max_steps=7" in limited.error


def test_one_turn_is_a_conversation_too() -> None:
    assert drive("A <~1> B", {}).path == ["A"]


def test_it_opens_at_whichever_side_the_branch_comes_to() -> None:
    out = drive("S -> B; A <~2> B; A -> C", {})
    assert turns(out) == [("S", 0), ("B", 1), ("A", 2), ("C", 0)]


def test_a_hand_off_into_a_side_later_opens_a_new_one_with_a_count_of_its_own() -> None:
    script = {"A": "a", "B": ["b", "b", invoke("C"), "b"], "C": [invoke("A"), "c"]}
    out = drive("S -> A; A <~6> B; B -> C; C -> A", script)
    assert [turn for node, turn in turns(out) if node in "AB"] == [1, 2, 3, 4, 5, 6, 1, 2, 3, 4, 5, 6]
    assert out.final == "b"


def test_the_rule_on_nodes_already_stepped_at_holds_again_after_the_end() -> None:
    # B could hand on to S by a one-way edge, but the branch has been there.
    out = drive("S -> A; A <~2> B; B -> S", {})
    assert (out.path, out.final) == (["S", "A", "B"], "B")


def test_an_answer_to_a_side_opens_none() -> None:
    out = drive("A <~6> B; A <-> C", {"A": [invoke("C"), "mine"]})
    assert turns(out) == [("A", 1), ("C", 0), ("A", 0)]
    assert out.final == "mine"


def test_a_side_cannot_talk_to_one_that_waits_on_the_call_stack() -> None:
    out = drive("B <-> M; M <-> A; A <~6> B", {"B": [invoke("M"), Return("b")], "M": [invoke("A"), "m"]})
    assert turns(out) == [("B", 1), ("M", 0), ("A", 0), ("M", 0), ("B", 0)]
    popped = drive(
        "B <-> M; M <-> A; A <~6> B", {"B": [invoke("M"), Return("b")], "M": invoke("A"), "A": invoke("B")}
    )
    assert popped.path == ["B", "M", "A", "B"]
    assert [event.how for event in popped.of(e.BranchMoved)] == ["call", "call", "return"]


# -- ending --------------------------------------------------------------------------------------


def test_end_conversation_ends_it_and_its_value_goes_on() -> None:
    out = drive("A <~> B; B -> C", {"B": ["b", EndConversation("agreed")]})
    assert out.path == ["A", "B", "A", "B", "C"]
    assert out.inputs("C") == ["agreed"]


def test_end_conversation_may_be_written_as_text() -> None:
    out = drive("A <~> B", {"B": '{"next_action": "end_conversation", "summary": "agreed"}'})
    assert (out.path, out.final) == (["A", "B"], "agreed")


@pytest.mark.parametrize("notes", [False, True])
def test_there_is_nothing_to_end_outside_a_conversation(notes: bool) -> None:
    out = drive("A -> B", {"A": [EndConversation("x"), "a"]}, traits={"A": Traits(notes=notes)})
    assert out.success is notes
    if not notes:
        assert "there is no conversation to end here" in out.error


@pytest.mark.parametrize(
    ("action", "final", "outcome"),
    [(Return("r"), "r", "returned"), (Finish("f"), "f", "finished"), (Fail("no"), [], "failed")],
)
def test_another_action_ends_it(action, final, outcome) -> None:
    out = drive("A <~> B", {"B": action})
    assert (out.path, out.final, out.settled["0"]) == (["A", "B"], final, outcome)


def test_a_question_without_a_channel_fails_as_anywhere() -> None:
    assert "no channel" in drive("A <~> B; B -> user", {"B": AskUser("which?")}).error


def test_a_side_that_asks_a_person_goes_on_with_its_turn() -> None:
    script = {"B": [AskUser("which?"), lambda answer: f"b heard {answer}"]}
    out = drive("A <~3> B; B -> user", script, answers=lambda asked: "blue")
    assert turns(out) == [("A", 1), ("B", 2), ("B", 2), ("A", 3)]
    assert out.inputs("A")[1] == "b heard blue"


def test_what_was_said_last_goes_along_the_other_edges_of_the_last_speaker() -> None:
    out = drive("A <~2> B; B -> C; A -> D", {})
    assert out.path == ["A", "B", "C"]


def test_it_goes_along_the_edges_of_the_other_side_where_the_last_speaker_has_none() -> None:
    out = drive("A <~3> B; B -> C", {"A": ["a1", "a2"]})
    assert (out.path, out.inputs("C")) == (["A", "B", "A", "C"], ["a2"])
    assert [(event.node, event.how) for event in out.of(e.BranchMoved)][-2:] == [
        ("B", "over"),
        ("C", "handoff"),
    ]


def test_a_last_speaker_that_has_acted_for_itself_answers() -> None:
    script = {"B": [invoke("C"), "mine"], "C": invoke("A")}
    out = drive("B <~2> A; B -> C; C -> A; A -> D", script)
    assert turns(out) == [("B", 1), ("C", 0), ("A", 1), ("B", 2)]
    assert out.final == "mine"


def test_it_answers_where_neither_side_leads_on() -> None:
    out = drive("A <~3> B; A -> end", {})
    assert (out.path, out.settled["0"]) == (["A", "B", "A"], "finished")


def test_the_dispatch_of_a_side_applies_after_the_end() -> None:
    nodes = [Node("A", dispatch="all"), "B", Node("C"), Node("D")]
    for opener, last in (("A <~1> B", "A"), ("B <~1> A", "B")):
        out = drive(Topology(nodes, [opener, "A -> C", "A -> D"], entry_point=last), {})
        assert out.path == [last, "C", "D"]
        assert [event.branch for event in out.of(e.BranchForked)] == ["0"]
    calls = Topology([Node("A", dispatch="each"), "B", "C", "D"], ["A <~1> B", "A <-> C", "A <-> D"])
    assert turns(drive(calls, {})) == [("A", 1), ("C", 0), ("A", 0), ("D", 0), ("A", 0)]


def test_a_map_of_the_other_side_deals_out_what_was_said_last() -> None:
    topology = Topology([Node("A", dispatch="map"), "B", "C"], ["A <~2> B", "A -> C"])
    out = drive(topology, {"B": ["one"]})
    assert "dispatch 'map' needs a list" in out.error
    listed = drive(topology, {"B": EndConversation([1, 2])})
    assert listed.inputs("C") == [1, 2]


def test_rounds_start_no_conversation_afresh() -> None:
    topology = Topology([Node("A", rounds=3), "B", "C"], ["A <~2> B", "B <-> C"])
    assert drive(topology, {}).path == ["A", "B", "C", "B"]


def test_several_onward_nodes_that_are_left_alone_are_said() -> None:
    out = drive("A <~1> B; B -> C; B -> D", {})
    assert out.path == ["A"]
    assert out.warnings == ["plain content ended at 'A' without asking C, D; return Invoke, or set dispatch"]


def test_a_model_that_may_choose_answers_at_the_end_and_takes_its_turns_by_text() -> None:
    traits = {name: Traits(tools=True, notes=True) for name in "AB"}
    out = drive("A <~2> B; B <-> C; A <-> D", {}, traits=traits)
    assert (out.path, out.final) == (["A", "B"], "B")
    assert drive("A <~1> B; B <-> C", {}, traits={"B": Traits(tools=True)}).path == ["A"]
    assert drive("A <~1> B; B <-> C", {}, traits={"A": Traits(tools=True)}).path == ["A", "C", "B"]


# -- calls, forks and actions --------------------------------------------------------------------


def test_a_caller_waits_for_the_end_and_gets_its_value() -> None:
    out = drive("M <-> A; A <~3> B", {"M": [invoke("A"), Return("m")], "A": ["a1", "a2"]})
    assert out.path == ["M", "A", "B", "A", "M"]
    assert out.inputs("M") == ["task", "a2"]
    returned = drive("M <-> A; A <~3> B", {"M": [invoke("A"), Return("m")], "B": Return("b")})
    assert returned.inputs("M") == ["task", "b"]


def test_an_invocation_along_its_edge_is_a_turn_and_no_action_of_its_own() -> None:
    out = drive("A <~4> B; B -> C", {"A": Invoke([("B", "listen")])})
    assert turns(out) == [("A", 1), ("B", 2), ("A", 3), ("B", 4), ("C", 0)]
    assert out.inputs("B") == ["listen", "listen"]


def test_an_invocation_in_the_last_turn_is_what_was_said_last() -> None:
    out = drive("A <~1> B; A -> C", {"A": Invoke([("B", "listen")])})
    assert (out.path, out.inputs("C")) == (["A", "C"], ["listen"])


def test_an_invocation_along_the_edge_outside_a_turn_opens_one_at_the_other_side() -> None:
    script = {"M": [invoke("A"), Return("m")], "A": [invoke("C"), invoke("B"), "a"]}
    out = drive("M <-> A; A <~2> B; A <-> C", script)
    assert turns(out) == [("M", 0), ("A", 1), ("C", 0), ("A", 0), ("B", 1), ("A", 2), ("M", 0)]
    assert out.inputs("M") == ["task", "a"]


def test_a_call_elsewhere_ends_it() -> None:
    out = drive("A <~6> B; B <-> C", {"B": [invoke("C"), "mine"]})
    assert turns(out) == [("A", 1), ("B", 2), ("C", 0), ("B", 0)]
    assert out.final == "mine"


def test_a_fork_from_within_ends_it() -> None:
    out = drive("A <~6> B; B <-> C; B <-> D", {"B": [invoke("C", "D"), "mine"]})
    assert turns(out) == [("A", 1), ("B", 2), ("C", 0), ("D", 0), ("B", 0)]
    assert out.final == "mine"


def test_a_fork_to_the_other_side_is_no_turn() -> None:
    out = drive("A <~6> B; A <-> C", {"A": [invoke("B", "C"), "mine"]})
    assert turns(out) == [("A", 1), ("B", 0), ("C", 0), ("A", 0)]


def test_a_detached_invocation_ends_it_and_its_branch_has_one_of_its_own() -> None:
    def script(turn: Turn) -> Any:
        return invoke("B", wait=False) if turn.branch.id == "0" and turn.visit == 1 else turn.node

    out = drive("A <~3> B", script)
    assert [(event.branch, event.node, event.turn) for event in out.of(e.StepStarted)] == [
        ("0", "A", 1),
        ("0.0", "B", 1),
        ("0", "A", 0),
        ("0.0", "A", 2),
        ("0.0", "B", 3),
    ]
    assert out.final == "A"


@pytest.mark.parametrize("seed", [None, 1, 2, 3])
def test_children_of_one_fork_have_conversations_of_their_own(seed: int | None) -> None:
    out = drive("S -> [A, B]; A <~2> B; A -> Z; B -> Z", {"Z": Return("z")}, seed=seed)
    by_branch = {
        branch: [(event.node, event.turn) for event in out.of(e.StepStarted) if event.branch == branch]
        for branch in ("0.0", "0.1")
    }
    assert by_branch == {"0.0": [("A", 1), ("B", 2)], "0.1": [("B", 1), ("A", 2)]}
    assert out.inputs("Z") == [JoinInput([("B", "0.0", "B"), ("A", "0.1", "A")])]


def test_a_side_that_is_the_meeting_node_of_a_fork_is_delivered_to() -> None:
    out = drive("S -> [A, C]; A <~4> B; C -> B; B -> D", {})
    assert turns(out) == [("S", 0), ("A", 1), ("C", 0), ("B", 1), ("A", 2), ("B", 3), ("A", 4), ("D", 0)]
    assert out.inputs("B")[0] == JoinInput([("A", "0.0", "A"), ("C", "0.1", "C")])


def test_a_side_that_has_forked_waits_and_cannot_talk() -> None:
    topology = Topology.of("A -> [C, D]; C -> B; B -> Z; D -> Z; A <~4> B").update_node(
        "Z", is_convergence_point=True
    )
    assert topology.graph.meeting("A", ("C", "D")) == "Z"
    out = drive(topology, {"A": invoke("C", "D")})
    assert turns(out) == [("A", 1), ("C", 0), ("D", 0), ("B", 0), ("Z", 0)]


# -- what is seen from outside -------------------------------------------------------------------


def test_limits_by_the_node_that_opens_it_hold_beside_its_own_number() -> None:
    edge = Edge("A", "B", pattern="alternating", max_turns=6)
    assert max_turns_of(edge, "A") == 6
    assert max_turns_of(edge, "A", {"A": 9, "B": 1}) == 6
    assert max_turns_of(edge, "B", {"A": 9, "B": 1}) == 1
    assert max_turns_of(edge, "B", {"A": 2, "": 3}) == 3


@pytest.mark.parametrize(
    ("limits", "path"), [({"A": 3}, "SABAZ"), ({"B": 3}, "SABABZ"), ({"": 2}, "SABZ"), ({"A": 9}, "SABABZ")]
)
def test_a_run_is_held_to_such_limits(limits: dict[str, int], path: str) -> None:
    simulation = Simulation.of("S -> A; A <~4> B; A -> Z; B -> Z", {})
    simulation.orchestrator.turn_limits = limits
    assert "".join(simulation.start().run().path) == path


def test_with_the_answer_to_a_question_a_side_goes_on_with_its_turn() -> None:
    out = drive("A <~6> B", {"B": Return("b")})
    asking = [event for event in out.events if event.branch != "" and type(event) is not e.BranchSettled]
    state = fold(asking)
    branch = state.branches["0"]
    assert (branch.node, branch.turn) == ("B", 2)
    state.apply(e.BranchMoved("0", branch.n, branch.last, "B", "answer", "blue"))
    assert turn_of(Topology.of("A <~6> B").graph, branch) == 2


@pytest.mark.parametrize("topology", ["M <-> A; A <~3> B; B -> C", "S -> [A, B]; A <~2> B -> Z"])
def test_a_run_rebuilt_anywhere_in_a_conversation_goes_on_with_it(topology: str) -> None:
    script = {"M": [invoke("A"), Return("m")], "A": talking("a1", "a2"), "B": talking("b1")}
    whole = drive(topology, script)
    for cut in range(1, len(whole.events)):
        again = Simulation.of(topology, script).resume(whole.events[:cut]).run()
        assert (again.success, again.final) == (whole.success, whole.final)
        assert (
            turns(whole)[-1]
            == [(x.node, x.turn) for x in (*whole.events[:cut], *again.events) if type(x) is e.StepStarted][
                -1
            ]
        )
