"""The steps of a run, read from its record for people: who did what, how long it took, what went wrong."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from marsys_core.protocols.store import Entry

__all__ = ["Call", "StepTold", "brief", "said", "steps_of"]

_VERBS = {
    "AskUser": "asked",
    "Content": "said",
    "EndConversation": "ended the conversation with",
    "Fail": "gave up:",
    "Finish": "finished with",
    "Return": "returned",
}
_SHOWN = 60
_MEASURED = ("duration", "usage")
_CALLS = {
    "ModelCalled": ("model", "model", "begun"),
    "ModelReplied": ("model", "model", "done"),
    "ModelFailed": ("model", "model", "failed"),
    "ToolStarted": ("tool", "tool", "begun"),
    "ToolFinished": ("tool", "tool", "done"),
    "ToolFailed": ("tool", "tool", "failed"),
    "ToolUncertain": ("tool", "tool", "uncertain"),
    "TeamStarted": ("team", "team", "begun"),
    "TeamFinished": ("team", "team", "done"),
    "TeamFailed": ("team", "team", "failed"),
}


@attrs.define(eq=False, kw_only=True)
class Call:
    """A call that a step made.

    Attributes:
        kind: ``model``, ``tool`` or ``team``.
        name: Of what.
        given: What it was given, as data; None for a model.
        outcome: ``begun``, ``done``, ``failed`` or ``uncertain``.
        error: How it failed.
        seconds: How long it took; None where it has not ended.
    """

    kind: str
    name: str
    given: Any = None
    outcome: str = "begun"
    error: str = ""
    seconds: float | None = None
    _id: str = attrs.field(default="", alias="id", repr=False)

    def ends(self, kind: str, name: str, id: str) -> bool:
        """Whether the end of a call, so described, is the end of this one."""
        return self.outcome == "begun" and (self.kind, self.name, self._id) == (kind, name, id)


@attrs.define(eq=False, kw_only=True)
class StepTold:
    """One step of a run.

    Attributes:
        branch: Where it was taken.
        node: By whom.
        step: Which step of the branch it is.
        seq: The place of its first entry in the record.
        time: When it began, in seconds since the run did.
        outcome: ``begun``, ``done`` or ``failed``.
        attempts: How often it was taken.
        seconds: How long it took; None where it has not ended.
        action: What it ended in, as data.
        error: How it failed.
        calls: What it called, in order.
        void: Whether it counts no more, as the run has gone on from before it.
        number: Which step of the run it is, in the order in which they began; 0 where it counts no more.
        record: All that is recorded of its end, as data, without what is measured.
    """

    branch: str
    node: str
    step: int
    seq: int
    time: float
    outcome: str = "begun"
    attempts: int = 1
    seconds: float | None = None
    action: Any = None
    error: str = ""
    calls: list[Call] = attrs.field(factory=list)
    void: bool = False
    number: int = 0
    record: Any = None

    def hear(self, entry: Entry, data: dict[str, Any]) -> None:
        """Take note of what happened in the step."""
        if entry.kind in _CALLS:
            self._called(*_CALLS[entry.kind], data)
        elif entry.kind in ("StepRetried", "StepSteered"):
            self.attempts += 1
        elif entry.kind in ("StepFinished", "StepFailed"):
            self.outcome = "done" if entry.kind == "StepFinished" else "failed"
            self.seconds = data.get("duration", 0.0)
            self.action = data.get("action")
            self.error = _error(data.get("error"))
            self.record = {key: value for key, value in data.items() if key not in _MEASURED}

    def _called(self, kind: str, field: str, outcome: str, data: dict[str, Any]) -> None:
        name, id = data.get(field, ""), data.get("call_id", "")
        if outcome == "begun":
            given = data.get("task") if kind == "team" else data.get("arguments")
            self.calls.append(Call(kind=kind, name=name, given=given, id=id))
            return
        for call in self.calls:
            if call.ends(kind, name, id):
                call.outcome, call.error = outcome, _error(data.get("error"))
                call.seconds = data.get("duration")
                return


def steps_of(entries: Iterable[Entry]) -> list[StepTold]:
    """Return the steps of a run in the order in which they began, also those that count no more."""
    kept: list[Entry] = []
    void: list[Entry] = []
    for entry in entries:
        if entry.kind == "RunResumed":
            at = json.loads(entry.data)["at"]
            void += [each for each in kept if each.seq >= at]
            kept = [each for each in kept if each.seq < at]
        else:
            kept.append(entry)
    steps = _told(kept)
    for number, step in enumerate(steps, 1):
        step.number = number
    for step in _told(sorted(void, key=lambda entry: entry.seq)):
        step.void = True
        steps.append(step)
    return sorted(steps, key=lambda step: step.seq)


def _told(entries: Iterable[Entry]) -> list[StepTold]:
    steps: list[StepTold] = []
    taking: dict[str, StepTold] = {}
    for entry in entries:
        if entry.kind == "StepStarted":
            data = json.loads(entry.data)
            begun = StepTold(
                branch=entry.branch, node=data["node"], step=data["step"], seq=entry.seq, time=entry.time
            )
            taking[entry.branch] = begun
            steps.append(begun)
        elif entry.branch in taking:
            taking[entry.branch].hear(entry, json.loads(entry.data))
    return steps


def said(step: StepTold) -> str:
    """Say in a line what a step came to."""
    if step.outcome == "begun":
        return "has not ended"
    if step.outcome == "failed":
        return f"failed: {step.error}"
    action = step.action if isinstance(step.action, dict) else {}
    kind = action.get("$type", "")
    if kind == "Invoke":
        return f"invoked {', '.join(f'{node} with {brief(value)}' for node, value in action['calls'])}"
    if kind not in _VERBS:
        return kind or "ended"
    value = action.get("prompt" if kind == "AskUser" else "error" if kind == "Fail" else "value")
    return f"{_VERBS[kind]} {_error(value) if kind == 'Fail' else brief(value)}"


def brief(value: Any, limit: int = _SHOWN) -> str:
    """Return data in a line of at most `limit` characters."""
    if isinstance(value, dict) and value.get("$type") == "Ref":
        return f"{value['size']:,} bytes"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    text = " ".join(text.split())
    text = text if len(text) <= limit else f"{text[: limit - 3]}..."
    return repr(text) if isinstance(value, str) else text


def _error(value: Any) -> str:
    """Return an error as it is told elsewhere, from the data that it is recorded as."""
    if not isinstance(value, dict):
        return "" if value is None else str(value)
    kind = str(value.get("called") or value.get("error") or "error")
    message = value.get("message") or ", ".join(str(each) for each in value.get("args", ()))
    return f"{kind}: {message}" if message else kind
