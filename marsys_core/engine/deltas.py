"""Who hears the pieces of models' answers as they come."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import attrs
import trio

from marsys_core.events import ModelDelta

if TYPE_CHECKING:
    from marsys_core.engine.record import Recorder

__all__ = ["Deltas", "Feed"]

Feed = deque[ModelDelta]
"""What has come and one listener has not taken yet."""


@attrs.define(eq=False)
class Deltas:
    """The listeners of one run: those of its sinks that ask for deltas, and whoever iterates over its events."""

    run: Recorder
    feeds: list[Feed] = attrs.field(factory=list)

    @classmethod
    def of(cls, run: Recorder) -> Deltas | None:
        """Return what tells the sinks of `run`, or None where none of them asks."""
        return cls(run) if _asked_for(run) else None

    def tell(self, event: ModelDelta) -> None:
        """Tell everybody; nobody is waited for."""
        run = self.run
        event.seq = len(run.journal.events) + run.skipped
        event.time = trio.current_time() - run.began
        event.run_id = run.run_id
        for feed in self.feeds:
            feed.append(event)
        for sinks in run.sinks:
            sinks.emit(event)
        if run.news is not None:
            run.news.set()
            run.news = None


def _asked_for(run: Recorder) -> bool:
    return any(sinks.hears(ModelDelta) for sinks in run.sinks)
