from __future__ import annotations

from marsys_core.topology import Pattern, Topology


def test_a_mermaid_drawing_has_numbered_identifiers_and_shapes_by_kind():
    topology = Topology.of('start -> "Chief Editor" -> [B, C] -> [D, E] -> end; D <-> user')
    topology.update_node("D", is_convergence_point=True)
    assert topology.to_mermaid() == (
        "flowchart TD\n"
        '    n0(["start"])\n'
        '    n1["Chief Editor (all)"]\n'
        '    n2["B"]\n'
        '    n3["C"]\n'
        '    n4{{"gather:1"}}\n'
        '    n5[["D"]]\n'
        '    n6["E"]\n'
        '    n7(["end"])\n'
        '    n8[/"user"/]\n'
        "    n0 --> n1\n    n1 --> n2\n    n1 --> n3\n    n2 --> n4\n    n3 --> n4\n    n4 --> n5\n    n4 --> n6\n"
        "    n5 --> n7\n    n6 --> n7\n    n5 <--> n8\n"
    )


def test_a_text_drawing_shows_what_is_set_and_where_edges_lead():
    topology = Topology(
        [{"name": "A", "dispatch": "all", "limit": 1, "rounds": 2}, {"name": "B", "agent": 'gpt"]'}],
        ["A <-> B", "B -> end"],
    )
    assert topology.to_text() == "A (all, limit 1, 2 rounds)\n  <-> B\nB (agent gpt??)\n  -> end\nend\n"


def test_what_is_not_declared_is_drawn_as_unknown():
    topology = Topology(["A"], ["A -> B"])
    assert '    n1["B (unknown)"]\n    n0 --> n1\n' in topology.to_mermaid()
    assert topology.to_text() == "A\n  -> B (unknown)\n"


def test_a_conversation_is_drawn_with_an_arrow_of_its_own():
    topology = Topology.of("A <~6> B; A -> C; B <~> D")
    assert topology.to_text() == "A\n  <~6> B\n  -> C\nB\n  <~> D\nC\nD\n"
    assert '    n0 <-.->|"6 turns"| n1\n    n0 --> n2\n    n1 <-.->|"10 turns"| n3\n' in topology.to_mermaid()
    assert '    "A" -> "B" [dir=both, style=dashed, label="6 turns"];\n    "A" -> "C";\n' in topology.to_dot()
    assert str(topology) == "A <~6> B\nA -> C\nB <~> D"


def test_nothing_is_drawn_as_nothing():
    assert Topology().to_text() == ""
    assert Topology().to_mermaid() == "flowchart TD\n"


def test_a_topology_shows_its_size():
    assert repr(Topology.of("A -> B")) == "<Topology: 2 nodes, 1 edges>"


def test_a_pattern_builds_a_topology():
    pattern = Pattern(
        "pair", build=lambda a, b: Topology.of(f"{a} <-> {b}"), summary="two that call each other"
    )
    assert pattern.build(a="A", b="B") == Topology.of("A <-> B")


def test_a_dot_drawing_quotes_names_and_shows_calls_both_ways():
    topology = Topology.of('start -> "Chief Editor" <-> B -> end')
    topology.update_node("B", is_convergence_point=True, agent='say "hi"\\')
    assert topology.to_dot() == (
        "digraph topology {\n"
        '    "start" [label="start", shape=oval];\n'
        '    "Chief Editor" [label="Chief Editor", shape=box];\n'
        '    "B" [label="B (agent say ?hi??)", shape=box, peripheries=2];\n'
        '    "end" [label="end", shape=oval];\n'
        '    "start" -> "Chief Editor";\n'
        '    "Chief Editor" -> "B" [dir=both];\n'
        '    "B" -> "end";\n'
        "}\n"
    )
