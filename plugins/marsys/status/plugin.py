"""The plugin that shows runs on standard error."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from marsys_core import Provider, hookimpl

if TYPE_CHECKING:
    from marsys.status._console import Console
    from marsys_core.plugins.providers import OpenContext

__all__ = ["marsys_event_sinks"]


@asynccontextmanager
async def _open_console(_context: OpenContext, _settings: object) -> AsyncIterator[Console]:
    import trio

    from marsys.status._console import Console

    async with trio.open_nursery() as nursery:
        console = Console(nursery=nursery)
        try:
            yield console
        finally:
            nursery.cancel_scope.cancel()
            console.close()


# "status" says that what it opens to can be called with a StatusConfig for the event sink of one run.
@hookimpl
def marsys_event_sinks() -> Iterable[Provider[Any]]:
    """Offer the console, which ``ExecutionConfig(status=...)`` uses and ``sinks=["console"]`` names."""
    summary = "Shows runs on standard error: lines, and a live tree of branches on a terminal"
    features: Any = {"status"}
    return [Provider("console", _open_console, features=features, summary=summary)]
