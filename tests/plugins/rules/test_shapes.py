"""Rules that shape a topology: who works side by side, and where forks go on."""

from __future__ import annotations

from typing import Any

import pytest

from marsys.rules import ConvergencePoint, Parallel
from marsys_core.errors import TopologyError
from marsys_core.events import BranchForked, StepStarted
from marsys_core.topology import Node, Topology
from tests.core.fakes import Ran, run
from tests.plugins.rules.test_limits import RULES, Books


def ran_with(topology: Topology) -> Ran:
    names = "".join(name for name, node in topology.nodes.items() if node.agent)
    return run("x", topology, Books().agents(names, 1), plugins=RULES)


def path(ran: Ran) -> list[str]:
    return [event.node for event in ran.of(StepStarted)]


@pytest.mark.parametrize("rule", ["parallel(B, C)", {"parallel": ["B", "C"]}, Parallel("B", "C")])
def test_the_common_predecessor_sends_its_content_to_all(rule: Any) -> None:
    edges = ["A -> B", "A -> C", "B -> D", "C -> D"]

    assert path(ran_with(Topology(edges=edges))) == ["A"]
    assert sorted(path(ran_with(Topology(edges=edges, rules=[rule])))) == ["A", "B", "C", "D"]


def test_every_common_predecessor_does_and_no_other_node() -> None:
    edges = [
        "start -> P",
        "start -> Q",
        *[f"{one} -> {two}" for one in "PQ" for two in "BC"],
        "B -> X",
        "B -> Y",
    ]
    changed = Parallel("B", "C").shape(Topology(edges=edges))

    assert [(node.name, node.dispatch.value) for node in changed if node.dispatch] == [
        ("P", "all"),
        ("Q", "all"),
    ]


def test_a_limit_on_how_many_work_at_a_time_gives_way() -> None:
    topology = Topology([Node("A", dispatch="all", limit=1), "B", "C"], ["A -> B", "A -> C"])

    assert [(node.name, node.limit) for node in Parallel("B", "C").shape(topology)] == [("A", None)]


def test_entries_are_side_by_side_already() -> None:
    assert Parallel("A", "B").shape(Topology(edges=["A -> C", "B -> C"])) == []


@pytest.mark.parametrize("rule", ["convergence_point(D)", {"convergence_point": "D"}, ConvergencePoint("D")])
def test_forks_go_on_at_a_convergence_point(rule: Any) -> None:
    edges = ["A -> [B, C]; B -> D; C -> D; D -> E; C -> F; F -> E"]
    meetings = [
        ran_with(Topology(edges=edges, rules=rules)).of(BranchForked)[0].meeting for rules in ([], [rule])
    ]

    assert meetings == ["E", "D"]


@pytest.mark.parametrize(
    ("rule", "problem"),
    [
        ("parallel(B)", "rule parallel(B): it takes two nodes or more, not 'B'"),
        ("parallel(A, B)", "no node leads to all of A, B; add one, as in A -> [A, B]"),
        ("parallel(B, X)", "no node is called 'X'; there are: A, B, C, end."),
        ("parallel(B, 3)", "rule parallel(B, 3): the name of a node is expected, not 3"),
        ("convergence_point(Bb)", "no node is called 'Bb'; there are: A, B, C, end. Did you mean 'B'?"),
        (
            "convergence_point(end)",
            "is_convergence_point has no effect on node 'end' of kind 'end'; remove it",
        ),
        (
            "convergence_point(A, B)",
            "rule 'convergence_point' takes (node), not convergence_point(A, B): too many positional arguments",
        ),
        (
            "paralel(B, C)",
            "no rule is called 'paralel'; there are: agent_timeout, convergence_point, max_agents, max_steps, "
            "max_turns, parallel, timeout. Did you mean 'parallel'?",
        ),
    ],
)
def test_what_cannot_be_done_is_refused_before_anything_runs(rule: str, problem: str) -> None:
    ran = ran_with(Topology(edges=["A -> [B, C] -> end"], rules=["timeout(5)", rule]))

    assert isinstance(ran.result.error, TopologyError)
    [found] = ran.result.error.problems
    assert found.startswith(problem)
    assert found.endswith(" @ $.rules[1]")
    assert ran.heard.events == []
