"""The scenarios that have to come out right, one test each."""

from __future__ import annotations

import pytest

from marsys_core.actions import Fail, Finish, Return
from marsys_core.config import ExecutionConfig
from marsys_core.topology import ConvergencePolicy, Node, Topology
from marsys_core.values import Failure, JoinInput
from tests.core.orchestrator.driver import drive, invoke


def labels(value: JoinInput) -> list[tuple[str, str]]:
    return [(node, branch) for node, branch, _ in value]


def test_s01_a_hub_gets_its_spokes_answers_labelled_in_call_order() -> None:
    out = drive(
        "H <-> S1; H <-> S2; H <-> S3",
        {"H": [invoke("S1", "S2", "S3"), Return("done")], "S1": Return(1), "S2": Return(2), "S3": Return(3)},
        seed=3,
    )
    assert out.final == "done"
    joined = out.steps[-1][2]
    assert list(joined) == [("S1", "0.0", 1), ("S2", "0.1", 2), ("S3", "0.2", 3)]


def test_s02_joins_nest() -> None:
    out = drive(
        "A <-> B1; A <-> B2; B1 <-> B11; B1 <-> B12; B2 <-> B21; B2 <-> B22",
        {
            "A": [invoke("B1", "B2"), Return("A")],
            "B1": [invoke("B11", "B12"), Return("b1")],
            "B2": [invoke("B21", "B22"), Return("b2")],
            **{leaf: Return(leaf) for leaf in ("B11", "B12", "B21", "B22")},
        },
    )
    assert out.final == "A"
    assert len(out.settled) == 7


def test_s03_hand_offs_keep_the_main_branch() -> None:
    out = drive(
        "A -> B -> C; C <-> D1; C <-> D2; C -> E",
        {
            "A": invoke("B"),
            "B": invoke("C"),
            "C": [invoke("D1", "D2"), invoke("E")],
            "D1": Return(1),
            "D2": Return(2),
            "E": Return("E"),
        },
    )
    assert out.final == "E"
    assert [branch for branch, node, _ in out.steps if node not in ("D1", "D2")] == ["0"] * 5


S4 = "Q -> [A1, A2]; A1 -> D; A2 -> D; D -> Q; D -> X"


def test_s04_a_success_always_has_an_answer() -> None:
    out = drive(
        S4,
        {
            "Q": invoke("A1", "A2"),
            "A1": invoke("D"),
            "A2": invoke("D"),
            "D": invoke("X"),
            "X": Return("ANSWER"),
        },
    )
    assert (out.success, out.final) == (True, "ANSWER")
    assert out.path.count("D") == 1


def test_s05_an_endless_loop_ends_at_the_step_limit_which_is_named() -> None:
    out = drive(S4, {"Q": invoke("A1", "A2"), "A1": invoke("D"), "A2": invoke("D"), "D": invoke("Q")}, seed=1)
    assert not out.success
    assert "max_steps=100" in out.error
    assert set(out.settled) == set(out.orchestrator.state.branches)
    assert len(out.steps) == 100


def test_s06_every_value_reaches_the_one_step_of_the_meeting_node() -> None:
    out = drive(
        "A -> [B1, B2]; B1 -> [C1, C2]; B2 -> C2; B2 -> D; C1 -> D; C2 -> D; D -> A",
        {
            "A": [invoke("B1", "B2"), Finish("A")],
            "B1": invoke("C1", "C2"),
            "B2": invoke("D", "C2"),
            "C1": invoke("D"),
            "C2": invoke("D"),
            "D": invoke("A"),
        },
    )
    assert out.final == "A"
    assert out.path.count("D") == 1
    at_d = next(value for _, node, value in out.steps if node == "D")
    assert [item.node for item in at_d.flat()] == ["C1", "C2", "B2", "C2"]


def test_s07_a_finish_inside_a_fork_stands_beside_the_main_answer() -> None:
    out = drive(
        "A -> [B1, B2, B3]; B1 -> A; B2 -> A; B3 -> end",
        {
            "A": [invoke("B1", "B2", "B3"), Finish("main")],
            "B1": Return(1),
            "B2": Return(2),
            "B3": Finish("user"),
        },
    )
    assert out.values == ["main", "user"]


def test_s08_joins_are_fresh_each_round() -> None:
    out = drive(
        "A -> [B1, B2]; B1 -> C; B2 -> C; C -> A; C -> end",
        {
            "A": invoke("B1", "B2"),
            "B1": invoke("C"),
            "B2": invoke("C"),
            "C": [invoke("A"), Finish("ANSWER")],
        },
    )
    assert out.final == "ANSWER"
    assert out.path.count("C") == 2


def s9(**options):
    return drive(
        "H <-> S1; H <-> S2",
        {"H": [invoke("S1", "S2"), Return("end")], "S1": Return("one"), "S2": Fail("broke")},
        **options,
    )


def test_s09_a_strict_join_fails_and_names_the_failed_child() -> None:
    out = s9()
    assert not out.success
    assert "'S2'" in out.error
    assert "broke" in out.error


def test_s09_a_lenient_join_goes_on_with_the_failure_labelled() -> None:
    policy = ConvergencePolicy(min_ratio=0.5, on_insufficient="proceed")
    out = s9(config=ExecutionConfig(convergence_policy=policy))
    assert out.final == "end"
    joined = out.steps[-1][2]
    assert joined.values == ["one"]
    [(node, branch, failure)] = joined.failures
    assert (node, branch) == ("S2", "0.1")
    assert isinstance(failure, Failure)
    assert failure.error == "AgentError"


