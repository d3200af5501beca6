"""Conditions of edges: what a false one takes away, what they read, and what is recorded of them."""

from __future__ import annotations

from typing import Any
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marsys_core import events as e
from marsys_core.actions import Content, Fail, Finish, Return
from marsys_core.config import ExecutionConfig
from marsys_core.errors import RecoverableError, TopologyError
from marsys_core.orchestrator import Facts, Traits
from marsys_core.protocols.rule import Modify, RuleFacts
from marsys_core.topology import Edge, Graph, Node, Topology
from tests.core.examples import examples
from tests.core.orchestrator.bridge import Play, graph_of
from tests.core.orchestrator.driver import Simulation, drive, invoke
from tests.core.orchestrator.journals import Ledger, journal
from tests.core.orchestrator.test_shared import Writing
from tests.core.reference.strategies import plays

NOTES = Traits(notes=True, tools=True)


class Chance:
    """A condition that depends on what it is told, and raises now and then."""

    def __init__(self, name: str, raises: int) -> None:
        self.name, self.raises = name, raises

    def __call__(self, facts: Facts) -> bool:
        told = (self.name, facts.steps, facts.visits, facts.errors, sorted(facts.state), facts.output)
        lot = crc32(repr(told).encode())
        if lot % 64 < self.raises:
            raise ValueError(lot)
        return lot % 3 > 0


def conditional(play: Play, graph: Graph, chosen: int, raises: int) -> Graph:
    """The same graph, with conditions on some of its edges."""
    edges = {}
    for index, edge in enumerate(play.net.edges):
        given = chosen >> (index % 16) & 1
        condition = Chance(f"{edge.src}{edge.dst}", raises) if given and edge.src != "start" else None
        edges.setdefault(
            (edge.src, edge.dst),
            Edge(edge.src, edge.dst, bidirectional=edge.bidirectional, condition=condition),
        )
    return Graph(graph.nodes, edges.values(), play.net.entry_point)


cases = plays().map(lambda drawn: Play(*drawn, max_steps=20))
masks = st.integers(1, 2**16 - 1)
raising = st.sampled_from([0, 0, 3])


def simulated(play: Play, mask: int, raises: int, seed: int | None = None) -> Simulation:
    made = Writing.of_play(play, seed)
    made.orchestrator.graph = conditional(play, graph_of(play.net), mask, raises)
    return made


@pytest.mark.slow
@examples(100)
@given(cases, masks, raising, st.integers(0, 2**16))
def test_values_are_conserved_and_order_does_not_matter_with_conditions(
    play: Play, mask: int, raises: int, seed: int
) -> None:
    one = simulated(play, mask, raises).start().run()
    other = simulated(play, mask, raises, seed).start().run()
    for run in (one, other):
        ledger = Ledger.of(run.events, run.values)
        assert ledger.handed == ledger.ended
    if "max_steps=" not in one.error:
        assert journal(one.events) == journal(other.events)


@pytest.mark.slow
@examples(40)
@given(cases, masks, raising)
def test_a_run_with_conditions_rebuilt_from_any_prefix_reads_them_and_decides_the_same(
    play: Play, mask: int, raises: int
) -> None:
    original = simulated(play, mask, raises).start()
    original.run()
    whole = journal(original.events)
    for cut in range(1, len(original.events) + 1):
        prefix = original.events[:cut]
        rest = [move for move in original.moves if move[0] >= cut]
        again = simulated(play, mask, raises).resume(prefix)
        again.follow(rest).run()
        assert journal([*prefix, *again.events]) == whole


def laid(*edges: Any, **nodes: Any) -> Topology:
    made = Topology(edges=edges)
    for name, fields in nodes.items():
        made.update_node(name, **fields)
    return made


def never(facts: Facts) -> bool:
    return False


