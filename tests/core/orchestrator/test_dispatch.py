"""What plain content does: every dispatch, every default, rounds and gathers."""

from __future__ import annotations

import pytest

from marsys_core import events as e
from marsys_core.actions import Return
from marsys_core.orchestrator import Traits
from marsys_core.topology import Node, Topology
from marsys_core.values import JoinInput
from tests.core.orchestrator.driver import Outcome, drive, invoke


def hub(dispatch: str | None, arrow: str = "<->", spokes: str = "BCD", **settings) -> Topology:
    return Topology(
        nodes=[Node("A", dispatch=dispatch, **settings), *spokes],
        edges=[f"A {arrow} {spoke}" for spoke in spokes],
        entry_point="A",
    )


def test_stop_answers_whatever_is_onward() -> None:
    out = drive(hub("stop"), {})
    assert (out.path, out.final) == (["A"], "A")
    assert out.warnings == []


def test_next_goes_to_the_first_in_edge_order() -> None:
    assert drive(hub("next", "->"), {}).path == ["A", "B"]
    assert drive(hub("next"), {}).path == ["A", "B", "A", "C", "A", "D", "A"]


def test_each_calls_one_by_one_and_hears_each_answer() -> None:
    out = drive(hub("each"), {"A": ["one", "two", "three", "done"]})
    assert out.path == ["A", "B", "A", "C", "A", "D", "A"]
    assert [value for _, node, value in out.steps if node != "A"] == ["one", "two", "three"]
    assert out.final == "done"


def test_all_forks_and_the_hub_hears_all_at_once() -> None:
    out = drive(hub("all"), {})
    assert out.inputs("A")[1] == JoinInput([("B", "0.0", "B"), ("C", "0.1", "C"), ("D", "0.2", "D")])


def test_all_with_one_target_is_a_call() -> None:
    out = drive(hub("all", spokes="B"), {})
    assert (out.path, out.of(e.BranchForked)) == (["A", "B", "A"], [])


@pytest.mark.parametrize("limit", [1, 2])
def test_a_limit_runs_so_many_children_at_a_time_in_call_order(limit: int) -> None:
    out = drive(hub("all", limit=limit, spokes="BCDEF"), {}, seed=7)
    running = most = 0
    for event in out.events:
        if event.branch.startswith("0."):
            running += (type(event) is e.BranchStarted) - (type(event) is e.BranchSettled)
            most = max(most, running)
    assert most == limit
    assert [event.node for event in out.of(e.BranchStarted)] == list("ABCDEF")
    assert out.inputs("A")[1].values == list("BCDEF")


def test_map_deals_the_items_out_in_turn() -> None:
    out = drive(
        hub("map", "->", "BC"), {"A": [["x", "y", "z"]], "B": lambda v: f"B{v}", "C": lambda v: f"C{v}"}
    )
    assert out.values == ["Bx", "Cy", "Bz"]


def test_map_forks_for_one_item_too_and_asks_a_node_once() -> None:
    out = drive(hub("map"), {"A": [["x"], "done"]})
    assert len(out.of(e.BranchForked)) == 1
    assert (out.path, out.final) == (["A", "B", "A"], "done")


def test_an_empty_map_goes_on_at_the_meeting_node_with_nothing() -> None:
    out = drive(hub("map"), {"A": [[], "done"]})
    assert out.inputs("A") == ["task", JoinInput()]
    assert out.final == "done"


def test_an_empty_map_in_rounds_comes_to_an_end() -> None:
    assert drive(hub("map", rounds=3), {"A": [[]]}).path == ["A"] * 4


def test_an_empty_map_counts_as_asked_when_it_goes_on_elsewhere() -> None:
    topology = Topology(
        nodes=[Node("S", dispatch="map"), "W", Node("R", dispatch="stop")],
        edges=["S <-> W", "W -> R", "R -> S"],
        entry_point="S",
    )
    topology.update_node("R", is_convergence_point=True)
    back = drive(topology, {"S": [[], "done"], "R": invoke("S")})
    assert (back.path, back.final) == (["S", "R", "S"], "done")


@pytest.mark.parametrize(("given", "kind"), [("text", "str"), ({"a": 1}, "dict")])
def test_map_needs_a_list(given: object, kind: str) -> None:
    out = drive(hub("map"), {"A": given})
    assert out.error == (
        f"failed: ActionError: dispatch 'map' needs a list, not {kind}; 'A' gave {given!r} "
        "(at branch 0, node 'A', step 1)"
    )
    assert [event.value for event in out.of(e.Dropped)] == [given]


