from __future__ import annotations

import time
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marsys_core.errors import TopologyError
from marsys_core.topology import Edge, Graph, Node, Topology


def meeting(text: str, invoker: str, targets: str, flagged: str = "") -> str:
    topology = Topology.of(text)
    for name in flagged.split():
        topology.update_node(name, is_convergence_point=True)
    return topology.graph.meeting(invoker, targets.split())


def test_spokes_meet_at_their_hub():
    assert meeting("H <-> [S1, S2, S3]", "H", "S1 S2 S3") == "H"


def test_branches_of_a_diamond_meet_where_it_closes():
    assert meeting("A -> [B, C] -> D -> E", "A", "B C") == "D"


def test_an_edge_to_end_beside_the_diamond_does_not_count():
    assert meeting("A -> [B, C] -> D; B -> end", "A", "B C") == "D"


def test_an_edge_to_the_user_does_not_count():
    assert meeting("A -> [B, C] -> D; B -> user", "A", "B C") == "D"


def test_a_flagged_node_is_preferred_to_a_nearer_common_one():
    assert meeting("A -> [B, C] -> D -> E", "A", "B C", flagged="E") == "E"


def test_a_flagged_node_need_not_be_on_every_path():
    assert meeting("A -> [B1, B2]; B1 -> D; B2 -> D; B2 -> Alt", "A", "B1 B2", flagged="D") == "D"


def test_without_the_flag_two_dead_ends_have_no_node_in_common():
    assert meeting("A -> [B1, B2]; B1 -> D; B2 -> D; B2 -> Alt", "A", "B1 B2") == "A"


def test_a_flagged_node_that_one_target_does_not_reach_is_passed_over():
    text = "A -> [B1, B2]; B1 -> C; B2 -> A; C -> A"
    assert meeting(text, "A", "B1 B2", flagged="C") == "A"


def test_of_two_flagged_nodes_at_one_distance_the_first_by_name_wins():
    assert meeting("A -> [B, C]; B -> [Y, X]; C -> [Y, X]", "A", "B C", flagged="X Y") == "X"


def test_the_distance_to_a_flagged_node_is_that_of_the_farthest_target():
    text = "A -> [B, C]; B -> F; C -> M -> F; B -> N -> G; C -> N"
    assert meeting(text, "A", "B C", flagged="F G") == "F"
    assert meeting(text + "; M -> K -> G", "A", "B M", flagged="F G") == "F"


def test_a_target_can_be_the_meeting_node():
    assert meeting("A -> [B, C]; B -> C", "A", "B C") == "C"


def test_a_target_that_all_calls_name_is_not_the_meeting_node():
    assert meeting("A -> W -> J", "A", "W W W") == "J"
    assert meeting("H <-> W", "H", "W W") == "H"
    assert meeting("A -> W -> J", "A", "W W", flagged="W J") == "J"


def test_a_call_to_end_is_a_call_to_another_node():
    assert meeting("A -> [W, end] ; W -> J", "A", "W end") == "W"


def test_targets_that_only_ask_or_end_meet_at_the_invoking_node():
    assert meeting("A -> [user, end]", "A", "user end") == "A"


def test_a_target_in_a_closed_cycle_leaves_only_the_invoking_node():
    assert meeting("A -> [B, C]; B -> C; C -> D; D -> C", "A", "B C") == "A"


def test_paths_stop_at_the_invoking_node():
    # Behind H everything would meet at Z.
    assert meeting("H <-> [S1, S2]; H -> Z", "H", "S1 S2") == "H"


def test_a_gather_node_can_be_met():
    assert meeting("start -> A -> [B, C] -> [D, E]", "A", "B C") == "gather:1"


def test_several_entries_meet_like_a_fork_at_start():
    assert meeting("[A, B] -> C", "start", "A B") == "C"
    assert meeting("A; B", "start", "A B") == "start"


def test_a_node_that_leads_only_to_itself_is_a_dead_end():
    assert meeting("A -> [B, C] -> D; D -> D", "A", "B C") == "D"


