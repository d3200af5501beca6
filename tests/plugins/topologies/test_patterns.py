from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marsys.topologies import (
    broadcast,
    debate,
    hierarchical,
    hub_and_spoke,
    map_reduce,
    mesh,
    pipeline,
    ring,
    star,
)
from marsys_core.errors import TopologyError
from marsys_core.topology import Dispatch, NodeKind, Topology


def shape(topology: Topology) -> list[str]:
    topology.validate()
    return [str(edge) for edge in topology.edges]


def settings(topology: Topology, name: str) -> tuple[str | None, int | None, int]:
    node = topology.nodes[name]
    return node.dispatch and node.dispatch.value, node.limit, node.rounds


@pytest.mark.parametrize(("parallel", "dispatch"), [(False, "each"), (True, "all")])
def test_a_hub_calls_its_spokes_one_by_one_or_all_at_once(parallel, dispatch):
    topology = hub_and_spoke("H", ["S1", "S2"], parallel_spokes=parallel)
    assert shape(topology) == ["H <-> S1", "H <-> S2"]
    assert settings(topology, "H") == (dispatch, None, 1)
    assert topology.graph.entries == ("H",)
    assert topology.graph.meeting("H", ["S1", "S2"]) == "H"


def test_a_star_calls_one_by_one_or_hands_over_to_all():
    assert shape(star("C", ["P", "Q"])) == ["C <-> P", "C <-> Q"]
    assert settings(star("C", ["P", "Q"]), "C") == ("each", None, 1)
    one_way = star("C", ["P", "Q"], bidirectional=False)
    assert shape(one_way) == ["C -> P", "C -> Q"]
    assert settings(one_way, "C") == ("all", None, 1)
    assert not one_way.graph.leads_back("C", ["P", "Q"])


def test_a_broadcast_goes_to_all_with_replies_or_without():
    assert shape(broadcast("B", ["P", "Q"])) == ["B -> P", "B -> Q"]
    replies = broadcast("B", ["P", "Q"], allow_replies=True)
    assert shape(replies) == ["B <-> P", "B <-> Q"]
    assert settings(replies, "B") == ("all", None, 1)


def test_a_pipeline_has_gathers_between_wide_stages_and_before_a_wide_first_one():
    topology = pipeline([["A", "B"], ["C", "D"], "E", ["F", "G"]], parallel_within_stage=True)
    assert shape(topology) == [
        "gather:1 -> A",
        "gather:1 -> B",
        "A -> gather:2",
        "B -> gather:2",
        "gather:2 -> C",
        "gather:2 -> D",
        "C -> E",
        "D -> E",
        "E -> F",
        "E -> G",
    ]
    assert topology.graph.entries == ("gather:1",)
    assert topology.nodes["gather:2"].kind is NodeKind.GATHER
    assert settings(topology, "E") == ("all", None, 1)
    assert topology.nodes["A"].dispatch is None
    assert topology.graph.meeting("gather:2", ["C", "D"]) == "E"


def test_a_pipeline_runs_a_wide_stage_one_after_another_unless_told_otherwise():
    topology = pipeline(["A", ["B", "C"], ["D", "E"]])
    assert settings(topology, "A") == ("all", 1, 1)
    assert settings(topology, "gather:1") == ("all", 1, 1)


def test_a_stage_can_have_a_name():
    topology = pipeline([{"name": "collect", "agents": ["A", "B"]}, {"agents": "C"}])
    assert topology.nodes["A"].metadata == {"stage": "collect"}
    assert topology.nodes["C"].metadata == {}


def test_a_tree_can_be_flat_or_nested_or_given_by_levels():
    flat = hierarchical({"CEO": ["V1", "V2"], "V1": ["M1", "M2"], "V2": ["M3"]})
    assert shape(flat) == ["CEO <-> V1", "CEO <-> V2", "V1 <-> M1", "V1 <-> M2", "V2 <-> M3"]
    assert flat == hierarchical({"CEO": {"V1": ["M1", "M2"], "V2": {"M3": None}}})
    assert flat == hierarchical(root="CEO", levels=[["V1", "V2"], ["M1", "M2", "M3"]])
    assert [name for name, node in flat.nodes.items() if node.dispatch is Dispatch.ALL] == ["CEO", "V1", "V2"]
    assert flat.graph.entries == ("CEO",)


def test_a_mesh_connects_all_pairs_or_neighbours():
    assert shape(mesh(["A", "B", "C", "D"])) == [
        "A <-> B",
        "A <-> C",
        "A <-> D",
        "B <-> C",
        "B <-> D",
        "C <-> D",
    ]
    assert shape(mesh(["A", "B", "C", "D"], fully_connected=False)) == [
        "A <-> B",
        "B <-> C",
        "C <-> D",
        "D <-> A",
    ]
    assert shape(mesh(["A", "B"], fully_connected=False)) == ["A <-> B"]
    assert settings(mesh(["A", "B"]), "B") == ("agent", None, 1)


def test_a_ring_closes_and_plain_content_goes_onward_first():
    assert shape(ring(["A", "B", "C"])) == ["A -> B", "B -> C", "C -> A"]
    both = ring(["A", "B", "C"], bidirectional=True, rounds=3)
    assert shape(both)[3:] == ["B -> A", "C -> B", "A -> C"]
    assert not any(edge.bidirectional for edge in both.edges)
    assert [both.graph.out[name][0].target for name in "ABC"] == ["B", "C", "A"]
    assert {settings(both, name) for name in "ABC"} == {("next", None, 3)}


