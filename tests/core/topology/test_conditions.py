"""Conditions of edges and reducers of the state, as a topology holds, writes, draws and checks them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marsys_core.errors import TopologyError
from marsys_core.topology import Edge, Node, Reducer, Topology
from tests.core.examples import examples


def ready(facts):
    return True


async def later(facts):
    return True


def test_a_condition_is_given_as_a_field_in_the_metadata_or_to_add_edge():
    topology = Topology(nodes=["A", "B", "C", "D"])
    topology.add_edge(Edge("A", "B", condition=" visits < 3 "))
    topology.add_edge("B", "C", metadata={"condition": "visits < 3"})
    topology.add_edge("C", "D", condition="visits < 3")
    assert [edge.condition for edge in topology.edges] == ["visits < 3"] * 3
    assert list(topology.graph.conditional) == ["A", "B", "C"]


def test_an_edge_that_is_written_twice_has_the_condition_of_either():
    assert Topology(edges=["A -> B", Edge("A", "B", condition="x")]).edges[0].condition == "x"
    assert Topology(edges=[Edge("A", "B", condition="x"), "A -> B"]).edges[0].condition == "x"
    with pytest.raises(
        TopologyError,
        match="^edge A -> B has two conditions, 'x' and 'y'; write it once, with 'or' between them @ ",
    ):
        Topology(edges=[Edge("A", "B", condition="x"), Edge("A", "B", condition="y")])


@pytest.mark.parametrize(
    ("condition", "text"),
    [
        ("", "a condition is an expression such as 'visits < 3', not an empty text"),
        (3, "a condition is an expression or a function of the facts, not 3 (int)"),
        ("x" * 1001, "a condition has at most 1000 characters"),
        (
            "app.rules:ready",
            "the condition 'app.rules:ready' is a function, which cannot be read back from its name",
        ),
        (later, "is async; a condition is judged at once, so make it a plain function"),
    ],
)
def test_what_is_no_condition_is_refused(condition, text):
    with pytest.raises(TopologyError) as refused:
        Edge("A", "B", condition=condition)
    assert text in str(refused.value)


def test_two_different_conditions_of_one_edge_are_refused():
    with pytest.raises(
        TopologyError, match="the edge has the condition 'x', and 'y' in its metadata; give one"
    ):
        Edge("A", "B", condition="x", metadata={"condition": "y"})


def test_a_function_stands_in_the_dict_by_its_name_and_cannot_be_read_back():
    topology = Topology(edges=[Edge("A", "B", condition=ready)], state={"x": max})
    written = topology.to_dict()
    assert written["edges"][0]["condition"] == f"{__name__}:ready"
    assert written["state"] == {"x": {"reducer": "builtins:max"}}
    with pytest.raises(TopologyError) as refused:
        Topology.from_dict(written)
    assert len(refused.value.problems) == 2
    assert all("cannot be read back from its name" in problem for problem in refused.value.problems)


texts = st.sampled_from(["visits < 3", "score >= 0.8 or 'a' in notes", "not output"])
reducers = st.dictionaries(
    st.text(min_size=1, max_size=5),
    st.sampled_from(
        [
            "append",
            "add",
            "last",
            {"reducer": "add", "initial": 0},
            {"initial": {"a": [1]}},
            {"reducer": "append", "initial": [1]},
        ]
    ),
    max_size=3,
)


@examples(60)
@given(st.lists(st.none() | texts, min_size=3, max_size=3), reducers, st.booleans())
def test_a_topology_with_conditions_and_state_comes_back_from_its_dict(conditions, state, noted):
    topology = Topology(nodes=["A", "B", "C"], state=state)
    for (source, target), condition in zip([("A", "B"), ("B", "A"), ("B", "C")], conditions, strict=True):
        fields = {"metadata": {"condition": condition}} if noted and condition else {"condition": condition}
        topology.add_edge(source, target, **fields)
    again = Topology.of(topology.to_dict())
    assert again == topology
    assert again.edges == topology.edges
    assert again.state == topology.state


def test_conditions_and_state_are_part_of_the_fingerprint():
    prints = {
        Topology(edges=[Edge("A", "B", condition=condition)], state=state).fingerprint
        for condition in (None, "x", "y", ready)
        for state in ({}, {"k": "append"}, {"k": "last"}, {"k": max})
    }
    assert len(prints) == 16


def test_drawings_show_conditions():
    topology = Topology(edges=[Edge("A", "B", condition='word ==\n "#x"'), Edge("B", "A", condition=ready)])
    assert topology.to_text() == f'A\n  -> B  if word == "#x"\nB\n  -> A  if {__name__}:ready\n'
    assert '    n0 -->|"word == #quot;#35;x#quot;"| n1\n' in topology.to_mermaid()


@pytest.mark.parametrize(
    ("edges", "problem"),
    [
        (
            [Edge("start", "A", condition="x")],
            "edge start -> A has a condition, and no step is taken at 'start' that could meet it; put the "
            "condition on an edge out of an agent",
        ),
        (
            ["A <-> B", Edge("B", "A", condition="x")],
            "edge B -> A has a condition, but A <-> B leads the same way and holds instead; put the condition "
            "there, or remove one of the two",
        ),
    ],
)
def test_a_condition_that_nobody_would_judge_is_a_problem(edges, problem):
    with pytest.raises(TopologyError) as refused:
        Topology(edges=edges).validate()
    assert problem in str(refused.value)


@pytest.mark.parametrize(
    ("state", "text"),
    [
        ([], "a mapping of keys to reducers is expected, not [] (list) @ $.state"),
        (
            {"x": "apend"},
            "no reducer is called 'apend'; there are: append, add, last, or a function of (old, new). Did you mean 'append'? @ $.state['x']",
        ),
        ({"x": 3}, "a reducer is append, add, last or a function of (old, new), not 3 @ $.state['x']"),
        ({"": "add"}, "a key of the state is a text of 1 to 200 characters, not '' @ $.state['']"),
        ({"x": {"reduce": "add"}}, "@ $.state['x']"),
        (
            {"x": {"reducer": "append", "initial": 1}},
            "with the reducer 'append' a key begins with a list, not 1 @ $.state['x']",
        ),
        (
            {"x": {"reducer": "add", "initial": {}}},
            "with the reducer 'add' a key begins with a number, a text or a list, not {}",
        ),
        ({"x": {"reducer": "last", "initial": object()}}, "which is not JSON data"),
        (
            {"x": "app:merge"},
            "the reducer 'app:merge' is a function, which cannot be read back from its name",
        ),
    ],
)
def test_a_state_that_cannot_be_declared_is_told_with_its_key(state, text):
    with pytest.raises(TopologyError) as refused:
        Topology(nodes=["A"], state=state)
    assert text in str(refused.value)


def test_the_state_can_be_declared_later():
    topology = Topology(nodes=[Node("A")])
    before = topology.fingerprint
    topology.state = {"x": "append"}
    assert dict(topology.state) == {"x": Reducer("append")}
    assert topology.fingerprint != before
