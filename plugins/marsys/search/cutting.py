"""Cutting documents into passages of about the same length."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from marsys.search.blocks import BLOCK_END
from marsys.search.passages import Passage
from marsys.search.reading import Document, Paragraph
from marsys.search.sentences import split_sentences

__all__ = ["cut"]


def cut(document: Document, *, words: int) -> list[Passage]:
    """Return the passages of `document`, in order: whole paragraphs, together about `words` words.

    A passage is never longer than one and a half times that. A paragraph that is, is cut where a sentence
    ends, and a sentence that is, between two words.
    """
    found: list[Passage] = []
    held: list[Paragraph] = []
    count = 0
    for piece in _pieces(document.paragraphs, words * 3 // 2):
        size = len(piece.text.split())
        if held and (count >= words or count + size > words * 3 // 2):
            found.append(_passage(document.name, held))
            held, count = [], 0
        held.append(piece)
        count += size
    if held:
        found.append(_passage(document.name, held))
    return found


def _passage(name: str, pieces: list[Paragraph]) -> Passage:
    """Join `pieces` as they stand in their file, so that a line of the passage is a line of the file."""
    text, line = "", pieces[0].first
    for piece in pieces:
        # Without a blank line between, the newlines alone would not tell where one ends.
        gap = piece.first - line
        text += (BLOCK_END if text and gap < 2 else "") + "\n" * gap
        text += piece.text
        line = piece.first + piece.text.count("\n")
    return Passage(source=name, first=pieces[0].first, last=line, text=text)


def _pieces(paragraphs: Iterable[Paragraph], most: int) -> Iterator[Paragraph]:
    for paragraph in paragraphs:
        if len(paragraph.text.split()) <= most:
            yield paragraph
        else:
            yield from _split(paragraph, most)


def _split(paragraph: Paragraph, most: int) -> Iterator[Paragraph]:
    """Cut a paragraph into pieces of at most `most` words, where sentences end if it can be."""
    text = paragraph.text
    start, end, count = 0, 0, 0
    for stop, size in _joints(text, most):
        if count and count + size > most:
            yield _piece(paragraph, start, end)
            start, count = end, 0
        end = stop
        count += size
    yield _piece(paragraph, start, len(text))


def _joints(text: str, most: int) -> Iterator[tuple[int, int]]:
    """Yield where `text` may be cut, and how many words lie before that and after the one before."""
    start = 0
    for sentence in split_sentences(text):
        size = len(text[start : sentence.end].split())
        if size <= most:
            yield sentence.end, size
        else:
            yield from _word_joints(text, start, sentence.end)
        start = sentence.end


def _word_joints(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    import re

    for word in re.finditer(r"\S+", text[start:end]):
        yield start + word.end(), 1


def _piece(paragraph: Paragraph, start: int, end: int) -> Paragraph:
    text = paragraph.text[start:end]
    body = text.lstrip()
    before = paragraph.text.count("\n", 0, start + len(text) - len(body))
    return Paragraph(body.rstrip(), paragraph.first + before)