def test_an_unknown_target_is_an_error():
    graph = Topology.of("A -> [Writer, C]").graph
    with pytest.raises(TopologyError, match=r"no node is called 'Wrter'.* Did you mean 'Writer'\?"):
        graph.meeting("A", ["Wrter", "C"])


def test_leads_back_says_whether_some_target_can_return():
    graph = Topology.of("A -> [B, C]; C -> D -> A").graph
    assert not graph.leads_back("A", ["B"])
    assert graph.leads_back("A", ["B", "C"])
    assert not graph.leads_back("start", ["A"])
    assert graph.leads_back("A", ["A"])


def test_meetings_are_still_right_after_more_than_are_kept():
    graph = Topology.of("H <-> [" + ", ".join(f"S{n}" for n in range(70)) + "]").graph
    for one, other in product(range(70), repeat=2):
        graph.meeting("H", [f"S{one}", f"S{other}"])
    assert graph.meeting("H", ["S0", "S1"]) == "H"


def test_a_thousand_targets_meet_quickly():
    names = [f"S{n}" for n in range(1000)]
    graph = Graph({n: Node(n) for n in ["H", *names]}, [Edge("H", n, bidirectional=True) for n in names])
    assert graph.meeting("H", names) == "H"
    began = time.perf_counter()
    for _ in range(20):
        graph.meeting("H", names)
    assert (time.perf_counter() - began) / 20 < 0.001


# -- against a reference that looks at paths only -------------------------------------------------


def reached(out: dict[str, set[str]], start: str, without: str | None = None) -> dict[str, int]:
    """The distances of all that can be reached from `start` without entering `without`."""
    if start == without:
        return {}
    found, layer = {start: 0}, [start]
    while layer:
        layer = [after for name in layer for after in out[name] if after != without]
        layer = [name for name in dict.fromkeys(layer) if name not in found]
        found.update(dict.fromkeys(layer, max(found.values()) + 1))
    return found


def reference(out: dict[str, set[str]], flagged: set[str], invoker: str, calls: list[str]) -> str:
    cut = {name: set() if name == invoker else after - {name} for name, after in out.items()}
    ends = {name for name, after in cut.items() if not after}
    targets = [call for call in calls if call in out]
    allowed = set(out) - (set(calls) if len(set(calls)) == 1 else set())
    away = {target: reached(cut, target) for target in targets}

    def nearest(names: set[str]) -> str:
        return min(names, key=lambda name: (max(away[target][name] for target in targets), name))

    everywhere = {name for name in allowed if targets and all(name in away[target] for target in targets)}
    if found := everywhere & flagged:
        return nearest(found)
    if all(ends & set(away[target]) for target in targets):
        common = {n for n in everywhere if not any(ends & set(reached(cut, t, without=n)) for t in targets)}
        if common:
            return nearest(common)
    return invoker


@st.composite
def forks(draw: st.DrawFn):
    names = [*"ABCDEFGH"][: draw(st.integers(2, 8))]
    pairs = st.tuples(st.sampled_from(names), st.sampled_from([*names, "end"]), st.booleans())
    links = draw(st.lists(pairs, max_size=14))
    flagged = draw(st.sets(st.sampled_from(names), max_size=2))
    invoker = draw(st.sampled_from([*names, "start"]))
    calls = draw(st.lists(st.sampled_from([*names, "end"]), min_size=1, max_size=4))
    return names, links, flagged, invoker, calls


@settings(max_examples=500, deadline=None)
@given(forks())
@pytest.mark.slow
def test_the_meeting_node_is_that_of_the_definition(fork):
    names, links, flagged, invoker, calls = fork
    out: dict[str, set[str]] = {name: set() for name in names}
    edges = []
    for source, target, both in links:
        both = both and target not in (source, "end")
        edges.append(Edge(source, target, bidirectional=both))
        if target != "end":
            out[source].add(target)
            if both:
                out[target].add(source)
    nodes = {name: Node(name, is_convergence_point=name in flagged) for name in names}
    graph = Graph({**nodes, "start": Node("start"), "end": Node("end")}, edges)
    assert graph.meeting(invoker, calls) == reference(out, flagged, invoker, calls)
    back = any(invoker in reached(out, call) for call in calls if call in out)
    assert graph.leads_back(invoker, calls) == back
