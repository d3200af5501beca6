from __future__ import annotations

import json
import random
import subprocess
import sys

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from marsys_core.errors import TopologyError
from marsys_core.topology import Dispatch, Edge, EdgePattern, Node, Topology
from tests.core.topology.strategies import topologies


def test_nodes_and_edges_are_taken_in_every_form():
    topology = Topology(
        ["A", Node("B"), {"name": "C", "rounds": 2}],
        [
            "A -> B",
            Edge("B", "C"),
            ("C", "A"),
            ["A", "end"],
            {"source": "B", "target": "A", "bidirectional": True},
        ],
        entry_point="A",
    )
    assert list(topology.nodes) == ["A", "B", "C", "end"]
    assert [str(edge) for edge in topology.edges] == ["A -> B", "B -> C", "C -> A", "A -> end", "B <-> A"]
    assert topology.entry_point == "A"


def test_agents_and_flows_are_another_way_to_write_nodes_and_edges():
    flows = Topology.of({"agents": ["Start", "A", "B", "End"], "flows": ["Start -> A", "A -> B", "B -> End"]})
    assert flows == Topology.of({"nodes": ["start", "A", "B", "end"], "edges": ["start -> A -> B -> end"]})


def test_a_topology_stands_for_itself():
    topology = Topology.of("A -> B")
    assert Topology.of(topology) is topology


def test_edges_without_nodes_declare_them():
    assert list(Topology.of({"flows": ["A -> B"]}).nodes) == ["A", "B"]


def test_an_edge_that_is_declared_again_is_one_edge():
    topology = Topology(
        ["A", "B"], [Edge("A", "B", metadata={"x": 1}), "A <-> B", Edge("A", "B", metadata={"y": 2})]
    )
    assert topology.edges == (Edge("A", "B", bidirectional=True, metadata={"x": 1, "y": 2}),)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (3, r"a topology is a Topology, a text, a list of edges or a mapping, not 3 \(int\)"),
        ({"agent": []}, r"a topology has no field 'agent'; it has: .*\. Did you mean 'agents'.*"),
        (
            {"nodes": [], "flows": []},
            r"write a topology with 'nodes' and 'edges' or with 'agents' and 'flows', not with both",
        ),
        ({"rules": ["a(b"]}, r"the rule 'a\(b' cannot be read: '\)' is missing; write .* @ \$\.rules\[0\]"),
        ({"agents": "A"}, r"a list is expected, not 'A' \(str\) @ \$\.agents"),
        ({"nodes": [3]}, r"a node is a name, a Node or a mapping, not 3 \(int\) @ \$\.nodes\[0\]"),
        (
            {"nodes": [{"nam": "A"}]},
            r"a node has no field 'nam'; it has: .* Did you mean 'name'\? @ \$\.nodes\[0\]",
        ),
        ({"nodes": [{"rounds": 2}]}, r"a node needs the field 'name'; given: rounds @ \$\.nodes\[0\]"),
        (
            {"nodes": ["A", "A"]},
            r"node 'A' is there already; change it with update_node, or choose another name @ \$\.nodes\[1\]",
        ),
        ({"flows": [("A", "B", "C")]}, r"an edge is a text, a pair of names, .* @ \$\.flows\[0\]"),
        (
            {"edges": [{"source": "A", "target": "B", "pattern": "alternate"}]},
            r"no pattern of an edge is called 'alternate'; there are: alternating\. Did you mean 'alternating'\? @ \$\.edges\[0\]",
        ),
        (
            {"edges": ["A <~> B", {"source": "A", "target": "B", "max_turns": 3}]},
            r"max_turns=3 of A -> B has an effect only with pattern='alternating', as in A <~3> B @ \$\.edges\[1\]",
        ),
        (
            {"edges": [("A", "B"), {"source": "A", "target": "B", "pattern": "ALTERNATING"}]},
            r"edge A <~> B stands beside A -> B, and between two nodes a conversation is alone; keep one @ \$\.edges\[1\]",
        ),
        ({"entry_point": 1}, r"a node's name is a string, not 1 \(int\) @ \$\.entry_point"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_path(value, message):
    with pytest.raises(TopologyError, match=f"^{message}$"):
        Topology.of(value)


def test_all_that_cannot_be_read_is_said_at_once():
    with pytest.raises(TopologyError) as caught:
        Topology(["A", "A", {"name": "B", "rounds": 0}], ["A ->", 7], rules=["x("])
    assert len(caught.value.problems) == 5
    assert str(caught.value).startswith("this topology cannot be read:\n  - the rule 'x(' cannot be read")


def test_changes_can_be_chained_and_drop_the_compiled_graph():
    topology = Topology().add_node("A").add_node(Node("B")).add_node("C", dispatch="stop").add_edge("A", "B")
    before = topology.graph
    assert topology.graph is before
    topology.add_edge("B -> C -> end").add_edge(Edge("C", "A")).update_node(
        "A", rounds=2, dispatch=Dispatch.NEXT
    )
    assert topology.graph is not before
    assert topology.nodes["A"].rounds == 2
    topology.remove_edge("C", "A").remove_node("B")
    assert [str(edge) for edge in topology.edges] == ["C -> end"]


def test_a_bidirectional_edge_can_be_removed_from_either_end():
    assert Topology.of("A <-> B").remove_edge("B", "A").edges == ()
    assert Topology.of("A <~> B").remove_edge("B", "A").edges == ()


@pytest.mark.parametrize("pattern", ["alternating", "Alternating", EdgePattern.ALTERNATING])
def test_a_conversation_is_an_edge_with_a_pattern_in_every_form(pattern):
    expected = Topology.of("A <~6> B")
    assert Topology(["A", "B"]).add_edge("A", "B", pattern=pattern, max_turns=6) == expected
    assert Topology(["A", "B"], [Edge("A", "B", pattern=pattern, max_turns=6)]) == expected
    as_dict = {"source": "A", "target": "B", "pattern": pattern, "max_turns": 6}
    assert Topology.of({"agents": ["A", "B"], "flows": [as_dict]}) == expected
    assert expected.to_dict()["edges"] == [{**as_dict, "pattern": "alternating"}]
    assert expected.fingerprint != Topology.of("A <~> B").fingerprint != Topology.of("A -> B").fingerprint
    assert Topology.of("A <-> B; B -> A").remove_edge("B", "A").edges == (Edge("A", "B", bidirectional=True),)


def test_removing_the_entry_point_leaves_none():
    assert Topology(["A", "B"], entry_point="A").remove_node("A").entry_point is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.add_node("Writer"), r"node 'Writer' is there already; .*"),
        (
            lambda t: t.add_node("New", round=2),
            r"a node has no field 'round'; it has: .* Did you mean 'rounds'\?",
        ),
        (lambda t: t.add_node(Node("New"), rounds=2), r"give a Node or the fields of one, not both: rounds"),
        (
            lambda t: t.update_node("Writr", rounds=2),
            r"no node is called 'Writr'; there are: Writer, Editor\. Did you mean 'Writer'\?",
        ),
        (
            lambda t: t.update_node("Writer", name="W"),
            r"node 'Writer' cannot be renamed; add another and remove this one",
        ),
        (lambda t: t.remove_node("Nobody"), r"no node is called 'Nobody'; there are: Writer, Editor\."),
        (
            lambda t: t.add_edge("Writer", "Editr"),
            r"no node is called 'Editr'; .* Did you mean 'Editor'\? Add it with add_node first\.",
        ),
        (lambda t: t.add_edge("Writer -> X -> Y"), r"this topology cannot be read:\n.*'X'.*\n.*'Y'.*"),
        (
            lambda t: t.add_edge("Writer -> Editor", bidirectional=True),
            r"these fields need a source and a target .*: bidirectional",
        ),
        (
            lambda t: t.remove_edge("Editor", "Writer"),
            r"no edge leads from 'Editor' to 'Writer'; the edges of 'Editor': Writer -> Editor",
        ),
    ],
)
def test_a_wrong_change_is_refused_and_changes_nothing(change, message):
    topology = Topology.of("Writer -> Editor")
    before = topology.fingerprint
    with pytest.raises(TopologyError, match=f"^{message}$"):
        change(topology)
    assert topology.fingerprint == before


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(topologies())
def test_dicts_hold_everything_and_are_json(topology):
    again = Topology.from_dict(json.loads(json.dumps(topology.to_dict())))
    assert again == topology
    assert again.to_dict() == topology.to_dict()
    assert (dict(again.nodes), again.edges, again.entry_point) == (
        dict(topology.nodes),
        topology.edges,
        topology.entry_point,
    )


