"""Detached branches, policies that are met early or cannot be met, deadlines, and forks that are deep or wide."""

from __future__ import annotations

import pytest

from marsys_core import events as e
from marsys_core.actions import Fail, Finish, Invoke, Return
from marsys_core.config import ExecutionConfig
from marsys_core.errors import ConvergenceError, JoinTimeout, TopologyError
from marsys_core.orchestrator import CancelJoin, Traits
from marsys_core.topology import ConvergencePolicy, Node, Topology
from marsys_core.values import Detached, Failure, JoinInput
from tests.core.orchestrator.driver import Outcome, Simulation, drive, invoke

HUB = "H <-> A; H <-> B; H <-> C"
ALL = invoke("A", "B", "C")


def detached(**options) -> Outcome:
    config = ExecutionConfig(**options)
    script = {
        "H": [invoke("A", "B", "C", wait=False), Return("hub")],
        "A": Return("a"),
        "B": Finish("b"),
        "C": Fail("broke"),
    }
    return drive(HUB, script, config=config)


def test_detached_branches_give_the_hub_their_ids_at_once() -> None:
    out = detached()
    assert out.inputs("H")[1] == Detached(("0.0", "0.1", "0.2"))
    assert [out.state.branches[id].name for id in ("0.0", "0.1")] == ["0/A~0", "0/B~1"]


def test_of_detached_branches_only_a_finish_contributes_and_a_failure_is_recorded() -> None:
    out = detached()
    assert (out.success, out.values) == (True, ["hub", "b"])
    assert out.settled == {"0": "returned", "0.0": "returned", "0.1": "finished", "0.2": "failed"}
    assert out.state.branches["0.0"].result == "a"


def test_a_detached_failure_may_fail_the_run() -> None:
    out = detached(detached_failures="fail")
    assert not out.success
    assert "broke" in out.error


def test_detached_branches_outlive_the_join_that_their_parent_was_in() -> None:
    script = {
        "H": [invoke("A", "B"), Return("hub")],
        "A": [invoke("W", wait=False), Return("a")],
        "W": Finish("late"),
    }
    out = drive("H <-> A; H <-> B; A -> W", script)
    assert out.values == ["hub", "late"]


def test_detached_branches_match_no_meeting_node() -> None:
    script = {"H": [invoke("A", "B"), Return("hub")], "A": [invoke("W", wait=False), Return("a")]}
    topology = Topology(edges=["H <-> A", "H <-> B", "A -> W", "W -> H"], entry_point="H")
    out = drive(topology, {**script, "W": [invoke("H")], "B": Return("b")})
    assert ("0.0.0", "H", "for H") in out.steps


def early(script: dict, policy: ConvergencePolicy, topology: str = HUB, seed: int | None = None) -> Outcome:
    config = ExecutionConfig(convergence_policy=policy)
    return drive(topology, {"H": [ALL, Return("done")], **script}, config=config, seed=seed)


ANSWERS = {name: Return(name.lower()) for name in "ABC"}


def test_a_quorum_that_is_met_early_cancels_the_rest() -> None:
    out = early(ANSWERS, ConvergencePolicy(quorum=2, early=True))
    assert out.inputs("H")[1].values == ["a", "b"]
    assert out.settled["0.2"] == "cancelled"
    assert [type(command) for command in out.commands].count(CancelJoin) == 1
    assert [(drop.branch, drop.value) for drop in out.of(e.Dropped)] == [("0.2", "for C")]


def test_early_drops_calls_that_were_never_opened() -> None:
    topology = Topology(
        nodes=[Node("H", dispatch="all", limit=1), "A", "B", "C"],
        edges=["H <-> A", "H <-> B", "H <-> C"],
        entry_point="H",
    )
    config = ExecutionConfig(convergence_policy=ConvergencePolicy(quorum=1, early=True))
    out = drive(topology, {"H": ["ask", "done"]}, config=config)
    assert (out.path, out.final) == (["H", "A", "H"], "done")
    assert [(drop.branch, drop.value, drop.reason) for drop in out.of(e.Dropped)] == [
        ("0", "ask", "its branch was never opened")
    ] * 2


def test_a_policy_that_can_no_longer_be_met_fails_early() -> None:
    out = early({**ANSWERS, "A": Fail("broke")}, ConvergencePolicy(early=True))
    assert (out.path, out.success) == (["H", "A"], False)
    assert out.settled == {"0": "failed", "0.0": "failed", "0.1": "cancelled", "0.2": "cancelled"}


