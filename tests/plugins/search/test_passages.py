import pytest
from hypothesis import given
from hypothesis import strategies as st

from marsys.search.passages import (
    FRAME,
    INCOMPLETE,
    NOTHING_FOUND,
    Passage,
    read_message,
    write_answer,
    write_passages,
)

# Pieces that the convention gives a meaning, among ordinary ones.
_tricky = st.sampled_from(
    [
        "[source: a, line 1]",
        "[from X]",
        "Question: why?",
        "Sources:",
        "[1] a, line 2",
        "\\",
        " ",
        "x",
        "[2]",
        "¶",
        ".",
    ]
)
_line = st.lists(
    _tricky | st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"])), max_size=4
)
_line = _line.map("".join)
_text = st.lists(_line, min_size=1, max_size=4).map("\n".join).map(lambda text: text.strip("\n"))
_names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12) | st.just(
    "a, lines 1-2]\nb\\n"
)


@st.composite
def passages(draw, text=_text):
    first = draw(st.integers(1, 9999))
    last = first + draw(st.integers(0, 50))
    return Passage(source=draw(_names), first=first, last=last, text=draw(text))


@pytest.mark.slow
@given(st.lists(passages(), max_size=4))
def test_blocks_are_read_back_as_they_were_written(written):
    found = read_message(write_passages(written))
    assert found.passages == written
    assert (found.question, found.plain, found.labels) == ("", [], [])


@pytest.mark.slow
@given(
    st.text(st.sampled_from("why? Qs:"), min_size=1), st.lists(passages(_line.filter(str.strip)), max_size=5)
)
def test_answers_are_read_back_as_they_were_written(question, quotes):
    found = read_message(write_answer(question, quotes, incomplete=True))
    assert found.question == " ".join(question.split())
    assert sorted(found.passages, key=repr) == sorted(quotes, key=repr)
    assert all(each.quoted for each in found.passages)
    assert found.plain == []


def test_a_block_shows_its_source_and_lines():
    written = write_passages([Passage(source="railways.txt", first=10, last=24, text="One.\nTwo.")])
    assert written == "[source: railways.txt, lines 10-24]\nOne.\nTwo."


def test_an_answer_cites_each_sentence_and_lists_a_place_once():
    quotes = [
        Passage(source="a.txt", first=1, last=2, text="One."),
        Passage(source="b.txt", first=7, last=7, text="Two."),
        Passage(source="a.txt", first=1, last=2, text="Three."),
    ]
    assert write_answer("Why?", quotes) == (
        "Question: Why?\n\nOne. [1]\nTwo. [2]\nThree. [1]\n\nSources:\n[1] a.txt, lines 1-2\n[2] b.txt, line 7\n\n"
        + FRAME
    )


def test_an_answer_without_quotes_says_so_and_cites_nothing():
    assert write_answer("Why?", []) == f"Question: Why?\n\n{NOTHING_FOUND}"
    assert write_answer("Why?", [], incomplete=True).endswith(f"{NOTHING_FOUND}\n{INCOMPLETE}")


def test_answers_under_labels_are_read_with_their_own_numbers():
    one = write_answer("Why?", [Passage(source="a.txt", first=1, last=2, text="One.")])
    two = write_answer("Why?", [Passage(source="b.txt", first=3, last=3, text="Two.")])
    none = write_answer("Why?", [])
    text = f"[from R1 (branch 0.0)]\n{one}\n\n[from R2 (branch 0.1)]\n{none}\n\n[from R3 (branch 0.2)]\n{two}"
    found = read_message(text)
    assert [(each.place, each.text) for each in found.passages] == [
        ("a.txt, lines 1-2", "One."),
        ("b.txt, line 3", "Two."),
    ]
    assert found.labels == ["R1 (branch 0.0)", "R2 (branch 0.1)", "R3 (branch 0.2)"]
    assert (found.question, found.plain) == ("Why?", [])


def test_plain_text_is_kept_under_its_label():
    found = read_message("Look at this.\n\n[from R1]\nOne.\n\nTwo.")
    assert [(each.source, each.last, each.text) for each in found.plain] == [
        ("", 1, "Look at this."),
        ("R1", 3, "One.\n\nTwo."),
    ]


def test_a_question_ends_a_block():
    found = read_message("[source: a.txt, line 1]\nThe canal.\n\nquestion: Which canal?")
    assert found.question == "Which canal?"
    assert found.passages == [Passage(source="a.txt", first=1, last=1, text="The canal.")]


def test_a_citation_without_its_source_stays_plain_text():
    found = read_message("One. [1]\nTwo. [2]\n\nSources:\n[1] a.txt, line 4")
    assert [each.text for each in found.passages] == ["One."]
    assert [each.text for each in found.plain] == ["Two."]
