"""What a run has done so far, for the last words about one that did not succeed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import attrs

from marsys_core import events as e

__all__ = ["Account"]


@attrs.define(eq=False)
class Account:
    """A sink that keeps count of the steps taken, and of what is going on.

    Attributes:
        steps: How many steps were finished, by node.
        running: Which node is taking a step, by branch.
    """

    steps: Counter[str] = attrs.field(factory=Counter)
    running: dict[str, str] = attrs.field(factory=dict)
    _doing: dict[str, list[str]] = attrs.field(factory=dict)

    def on_event(self, event: e.Event) -> None:
        """Take note of one event."""
        match event:
            case e.StepStarted():
                self.running[event.branch] = event.node
                self._doing[event.branch] = []
            case e.StepFinished():
                self.steps[event.node] += 1
                self._over(event)
            case e.StepFailed() | e.BranchSettled():
                self._over(event)
            case e.ModelCalled():
                self._begins(event, f"model {event.model}")
            case e.ToolStarted():
                self._begins(event, f"tool {event.tool}")
            case e.ModelReplied() | e.ModelFailed():
                self._ends(event, f"model {event.model}")
            case e.ToolFinished() | e.ToolFailed():
                self._ends(event, f"tool {event.tool}")

    def catch_up(self, events: Iterable[e.Event]) -> None:
        """Take note of what a run had done before it goes on; no call of that time is going on any more."""
        for event in events:
            self.on_event(event)
        for doing in self._doing.values():
            doing.clear()

    def taken(self) -> str:
        """Say which steps were taken: ``"3 steps were taken: Reader x 2, Writer"``."""
        total = self.steps.total()
        if not total:
            return "no step was finished"
        names = ", ".join(f"{name} x {n}" if n > 1 else name for name, n in self.steps.items())
        return f"{total} step{' was' if total == 1 else 's were'} finished: {names}"

    def going_on(self) -> str:
        """Say who is at work, and with what: ``"Reader (model slow)"``; nothing where nobody is."""
        return ", ".join(
            f"{node} ({', '.join(doing)})" if (doing := self._doing.get(branch)) else node
            for branch, node in sorted(self.running.items(), key=_place)
        )

    def _begins(self, event: e.Event, what: str) -> None:
        self._doing.setdefault(event.branch, []).append(what)

    def _ends(self, event: e.Event, what: str) -> None:
        doing = self._doing.get(event.branch, [])
        if what in doing:
            doing.remove(what)

    def _over(self, event: e.Event) -> None:
        self.running.pop(event.branch, None)
        self._doing.pop(event.branch, None)


def _place(item: tuple[str, str]) -> list[int]:
    """Order branches as they were opened: 0.2 before 0.10."""
    return [int(part) for part in item[0].split(".")]