def test_a_policy_that_can_no_longer_be_met_goes_on_early_with_what_there_is() -> None:
    policy = ConvergencePolicy(quorum=3, early=True, on_insufficient="proceed")
    out = early({**ANSWERS, "B": Fail("broke")}, policy)
    assert out.path == ["H", "A", "B", "H"]
    joined = out.inputs("H")[1]
    assert joined.values == ["a"]
    assert [item.branch_id for item in joined.failures] == ["0.1"]


def test_without_early_a_join_waits_for_all() -> None:
    out = early({**ANSWERS, "B": Fail("broke")}, ConvergencePolicy(quorum=1))
    assert out.path == ["H", "A", "B", "C", "H"]


def test_all_failed_and_proceed_goes_on_with_the_failures_alone() -> None:
    policy = ConvergencePolicy(min_ratio=0.5, on_insufficient="proceed")
    out = early({name: Fail(name) for name in "ABC"}, policy)
    assert [type(value) for _, _, value in out.inputs("H")[1]] == [Failure] * 3


def test_a_fork_has_its_own_policy_before_the_nodes_and_the_configs() -> None:
    fails = {"A": Fail("a"), "B": Return("b"), "C": Return("c")}
    own = drive(HUB, {"H": [invoke("A", "B", "C", policy="any"), Return("done")], **fails})
    assert own.final == "done"
    topology = Topology.of("H -> [A, B] -> M")
    topology.update_node("M", convergence_policy="any")
    at_meeting = drive(topology, {"A": Fail("a")})
    assert at_meeting.inputs("M")[0].values == ["B"]
    topology = Topology.of("H -> [A, B] -> M")
    topology.update_node("H", convergence_policy="any")
    assert drive(topology, {"A": Fail("a")}).final == "M"


def test_a_policy_that_is_none_fails_the_branch_with_the_reason() -> None:
    out = drive(HUB, {"H": invoke("A", "B", policy="most")})
    with pytest.raises(TopologyError) as refused:
        ConvergencePolicy.of("most")
    assert str(refused.value) in out.error
    assert [drop.value for drop in out.of(e.Dropped)] == ["for A", "for B"]


def test_the_error_of_a_join_carries_the_error_of_every_child() -> None:
    out = early({**ANSWERS, "A": Fail("one"), "C": Fail("two")}, ConvergencePolicy())
    error = out.state.branches["0"].error.exception
    assert isinstance(error, ConvergenceError)
    assert [str(cause).split(" (")[0] for cause in error.failures] == ["one", "two"]


def waiting(policy: ConvergencePolicy) -> Simulation:
    """A has answered, and B and C still run."""
    config = ExecutionConfig(convergence_policy=policy)
    simulation = Simulation.of(HUB, {"H": [ALL, Return("done")], **ANSWERS}, config=config).start()
    simulation.advance()
    simulation.advance()
    for child in list(simulation.ready):
        simulation.begin(child)
    simulation.ready.clear()
    simulation.end(simulation.running.pop(0))
    return simulation


def test_at_the_deadline_of_a_join_the_rest_is_cancelled_and_the_policy_judges() -> None:
    simulation = waiting(ConvergencePolicy(min_ratio=0.3))
    join = simulation.orchestrator.state.branches["0"].fork
    assert join is not None
    simulation.accept(simulation.orchestrator.on_timeout(join, 2.5))
    out = simulation.run()
    assert out.final == "done"
    joined = out.inputs("H")[1]
    assert joined.values == ["a"]
    assert [(item.branch_id, item.value.error) for item in joined.failures] == [
        ("0.1", "JoinTimeout"),
        ("0.2", "JoinTimeout"),
    ]


def test_a_deadline_fails_a_strict_join_and_says_how_long_it_was() -> None:
    simulation = waiting(ConvergencePolicy())
    join = simulation.orchestrator.state.branches["0"].fork
    assert join is not None
    simulation.accept(simulation.orchestrator.on_timeout(join, 2.5))
    out = simulation.run()
    assert not out.success
    [first, second] = out.state.branches["0"].error.exception.failures
    assert isinstance(first, JoinTimeout)
    assert str(first) == str(second) == "the join of branch 0 at 'H' took longer than 2.5 s"


def test_a_deadline_that_comes_after_the_join_changes_nothing() -> None:
    simulation = waiting(ConvergencePolicy())
    join = simulation.orchestrator.state.branches["0"].fork
    assert join is not None
    simulation.run()
    count = len(simulation.events)
    assert simulation.orchestrator.on_timeout(join, 1.0) == []
    assert len(simulation.events) == count


