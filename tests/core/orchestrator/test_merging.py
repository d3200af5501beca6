"""What a join takes of what its children wrote, what conflicts, and what is dropped."""

from __future__ import annotations

from typing import Any

import pytest

from marsys_core import events as e
from marsys_core.actions import Fail, Finish, Return
from marsys_core.config import ExecutionConfig
from marsys_core.frozen import thaw
from marsys_core.orchestrator import Branch, Reading, Sharing
from marsys_core.topology import Reducer, Topology
from tests.core.orchestrator.driver import Outcome, Simulation, drive, invoke

Writes = dict[Any, list[tuple[str, Any]]]


class Seeing(Simulation):
    """Looks at the state of every branch that is about to take a step."""

    seen: dict[str, Any]

    def begin(self, branch: Branch) -> None:
        self.seen[branch.node] = thaw(dict(Reading(branch.shared, lambda value: value)))
        super().begin(branch)


def writing(writes: Writes) -> Any:
    """What each node writes, in order; with a visit, at that one only."""
    return lambda turn: writes.get(turn.node, writes.get((turn.node, turn.visit), []))


def play(
    topology: Any,
    script: dict[str, Any],
    writes: Writes,
    reducers: Any = None,
    state: Any = None,
    **config: Any,
) -> Outcome:
    simulation = Simulation.of(Topology.of(topology), script, config=ExecutionConfig(**config))
    simulation.writes = writing(writes)
    declared = {key: Reducer(given) for key, given in (reducers or {}).items()}
    simulation.orchestrator.sharing = Sharing(declared)
    simulation.accept(simulation.orchestrator.start("task", state=state))
    return simulation.run()


def final(run: Outcome) -> dict[str, Any]:
    return thaw(dict(Reading(run.state.branches["0"].shared, lambda value: value)))


def dropped(run: Outcome) -> list[tuple[str, str, Any, str]]:
    return [
        (event.branch, event.state, event.value, event.reason) for event in run.of(e.Dropped) if event.state
    ]


def test_a_join_takes_the_writes_of_its_children_in_the_order_of_the_calls():
    run = play(
        "A -> [B, C, D] -> E",
        {},
        {"A": [("log", "a")], **{node: [("log", node.lower())] for node in "BCDE"}},
        {"log": "append"},
    )
    assert final(run) == {"log": ["a", "b", "c", "d", "e"]}


def test_children_start_from_the_state_at_the_fork_and_see_their_own_writes_only():
    simulation = Seeing.of(Topology.of("A -> [B, C]; B -> B2; C -> C2; [B2, C2] -> D"), {})
    simulation.seen = seen = {}
    simulation.writes = writing({"A": [("n", 1)], "B": [("b", 2)], "C": [("c", 3)]})
    simulation.accept(simulation.orchestrator.start("task", state={"given": 0}))
    simulation.run()
    assert seen["B2"] == {"given": 0, "n": 1, "b": 2}
    assert seen["C2"] == {"given": 0, "n": 1, "c": 3}
    assert seen["D"] == {"given": 0, "n": 1, "b": 2, "c": 3}


def test_an_undeclared_key_that_two_children_write_fails_the_forking_branch():
    run = play("A -> [B, C] -> D", {}, {"B": [("x", 1)], "C": [("x", 2)]})
    assert run.path == ["A", "B", "C"]
    assert run.settled["0"] == "failed"
    assert run.error == (
        "failed: StateConflict: state 'x' was written by branch 0.0 at 'B' and, side by side, by branch 0.1 at 'C', "
        "and nothing says how the two come together; declare a reducer: Topology(..., state={'x': 'append'}), "
        "or 'add', 'last' or a function of (old, new) (at branch 0, node 'A', step 1)"
    )
    assert dropped(run) == [
        ("0", "join", {"x": [1, 2]}, "what the children of its join wrote does not go together")
    ]
    assert [event.value for event in run.of(e.Dropped) if not event.state] == ["B", "C"]


@pytest.mark.parametrize(
    ("reducer", "expected"),
    [("last", 2), ("append", [1, 2]), ("add", 3), (lambda old, new: 10 * old + new, 12)],
    ids=["last", "append", "add", "function"],
)
def test_with_a_reducer_the_writes_of_two_children_come_together(reducer, expected):
    run = play("A -> [B, C] -> D", {}, {"B": [("x", 1)], "C": [("x", 2)]}, {"x": reducer})
    assert run.success
    assert final(run) == {"x": expected}


def test_different_keys_and_one_key_written_twice_by_one_child_are_no_conflict():
    run = play("A -> [B, C] -> D", {}, {"B": [("x", 1), ("x", 2)], "C": [("y", 3)]})
    assert final(run) == {"x": 2, "y": 3}


def test_what_a_branch_wrote_before_its_fork_is_no_conflict_with_its_children():
    topology = "A <-> [B, C]; B <-> [D, E]"
    script = {"A": [invoke("B", "C"), "a"], "B": [invoke("D", "E"), Return("b")]}
    run = play(topology, script, {("B", 1): [("x", 1)], "D": [("x", 2)]})
    assert final(run) == {"x": 2}


