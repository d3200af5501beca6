"""The plugin that offers full-text search in a folder."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import attrs

from marsys_core import Provider, hookimpl

if TYPE_CHECKING:
    from marsys.search.toolbox import SearchToolbox
    from marsys_core.plugins.providers import OpenContext

__all__ = ["SearchSettings", "marsys_tools"]


@attrs.frozen(kw_only=True)
class SearchSettings:
    """What to search.

    Args:
        folder: The folder with the texts.
        parts: Among how many readers to divide it, 1 to 1,000: more than 1 adds the tools ``search_1``,
            ``search_2``, ...
        database: The SQLite file for the index; in memory unless given.
        passage_words: About how many words a passage has.
    """

    folder: str
    parts: int = attrs.field(default=1, validator=[attrs.validators.ge(1), attrs.validators.le(1_000)])
    database: str = ":memory:"
    passage_words: int = attrs.field(default=120, validator=attrs.validators.ge(20))


@asynccontextmanager
async def _open_search(context: OpenContext, settings: SearchSettings) -> AsyncIterator[SearchToolbox]:
    from functools import partial

    import trio

    from marsys.search.index import FolderIndex
    from marsys.search.toolbox import SearchToolbox

    read = partial(
        FolderIndex.open,
        settings.folder,
        database=settings.database,
        passage_words=settings.passage_words,
        check=trio.from_thread.check_cancelled,
    )
    index = await trio.to_thread.run_sync(read)
    try:
        for problem in index.problems:
            context.log.warning("%s", problem)
        yield SearchToolbox(index, settings.parts)
    finally:
        index.close()


@hookimpl
def marsys_tools() -> Iterable[Provider[SearchToolbox]]:
    """Offer the search tools."""
    summary = "Full-text search in a folder of text, Markdown and HTML files"
    return [Provider("search", _open_search, settings=SearchSettings, summary=summary)]
