import re
import threading

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from marsys.search.index import FolderIndex
from marsys_core.errors import ConfigError, LifecycleError

_TEXTS = {
    "canal.txt": "Of canals\n\nThe canal was dug through the isthmus.\nShips pass it.",
    "rail.md": "# Railways\n\nThe railroad carries grain and coal.",
    "ship.html": "<p>Ships carry grain\nover the ocean.</p><script>canal canal canal</script>",
}


@pytest.fixture
def folder(tmp_path):
    for name, text in _TEXTS.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


@pytest.fixture
def index(folder):
    with FolderIndex.open(folder) as index:
        yield index


def test_passages_are_found_by_their_words_with_file_and_lines(index):
    (found,) = index.search("Which isthmus?")
    assert (found.place, found.text) == ("canal.txt, lines 1-4", _TEXTS["canal.txt"])
    assert found.score > 0


def test_the_best_passage_comes_first_and_forms_of_a_word_are_one(index):
    assert [each.source for each in index.search("ship grain oceans")] == [
        "ship.html",
        "rail.md",
        "canal.txt",
    ]


def test_scripts_are_not_searched(index):
    assert [each.source for each in index.search("canal")] == ["canal.txt"]


def test_the_limit_is_kept(index):
    assert len(index.search("ships grain", limit=2)) == 2
    assert index.search("ships", limit=0) == []


@pytest.mark.parametrize("query", ["", "???", '"', '" OR "', "* NEAR(", "_", "\0"])
def test_a_query_without_words_finds_nothing(index, query):
    assert index.search(query) == []


@pytest.mark.parametrize(
    "query", ["text:canal", "canal AND", 'canal" OR 1', "canal*", "-canal", "NOT canal", "^canal"]
)
def test_signs_and_operators_have_no_meaning_in_a_query(index, query):
    assert [each.source for each in index.search(query)] == ["canal.txt"]


def test_a_query_may_have_any_number_of_words(index):
    assert index.search("canal " + " ".join(f"w{n}" for n in range(5000)))


@pytest.mark.slow
@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.text(max_size=40) | st.text(st.sampled_from('"*():^-+{}AND NEAR canal'), max_size=40))
def test_no_query_is_an_error(index, query):
    assert len(index.search(query)) <= 3


@pytest.mark.parametrize("parts", [1, 2, 3, 5])
def test_each_file_is_in_exactly_one_part(index, parts):
    found = [name for part in range(1, parts + 1) for name in index.part_files(part, parts)]
    assert sorted(found) == list(index.files)


def test_parts_are_even_in_bytes(tmp_path):
    for number, size in enumerate([900, 500, 400, 300, 300]):
        (tmp_path / f"{number}.txt").write_text("x" * size)
    with FolderIndex.open(tmp_path) as index:
        assert [index.part_files(part, 2) for part in (1, 2)] == [
            ("0.txt", "3.txt"),
            ("1.txt", "2.txt", "4.txt"),
        ]


def test_a_part_is_searched_alone(index):
    found = [[each.source for each in index.search("grain canal", part=(part, 3))] for part in (1, 2, 3)]
    assert sorted(found) == [["canal.txt"], ["rail.md"], ["ship.html"]]


@pytest.mark.parametrize("part", [(0, 3), (4, 3), (1, 0)])
def test_a_part_that_is_not_there_is_an_error(index, part):
    with pytest.raises(
        ConfigError, match=rf"^no part {part[0]} of {part[1]}: the parts are numbered from 1 to"
    ):
        index.search("canal", part=part)


def test_a_closed_index_says_so(folder):
    index = FolderIndex.open(folder)
    index.close()
    index.close()
    with pytest.raises(LifecycleError, match=r"^the index is closed: open it again to search$"):
        index.search("canal")


def test_an_empty_folder_is_an_index_that_finds_nothing(tmp_path):
    with FolderIndex.open(tmp_path) as index:
        assert index.search("canal") == []


def test_an_index_in_a_file_is_made_anew(folder, tmp_path_factory):
    database = tmp_path_factory.mktemp("index") / "index.db"
    for _ in range(2):
        with FolderIndex.open(folder, database=database) as index:
            assert [each.source for each in index.search("canal")] == ["canal.txt"]
    (folder / "canal.txt").unlink()
    with FolderIndex.open(folder, database=database) as index:
        assert index.search("canal") == []
    assert database.stat().st_size > 0


def test_several_threads_may_search_at_once(index):
    found = []

    def look():
        found.extend(index.search("canal")[0].source for _ in range(20))

    threads = [threading.Thread(target=look) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == ["canal.txt"] * 80


def test_problems_of_reading_are_kept(folder):
    (folder / "bad.txt").write_bytes(b"\0")
    with FolderIndex.open(folder) as index:
        assert [str(problem) for problem in index.problems] == [
            "bad.txt: left out of the search: it is binary"
        ]
        assert not any(re.match("bad", name) for name in index.files)


def test_indexing_can_be_stopped_between_two_passages(folder, tmp_path_factory):
    database = tmp_path_factory.mktemp("index") / "index.db"
    left = [None] * 4  # three files to read, and one passage
    with pytest.raises(IndexError):
        FolderIndex.open(folder, database=database, check=left.pop)
    assert left == []
    with FolderIndex.open(folder, database=database, check=lambda: None) as index:
        assert [each.source for each in index.search("canal")] == ["canal.txt"]
