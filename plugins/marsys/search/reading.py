"""Reading a folder of texts into paragraphs that know their lines."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs

from marsys.search.blocks import closed_fences
from marsys_core.errors import SettingsError

__all__ = [
    "MAX_FILE_BYTES",
    "SUFFIXES",
    "Document",
    "Folder",
    "Paragraph",
    "Problem",
    "list_files",
    "read_folder",
]

SUFFIXES = frozenset({".htm", ".html", ".md", ".txt"})
"""The endings of the files that are read, in lower case."""
MAX_FILE_BYTES = 20_000_000
"""Larger files are reported and left out."""

_BOMS = ((b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be"))
_BLANK_LINES = re.compile(r"\n(?:[^\S\n]*\n)+")


@attrs.define(eq=False)
class Paragraph:
    """A paragraph and the number of its first line, from 1. Each newline in `text` is a line further."""

    text: str
    first: int


@attrs.frozen(kw_only=True)
class Problem:
    """A file that was left out, or read otherwise than it should have been."""

    file: str
    reason: str

    def __str__(self) -> str:
        return f"{self.file}: {self.reason}"


@attrs.define(eq=False, kw_only=True)
class Document:
    """A file that was read: its path within the folder, with slashes, its size in bytes, and its paragraphs."""

    name: str
    size: int
    paragraphs: list[Paragraph]


@attrs.define(eq=False, kw_only=True)
class Folder:
    """What was found in a folder, files in the order of their names."""

    documents: list[Document] = attrs.field(factory=list)
    problems: list[Problem] = attrs.field(factory=list)


def read_folder(folder: str | os.PathLike[str], *, check: Callable[[], object] | None = None) -> Folder:
    """Read the text, Markdown and HTML files in `folder` and the folders below it.

    Hidden files, other endings and links that lead out of the folder are left out. A file that is empty,
    binary, unreadable or larger than `MAX_FILE_BYTES` is reported and does not stop the others. It blocks:
    call it in a thread.

    Args:
        folder: The folder.
        check: Called before each file; what it raises ends the reading.

    Raises:
        SettingsError: There is no such folder.
    """
    found = Folder()
    for name, path in list_files(folder):
        if check is not None:
            check()
        try:
            found.documents.append(_read(name, path, found.problems))
        except _LeftOut as why:
            found.problems.append(Problem(file=name, reason=f"left out of the search: {why}"))
        except OSError as error:
            reason = f"left out of the search: it cannot be read: {error.strerror or error}"
            found.problems.append(Problem(file=name, reason=reason))
    return found


def list_files(folder: str | os.PathLike[str]) -> list[tuple[str, Path]]:
    """Return the name and path of each file that `read_folder` would try, in the order of the names.

    Raises:
        SettingsError: There is no such folder.
    """
    root = Path(folder)
    if not root.is_dir():
        msg = f"no folder to search at {str(root)!r}: name one that exists"
        raise SettingsError(msg)
    inside = root.resolve()
    return sorted((_name(path, root), path) for path in _walk(root) if path.resolve().is_relative_to(inside))


def _walk(root: Path) -> Iterator[Path]:
    # Links to folders are not followed: within the root they lead to what is read anyway, or in circles.
    for here, folders, files in os.walk(root, followlinks=False):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            if not name.startswith(".") and os.path.splitext(name)[1].lower() in SUFFIXES:
                yield Path(here, name)


def _name(path: Path, root: Path) -> str:
    # A name that is not UTF-8 has lone surrogates, which no journal can hold.
    return path.relative_to(root).as_posix().encode("utf-8", "backslashreplace").decode()


class _LeftOut(Exception):  # never leaves the module
    """Why a file is not read."""


def _read(name: str, path: Path, problems: list[Problem]) -> Document:
    about = path.stat()
    if not stat.S_ISREG(about.st_mode):
        raise _LeftOut("it is not a regular file")  # a pipe would wait for ever
    if about.st_size > MAX_FILE_BYTES:
        msg = f"it is larger than {MAX_FILE_BYTES // 1_000_000} MB ({about.st_size} bytes)"
        raise _LeftOut(msg)
    data = path.read_bytes()
    text, encoding = _decode(data)
    if encoding:
        problems.append(Problem(file=name, reason=f"not UTF-8; read as {encoding}"))
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if path.suffix.lower() in (".htm", ".html"):
        from marsys.search.markup import html_paragraphs

        paragraphs = html_paragraphs(text)
    else:
        paragraphs = _plain_paragraphs(text)
    if not paragraphs:
        raise _LeftOut("there is no text in it")
    return Document(name=name, size=len(data), paragraphs=paragraphs)


def _decode(data: bytes) -> tuple[str, str]:
    """Return the text, and the encoding it was taken for where that is a guess."""
    for mark, encoding in _BOMS:
        if data.startswith(mark):
            return data[len(mark) :].decode(encoding, "replace"), ""
    if b"\0" in data:
        raise _LeftOut("it is binary")
    try:
        return data.decode("utf-8"), ""
    except UnicodeDecodeError:
        pass
    try:
        return data.decode("cp1252"), "Windows-1252"
    except UnicodeDecodeError:
        return data.decode("latin-1"), "Latin-1"


def _plain_paragraphs(text: str) -> list[Paragraph]:
    found: list[Paragraph] = []
    start, line = 0, 1
    fences = iter(closed_fences(text))
    first, last = next(fences, (len(text), 0))
    for gap in _BLANK_LINES.finditer(text):
        while last and last <= gap.start():
            first, last = next(fences, (len(text), 0))
        if first <= gap.start() < last:
            continue  # a blank line in code
        _add_paragraph(found, text[start : gap.start()], line)
        line += text.count("\n", start, gap.end())
        start = gap.end()
    _add_paragraph(found, text[start:], line)
    return found


def _add_paragraph(found: list[Paragraph], text: str, line: int) -> None:
    body = text.lstrip()
    if body:
        found.append(Paragraph(body.rstrip(), line + text[: len(text) - len(body)].count("\n")))