def test_plain_content_goes_along_the_edge_that_is_open() -> None:
    edges = [
        Edge("A", "B", condition=lambda f: f.output == "b"),
        Edge("A", "C", condition=lambda f: f.output == "c"),
    ]
    assert drive(laid(*edges), {"A": "b"}).path == ["A", "B"]
    assert drive(laid(*edges), {"A": "c"}).path == ["A", "C"]
    assert drive(laid(*edges), {"A": "d"}).path == ["A"]


def test_a_loop_of_plain_agents_goes_round_as_its_conditions_say() -> None:
    topology = laid(
        "Writer -> Reviewer",
        Edge("Reviewer", "Writer", condition=lambda f: f.visits < 3),
        Edge("Reviewer", "end", condition=lambda f: f.visits >= 3),
    )
    run = drive(topology, {"Reviewer": ["again", "again", "good"]})
    assert run.path == ["Writer", "Reviewer"] * 3
    assert run.final == "good"
    assert run.settled == {"0": "finished"}
    assert [event.conditions for event in run.of(e.StepFinished) if event.node == "Reviewer"] == [
        (("Writer", True), ("end", False)),
        (("Writer", True), ("end", False)),
        (("Writer", False), ("end", True)),
    ]


def test_a_loop_whose_body_forks_forks_each_time_round() -> None:
    topology = laid(
        "Writer -> [Facts, Tone] -> Reviewer", Edge("Reviewer", "Writer", condition=lambda f: f.visits < 2)
    )
    run = drive(topology, {"Reviewer": ["again", "good"]})
    assert run.path == ["Writer", "Facts", "Tone", "Reviewer"] * 2
    assert run.final == "good"


def test_without_a_condition_content_does_not_come_back_by_a_one_way_edge() -> None:
    assert drive(laid("A -> B; B -> A"), {}).path == ["A", "B"]
    assert drive(laid(Edge("A", "B", condition=lambda f: True), "B -> A"), {}).path == ["A", "B"]


def test_a_loop_that_never_ends_comes_to_the_limit_of_steps() -> None:
    topology = laid("A -> B", Edge("B", "A", condition=lambda f: True))
    run = drive(topology, {}, config=ExecutionConfig(max_steps=9))
    assert run.path == ["A", "B"] * 4 + ["A"]
    assert "max_steps=9" in run.error


def test_an_invoke_along_a_closed_edge_is_steered_and_told_of_the_condition() -> None:
    topology = laid(Edge("A", "B", condition=never), "A -> C")
    run = drive(topology, {"A": [invoke("B"), invoke("C")]}, traits={"A": NOTES})
    assert run.path == ["A", "C"]
    (steered,) = run.of(e.StepSteered)
    assert steered.note == (
        "Your last reply could not be carried out: the edge A -> B is closed here, since its condition "
        f"'{__name__}:never' does not hold. Here there are: agents you may invoke: C."
    )


def test_an_agent_that_takes_no_notes_fails_at_a_closed_edge() -> None:
    run = drive(laid(Edge("A", "B", condition=never)), {"A": invoke("B")})
    assert run.settled == {"0": "failed"}
    assert "the edge A -> B is closed here" in run.error


def test_several_calls_are_steered_where_one_of_them_is_closed() -> None:
    topology = laid("A -> B", Edge("A", "C", condition=never))
    run = drive(topology, {"A": [invoke("B", "C"), Return("a")]}, traits={"A": NOTES})
    assert run.path == ["A"]
    assert len(run.of(e.StepSteered)) == 1


def test_a_closed_edge_to_the_end_makes_content_an_answer_to_whoever_waits() -> None:
    open_end = drive(laid("A", Edge("A", "end", condition=lambda f: True)), {})
    closed_end = drive(laid("A", Edge("A", "end", condition=never)), {})
    assert (open_end.settled, closed_end.settled) == ({"0": "finished"}, {"0": "returned"})
    assert open_end.final == closed_end.final == "A"