def test_map_with_nothing_left_to_ask_answers_with_any_content() -> None:
    topology = Topology(nodes=[Node("M", dispatch="map"), "W"], edges=["W -> M", "M -> W"], entry_point="W")
    assert drive(topology, {"M": "no list"}).final == "no list"


def test_by_default_one_node_onward_is_next_and_several_are_the_agents_choice() -> None:
    assert drive("A -> B", {}).path == ["A", "B"]
    choice = drive("A -> B; A -> C", {})
    assert (choice.path, choice.final) == (["A"], "A")


def test_by_default_an_edge_to_end_beside_one_node_leaves_the_choice_to_the_agent() -> None:
    out = drive("A -> B; A -> end", {})
    assert (out.path, out.settled) == (["A"], {"0": "finished"})


@pytest.mark.parametrize(("arrow", "path"), [("<->", ["A"]), ("->", ["A", "B"])])
def test_by_default_the_text_of_a_model_that_may_call_is_its_answer(arrow: str, path: list[str]) -> None:
    traits = {"A": Traits(tools=True), "B": Traits(tools=True)}
    assert drive(f"A {arrow} B", {}, traits=traits).path == path


def test_content_that_ends_with_nodes_never_asked_is_warned_about_once() -> None:
    out = drive("A -> [B, C]; B -> D; B -> E; C -> D; C -> E", {}, seed=3)
    assert len(out.warnings) == 1
    one = drive("A -> B; A -> C; A -> end", {})
    assert one.warnings == ["plain content ended at 'A' without asking B, C; return Invoke, or set dispatch"]


def test_content_after_an_action_of_its_own_is_the_answer_without_a_warning() -> None:
    out = drive(hub("all"), {"A": [invoke("B"), "done"]})
    assert (out.path, out.final, out.warnings) == (["A", "B", "A"], "done", [])


def test_content_does_not_come_back_by_a_one_way_edge() -> None:
    back = Topology(edges=["A -> B", "B -> A", "B -> C"], entry_point="A")
    back.update_node("B", dispatch="next")
    assert drive(back, {}).path == ["A", "B"]
    back.update_node("B", dispatch="all")
    assert drive(back, {}).path == ["A", "B", "C"]


@pytest.mark.parametrize("rounds", [1, 2, 3])
def test_rounds_ask_everybody_again(rounds: int) -> None:
    assert len(drive(hub("each", rounds=rounds), {}).steps) == 2 * 3 * rounds + 1
    assert len(drive(hub("all", rounds=rounds), {}).steps) == 4 * rounds + 1


def test_a_spoke_keeps_its_name_from_round_to_round() -> None:
    out = drive(hub("all", rounds=2, spokes="BC"), {})
    names = [branch.name for branch in out.state.branches.values()]
    assert names == ["0", "0/B#0", "0/C#0", "0/B#0", "0/C#0"]


def wide() -> Outcome:
    return drive("[A, B] -> [C, D] -> E", {}, seed=2)


def test_a_gather_costs_no_step_and_passes_on_to_all() -> None:
    out = wide()
    assert sorted(out.path) == list("ABCDE")
    joined = JoinInput([("A", "0.0", "A"), ("B", "0.1", "B")])
    assert out.inputs("C") == out.inputs("D") == [joined]
    assert out.state.steps == 5


def test_two_gathers_in_a_circle_come_to_an_end() -> None:
    circle = Topology(
        edges=["A -> gather:1", "gather:1 -> gather:2", "gather:2 -> gather:1"], entry_point="A"
    )
    out = drive(circle, {})
    assert (out.path, out.final) == (["A"], "A")


def test_a_gather_that_was_called_counts_as_asked() -> None:
    out = drive(Topology(edges=["A <-> gather:1", "gather:1 <-> B"], entry_point="A"), {"A": ["ask", "done"]})
    assert (out.path, out.final) == (["A", "B", "A"], "done")


def test_the_answer_to_a_called_node_goes_back_through_a_gather() -> None:
    out = drive(
        Topology(edges=["A <-> gather:1", "gather:1 <-> B"], entry_point="A"),
        {"A": [invoke("gather:1"), lambda got: Return(got)], "B": Return("b")},
    )
    assert out.final == "b"
