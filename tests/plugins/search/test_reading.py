import os

import pytest

from marsys.search import reading
from marsys.search.markup import html_paragraphs
from marsys.search.reading import Problem, read_folder
from marsys_core.errors import SettingsError


def paragraphs(document):
    return [(paragraph.first, paragraph.text) for paragraph in document.paragraphs]


def test_texts_below_the_folder_are_read_in_the_order_of_their_names(tmp_path):
    (tmp_path / "sub").mkdir()
    for name in ["b.md", "a.TXT", "sub/c.txt", "d.py", ".hidden.txt"]:
        (tmp_path / name).write_text("text", encoding="utf-8")
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "e.txt").write_text("text", encoding="utf-8")
    found = read_folder(tmp_path)
    assert [document.name for document in found.documents] == ["a.TXT", "b.md", "sub/c.txt"]
    assert found.problems == []


def test_paragraphs_know_their_first_line(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"\r\n\r\none\r\ntwo\r\n \r\n\r\n  three\r\n")
    (document,) = read_folder(tmp_path).documents
    assert paragraphs(document) == [(3, "one\ntwo"), (7, "three")]


def test_what_cannot_be_read_is_reported_and_stops_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "MAX_FILE_BYTES", 1_000_000)
    (tmp_path / "binary.txt").write_bytes(b"a\0b")
    (tmp_path / "blank.txt").write_bytes(b" \n\n")
    (tmp_path / "empty.html").write_bytes(b"")
    (tmp_path / "good.txt").write_bytes(b"good")
    (tmp_path / "huge.txt").write_bytes(b"x" * 1_000_001)
    os.mkfifo(tmp_path / "pipe.txt")
    found = read_folder(tmp_path)
    assert [document.name for document in found.documents] == ["good.txt"]
    assert [str(problem) for problem in found.problems] == [
        "binary.txt: left out of the search: it is binary",
        "blank.txt: left out of the search: there is no text in it",
        "empty.html: left out of the search: there is no text in it",
        "huge.txt: left out of the search: it is larger than 1 MB (1000001 bytes)",
        "pipe.txt: left out of the search: it is not a regular file",
    ]


@pytest.mark.parametrize(
    ("data", "text", "problems"),
    [
        ("naïve".encode(), "naïve", []),
        (b"\xef\xbb\xbfplain", "plain", []),
        (b"\xff\xfe" + "naïve".encode("utf-16-le"), "naïve", []),
        (b"\xfe\xff" + "naïve".encode("utf-16-be"), "naïve", []),
        (b"\x93na\xefve\x94", "“naïve”", ["not UTF-8; read as Windows-1252"]),
        (b"\x81 \xe9t\xe9", "\x81 été", ["not UTF-8; read as Latin-1"]),
    ],
)
def test_encodings_other_than_utf8_are_guessed_and_reported(tmp_path, data, text, problems):
    (tmp_path / "a.txt").write_bytes(data)
    found = read_folder(tmp_path)
    assert paragraphs(found.documents[0]) == [(1, text)]
    assert found.problems == [Problem(file="a.txt", reason=reason) for reason in problems]


def test_links_are_followed_within_the_folder_only(tmp_path):
    outside, folder = tmp_path / "outside", tmp_path / "folder"
    outside.mkdir()
    (folder / ".store").mkdir(parents=True)
    (outside / "secret.txt").write_text("secret")
    (folder / ".store" / "kept").write_text("kept")
    (folder / "in.txt").symlink_to(folder / ".store" / "kept")
    (folder / "out.txt").symlink_to(outside / "secret.txt")
    (folder / "up").symlink_to(folder)
    (folder / "away").symlink_to(outside)
    (folder / "broken.txt").symlink_to(folder / "gone.txt")
    found = read_folder(folder)
    assert [document.name for document in found.documents] == ["in.txt"]
    assert [problem.file for problem in found.problems] == ["broken.txt"]


def test_a_folder_that_is_a_link_itself_is_read(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a.txt").write_text("text")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert [document.name for document in read_folder(tmp_path / "link").documents] == ["a.txt"]


def test_a_check_is_made_before_each_file_and_may_end_the_reading(tmp_path):
    for name in ("a.txt", "b.txt", "c.txt"):
        (tmp_path / name).write_text("text")
    left = [None, None]
    with pytest.raises(IndexError):
        read_folder(tmp_path, check=left.pop)
    assert left == []


def test_fenced_code_is_one_paragraph_with_its_blank_lines(tmp_path):
    text = "Before.\n\n```python\na = 1\n\nb = 2\n```\n\nAfter.\n\n```\nnever\n\nclosed\n"
    (tmp_path / "a.md").write_text(text)
    (document,) = read_folder(tmp_path).documents
    assert paragraphs(document) == [
        (1, "Before."),
        (3, "```python\na = 1\n\nb = 2\n```"),
        (9, "After."),
        (11, "```\nnever"),
        (14, "closed"),
    ]


def test_a_folder_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(SettingsError, match=r"^no folder to search at '.*nowhere': name one that exists$"):
        read_folder(tmp_path / "nowhere")


def test_a_name_that_is_not_utf8_becomes_one_that_is(tmp_path):
    (tmp_path / os.fsdecode(b"caf\xe9.txt")).write_text("text")
    assert [document.name for document in read_folder(tmp_path).documents] == ["caf\\udce9.txt"]


def test_html_is_read_as_a_reader_sees_it():
    page = (
        "<html><head><title>On canals</title><style>p {}</style>\n"
        "<script>if (a < b) { '</p>' }</script></head>\n"
        "<body><!-- hidden --><h1>Canals</h1><p>A <b>long</b>\n  canal &amp; a&nbsp;short one.</p>\n"
        "<ul><li>first<li>second</ul>tail<br/>end"
    )
    found = [(paragraph.first, paragraph.text) for paragraph in html_paragraphs(page)]
    assert found == [
        (1, "On canals"),
        (3, "Canals"),
        (3, "A long\ncanal & a short one."),
        (5, "first"),
        (5, "second"),
        (5, "tail"),
        (5, "end"),
    ]


@pytest.mark.parametrize(
    "page", ["<![if !IE]>text<![endif]>", "<p><b>text</p>", "</script>text", "<!x>text", "text<script>x"]
)
def test_broken_html_is_read_as_far_as_it_goes(page):
    assert [paragraph.text for paragraph in html_paragraphs(page)] == ["text"]