def test_a_fork_goes_to_the_targets_whose_edges_are_open() -> None:
    topology = laid("A -> [B, C, D]", "[B, C, D] -> E", A={"dispatch": "all"})
    topology.remove_edge("A", "C")
    topology.add_edge("A", "C", condition=never)
    run = drive(topology, {})
    assert run.path == ["A", "B", "D", "E"]


def test_a_gather_judges_what_arrives() -> None:
    topology = Topology(
        nodes=["A", "B", Node("hub", kind="gather"), "C", "D"],
        edges=[
            "A -> [B, hub]",
            Edge("hub", "C", condition=lambda f: f.output == "A"),
            Edge("hub", "D", condition=lambda f: f.output != "A"),
        ],
    )
    run = drive(topology, {"A": invoke("hub")})
    assert run.path == ["A", "D"]
    (moved,) = [event for event in run.of(e.BranchMoved) if event.how == "gather"]
    assert moved.conditions == (("C", False), ("D", True))


def broken(facts: Facts) -> bool:
    return facts.state["score"] > 1


def test_a_condition_that_raises_fails_the_branch_and_names_edge_and_expression() -> None:
    run = drive(laid(Edge("A", "B", condition=broken)), {})
    assert run.settled == {"0": "failed"}
    assert run.error == (
        f"failed: ConditionError: the condition '{__name__}:broken' of edge A -> B raised KeyError: 'score' "
        "(at branch 0, node 'A', step 1)"
    )


def test_a_condition_that_raises_at_a_gather_fails_the_branch_and_drops_its_value() -> None:
    topology = Topology(
        nodes=["A", Node("hub", kind="gather"), "B"],
        edges=["A -> hub", Edge("hub", "B", condition=broken)],
    )
    run = drive(topology, {"A": "a"})
    assert run.settled == {"0": "failed"}
    assert "of edge hub -> B raised KeyError: 'score'" in run.error
    assert [event.value for event in run.of(e.Dropped)] == ["a"]


def test_a_condition_is_not_judged_where_the_step_fails() -> None:
    run = drive(laid(Edge("A", "B", condition=broken)), {"A": Fail("no")})
    assert "ConditionError" not in run.error


@pytest.mark.parametrize(
    ("action", "output"), [(Content("c"), "c"), (Return("r"), "r"), (Finish("f"), "f"), (invoke("B"), None)]
)
def test_output_is_the_value_of_the_action_and_none_for_an_invoke(action: Any, output: Any) -> None:
    seen = []
    drive(laid(Edge("A", "B", condition=lambda f: seen.append(f.output) or True)), {"A": action})
    assert seen == [output]


def test_errors_count_the_failures_that_the_step_was_given() -> None:
    seen = []
    topology = laid(
        "A -> [B, C] -> D", Edge("D", "E", condition=lambda f: seen.append((f.errors, f.steps)) or True)
    )
    config = ExecutionConfig(convergence_policy={"min_ratio": 0.5, "on_insufficient": "proceed"})
    drive(topology, {"B": Fail("no"), "C": "c"}, config=config)
    assert seen == [(1, 2)]


def test_visits_are_counted_on_through_rounds() -> None:
    seen = []
    topology = laid(
        "A -> B",
        Edge("B", "C", condition=lambda f: seen.append(f.visits) or False),
        "B -> A",
        B={"rounds": 3},
    )
    drive(topology, {"A": invoke("B")}, config=ExecutionConfig(max_steps=6))
    assert seen == sorted(seen)
    assert seen[0] == 1


def test_what_is_closed_as_a_step_begins_is_not_offered_and_what_reads_the_output_is() -> None:
    topology = laid(
        Edge("A", "B", condition=lambda f: f.visits < 1),
        Edge("A", "C", condition=lambda f: f.output == "x"),
        Edge("A", "D", condition=broken),
        Edge("A", "end", condition=lambda f: f.steps > 5),
    )
    simulation = Simulation.of(topology, {}).start()
    branch = simulation.orchestrator.state.branches["0"]
    simulation.orchestrator.begin(branch)
    assert simulation.orchestrator.closed_so_far(branch) == ("B", "end")


