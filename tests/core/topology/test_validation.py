from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marsys_core.errors import TopologyError
from marsys_core.topology import Topology
from tests.core.topology.strategies import AGENTS, topologies


def problems(value: object, agents: list[str] | None = None) -> list[str]:
    with pytest.raises(TopologyError, match=r"^this topology cannot run:\n  - ") as caught:
        Topology.of(value).validate(agents)
    return list(caught.value.problems)


@pytest.mark.parametrize(
    "text",
    [
        "A",
        "A -> B",
        "start -> A -> [B, C] -> D -> end",
        "H <-> [S1, S2]",
        "user -> A; A -> user",
        "[A, B] -> [C, D]",
        "A -> A",
        "A <~> B",
        "S -> A <~> B -> C; A -> C; S <-> B",
    ],
)
def test_a_sound_topology_passes(text):
    topology = Topology.of(text)
    topology.validate()
    assert topology.warnings == ()


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("", "there is no agent; add one, for example with add_node"),
        (
            {"nodes": ["Writer"], "edges": ["Writer -> Writr"]},
            "edge Writer -> Writr: no node is called 'Writr'; there are: Writer. Did you mean 'Writer'? "
            "Add it to the nodes, or mend the edge.",
        ),
        ("start -> A; B", "node 'B' cannot be reached from A; add an edge to it, or remove it"),
        ("A -> B; end", "node 'end' cannot be reached from A; add an edge to it, or remove it"),
        (
            "start -> A -> start",
            "'start' has an incoming edge from A; edges only lead out of it, as in start -> A",
        ),
        ("A -> end -> A", "'end' has an outgoing edge to A; edges only lead into it, as in A -> end"),
        ("A; start", "'start' leads nowhere; add an edge from it to the first agent, or remove it"),
        (
            "start -> A <-> user",
            "'start' and 'user' both say where a run begins; of the edges between 'user' and A keep only those "
            "towards 'user', as in A -> user",
        ),
        (
            "A <~> gather:1 -> B",
            "conversation A <~> gather:1: 'gather:1' is of kind 'gather'; only agents take turns",
        ),
        ("A <~> B -> A", "edge B -> A stands beside conversation A <~> B; keep one of the two"),
        ("A <~> B; B <~6> A", "edge B <~6> A stands beside conversation A <~> B; keep one of the two"),
        (
            "A <~> B <~6> C",
            "node 'B' is in 2 conversations, A <~> B, B <~6> C; a node has at most one, so keep one of them",
        ),
        ("start -> [A, end]", "edge start -> end: a run begins at an agent; let 'start' lead to one"),
        (
            {"nodes": ["A"], "entry_point": "B"},
            "entry_point: no node is called 'B'; there are: A.",
        ),
        (
            {"edges": ["A -> end"], "entry_point": "end"},
            "entry_point is 'end', and a run begins at an agent; name one",
        ),
        (
            {"edges": ["start -> A -> B"], "entry_point": "B"},
            "entry_point is 'B', but the edges out of 'start' or 'user' begin at A; remove one of the two",
        ),
    ],
)
def test_what_cannot_run_is_said_with_the_fix(value, problem):
    assert problems(value) == [problem]


def test_agents_that_are_not_registered_are_named_with_the_nearest():
    assert problems({"nodes": ["Writer", {"name": "B", "agent": "Editor"}]}, ["Writr", "Editor"]) == [
        "node 'Writer': no agent is registered as 'Writer'; there are: Editor, Writr. Did you mean 'Writr'? "
        "Make one of that name, or pass it with agents=."
    ]
    Topology.of("start -> A -> gather:1 -> end").validate(["A"])


def test_all_problems_are_said_at_once():
    value = {"nodes": ["A", "B", "start", "end"], "edges": ["start -> A -> C", "end -> start"]}
    assert len(problems(value, ["A"])) == 6


def test_a_closed_cycle_of_hand_offs_is_a_warning():
    topology = Topology.of("start -> A -> end; A -> B -> C -> B")
    topology.validate()
    assert topology.warnings == (
        "no edge leads out of the cycle of B, C and no exit is in it; it goes on until an agent returns or a "
        "limit is reached. Add an edge to 'end' from one of them.",
    )
    topology.add_edge("C -> end")
    assert topology.warnings == ()
    topology.validate()
    assert topology.warnings == ()


@pytest.mark.parametrize(
    "text",
    [
        "A -> end; A -> B <-> C",  # calls come back by themselves
        "A -> B -> C -> A",  # the entry is the exit
        "A -> end; A -> B -> C -> B; C -> A",  # there is a way out
    ],
)
def test_what_ends_by_itself_is_no_closed_cycle(text):
    topology = Topology.of(text)
    topology.validate()
    assert topology.warnings == ()


def test_a_long_chain_is_validated_without_recursion():
    topology = Topology.of(" -> ".join(f"a{n}" for n in range(3000)))
    topology.validate()
    assert topology.graph.meeting("a0", ["a1", "a2999"]) == "a2999"


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(topologies(), st.none() | st.lists(st.sampled_from(AGENTS)))
def test_validation_raises_nothing_but_topology_errors(topology, agents):
    try:
        topology.validate(agents)
    except TopologyError:
        return
    graph = topology.graph
    assert graph.entries
    assert graph.exits
    assert graph.meeting("start", graph.entries) in {*graph.nodes, "start"}
