import pytest

from marsys.search.words import keywords, stem, terms, words


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("railways", "railway"),
        ("canals", "canal"),
        ("policies", "policy"),
        ("regulating", "regulated"),
        ("planned", "planning"),
        ("churches", "church"),
        ("taxes", "tax"),
        ("duly", "duly"),
    ],
)
def test_forms_of_one_word_share_a_stem(one, other):
    assert stem(one) == stem(other)


@pytest.mark.parametrize("word", ["king", "bring", "red", "class", "gas", "bus", "this"])
def test_short_words_keep_what_only_looks_like_an_ending(word):
    assert stem(word) == word


def test_words_are_lower_case_without_possessives():
    assert words("The Nation's O’Neil, don't_stop") == ["the", "nation", "o’neil", "don't", "stop"]


def test_keywords_leave_out_stop_words_and_repetitions():
    assert keywords("Why should the canal be a canal?") == ["canal"]


def test_a_query_of_stop_words_keeps_them():
    assert keywords("To be or not to be") == ["to", "be", "or", "not"]


def test_terms_keep_repetitions():
    assert terms("The canal and the canals") == ["canal", "canal"]