def shuffled(value: object, order: random.Random) -> object:
    if isinstance(value, dict):
        items = [(key, shuffled(item, order)) for key, item in value.items()]
        order.shuffle(items)
        return dict(items)
    return [shuffled(item, order) for item in value] if isinstance(value, list) else value


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(topologies(), st.randoms())
def test_the_fingerprint_does_not_depend_on_the_order_of_keys(topology, order):
    assert Topology.of(shuffled(topology.to_dict(), order)).fingerprint == topology.fingerprint


def test_the_fingerprint_depends_on_the_order_of_nodes_and_edges():
    assert Topology.of("A -> B; A -> C") != Topology.of("A -> C; A -> B")
    assert Topology.of("A; B") != Topology.of("B; A")


@pytest.mark.slow
def test_the_fingerprint_is_the_same_in_another_process():
    code = "from marsys_core.topology import Topology; print(Topology.of('A -> [B, C] -> end').fingerprint)"
    seen = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert seen == {Topology.of("A -> [B, C] -> end").fingerprint + "\n"}


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(topologies())
@example(Topology([Node("A", dispatch="all"), "B", "C"], ["A -> B", "B -> C", "A -> C"]))
def test_the_text_holds_the_names_the_edges_and_their_order(topology):
    again = Topology.of(str(topology))
    assert list(again.nodes) == list(topology.nodes)
    assert [str(edge) for edge in again.edges] == [str(edge) for edge in topology.edges]
    # Nothing that the text cannot say is made up.
    for name, node in again.nodes.items():
        assert node.dispatch in (None, topology.nodes[name].dispatch)


plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=6)
    | st.sampled_from(["A", "A -> B", "all"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ["name", "nodes", "edges", "source", "target", "kind", "dispatch", "metadata", "rules", "x"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(
    plain
    | st.fixed_dictionaries({"nodes": st.lists(plain, max_size=3), "edges": st.lists(plain, max_size=3)})
)
def test_reading_raises_nothing_but_topology_errors(value):
    try:
        topology = Topology.of(value)
    except TopologyError:
        return
    assert Topology.of(topology.to_dict()) == topology
