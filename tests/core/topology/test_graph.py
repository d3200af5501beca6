from __future__ import annotations

import pytest

from marsys_core.errors import TopologyError
from marsys_core.topology import Edge, Topology


def out(topology: Topology, name: str) -> list[tuple[str, bool]]:
    return [(link.target, link.bidirectional) for link in topology.graph.out[name]]


def test_links_come_in_the_order_of_the_edges():
    topology = Topology.of("A -> C; A -> B; B <-> A; A -> end; A -> user")
    assert out(topology, "A") == [("C", False), ("B", True), ("end", False), ("user", False)]
    assert out(topology, "B") == [("A", True)]


def test_two_opposite_edges_are_two_hand_offs():
    topology = Topology.of("A -> B; B -> A")
    assert out(topology, "A") == [("B", False)]
    assert out(topology, "B") == [("A", False)]


def test_a_link_is_found_by_its_ends_and_knows_its_edge():
    graph = Topology.of("A <-> B; B -> C").graph
    link = graph.link("B", "A")
    assert link is not None
    assert link.edge == Edge("A", "B", bidirectional=True)
    assert graph.link("C", "B") is None
    assert graph.link("nobody", "B") is None


def test_of_the_links_those_that_lead_to_work_are_known():
    graph = Topology.of("A -> B; A -> end; A <-> C; A -> user; user -> A").graph
    assert [link.target for link in graph.leads["A"]] == ["B", "C"]
    assert [link.target for link in graph.leads["user"]] == ["A"]
    assert graph.leads["B"] == ()


def test_nodes_that_end_or_ask_are_known():
    graph = Topology.of("A -> B -> end; A -> user").graph
    assert graph.ends == {"B"}
    assert graph.asks == {"A"}


@pytest.mark.parametrize(
    ("text", "entry_point", "entries"),
    [
        ("start -> [B, A]; C -> A", None, ("B", "A")),
        ("user -> A -> B", None, ("A",)),
        ("A -> B; C -> B", "B", ("B",)),
        ("A -> B; C -> B", None, ("A", "C")),
        ("A -> B -> A", None, ("A",)),
        ("A", None, ("A",)),
        ("[A, B] -> [C, D]", None, ("A", "B")),
    ],
)
def test_entries_follow_start_then_user_then_the_entry_point_then_the_shape(text, entry_point, entries):
    topology = Topology.of(text)
    topology.entry_point = entry_point
    assert topology.graph.entries == entries


@pytest.mark.parametrize(
    ("text", "exits"),
    [
        ("A -> B -> end; B -> C", ("B",)),
        ("A -> [B, C]", ("B", "C")),
        ("A -> B; B -> user", ("B",)),
        ("H <-> [S1, S2]", ("H",)),
    ],
)
def test_exits_are_the_nodes_before_end_else_the_last_ones_else_the_entries(text, exits):
    assert Topology.of(text).graph.exits == exits


def test_a_conversation_links_both_sides_and_is_no_call():
    graph = Topology.of("X -> A <~6> B -> C").graph
    assert [link.target for link in graph.out["A"]] == ["B"]
    assert [link.target for link in graph.out["B"]] == ["A", "C"]
    assert not any(link.bidirectional for link in graph.out["B"])
    assert {side: link.target for side, link in graph.conversations.items()} == {"A": "B", "B": "A"}
    assert Topology.of("X -> A <-> B -> C").graph.conversations == {}


@pytest.mark.parametrize(
    ("text", "exits"),
    [
        ("A <~> B", ("A", "B")),
        ("A <~> B -> C", ("C",)),
        ("S -> A <~> B; A -> C", ("C",)),
        ("S -> A <~> B; B -> user", ("A", "B")),
        ("S -> A <~> B; A -> end", ("A",)),
    ],
)
def test_the_sides_of_a_conversation_are_exits_where_neither_leads_on(text, exits):
    assert Topology.of(text).graph.exits == exits
    assert Topology.of(text).graph.entries == ("S" if "S" in text else "A",)


def test_successors_are_the_agents_and_gathers_onward():
    topology = Topology.of("A -> A; A -> end; A -> user; A -> B; A -> gather:3")
    assert topology.graph.successors("A") == ("B", "gather:3")


def test_a_graph_refuses_edges_to_nodes_that_are_not_there():
    with pytest.raises(TopologyError, match="no node is called 'Writr'"):
        _ = Topology(["Writer"], [("Writer", "Writr")]).graph