def test_a_conflict_of_grandchildren_names_the_branches_that_wrote():
    topology = "A <-> [B, C]; B <-> [D, E]"
    script = {"A": [invoke("B", "C"), "a"], "B": [invoke("D", "E"), Return("b")]}
    run = play(topology, script, {"D": [("x", 1)], "C": [("x", 2)]})
    assert "by branch 0.0.0 at 'D' and, side by side, by branch 0.1 at 'C'" in run.error


def test_a_child_that_failed_leaves_nothing_and_that_is_said():
    run = play(
        "A -> [B, C] -> D",
        {"B": [Fail("no")], "B2": Fail("no")},
        {"C": [("log", "c")]},
        {"log": "append"},
        convergence_policy={"min_ratio": 0.5, "on_insufficient": "proceed"},
    )
    assert final(run) == {"log": ["c"]}
    later = play(
        "A -> [B, C]; B -> B2; [B2, C] -> D",
        {"B2": Fail("no")},
        {"B": [("log", "b")], "C": [("log", "c")]},
        {"log": "append"},
        convergence_policy={"min_ratio": 0.5, "on_insufficient": "proceed"},
    )
    assert final(later) == {"log": ["c"]}
    assert dropped(later) == [("0.0", "branch", {"log": ["b"]}, "the branch that wrote it failed")]


def test_where_the_policy_is_not_met_nothing_is_taken():
    run = play(
        "A -> [B, C]; B -> B2; [B2, C] -> D",
        {"B2": Fail("no")},
        {"A": [("log", "a")], "C": [("log", "c")]},
        {"log": "append"},
    )
    assert final(run) == {"log": ["a"]}
    assert dropped(run) == [("0", "join", {"log": ["c"]}, "the policy of its join was not met")]


def test_a_child_that_finished_has_its_writes_taken_too():
    run = play("A <-> [B, C]", {"A": [invoke("B", "C"), "a"], "C": Finish("c")}, {"C": [("x", 1)]})
    assert final(run) == {"x": 1}


def test_a_branch_that_delivers_further_out_takes_its_writes_there():
    # C2 and D2 go to Z, where the outer fork meets; the inner one never sees what they wrote.
    topology = "A -> [B, C]; C -> [C1, C2]; [B, C1, C2] -> Z"
    run = play(
        topology,
        {},
        {node: [("log", node)] for node in ("A", "B", "C", "C1", "C2", "Z")},
        {"log": "append"},
    )
    assert final(run) == {"log": ["A", "B", "C", "C1", "C2", "Z"]}


def test_branches_that_end_detached_write_into_the_state_of_the_run_in_branch_order():
    script = {"A": [invoke("B", "C", wait=False), Return("a")], "B": Return("b"), "C": Return("c")}
    run = play(
        "A <-> [B, C]",
        script,
        {"A": [("log", "a")], "B": [("log", "b")], "C": [("log", "c")]},
        {"log": "append"},
    )
    assert final(run) == {"log": ["a", "a", "b", "c"]}
    assert [event.branch for event in run.of(e.StateMerged)] == ["0.0", "0.1"]


def fussy(old: int, new: int) -> int:
    if old + new > 2:
        raise ValueError("too much")
    return old + new


def test_a_reducer_that_raises_at_a_join_fails_the_branch_and_names_key_reducer_and_writer():
    run = play("A -> [B, C] -> D", {}, {"B": [("x", 2)], "C": [("x", 1)]}, {"x": fussy}, {"x": 0})
    assert run.settled["0"] == "failed"
    assert run.error == (
        f"failed: StateError: the reducer '{__name__}:fussy' of state 'x' raised ValueError: too much (written by "
        "branch 0.1 at 'C') (at branch 0, node 'A', step 1)"
    )


def test_a_reducer_that_raises_for_a_detached_branch_drops_its_writes():
    script = {"A": [invoke("B", wait=False), Return("a")], "B": Return("b")}
    run = play("A <-> B", script, {("A", 2): [("x", 2)], "B": [("x", 1)]}, {"x": fussy}, {"x": 0})
    assert run.success
    assert final(run) == {"x": 2}
    ((branch, kind, value, reason),) = dropped(run)
    assert (branch, kind, value) == ("0.0", "branch", {"x": [1]})
    assert "raised ValueError: too much" in reason


def test_sums_that_do_not_go_together_at_a_join_fail_the_branch():
    run = play("A -> [B, C] -> D", {}, {"B": [("x", 1)], "C": [("x", "one")]}, {"x": "add"})
    assert "the reducer 'add' of state 'x' adds numbers, texts or lists, not int and str" in run.error


@pytest.mark.parametrize("seed", [None, 1, 2, 3])
def test_a_join_whose_children_wrote_nothing_records_nothing_whoever_else_has_written(seed):
    topology = "S -> [A, W] -> Z; A -> [B, C] -> D; D -> Z"
    run = drive(topology, {}, seed=seed, writes=writing({"W": [("x", 1)]}))
    states = {event.branch: event.state for event in run.of(e.JoinCompleted)}
    assert states == {"0.0": None, "0": {}}


def test_a_run_that_never_writes_records_nothing_of_state():
    run = play("A -> [B, C] -> D", {}, {})
    assert all(event.state is None for event in run.of(e.JoinCompleted))
    assert all(event.writes == () for event in run.of(e.StepFinished))
    assert {branch.shared for branch in run.state.branches.values()} == {None}
