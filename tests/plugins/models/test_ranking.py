import pytest
from hypothesis import given
from hypothesis import strategies as st

from marsys.models.ranking import best_sentences
from marsys.search.passages import Passage


def passage(text, *, source="a.txt", first=1, last=None, quoted=False):
    last = first + text.count("\n") if last is None else last
    return Passage(source=source, first=first, last=last, text=text, quoted=quoted)


def chosen(question, *passages, limit=6):
    return [(each.place, each.text) for each in best_sentences(question, passages, limit=limit)]


def test_sentences_come_with_their_own_lines_in_the_order_of_their_sources():
    one = passage(
        "Canal ships are made of steel.\nThe canal is for ships and\nfor barges.", source="b.txt", first=7
    )
    two = passage("A canal joins two seas for ships.", source="a.txt")
    assert chosen("canal ships", one, two) == [
        ("a.txt, line 1", "A canal joins two seas for ships."),
        ("b.txt, line 7", "Canal ships are made of steel."),
        ("b.txt, lines 8-9", "The canal is for ships and for barges."),
    ]


def test_a_passage_without_the_line_breaks_of_its_file_keeps_its_lines():
    assert chosen("canal", passage("The canal is long indeed, they report.", first=3, last=9)) == [
        ("a.txt, lines 3-9", "The canal is long indeed, they report.")
    ]


def test_the_sentence_with_more_of_the_question_wins():
    texts = passage("The canal crosses the isthmus near Panama. The canal brings revenue to farmers.")
    assert [text for _, text in chosen("Where does the canal cross the isthmus?", texts, limit=1)] == [
        "The canal crosses the isthmus near Panama."
    ]


def test_near_duplicates_are_left_out():
    one = passage("The canal was opened to ships in that very summer.", source="a.txt")
    two = passage("The canal was opened to the ships in that very same summer.", source="b.txt")
    assert len(chosen("canal ships", one, two)) == 1


def test_a_passage_given_twice_counts_once():
    text = passage("The canal was opened to ships in summer.")
    assert len(chosen("canal ships", text, text)) == 1


def test_several_sources_are_preferred_to_one():
    one = passage(
        "The canal helps trade of cotton. The canal aids trade of grain. A canal moves trade in coal."
    )
    two = passage("Trade wants the canal for timber.", source="b.txt")
    found = chosen("canal trade", one, two, limit=2)
    assert "b.txt, line 1" in [place for place, _ in found]


def test_one_common_word_is_not_an_answer():
    assert chosen("best recipe for pancakes with syrup", passage("The best harbor is deep and safe.")) == []
    assert (
        chosen("people of Norway and Sweden", passage("The people there were content with harvests.")) == []
    )


def test_headings_questions_and_scraps_are_not_quoted():
    text = passage("# The canal and the ships of the isthmus\n\nWhat is the canal for ships?\n\nCanal ships.")
    assert chosen("canal ships", text) == []


@pytest.mark.parametrize(
    ("text", "quoted"),
    [
        ("Canal ships cost 4 euros", ["Canal ships cost 4 euros"]),
        ("- Canal ships cost 4 euros\n- Trains are free", ["Canal ships cost 4 euros"]),
        ("# Prices\nCanal ships are cheap\nin every summer", ["Canal ships are cheap in every summer"]),
        ("| Canal ships | 4 euros |\n| Trains | free |", ["| Canal ships | 4 euros |"]),
        ("Canal ships cost 4 euros\u2029Trains are free", ["Canal ships cost 4 euros"]),
        ("# Canal ships cost 4 euros", []),
        ("Canal Ships and Their Prices", []),
        ("What canal ships cost in euros?", []),
        ("Canal ships cost the following:", []),
        ("```\ncanal ships cost 4 euros\n```", []),
        ("canal ships " * 31, []),
    ],
)
def test_the_end_of_a_block_ends_a_sentence_without_a_full_stop(text, quoted):
    assert [found for _, found in chosen("canal ships", passage(text))] == quoted


def test_a_sentence_with_a_full_stop_is_preferred_to_a_line_without():
    text = passage("Canal ships carry grain\n\nCanal ships carry coal.")
    assert [found for _, found in chosen("canal ships", text, limit=1)] == ["Canal ships carry coal."]


def test_what_another_agent_quoted_need_not_have_its_surroundings():
    text = "The canal will be of great benefit to farmers."
    question = "Why dig a canal across the isthmus of Panama?"
    assert chosen(question, passage(text)) == []
    assert len(chosen(question, passage(text, quoted=True))) == 1


def test_no_texts_give_no_sentences():
    assert chosen("canal") == []
    assert chosen("canal", passage("")) == []


@given(
    st.lists(st.text(st.sampled_from("canal ship.\n A!?\"'"), max_size=60), max_size=5),
    st.integers(1, 4),
    st.booleans(),
)
def test_every_sentence_is_a_stretch_of_its_source(texts, limit, quoted):
    passages = [passage(text, source=f"{n}.txt", quoted=quoted) for n, text in enumerate(texts)]
    found = best_sentences("canal ships", passages, limit=limit)
    assert len(found) <= limit
    whole = {each.source: " ".join(each.text.split()) for each in passages}
    assert all(each.text in whole[each.source] for each in found)
    assert found == best_sentences("canal ships", passages, limit=limit)