def test_the_value_of_a_step_that_ends_after_its_branch_was_cancelled_is_dropped() -> None:
    simulation = waiting(ConvergencePolicy(quorum=1, early=True))
    late = simulation.orchestrator.state.branches["0.1"]
    simulation.accept(simulation.orchestrator.on_step(late, Return("too late")))
    dropped = [event for event in simulation.events if type(event) is e.Dropped]
    assert [(drop.branch, drop.value, drop.reason) for drop in dropped] == [
        ("0.1", "too late", "the branch was cancelled while its step ran")
    ]


@pytest.mark.parametrize(
    ("topology", "action", "expected"),
    [
        ("H <-> A; H <-> B", invoke("A"), True),
        ("H -> A; H -> B", invoke("A"), False),
        ("H <-> A; H <-> B", invoke("A", "B"), True),
        ("H -> [A, B] -> M", invoke("A", "B"), False),
        ("H -> [A, B] -> M", invoke("A", "B", wait=False), True),
    ],
)
def test_a_branch_comes_back_from_calls_and_from_forks_that_meet_at_its_node(
    topology: str, action: Invoke, expected: bool
) -> None:
    simulation = Simulation.of(topology, {}).start()
    root = simulation.orchestrator.state.branches["0"]
    assert simulation.orchestrator.comes_back(root, action) is expected


def test_a_call_to_an_enclosing_meeting_node_does_not_come_back() -> None:
    simulation = Simulation.of("H <-> A; H <-> B", {"H": invoke("A", "B")}).start()
    simulation.advance()
    simulation.advance()
    child = simulation.orchestrator.state.branches["0.0"]
    assert not simulation.orchestrator.comes_back(child, invoke("H"))


def test_forks_two_hundred_deep_are_no_matter_of_recursion() -> None:
    depth = 200
    edges = [edge for i in range(depth) for edge in (f"N{i} <-> N{i + 1}", f"N{i} <-> L{i}")]
    script = {f"N{i}": [invoke(f"N{i + 1}", f"L{i}"), Return(f"n{i}")] for i in range(depth)}
    config = ExecutionConfig(max_branch_depth=depth, max_steps=10_000)
    out = drive(Topology(edges=edges, entry_point="N0"), script, config=config)
    assert out.final == "n0"
    assert max(branch.depth for branch in out.state.branches.values()) == depth


def test_stopping_forks_two_hundred_deep_is_no_matter_of_recursion() -> None:
    depth = 200
    edges = [edge for i in range(depth) for edge in (f"N{i} <-> N{i + 1}", f"N{i} <-> L{i}")]
    script = {f"N{i}": invoke(f"N{i + 1}", f"L{i}") for i in range(depth)}
    config = ExecutionConfig(max_branch_depth=depth, max_steps=depth)
    out = drive(Topology(edges=edges, entry_point="N0"), script, config=config, seed=1)
    assert not out.success
    assert set(out.settled.values()) <= {"failed", "cancelled", "delivered"}


def gathers(depth: int) -> Topology:
    edges = [
        edge
        for i in range(1, depth + 1)
        for edge in (f"gather:{i} -> gather:{i + 1}", f"gather:{i} -> L{i}", f"L{i} -> M")
    ]
    return Topology(edges=[*edges, f"gather:{depth + 1} -> M"], entry_point="gather:1")


def test_gathers_that_fork_two_hundred_deep_are_no_matter_of_recursion() -> None:
    out = drive(gathers(200), {}, config=ExecutionConfig(max_branch_depth=200, max_steps=1000))
    assert (out.success, out.path.count("M")) == (True, 1)


@pytest.mark.slow
@pytest.mark.parametrize("policy", [ConvergencePolicy(), ConvergencePolicy(early=True)])
def test_a_fork_of_ten_thousand_appends_events_in_proportion(policy: ConvergencePolicy) -> None:
    def events(width: int) -> int:
        config = ExecutionConfig(convergence_policy=policy, max_steps=width + 2)
        out = drive(
            "H <-> W", {"H": [invoke(*["W"] * width), Return("done")], "W": Return("w")}, config=config
        )
        assert out.final == "done"
        assert isinstance(out.inputs("H")[1], JoinInput)
        return len(out.events)

    small, large = events(100), events(10_000)
    assert large - small == (10_000 - 100) * 5


def test_traits_do_not_change_what_plain_agents_do() -> None:
    assert drive(HUB, {"H": [ALL, Return("x")]}, traits={"H": Traits(notes=True)}).path == list("HABCH")
