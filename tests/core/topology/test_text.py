from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from marsys_core.errors import TopologyError
from marsys_core.topology import Dispatch, Edge, EdgePattern, NodeKind, Topology
from marsys_core.topology.text import MAX_TEXT
from tests.core.topology.strategies import written


def edges(text: object) -> list[str]:
    return [str(edge) for edge in Topology.of(text).edges]


def test_a_chain_is_an_edge_for_each_arrow():
    assert edges("A -> B <-> C->D") == ["A -> B", "B <-> C", "C -> D"]


def test_statements_are_separated_by_lines_and_semicolons_or_listed():
    expected = ["A -> B", "B -> C"]
    assert edges("A -> B; B -> C") == expected
    assert edges("A -> B  # first\n\n# nothing\nB -> C;;\r\n") == expected
    assert edges(["A -> B", "B -> C"]) == expected


def test_a_conversation_is_an_arrow_of_its_own_with_its_number_of_turns():
    first, second, third = Topology.of("A <~> B -> C <~6> D; A <~10> B").edges
    assert (first.pattern, first.max_turns, first.bidirectional) == (EdgePattern.ALTERNATING, 10, False)
    assert second.pattern is None
    assert third == Edge("C", "D", pattern="alternating", max_turns=6)
    assert edges("A <~> B -> C <~6> D") == ["A <~> B", "B -> C", "C <~6> D"]


def test_a_node_alone_is_declared():
    assert list(Topology.of("B; A -> B; C").nodes) == ["B", "A", "C"]


def test_a_group_to_the_right_of_a_node_makes_it_fork_to_all():
    topology = Topology.of("A -> [B, C] -> D -> [E]")
    assert edges("A -> [B, C] -> D") == ["A -> B", "A -> C", "B -> D", "C -> D"]
    assert topology.nodes["A"].dispatch is Dispatch.ALL
    assert topology.nodes["D"].dispatch is None


def test_a_group_does_not_change_a_dispatch_that_is_set():
    topology = Topology([{"name": "A", "dispatch": "agent"}, "B", "C"], ["A -> [B, C]"])
    assert topology.nodes["A"].dispatch is Dispatch.AGENT


def test_start_and_end_beside_one_agent_make_no_fork():
    topology = Topology.of("start -> A -> [B, end]")
    assert topology.nodes["A"].dispatch is None
    assert topology.nodes["start"].dispatch is None


def test_between_two_wide_groups_stands_a_gather_node():
    topology = Topology.of("gather:1 -> Z; [A, B] -> [C, D] -> [E, F]")
    assert topology.nodes["gather:2"].kind is NodeKind.GATHER
    assert edges("[A, B] -> [C, D]") == ["A -> gather:1", "B -> gather:1", "gather:1 -> C", "gather:1 -> D"]
    assert "gather:3" in topology.nodes


def test_an_edge_to_end_leads_past_the_gather_node():
    assert "A -> end" in edges("[A, B] -> [C, D, end]")
    assert "gather:1 -> end" not in edges("[A, B] -> [C, D, end]")


def test_statements_of_a_list_do_not_share_a_gather_node():
    topology = Topology.of(["[A, B] -> [C, D]", "[E, F] -> [G, H]"])
    assert {"gather:1", "gather:2"} <= set(topology.nodes)


def test_names_may_have_spaces_in_quotes_and_letters_of_any_script():
    topology = Topology.of('"Chief Editor" -> Überträger -> 作家 -> A.b-c:1_d')
    assert list(topology.nodes) == ["Chief Editor", "Überträger", "作家", "A.b-c:1_d"]
    assert Topology.of(str(topology)) == topology


