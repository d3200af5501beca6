from __future__ import annotations

import copy

import pytest

from marsys_core.errors import TopologyError
from marsys_core.topology import ConvergencePolicy, Dispatch, Edge, Node, NodeKind


def test_a_node_is_an_agent_registered_under_its_name():
    node = Node("Writer")
    assert (node.kind, node.agent, node.dispatch, node.rounds) == (NodeKind.AGENT, "Writer", None, 1)
    assert Node("Writer", agent="gpt").agent == "gpt"


@pytest.mark.parametrize(
    ("name", "canonical", "kind"),
    [
        ("Start", "start", NodeKind.START),
        ("END", "end", NodeKind.END),
        ("user", "user", NodeKind.USER),
        ("gather:12", "gather:12", NodeKind.GATHER),
        ("Starter", "Starter", NodeKind.AGENT),
    ],
)
def test_some_names_have_their_kind(name, canonical, kind):
    node = Node(name)
    assert (node.name, node.kind) == (canonical, kind)
    assert (node.agent is None) == (kind is not NodeKind.AGENT)


def test_a_gather_node_passes_on_to_all():
    assert Node("collect", kind="gather").dispatch is Dispatch.ALL
    assert Node("gather:1", limit=1).limit == 1


def test_words_stand_for_members():
    node = Node("A", dispatch="each", kind="agent", convergence_policy="any")
    assert node.dispatch is Dispatch.EACH
    assert node.convergence_policy == ConvergencePolicy(quorum=1)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": ""}, r"'' cannot be a node's name: it is empty"),
        ({"name": 3}, r"a node's name is a string, not 3 \(int\)"),
        ({"name": " A"}, r"' A' cannot be a node's name: it begins or ends with a space"),
        (
            {"name": 'A"'},
            r"""'A"' cannot be a node's name: '"' is not a letter, a digit, a space or one of _ - \. :""",
        ),
        ({"name": "A\nB"}, r".* is not a letter, a digit, a space or one of _ - \. :"),
        (
            {"name": "x" * 101},
            r"'x+\.\.\. cannot be a node's name: it has 101 characters, and 100 are allowed",
        ),
        (
            {"name": "A", "dispatch": "eech"},
            r"no dispatch is called 'eech'; there are: stop, next, agent, all, each, map\. Did you mean 'each'\?",
        ),
        (
            {"name": "A", "kind": "agnt"},
            r"no kind of node is called 'agnt'; there are: .* Did you mean 'agent'\?",
        ),
        ({"name": "A", "kind": "end"}, r"node 'A' cannot be of kind 'end': that node is called 'end'"),
        (
            {"name": "end", "kind": "gather"},
            r"node 'end' is of kind 'end' by its name, not 'gather'; choose another name",
        ),
        ({"name": "A", "rounds": 0}, r"rounds is a whole number from 1, not 0"),
        ({"name": "A", "rounds": True}, r"rounds is a whole number from 1, not True"),
        ({"name": "A", "limit": 2}, r"limit=2 of node 'A' has an effect only with dispatch='all'"),
        ({"name": "A", "agent": ""}, r"agent is the name of a registered agent, not ''"),
        ({"name": "A", "is_convergence_point": 1}, r"a flag of a node or an edge is True or False, not 1"),
        (
            {"name": "end", "dispatch": "all"},
            r"dispatch has no effect on node 'end' of kind 'end'; remove it",
        ),
        ({"name": "user", "agent": "A"}, r"agent has no effect on node 'user' of kind 'user'; remove it"),
        (
            {"name": "end", "is_convergence_point": True},
            r"is_convergence_point has no effect on node 'end' .*",
        ),
        (
            {"name": "gather:1", "rounds": 2},
            r"rounds has no effect on node 'gather:1' of kind 'gather'; remove it",
        ),
        (
            {"name": "gather:1", "dispatch": "next"},
            r"gather node 'gather:1' passes on to all; its dispatch can only be 'all'",
        ),
        ({"name": "A", "metadata": []}, r"metadata is a mapping, not \[\] \(list\)"),
        ({"name": "A", "metadata": {"x": [{1}]}}, r"metadata\.x\[0\] holds set, which is not JSON data; .*"),
        (
            {"name": "A", "metadata": {"x": float("nan")}},
            r"metadata\.x holds float, which is not JSON data; .*",
        ),
        ({"name": "A", "metadata": {1: 2}}, r"metadata has the key 1; the keys of JSON data are strings"),
    ],
)
def test_a_node_refuses_what_is_wrong_or_has_no_effect(fields, message):
    name = fields.pop("name")
    with pytest.raises(TopologyError, match=f"^{message}$"):
        Node(name, **fields)


def test_metadata_that_is_nested_without_end_is_refused():
    nested: dict[str, object] = {}
    nested["again"] = nested
    with pytest.raises(TopologyError, match=r"^metadata is nested deeper than 32 levels$"):
        Node("A", metadata=nested)


def test_metadata_is_a_copy():
    given = {"tags": ["a"]}
    node = Node("A", metadata=given)
    given["tags"].append("b")
    assert node.metadata == {"tags": ["a"]}


def test_nodes_and_edges_can_be_compared_hashed_and_copied():
    node, edge = Node("A", metadata={"x": [1]}), Edge("A", "B", metadata={"x": {}})
    assert copy.deepcopy((node, edge)) == (node, edge)
    assert len({node, Node("A", metadata={"x": [1]}), edge}) == 2


def test_an_edge_writes_itself_as_text():
    assert str(Edge("A", "Start")) == "A -> start"
    assert str(Edge("A", "B", bidirectional=True)) == "A <-> B"


def test_an_edge_cannot_call_its_own_node():
    with pytest.raises(
        TopologyError, match=r"^node 'A' cannot call itself; write A -> A for a hand-off to itself$"
    ):
        Edge("A", "A", bidirectional=True)