def test_a_judge_hears_all_debaters_in_each_round():
    topology = debate(["P", "Q"], judge="J", rounds=3)
    assert shape(topology) == ["J <-> P", "J <-> Q"]
    assert settings(topology, "J") == ("all", None, 3)
    assert topology.graph.entries == ("J",)
    assert debate(["P"], "J").nodes["J"].rounds == 2


def test_a_splitter_maps_items_to_workers_that_meet_at_the_reducer():
    topology = map_reduce("S", ["W1", "W2"], "R")
    assert shape(topology) == ["S -> W1", "S -> W2", "W1 -> R", "W2 -> R"]
    assert settings(topology, "S") == ("map", None, 1)
    assert topology.graph.meeting("S", ["W1", "W2", "W1"]) == "R"
    assert topology.graph.meeting("S", ["W1"]) == "R"


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: hub_and_spoke("H", []), r"hub_and_spoke: spokes needs at least 1 name, and has 0"),
        (lambda: hub_and_spoke("H", "S"), r"hub_and_spoke: spokes is a list of names, not 'S'"),
        (
            lambda: hub_and_spoke("H", ["S", "S"]),
            r"hub_and_spoke: 'S' stands in spokes twice; each agent has one place",
        ),
        (
            lambda: hub_and_spoke("H", ["H"]),
            r"hub_and_spoke: 'H' stands in spokes as hub too; each agent has one place",
        ),
        (
            lambda: star("C", ["End"]),
            r"star: points has 'End', a name kept for nodes of kind 'end'; name an agent",
        ),
        (lambda: broadcast("B", ["a/b"]), r"broadcast: receivers: 'a/b' cannot be a node's name: .*"),
        (lambda: broadcast("B", [3]), r"broadcast: receivers: a node's name is a string, not 3 \(int\)"),
        (lambda: debate(["P"], "J", rounds=0), r"debate: rounds is a whole number from 1, not 0"),
        (lambda: ring(["A"]), r"ring: agents needs at least 2 names, and has 1"),
        (lambda: ring(["A", "B"], rounds=True), r"ring: rounds is a whole number from 1, not True"),
        (lambda: mesh(["A"]), r"mesh: agents needs at least 2 names, and has 1"),
        (
            lambda: map_reduce("S", ["W"], "S"),
            r"map_reduce: 'S' stands in reducer as splitter too; each agent has one place",
        ),
        (lambda: pipeline([]), r"pipeline: stages needs at least 1 stage, and has 0"),
        (lambda: pipeline("A"), r"pipeline: stages is a list of names and lists of names, not 'A'"),
        (lambda: pipeline(["A", []]), r"pipeline: stages\[1\] needs at least 1 name, and has 0"),
        (lambda: pipeline(["A", 3]), r"pipeline: stages\[1\] is a list of names, not 3"),
        (
            lambda: pipeline(["A", ["B", "A"]]),
            r"pipeline: 'A' stands in stages twice; each agent has one place",
        ),
        (
            lambda: pipeline([{"agent": "A"}]),
            r"pipeline: stages\[0\] is a mapping with 'agents' and, .* it has \['agent'\]",
        ),
        (lambda: hierarchical(), r"hierarchical: give tree=, or root= and levels="),
        (lambda: hierarchical({"A": ["B"]}, root="A"), r"hierarchical: give tree=, or root= and levels="),
        (lambda: hierarchical(root="A"), r"hierarchical: root= and levels= go together"),
        (
            lambda: hierarchical(["A"]),
            r"hierarchical: tree is a mapping from parents to children, not \['A'\]",
        ),
        (
            lambda: hierarchical({"A": ["B"], "C": ["D"]}),
            r"hierarchical: the tree needs one root, .*; there are 2: 'A', 'C'",
        ),
        (
            lambda: hierarchical({"A": ["B"], "B": ["A"]}),
            r"hierarchical: the tree needs one root, .*; every agent is below another",
        ),
        (
            lambda: hierarchical({"A": ["B", "C"], "C": ["B"]}),
            r"hierarchical: 'B' stands below 'C' and in another place; each agent has one parent",
        ),
        (
            lambda: hierarchical({"A": ["B"], "C": ["D"], "D": ["C"]}),
            r"hierarchical: 'C', 'D' cannot be reached from 'A'; there is a cycle",
        ),
        (
            lambda: hierarchical({"A": [{"B": []}]}),
            r"hierarchical: tree\['A'\]: a node's name is a string, not .*",
        ),
        (
            lambda: hierarchical({"A": {"B": []}, "B": ["C"]}),
            r"hierarchical: tree has 'B' as a parent twice; .*",
        ),
        (lambda: hierarchical(root="A", levels=[["B"], ["A"]]), r"hierarchical: 'A' .*"),
    ],
)
def test_bad_arguments_are_refused(build, message):
    with pytest.raises(TopologyError, match=f"^{message}$"):
        build()


@given(st.lists(st.lists(st.integers(), min_size=1, max_size=3), min_size=1, max_size=4), st.booleans())
def test_every_fork_of_a_pipeline_meets_right_after_its_stage(widths, parallel):
    stages = [[f"a{i}.{j}" for j in range(len(stage))] for i, stage in enumerate(widths)]
    topology = pipeline(stages, parallel_within_stage=parallel)
    topology.validate()
    graph = topology.graph
    for name in graph.nodes:
        targets = graph.successors(name)
        if len(targets) > 1:
            after = graph.successors(targets[0])
            assert graph.meeting(name, targets) == (after[0] if after else name)
    assert len(graph.entries) == 1