def test_reserved_names_are_known_in_any_case():
    topology = Topology.of("START -> A -> End; A -> User")
    assert list(topology.nodes) == ["start", "A", "end", "user"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("A -> B\nA -> ", "line 2, column 5: expected a name\n    A ->\n        ^"),
        ("A -> [B, C", "line 1, column 6: this group is not closed on its line\n    A -> [B, C\n         ^"),
        ("A -> [B C]", "line 1, column 9: expected ',' or ']'\n    A -> [B C]\n            ^"),
        ("A -> [B, B]", "line 1, column 10: 'B' stands twice in one group\n    A -> [B, B]\n             ^"),
        ("A -> []", "line 1, column 7: expected a name\n    A -> []\n          ^"),
        (
            "A B",
            "line 1, column 3: expected '->', '<->', '<~>', ';' or the end of the line\n    A B\n      ^",
        ),
        (
            "A <~> [B, C]",
            "line 1, column 3: a conversation is between two nodes; write one on either side of it\n"
            "    A <~> [B, C]\n      ^",
        ),
        (
            "A <~0> B",
            "line 1, column 3: a conversation has a whole number of turns from 1, as in A <~6> B\n"
            "    A <~0> B\n      ^",
        ),
        (
            "A <~ 6> B",
            "line 1, column 3: this is no arrow; there are ->, <-> and <~>\n    A <~ 6> B\n      ^",
        ),
        (
            "[A, B] <-> [C, D]",
            "line 1, column 8: two groups cannot be joined with <->; write one statement for each node\n"
            "    [A, B] <-> [C, D]\n           ^",
        ),
        ("A => B", "line 1, column 3: this is no arrow; there are ->, <-> and <~>\n    A => B\n      ^"),
        ('A -> "B', 'line 1, column 6: this quote is not closed on its line\n    A -> "B\n         ^'),
        (
            "A -> B(C)",
            "line 1, column 7: '(' cannot stand here; names with spaces are written in double quotes\n"
            "    A -> B(C)\n          ^",
        ),
        (
            'A -> "B/C"',
            "line 1, column 8: this cannot be a name: '/' is not a letter, a digit, a space or one of _ - . :\n"
            '    A -> "B/C"\n           ^',
        ),
        ("A <-> A", "node 'A' cannot call itself; write A -> A for a hand-off to itself"),
        ("A <~> A", "node 'A' cannot be in conversation with itself; name another node"),
        (
            "A <~> B; A <~6> B",
            "edge A <~6> B stands beside A <~> B, and between two nodes a conversation is alone; keep one",
        ),
    ],
)
def test_an_error_shows_the_statement_and_the_place(text, message):
    with pytest.raises(TopologyError) as caught:
        Topology.of(text)
    assert str(caught.value) == message


def test_what_cannot_be_printed_is_not_repeated_in_a_message():
    with pytest.raises(TopologyError) as caught:
        Topology.of("A -> \x1b[31mred")
    assert "\x1b" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 200_000,
        "-" * 200_000,
        '"' * 200_000,
        "<" * 200_000,
        "->" * 100_000,
        "\0" * 200_000,
        "a" + " " * 200_000 + "!",
    ],
    ids=["brackets", "dashes", "quotes", "angles", "arrows", "nulls", "spaces"],
)
def test_a_long_hostile_text_fails_with_a_short_message(text):
    with pytest.raises(TopologyError) as caught:
        Topology.of(text)
    assert len(str(caught.value)) < 500


def test_a_text_that_is_too_long_is_not_read_at_all():
    with pytest.raises(
        TopologyError, match=r"^a topology in text form has at most 250000 characters, and this has 250001;"
    ):
        Topology.of("[" * (MAX_TEXT + 1))


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(st.text(alphabet='AB[]<->~6,;#" \n\t=é\0gather:1', max_size=40) | st.text(max_size=30))
@example("A->-")
@example("A<~>B;A->C;A<~6>B")
@example("A->[B,C];A<~6>D")
@example("gather:1 -> gather:1; [A,B]->[A,B]")
def test_the_reader_raises_nothing_but_topology_errors(text):
    try:
        topology = Topology.of(text)
    except TopologyError:
        return
    assert Topology.of(str(topology)) == topology


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(written())
@example("[A, B] -> A; A -> [A, B]")
@example("A -> B; A <~> C; A -> [B, D]; D <~2> E")
def test_what_was_read_is_written_so_that_it_reads_the_same(text):
    topology = Topology.of(text)
    assert Topology.of(str(topology)) == topology