def test_s10_a_flagged_node_is_the_meeting_node_and_runs_once() -> None:
    topology = Topology.of("A -> [B1, B2]; B1 -> D; B2 -> D; B2 -> Alt")
    topology.update_node("D", is_convergence_point=True)
    out = drive(
        topology,
        {
            "A": invoke("B1", "B2"),
            "B1": invoke("D"),
            "B2": invoke("Alt"),
            "Alt": Return("alt"),
            "D": Return("D"),
        },
    )
    assert out.path.count("D") == 1
    at_d = next(value for _, node, value in out.steps if node == "D")
    assert labels(at_d) == [("B1", "0.0"), ("Alt", "0.1")]


def test_s11_a_flagged_node_that_not_all_reach_runs_alone() -> None:
    topology = Topology.of("A -> [B1, B2]; B1 -> C; B2 -> A; C -> A")
    topology.update_node("C", is_convergence_point=True)
    out = drive(
        topology,
        {"A": [invoke("B1", "B2"), Finish("A")], "B1": invoke("C"), "B2": invoke("A"), "C": invoke("A")},
    )
    at_c = next(value for _, node, value in out.steps if node == "C")
    assert at_c == "for C"
    assert labels(out.steps[-1][2]) == [("C", "0.0"), ("B2", "0.1")]


def test_s12_a_join_point_with_one_arrival_runs_with_it() -> None:
    out = drive("S -> [W1, W2] -> J -> end", {"S": invoke("W1"), "W1": invoke("J"), "J": Finish("J")})
    assert out.path == ["S", "W1", "J"]
    assert out.final == "J"


def test_s13_several_entries_that_finish_give_a_list() -> None:
    out = drive("start -> A; start -> B; A -> end; B -> end", {"A": Finish("a"), "B": Finish("b")}, seed=5)
    assert (out.success, out.values) == (True, ["a", "b"])


def test_s14_a_conversation_takes_its_turns_and_the_last_value_is_the_answer() -> None:
    out = drive("A <~6> B", {"A": ["a1", "a2", "a3"], "B": ["b1", "b2", "b3"]})
    assert out.path == ["A", "B", "A", "B", "A", "B"]
    assert (out.success, out.final) == (True, "b3")


def test_s15_three_calls_of_one_agent_are_three_branches_with_names_of_their_own() -> None:
    out = drive("H <-> W", {"H": [invoke("W", "W", "W"), Return("end")], "W": Return("w")})
    branches = out.orchestrator.state.branches
    assert [branches[f"0.{i}"].name for i in range(3)] == ["0/W#0", "0/W#1", "0/W#2"]


def test_s17_any_and_early_cancels_the_rest_before_the_hub_goes_on() -> None:
    policy = ConvergencePolicy(quorum=1, early=True)
    out = drive(
        "H <-> A; H <-> B; H <-> C",
        {"H": [invoke("A", "B", "C"), Return("end")], "A": Return(1), "B": Return(2), "C": Return(3)},
        config=ExecutionConfig(convergence_policy=policy),
    )
    assert out.final == "end"
    assert out.path == ["H", "A", "H"]
    assert [out.settled[f"0.{i}"] for i in range(3)] == ["delivered", "cancelled", "cancelled"]
    assert out.steps[-1][2] == 1


def test_s19_a_worker_answers_its_manager_not_the_root() -> None:
    out = drive(
        "R <-> M; R <-> N; M <-> W",
        {
            "R": [invoke("M", "N"), Return("root")],
            "M": [invoke("W"), lambda got: Return(f"M got {got}")],
            "W": Return("work"),
            "N": Return("n"),
        },
    )
    assert out.steps[-1][2].values == ["M got work", "n"]


def test_s20_plain_content_meets_and_goes_on() -> None:
    out = drive("A -> [B, C] -> D; B -> end", {})
    assert sorted(out.path) == ["A", "B", "C", "D"]
    assert out.final == "D"


def test_s21_a_plain_fork_with_no_way_back_answers_without_another_step() -> None:
    out = drive("A -> [B, C]", {})
    assert out.values == ["B", "C"]
    assert out.path.count("A") == 1


def test_s22_plain_content_calls_along_a_chain_and_comes_back() -> None:
    assert drive("A <-> B <-> C", {}).path == ["A", "B", "C", "B", "A"]


def test_s23_two_entries_meet() -> None:
    out = drive("[A, B] -> C", {})
    assert out.path.count("C") == 1
    at_c = next(value for _, node, value in out.steps if node == "C")
    assert at_c.values == ["A", "B"]


def test_s24_a_ring_goes_round_once() -> None:
    out = drive(Topology.of({"agents": ["A", "B", "C"], "flows": ["A -> B -> C -> A"]}), {})
    assert (out.path, out.final) == (["A", "B", "C"], "C")


def test_s25_a_hub_with_an_edge_to_end_answers_with_its_second_content() -> None:
    topology = Topology(
        nodes=[Node("H", dispatch="all"), "S1", "S2"],
        edges=["H <-> S1", "H <-> S2", "H -> end"],
        entry_point="H",
    )
    out = drive(topology, {"H": ["first", "second"]})
    assert out.values == ["second"]


def test_s26_a_called_hub_answers_its_caller() -> None:
    out = drive(
        Topology(edges=["C <-> H", "H <-> S1", "H <-> S2"], entry_point="C"),
        {
            "C": [invoke("H"), Return("top")],
            "H": [invoke("S1", "S2"), Return("h")],
            "S1": Return(1),
            "S2": Return(2),
        },
    )
    assert out.final == "top"
    assert out.steps[-1] == ("0", "C", "h")


@pytest.mark.parametrize("seed", range(5))
def test_the_outcome_does_not_depend_on_the_order_of_the_steps(seed: int) -> None:
    out = drive("A -> [B, C] -> D -> [E, F]", {}, seed=seed)
    assert out.values == ["E", "F"]
