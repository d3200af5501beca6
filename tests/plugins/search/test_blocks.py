import pytest
from hypothesis import given
from hypothesis import strategies as st

from marsys.search.blocks import closed_fences, split_blocks


def blocks(text):
    return [(each.kind, text[each.start : each.end].strip()) for each in split_blocks(text)]


def test_wrapped_prose_is_one_block():
    assert blocks("One\ntwo\nthree.\n\nFour.") == [("text", "One\ntwo\nthree."), ("text", "Four.")]


def test_a_paragraph_separator_ends_a_block():
    assert blocks("One\u2029two\u2029\nthree") == [("text", "One"), ("text", "two"), ("text", "three")]


def test_headings_items_and_rows_are_blocks_of_their_own():
    text = "# On fruit\nPears cost\n4 euros\n- apples\n  are red\n2. plums\n| a | b |\n| c | d |\nEnd"
    assert blocks(text) == [
        ("heading", "# On fruit"),
        ("text", "Pears cost\n4 euros"),
        ("text", "- apples\n  are red"),
        ("text", "2. plums"),
        ("text", "| a | b |"),
        ("text", "| c | d |"),
        ("text", "End"),
    ]


def test_one_line_that_is_underlined_is_a_heading():
    assert blocks("Fruit\n-----\nPears\n\nTwo\nlines\n===\nEnd") == [
        ("heading", "Fruit\n-----"),
        ("text", "Pears"),
        ("text", "Two\nlines\n==="),
        ("text", "End"),
    ]


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ("Before\n```\na\n\nb\n```\nAfter", ["text", "code", "code", "code", "code", "code", "text"]),
        ("~~~ python\na\n~~~\nAfter", ["code", "code", "code", "text"]),
        ("Before\n```python\na", ["text", "code", "code"]),
        ("a\n```\nAfter", ["code", "code", "text"]),
        ("````\n```\na\n````\nAfter", ["code", "code", "code", "code", "text"]),
        ("Under\n~~~~~\nAfter", ["text"]),
    ],
)
def test_what_is_between_fences_is_code_also_where_one_is_missing(text, kinds):
    assert [each.kind for each in split_blocks(text)] == kinds


def test_an_open_fence_is_not_a_closed_one():
    text = "```\na\n```\n\n```\nb"
    assert closed_fences(text) == [(0, 9)]


@given(st.text(st.sampled_from("a \n#-|`=1.\u2029"), max_size=60))
def test_all_but_white_space_is_in_exactly_one_block(text):
    found = split_blocks(text)
    assert all(one.end <= other.start for one, other in zip(found, found[1:], strict=False))
    assert "".join(text.split()) == "".join("".join(text[each.start : each.end].split()) for each in found)
