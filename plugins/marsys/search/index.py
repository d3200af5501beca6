"""A full-text index of a folder."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import attrs

from marsys.search.cutting import cut
from marsys.search.passages import Passage
from marsys.search.reading import Document, Problem, read_folder
from marsys.search.words import keywords
from marsys_core.errors import ConfigError, LifecycleError

if TYPE_CHECKING:
    from sqlite_utils import Database

__all__ = ["FolderIndex"]

_MAX_TERMS = 64  # a longer query says no more, and the query parser's stack has an end
_SEARCH = """
    select p.file as file, p.first as first, p.last as last, p.text as text, -bm25(passages_fts) as score
    from passages_fts join passages as p on p.id = passages_fts.rowid
    where passages_fts match :query and p.file in (select value from json_each(:files))
    order by bm25(passages_fts), p.id limit :limit
"""


@attrs.define(eq=False)
class FolderIndex:
    """Finds passages in the text, Markdown and HTML files of a folder by the words in them.

    Make one with `FolderIndex.open` and close it, or use it in a ``with`` block. It may be used from several
    threads; its searches wait for one another, a few milliseconds each. All of its methods block.

    Attributes:
        files: The files that can be searched, in the order of their names.
        problems: What was left out, or read as well as it could be, and why.
    """

    files: tuple[str, ...]
    problems: tuple[Problem, ...]
    _sizes: Mapping[str, int] = attrs.field(alias="sizes")
    _database: Database | None = attrs.field(alias="database")
    _lock: threading.Lock = attrs.field(factory=threading.Lock, init=False)

    @classmethod
    def open(
        cls,
        folder: str | os.PathLike[str],
        *,
        database: str | os.PathLike[str] = ":memory:",
        passage_words: int = 120,
        check: Callable[[], object] | None = None,
    ) -> FolderIndex:
        """Read `folder` and index it. Later changes of the folder are not seen.

        Args:
            folder: The folder; those below it are read too.
            database: The SQLite file for the index, whose tables for it are written anew; in memory unless
                said otherwise, which suits texts up to some hundred megabytes.
            passage_words: About how many words a passage has.
            check: Called time and again while it reads and indexes; what it raises ends that. In a worker thread,
                ``trio.from_thread.check_cancelled`` makes it stop when it is cancelled.

        Raises:
            SettingsError: There is no such folder.
        """
        read = read_folder(folder, check=check)
        return cls(
            files=tuple(document.name for document in read.documents),
            problems=tuple(read.problems),
            sizes={document.name: document.size for document in read.documents},
            database=_build(_rows(read.documents, passage_words, check), os.fspath(database)),
        )

    def search(self, query: str, *, limit: int = 8, part: tuple[int, int] | None = None) -> list[Passage]:
        """Return the passages that answer `query` best, the best first.

        Any text is a query: its words count, stop words apart, and no sign has a meaning of its own. A
        passage need not have all of them. Only the first 64 different words are used.

        Args:
            query: What to look for.
            limit: How many passages at most; none for less than 1.
            part: ``(2, 3)`` searches the second of three parts of the folder; see `part_files`.

        Raises:
            ConfigError: There is no such part.
            LifecycleError: The index is closed.
        """
        files = self.files if part is None else self.part_files(*part)
        terms = keywords(query)[:_MAX_TERMS]
        if not terms or limit < 1:
            return []
        import json

        quoted = " OR ".join('"{}"'.format(term.replace('"', '""')) for term in terms)
        rows = self._query({"query": quoted, "files": json.dumps(files), "limit": limit})
        return [
            Passage(
                source=row["file"], first=row["first"], last=row["last"], text=row["text"], score=row["score"]
            )
            for row in rows
        ]

    def _query(self, values: Mapping[str, Any]) -> list[dict[str, Any]]:
        with self._lock:
            if self._database is None:
                msg = "the index is closed: open it again to search"
                raise LifecycleError(msg)
            return list(self._database.query(_SEARCH, dict(values)))

    def part_files(self, part: int, parts: int) -> tuple[str, ...]:
        """Return the files of one part when the folder is divided among `parts` readers.

        Every file is in exactly one part, and the parts are as even in bytes as giving each file, the
        largest first, to the part that has least so far makes them.

        Raises:
            ConfigError: `part` is not from 1 to `parts`.
        """
        if not 1 <= part <= parts:
            msg = f"no part {part!r} of {parts!r}: the parts are numbered from 1 to {parts!r}"
            raise ConfigError(msg)
        loads = [(0, number) for number in range(1, parts + 1)]
        mine = set()
        for name in sorted(self.files, key=lambda name: (-self._sizes[name], name)):
            load, number = min(loads)
            loads[number - 1] = (load + self._sizes[name], number)
            if number == part:
                mine.add(name)
        return tuple(name for name in self.files if name in mine)

    def close(self) -> None:
        """Close the database. Closing twice is fine."""
        with self._lock:
            database, self._database = self._database, None
            if database is not None:
                database.close()

    def __enter__(self) -> FolderIndex:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()


def _build(rows: Iterable[dict[str, Any]], path: str) -> Database:
    import sqlite3

    import sqlite_utils
    from sqlite_utils.db import Table

    # The lock of the index keeps threads apart, which SQLite's own check cannot know.
    connection = sqlite3.connect(path, check_same_thread=False)
    try:
        database = sqlite_utils.Database(connection)
        Table(database, "passages_fts").drop(ignore=True)
        passages = Table(database, "passages")
        passages.drop(ignore=True)
        passages.create({"id": int, "file": str, "first": int, "last": int, "text": str}, pk="id")
        # With triggers the words are indexed row by row, so that it can be stopped between two rows.
        passages.enable_fts(["text"], tokenize="porter unicode61", create_triggers=True)
        passages.insert_all(rows)
    except BaseException:
        connection.close()
        raise
    return database


def _rows(
    documents: Iterable[Document], passage_words: int, check: Callable[[], object] | None
) -> Iterable[dict[str, Any]]:
    for document in documents:
        for passage in cut(document, words=passage_words):
            if check is not None:
                check()
            yield {"file": passage.source, "first": passage.first, "last": passage.last, "text": passage.text}
