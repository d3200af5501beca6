import pytest
from hypothesis import given
from hypothesis import strategies as st

from marsys.search.sentences import split_sentences


def texts(text):
    return [sentence.text for sentence in split_sentences(text)]


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("Mr. Gray met Dr. Hill. They talked.", 2),
        ("J. P. Morgan lent it. Nobody asked.", 2),
        ("It cost $1.5 million. It was worth 2.25 times that.", 2),
        ("See No. 5 of vol. 3, pp. 10-12. Then stop.", 2),
        ("He said, “Go on!” and left. She stayed.", 2),
        ('He said "Stop." Then he stopped.', 2),
        ("The U.S. Navy sailed. It came back to the U.S. The war was over.", 3),
        ("They met at 5 p.m. on Monday. It rained.", 2),
        ("Really? Yes! Well... Perhaps.", 4),
        ("It ended in Dec. 1914 or so. Who knows?", 2),
        ("He was sixty (or older). Few knew it.", 2),
        ("wait. what follows is lower case", 1),
        ("Neither you nor I. That is all.", 2),
        ("", 0),
        (" \n\n ", 0),
    ],
)
def test_sentences_end_where_a_reader_would_say_so(text, count):
    assert len(texts(text)) == count


def test_a_sentence_may_run_over_lines_and_ends_at_a_blank_one():
    assert texts("One that\nruns on. Two\n\nthree.") == ["One that runs on.", "Two", "three."]


def test_list_items_and_headings_are_apart_and_lose_their_marks():
    assert texts("# On canals\n- first item\n- second item\n1. third item") == [
        "On canals",
        "first item",
        "second item",
        "1. third item",
    ]


def test_a_sentence_knows_where_it_lies():
    text = "One.  \n Two goes on.\n\n- Three."
    assert [text[each.start : each.end] for each in split_sentences(text)] == [
        "One.",
        "Two goes on.",
        "Three.",
    ]


@given(st.text(st.sampled_from('aB1.!?"” \n-#('), max_size=60))
def test_no_word_is_lost_and_none_is_made_up(text):
    found = split_sentences(text)
    for sentence in found:
        assert sentence.text == " ".join(text[sentence.start : sentence.end].split())
    assert [each.start for each in found] == sorted(each.start for each in found)

    def letters(line):
        return [letter for letter in line if letter.isalnum()]

    assert letters(text) == letters("".join(each.text for each in found))


def test_headings_and_code_are_no_prose():
    text = "# On canals\nThey are long\n\n```\nx = 1\n```"
    assert [(each.text, each.is_prose) for each in split_sentences(text)] == [
        ("On canals", False),
        ("They are long", True),
        ("```", False),
        ("x = 1", False),
        ("```", False),
    ]
