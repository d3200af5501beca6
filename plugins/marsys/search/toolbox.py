"""The tools that search a folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import attrs

from marsys.search.index import FolderIndex
from marsys.search.passages import write_passages
from marsys_core.errors import ToolError
from marsys_core.tools import Tool, tool

__all__ = ["SearchToolbox"]

_MAX_LIMIT = 50


@attrs.define(eq=False)
class SearchToolbox:
    """The tools `search`, for the whole folder, and ``search_1`` to ``search_<parts>``, for a part of it each.

    Give each of several readers a part of its own, and together they read the whole folder, each file
    once. The parts are as even as the files allow; a part may be empty when there are few.

    Args:
        index: The index to search; whoever made it closes it.
        parts: How many parts to offer; with 1, there is only `search`.
    """

    index: FolderIndex
    parts: int = attrs.field(default=1, validator=attrs.validators.ge(1))
    _tools: list[Tool] = attrs.field(factory=list, init=False)

    def tools(self) -> Sequence[Tool]:
        """Return the tools: the whole folder first, then the parts in order."""
        if not self._tools:
            self._tools.append(tool(self._searcher(None), name="search"))
            if self.parts > 1:
                numbers = range(1, self.parts + 1)
                self._tools += [tool(self._searcher((n, self.parts)), name=f"search_{n}") for n in numbers]
        return tuple(self._tools)

    def _searcher(self, part: tuple[int, int] | None) -> Callable[..., str]:
        def search(query: str, limit: int = 8) -> str:
            """Search the texts and return the passages that answer best, each with its file and lines.

            Args:
                query: The words to look for. A passage need not have all of them.
                limit: How many passages at most, from 1 to 50.
            """
            if not 1 <= limit <= _MAX_LIMIT:
                msg = f"'limit' should be from 1 to {_MAX_LIMIT}, not {limit!r}"
                raise ToolError(msg)
            return write_passages(self.index.search(query, limit=limit, part=part))

        return search