def test_a_resumed_run_reads_what_came_of_a_condition_and_does_not_judge_again() -> None:
    judgements = iter([True])
    topology = laid(Edge("A", "B", condition=lambda f: next(judgements)))
    first = drive(topology, {})
    finished = next(n for n, event in enumerate(first.events) if type(event) is e.StepFinished)
    again = Simulation.of(topology, {}).resume(first.events[: finished + 1]).run()
    assert again.path == ["B"]


def test_a_conversation_has_no_condition() -> None:
    with pytest.raises(
        TopologyError, match="^A <~> B is a conversation and has no condition: it goes on until"
    ):
        Edge("A", "B", pattern="alternating", condition=never)


@pytest.mark.parametrize(("ready", "path"), [(True, ["A", "B", "A", "C"]), (False, ["A", "B", "A"])])
def test_where_a_conversation_is_over_the_edges_of_its_other_side_are_judged_with_its_last_value(
    ready: bool, path: list[str]
) -> None:
    seen = []

    def condition(facts: Facts) -> bool:
        seen.append((facts.output, facts.visits, facts.steps))
        return ready

    run = drive(laid("A <~3> B", Edge("B", "C", condition=condition)), {"A": ["1", "3"], "B": "2"})
    assert run.path == path
    assert seen[-1] == ("3", 1, 3)
    (over,) = [event for event in run.of(e.BranchMoved) if event.how == "over"]
    assert over.conditions == (("C", ready),)
    assert run.success


def test_a_condition_that_would_have_to_be_awaited_is_an_error_and_not_open() -> None:
    async def later() -> bool:
        return True

    run = drive(laid(Edge("A", "B", condition=lambda facts: later())), {})
    assert "raised TypeError: it has to be awaited, and a condition may not wait" in run.error


def test_a_reply_that_is_no_action_is_steered_before_a_condition_could_read_it() -> None:
    topology = laid(
        Edge("A", "B", condition=lambda f: f.output["score"] > 1), Edge("A", "C", condition=never)
    )
    run = drive(topology, {"A": [None, {"score": 2}]}, traits={"A": NOTES})
    assert run.path == ["A", "B"]
    (steered,) = run.of(e.StepSteered)
    assert steered.note.endswith("Here there are: agents you may invoke: B.")


class Counting:
    """A rule that makes its length of what a node said."""

    def __init__(self, node: str) -> None:
        self.node = node

    def after_step(self, facts: RuleFacts) -> Any:
        said = facts.node == self.node and isinstance(facts.value, str)
        return Modify(len(facts.value)) if said else None


def test_conditions_read_what_a_rule_has_made_of_the_output_and_are_judged_once() -> None:
    seen = []
    topology = laid(Edge("A", "B", condition=lambda f: seen.append(f.output) or f.output + 1 > 3))
    assert drive(topology, {"A": "abc"}, rules=[Counting("A")]).path == ["A", "B"]
    assert seen == [3]


def test_a_condition_that_raises_for_what_a_rule_has_made_fails_the_branch() -> None:
    topology = laid(Edge("A", "B", condition=lambda f: f.output.strip()))
    run = drive(topology, {"A": "abc"}, rules=[Counting("A")])
    assert run.path == ["A"]
    assert "ConditionError" in run.error


def test_a_step_that_a_person_skips_is_judged_by_what_a_rule_has_made_of_it() -> None:
    topology = laid(Edge("A", "B", condition=lambda f: f.output == 0))
    failing = {"A": Fail(RecoverableError("busy"))}
    config = ExecutionConfig(error_routing_enabled=True)
    run = drive(topology, failing, rules=[Counting("A")], config=config, answers=lambda asked: "skip")
    assert run.path == ["A", "B"]
    broken = laid(Edge("A", "B", condition=lambda f: f.output.strip()))
    run = drive(broken, failing, rules=[Counting("A")], config=config, answers=lambda asked: "skip")
    assert "ConditionError" in run.error
