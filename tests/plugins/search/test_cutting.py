from hypothesis import given
from hypothesis import strategies as st

from marsys.search.cutting import cut
from marsys.search.reading import Document, Paragraph


def document(*paragraphs):
    return Document(name="a.txt", size=1, paragraphs=[Paragraph(text, first) for text, first in paragraphs])


def test_short_paragraphs_are_gathered_with_the_lines_between_them():
    (passage,) = cut(document(("Heading", 1), ("One\ntwo.", 4)), words=120)
    assert (passage.first, passage.last, passage.text) == (1, 5, "Heading\n\n\nOne\ntwo.")


def test_blocks_without_a_blank_line_between_are_kept_apart_by_a_paragraph_separator():
    (passage,) = cut(document(("One", 1), ("Two", 1), ("Three", 2), ("Four", 4)), words=120)
    assert (passage.first, passage.last, passage.text) == (1, 4, "One\u2029Two\u2029\nThree\n\nFour")


def test_a_full_passage_ends_at_a_paragraph():
    long = "word " * 29 + "end."
    found = cut(document((long, 1), (long, 3), (long, 5)), words=50)
    assert [(passage.first, passage.last) for passage in found] == [(1, 3), (5, 5)]


def test_a_long_paragraph_is_cut_where_a_sentence_ends():
    text = "\n".join(f"This is the sentence of line {n}." for n in range(1, 31))
    found = cut(document((text, 11)), words=20)
    assert all(passage.text.endswith(".") for passage in found)
    assert "\n".join(passage.text for passage in found) == text
    assert (found[0].first, found[-1].last) == (11, 40)


def test_a_sentence_without_an_end_is_cut_between_words():
    found = cut(document(("word " * 100, 1)), words=20)
    assert [len(passage.text.split()) for passage in found] == [30, 30, 30, 10]


@given(
    st.lists(st.lists(st.integers(1, 30), min_size=1, max_size=8), min_size=1, max_size=6), st.integers(5, 40)
)
def test_no_word_is_lost_and_each_line_of_a_passage_is_a_line_of_the_file(shape, words):
    lines, paragraphs = [], []
    for block in shape:
        text = [" ".join(f"w{len(lines)}x{n}" for n in range(size - 1)) + " End." for size in block]
        paragraphs.append(("\n".join(text).strip(), len(lines) + 1))
        lines += ["\n".join(text).strip().split("\n")[n] for n in range(len(text))] + [""]
    found = cut(document(*paragraphs), words=words)
    assert " ".join(passage.text for passage in found).split() == "\n".join(lines).split()
    for passage in found:
        assert len(passage.text.split()) <= max(words * 3 // 2, 1)
        got = passage.text.split("\n")
        assert passage.last - passage.first == len(got) - 1
        assert all(line.strip() in lines[passage.first - 1 + n] for n, line in enumerate(got))
