"""A live tree of branches on a terminal. Imported only where there is one: it imports rich."""

from __future__ import annotations

import sys

from rich.console import Console as RichConsole
from rich.console import Group
from rich.live import Live
from rich.text import Text
from rich.tree import Tree

from marsys.status._board import Board, Row
from marsys.status._stream import SafeStream
from marsys.status._words import counted, one_line, seconds, shown
from marsys_core import events as e
from marsys_core.logs import get_logger

__all__ = ["Display"]

_SHOWN = 8  # children of one branch; a fork of a hundred is summed up

_STATE = {"running": "bold cyan", "done": "green", "failed": "bold red", "cancelled": "yellow"}
_WORD = {
    "failed": "bold red",
    "refused": "bold red",
    "limit": "bold red",
    "stuck": "bold red",
    "trouble": "yellow",
    "retry": "yellow",
    "steer": "yellow",
    "warn": "yellow",
    "cancel": "yellow",
    "drop": "yellow",
    "done": "green",
    "says": "cyan",
    "end": "bold",
}


class Display:
    """Draws the boards of the runs that are going on, below the lines that are said.

    While something is drawn, what the program itself prints to standard output and standard error is put
    above it, which takes both streams over for that time.

    Args:
        stream: The terminal.
    """

    def __init__(self, stream: SafeStream) -> None:
        self._console = RichConsole(
            file=stream,  # type: ignore[arg-type]
            force_terminal=True,
            markup=False,
            highlight=False,
            emoji=False,
        )
        self._takes_over = stream.stream is sys.stderr
        self._boards: dict[Board, bool] = {}
        self._live: Live | None = None

    @property
    def busy(self) -> bool:
        """Whether something is being drawn."""
        return bool(self._boards)

    def hear(self, board: Board, event: e.Event, timings: bool) -> None:
        """Write `event` down; the first event of a run makes its tree appear, and the last one leaves it there."""
        board.apply(event)
        if isinstance(event, e.RunStarted | e.RunResumed):
            self._boards[board] = timings
            self._begin()
        elif isinstance(event, e.RunFinished | e.RunPaused | e.RunWaiting) and board in self._boards:
            del self._boards[board]
            # First off the live part, which would be drawn again, as it was, below what is printed.
            if self._boards:
                self.refresh(0.0)
            else:
                self.close()
            self._console.print(_picture(board, timings))

    def say(self, text: str, word: str) -> None:
        """Print one line above the trees; `word` decides on its colour."""
        self._console.print(Text(text, style=_WORD.get(word, "")), soft_wrap=True)

    def refresh(self, elapsed: float) -> None:
        """Draw again, `elapsed` seconds after the last time; a display that fails is closed, and that is logged."""
        for board in self._boards:
            board.now += elapsed
        if self._live is None:
            return
        try:
            self._live.refresh()
        except Exception:
            get_logger("status").exception("the live view of runs failed and is closed")
            self._boards.clear()
            self.close()

    def close(self) -> None:
        """Leave the terminal as it was."""
        live, self._live = self._live, None
        if live is not None:
            live.stop()

    def _begin(self) -> None:
        if self._live is None:
            self._live = Live(
                console=self._console,
                auto_refresh=False,
                transient=True,
                redirect_stdout=self._takes_over,
                redirect_stderr=self._takes_over,
                get_renderable=self._all,
            )
            self._live.start()

    def _all(self) -> Group:
        return Group(*(_picture(board, timings) for board, timings in self._boards.items()))


def _picture(board: Board, timings: bool) -> Tree:
    state = ("succeeded" if board.success else "failed") if board.finished else board.resting or "running"
    head = [
        f"run {board.run_id[-6:]}",
        state,
        *([seconds(board.now)] if timings else []),
        shown(board.task, 60),
    ]
    tree = Tree(Text("  ".join(head), style="bold"), guide_style="dim")
    for row in board.roots():
        _grow(tree, row, board.now, timings)
    return tree


def _grow(tree: Tree, row: Row, now: float, timings: bool) -> None:
    branch = tree.add(_label(row, now, timings))
    children = sorted(row.children, key=lambda child: child.settled and child.state != "failed")
    for child in row.children if len(children) <= _SHOWN else children[:_SHOWN]:
        _grow(branch, child, now, timings)
    if len(children) > _SHOWN:
        branch.add(Text(_rest(children[_SHOWN:]), style="dim"))


def _label(row: Row, now: float, timings: bool) -> Text:
    words = [counted(row.steps, "step")] if row.settled else []
    if row.note and not row.settled:
        words.append(one_line(row.note, 40))
    if timings and row.state == "running":
        words.append(seconds(now - row.since))
    return Text.assemble(
        (f"{row.id} ", "dim"), f"{one_line(row.node, 24):<12} ", (f"{row.state:<9}", _STATE.get(row.state, "dim")),
        " " + ", ".join(words),
    )  # fmt: skip


def _rest(rows: list[Row]) -> str:
    count: dict[str, int] = {}
    for row in rows:
        count[row.state] = count.get(row.state, 0) + 1
    return f"and {len(rows)} more: " + ", ".join(f"{number} {state}" for state, number in count.items())
