"""Where each branch of a run stands: a fold over its events, for the live tree."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs

from marsys_core import events as e

__all__ = ["Board", "Row"]


@attrs.define(eq=False)
class Row:
    """One branch.

    `state` is one of ``ready``, ``running``, ``forked``, ``done``, ``failed`` and ``cancelled``; `note` is
    what a running one is at; `since` is when it came into its state, in seconds of the run; `steps` is how
    many steps it has brought to an end; `said` is the end of what its model has said of its answer so far.
    """

    id: str
    node: str
    since: float
    state: str = "ready"
    note: str = ""
    steps: int = 0
    children: list[Row] = attrs.field(factory=list)
    said: str = ""

    @property
    def settled(self) -> bool:
        """Whether the branch has come to its end."""
        return self.state in ("done", "failed", "cancelled")


@attrs.define(eq=False)
class Board:
    """One run. `now` is the latest time that is known, in seconds since its start."""

    run_id: str = ""
    task: Any = None
    now: float = 0.0
    finished: bool = False
    resting: str = ""
    success: bool = False
    rows: dict[str, Row] = attrs.field(factory=dict)

    def apply(self, event: e.Event) -> None:
        """Write down what `event` says."""
        self.now = event.time
        handler = _HANDLERS.get(type(event))
        if handler is not None:
            handler(self, event)

    def roots(self) -> list[Row]:
        """The branches that no other has opened."""
        return [row for row in self.rows.values() if row.id.rpartition(".")[0] not in self.rows]

    def _set(self, event: e.Event, state: str, note: str = "") -> None:
        row = self.rows.get(event.branch)
        if row is not None and not row.settled:
            row.state, row.note, row.since = state, note, event.time

    def _note(self, event: e.Event, note: str) -> None:
        row = self.rows.get(event.branch)
        if row is not None:
            row.note = note

    def on_run_started(self, event: e.RunStarted) -> None:
        """Remember whose board this is."""
        self.run_id, self.task = event.run_id, event.task

    def on_run_finished(self, event: e.RunFinished) -> None:
        """Remember how it ended."""
        self.finished, self.success = True, event.success

    def on_run_resumed(self, event: e.RunResumed) -> None:
        """It goes on from its record, which this board has not seen."""
        self.run_id, self.resting = event.run_id, ""

    def on_run_rests(self, event: e.RunPaused | e.RunWaiting) -> None:
        """Remember that it goes on later."""
        self.resting = "paused" if isinstance(event, e.RunPaused) else "waiting"

    def on_branch_started(self, event: e.BranchStarted) -> None:
        """Hang a new branch below the one that opened it."""
        row = self.rows[event.branch] = Row(event.branch, event.node, event.time)
        parent = self.rows.get(event.branch.rpartition(".")[0])
        if parent is not None:
            parent.children.append(row)

    def on_branch_moved(self, event: e.BranchMoved) -> None:
        """The branch is elsewhere."""
        self._set(event, "ready")
        self.rows[event.branch].node = event.node

    def on_step_started(self, event: e.StepStarted) -> None:
        """An agent is at work."""
        self._set(event, "running")

    def on_step_ended(self, event: e.StepFinished | e.StepFailed) -> None:
        """It has done its work, or given up."""
        row = self.rows.get(event.branch)
        if row is not None and row.state == "running":
            row.steps += 1
        self._set(event, "ready")

    def on_model_called(self, event: e.ModelCalled) -> None:
        """A model is asked, once more perhaps."""
        row = self.rows.get(event.branch)
        if row is not None:
            row.note, row.said = f"asks {event.model}", ""

    def on_model_delta(self, event: e.ModelDelta) -> None:
        """A model goes on with its answer."""
        row = self.rows.get(event.branch)
        if row is not None and event.delta.text:
            row.said = (row.said + event.delta.text)[-_TAIL:]
            row.note = f"says {'…' if len(row.said) == _TAIL else ''}{row.said}"

    def on_branch_settled(self, event: e.BranchSettled) -> None:
        """The branch has ended."""
        self._set(event, event.outcome if event.outcome in ("failed", "cancelled") else "done")


_TAIL = 32  # characters of an answer that is on its way

_Handler = Callable[[Board, Any], None]


def _state(state: str, note: str = "") -> _Handler:
    return lambda board, event: board._set(event, state, note)


def _noting(make: Callable[[Any], str]) -> _Handler:
    return lambda board, event: board._note(event, make(event))


_nothing = _noting(lambda event: "")

_HANDLERS: dict[type[e.Event], _Handler] = {
    e.RunStarted: Board.on_run_started,
    e.RunResumed: Board.on_run_resumed,
    e.RunFinished: Board.on_run_finished,
    e.RunPaused: Board.on_run_rests,
    e.RunWaiting: Board.on_run_rests,
    e.BranchStarted: Board.on_branch_started,
    e.BranchMoved: Board.on_branch_moved,
    e.BranchForked: _state("forked"),
    e.BranchSettled: Board.on_branch_settled,
    e.JoinCompleted: _state("ready"),
    e.StepStarted: Board.on_step_started,
    e.StepFinished: Board.on_step_ended,
    e.StepFailed: Board.on_step_ended,
    e.StepRetried: _noting(lambda event: f"retry {event.attempt}"),
    e.ModelCalled: Board.on_model_called,
    e.ModelDelta: Board.on_model_delta,
    e.ModelReplied: _nothing,
    e.ModelFailed: _nothing,
    e.ToolStarted: _noting(lambda event: f"runs {event.tool}"),
    e.ToolFinished: _nothing,
    e.ToolFailed: _nothing,
    e.Stuck: _noting(lambda event: "stuck"),
}
