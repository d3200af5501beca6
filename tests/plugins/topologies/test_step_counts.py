"""Each pattern takes the number of steps that its documentation says, with agents that only speak."""

from __future__ import annotations

import pytest

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
from tests.core.orchestrator.driver import drive

SIZES = [1, 2, 3, 5]


def spokes(count: int) -> list[str]:
    return [f"S{i}" for i in range(count)]


@pytest.mark.parametrize("n", SIZES)
def test_a_hub_takes_two_steps_more_than_spokes_in_parallel_and_two_a_spoke_one_by_one(n: int) -> None:
    assert len(drive(hub_and_spoke("H", spokes(n), parallel_spokes=True), {}).steps) == n + 2
    one_by_one = drive(hub_and_spoke("H", spokes(n)), {})
    assert len(one_by_one.steps) == 2 * n + 1
    assert one_by_one.path == ["H", *(name for spoke in spokes(n) for name in (spoke, "H"))]


@pytest.mark.parametrize("n", SIZES)
def test_a_star_calls_its_points_or_hands_over_to_them(n: int) -> None:
    assert len(drive(star("C", spokes(n)), {}).steps) == 2 * n + 1
    one_way = drive(star("C", spokes(n), bidirectional=False), {})
    assert (len(one_way.steps), one_way.values) == (n + 1, spokes(n))


@pytest.mark.parametrize("n", SIZES)
def test_a_broadcast_takes_one_step_more_with_replies(n: int) -> None:
    assert len(drive(broadcast("B", spokes(n)), {}).steps) == n + 1
    replies = drive(broadcast("B", spokes(n), allow_replies=True), {})
    assert (len(replies.steps), replies.final) == (n + 2, "B")


@pytest.mark.parametrize("widths", [(1,), (3,), (1, 1, 1), (1, 3, 1), (2, 2), (2, 3, 2), (1, 2, 2, 1)])
@pytest.mark.parametrize("parallel", [False, True])
def test_a_pipeline_takes_a_step_for_each_agent(widths: tuple[int, ...], parallel: bool) -> None:
    stages = [[f"P{i}{j}" for j in range(width)] for i, width in enumerate(widths)]
    out = drive(pipeline(stages, parallel_within_stage=parallel), {}, seed=1)
    assert sorted(out.path) == [name for stage in stages for name in stage]
    assert out.values == stages[-1]


def test_a_tree_takes_two_steps_for_each_inner_node_and_one_for_each_leaf() -> None:
    out = drive(hierarchical({"T": ["U", "V", "L"], "U": ["M", "N"], "V": ["O"]}), {})
    assert (len(out.steps), out.final) == (2 * 3 + 4, "T")


@pytest.mark.parametrize("full", [False, True])
def test_a_mesh_takes_one_step(full: bool) -> None:
    assert drive(mesh(["A", "B", "C"], fully_connected=full), {}).path == ["A"]


@pytest.mark.parametrize("n", [2, 3, 5])
@pytest.mark.parametrize("rounds", [1, 2, 3])
@pytest.mark.parametrize("both_ways", [False, True])
def test_a_ring_goes_round_as_often_as_it_says(n: int, rounds: int, both_ways: bool) -> None:
    out = drive(ring(spokes(n), bidirectional=both_ways, rounds=rounds), {})
    assert out.path == spokes(n) * rounds
    assert out.final == f"S{n - 1}"


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("rounds", [1, 2, 3])
def test_a_debate_hears_every_debater_in_every_round(n: int, rounds: int) -> None:
    out = drive(debate(spokes(n), "J", rounds=rounds), {})
    assert len(out.steps) == rounds * (n + 1) + 1
    assert (out.path.count("J"), out.final) == (rounds + 1, "J")


@pytest.mark.parametrize("items", [0, 1, 2, 5])
def test_map_reduce_takes_a_step_for_each_item_and_two_more(items: int) -> None:
    split = [f"item {i}" for i in range(items)]
    out = drive(map_reduce("S", ["W1", "W2"], "R"), {"S": [split], "W1": lambda item: item.upper()})
    assert (len(out.steps), out.final) == (items + 2, "R")
    assert [value for _, node, value in out.steps if node in ("W1", "W2")] == split
