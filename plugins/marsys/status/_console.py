"""What shows runs on standard error: lines, and a live tree where a person is looking."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import attrs
import trio

from marsys.status._board import Board
from marsys.status._lines import Ending, Everything, Line, Notes, Steps
from marsys.status._stream import SafeStream
from marsys.status._words import one_line
from marsys_core.config import StatusConfig
from marsys_core.events import KINDS, STREAMED, RunFinished, RunPaused, RunStarted, RunWaiting
from marsys_core.protocols.event_sink import bind_sinks

if TYPE_CHECKING:
    from marsys.status._tree import Display
    from marsys_core.events import Event
    from marsys_core.protocols.event_sink import Sinks

__all__ = ["Console"]

_LINES: tuple[type[Ending], ...] = (Ending, Steps, Everything)
_BESIDE_A_TREE: tuple[type[Ending], ...] = (Ending, Notes, Everything)
_EVERY = 0.1  # seconds between two pictures of the tree


@attrs.define(eq=False, kw_only=True)
class Console:
    """Shows runs, each as its own `StatusConfig` asks; call it with one for the event sink of a run.

    It is an event sink itself, too, and then shows all runs of its engine as the default `StatusConfig` asks.
    What it hears in that way does not say of which run it is: of runs that go on at once the lines are
    mixed, and only the first has a tree.

    Runs share it: while several are going on, each line starts with the end of its run's id. To a terminal
    it draws a tree of branches, below lines for what is out of the ordinary; to anything else it writes
    plain lines. What it shows is not filtered: values that agents hand on appear as they are, cut short.

    Args:
        nursery: Where the tree is kept up to date, for as long as there is one to draw.
        stream: Where to write; standard error, as it is when a run starts, unless given.
    """

    nursery: trio.Nursery
    stream: Any = None
    _out: SafeStream = attrs.field(factory=lambda: SafeStream(None), init=False)
    _display: Display | None = attrs.field(default=None, init=False)
    _drawing: bool = attrs.field(default=False, init=False)
    _runs: set[Ending] = attrs.field(factory=set, init=False)
    _common: Sinks | None = attrs.field(default=None, init=False)
    _heard: int = attrs.field(default=0, init=False)
    _branch: int = attrs.field(default=5, init=False)
    _agent: int = attrs.field(default=10, init=False)

    def __call__(self, status: StatusConfig) -> Ending:
        """Return the event sink that shows one run as `status` asks."""
        if not self._runs:
            self._look()
        drawn = self._display is not None and status.verbosity > 0
        lines = (_BESIDE_A_TREE if drawn else _LINES)[status.verbosity]
        hear = self._drawn(status) if drawn else None
        # Models answer in pieces where a person sees them come.
        pieces = hear if status.show_agent_thoughts else None
        return lines(
            status=status,
            say=self._say,
            began=self._began,
            ended=self._ended,
            on_event=hear,
            on_model_delta=pieces,
        )

    def on_event(self, event: Event) -> None:
        """Show an event of any run, where the console is an event sink by itself."""
        if self._common is None:
            self._common = bind_sinks({"console": self(StatusConfig())}, KINDS.values(), STREAMED.values())
        self._heard += isinstance(event, RunStarted)
        self._common.emit(event)
        if isinstance(event, RunFinished | RunPaused | RunWaiting):
            self._heard = max(self._heard - 1, 0)
            if not self._heard:
                self._common = None

    def close(self) -> None:
        """Leave the terminal as it was, also where runs have not ended."""
        if self._display is not None:
            self._display.close()

    def _look(self) -> None:
        """Find out what is there to write to; the application may have exchanged it since the last run."""
        stream = sys.stderr if self.stream is None else self.stream
        if self._out.stream is stream and stream is not None:
            return
        self._out, self._display = SafeStream(stream), None
        kind = os.environ.get("TERM", "" if os.name == "nt" else "dumb")  # Windows does not set it
        if self._out.isatty() and kind not in ("dumb", "unknown"):
            from marsys.status._tree import Display

            self._display = Display(self._out)

    def _drawn(self, status: StatusConfig) -> Callable[[Event], None]:
        assert self._display is not None  # the caller has looked
        return partial(self._hear, self._display, Board(), status.show_timings)

    def _hear(self, display: Display, board: Board, timings: bool, event: Event) -> None:
        display.hear(board, event, timings)
        if not self._drawing and display.busy:
            self._drawing = True
            self.nursery.start_soon(self._draw, display)

    async def _draw(self, display: Display) -> None:
        try:
            while display.busy:
                before = trio.current_time()
                await trio.sleep(_EVERY)
                display.refresh(trio.current_time() - before)
        finally:
            self._drawing = False

    def _began(self, run: Ending) -> None:
        self._runs.add(run)

    def _ended(self, run: Ending) -> None:
        self._runs.discard(run)

    def _say(self, line: Line) -> None:
        text = self._laid_out(line)
        if self._display is not None:
            self._display.say(text, line.word)
        else:
            self._out.write(text + "\n")
            self._out.flush()

    def _laid_out(self, line: Line) -> str:
        agent = one_line(line.agent, 24)
        self._branch = min(max(self._branch, len(line.branch)), 16)
        self._agent = max(self._agent, len(agent))
        run = f"{line.run[-6:]:<7}" if len(self._runs) > 1 else ""
        time = "" if line.time is None else f"{line.time:>6.1f} s  "
        who = f"{line.branch:<{self._branch}} {agent:<{self._agent}}"
        return f"{run}{time}{who}  {line.word:<7}  {line.text}".rstrip()
