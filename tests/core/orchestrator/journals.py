"""Reading journals: when two are equal, what a state holds, and where every value went."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Iterator
from typing import Any

import attrs

from marsys_core import events as e
from marsys_core.actions import AskUser, Content, EndConversation, Finish, Invoke, Return
from marsys_core.events import Event, identity
from marsys_core.orchestrator import Branch, Contribution, Frame, Join, Person, RunState, Share
from marsys_core.orchestrator.shared import Cell
from marsys_core.orchestrator.writes import Entry
from marsys_core.values import JoinInput

__all__ = ["Ledger", "journal", "snapshot"]


def journal(events: Iterable[Event]) -> dict[e.EventId, tuple[Any, ...]]:
    """The events by id, without what tells two equal runs apart."""
    return {event.id: identity(event) for event in sorted(events, key=lambda event: event.id)}


def snapshot(state: RunState) -> Any:
    """The whole state as plain data; branches and joins that are referred to stand as their ids."""
    return {
        # Which settled branches were looked after already is no part of the fold.
        **{f.name: plain(getattr(state, f.name)) for f in attrs.fields(RunState) if f.name != "settled"},
        "branches": {id: fields_of(branch) for id, branch in state.branches.items()},
    }


def fields_of(thing: Branch | Join) -> dict[str, Any]:
    found = {field.name: plain(getattr(thing, field.name)) for field in attrs.fields(type(thing))}
    if isinstance(thing, Branch) and thing.fork is not None:
        found["fork"] = fields_of(thing.fork)
    return found


def plain(value: Any) -> Any:
    match value:
        case Branch():
            return ("branch", value.id)
        case Join():
            return ("join", value.id)
        case Share():
            return {field.name: plain(getattr(value, field.name)) for field in attrs.fields(Share)}
        case Contribution():
            return (value.call, value.key, value.node, value.source, value.value, value.id)
        case list() | deque():
            return [plain(inner) for inner in value]
        case set():
            return set(value)
        case dict():
            return {key: plain(inner) for key, inner in value.items()}
        case Frame():
            return {key: plain(inner) for key, inner in value.contents().items()}
        case Cell():
            return ("cell", value.value(lambda inner: inner))
        case Entry():
            return (value.write, value.branch, value.node)
        case tuple():
            return tuple(plain(inner) for inner in value)
        case Event():
            return identity(value)
        case Person():
            return {field.name: plain(getattr(value, field.name)) for field in attrs.fields(Person)}
    return value


@attrs.define
class Ledger:
    """Both sides of the conservation law, of strings: what was handed on, and where each copy ended."""

    handed: Counter[str] = attrs.field(factory=Counter)
    ended: Counter[str] = attrs.field(factory=Counter)
    held: dict[str, Any] = attrs.field(factory=dict)
    content: dict[str, Any] = attrs.field(factory=dict)
    questions: set[str] = attrs.field(factory=set)
    calls: dict[tuple[str, int], Any] = attrs.field(factory=dict)

    @classmethod
    def of(cls, events: Iterable[Event], result: Iterable[Any]) -> Ledger:
        """Read a whole journal; `result` is what reached the run."""
        ledger = cls()
        for event in events:
            ledger.read(event)
        for value in [*ledger.content.values()]:
            ledger.hand(value)
        for value in result:
            ledger.end(value)
        return ledger

    def read(self, event: Event) -> None:
        if type(event) is e.BranchForked:
            self.calls[event.branch, event.fork] = event.calls
        match event:
            case e.BranchStarted():
                self.held[event.branch] = event.value
                if event.branch == "0":
                    self.hand_in_time(event.branch, event.value)
            case e.BranchMoved():
                self.held[event.branch] = event.value
                if event.how == "gather":
                    self.settle_content(event.branch)
                    self.end(event.value)
                    self.hand_in_time(event.branch, event.value)
            case e.StepStarted():
                self.settle_content(event.branch)
                self.end(self.held[event.branch])
            case e.RuleDecided(point="before_step", verdict="modify"):
                self.settle_content(event.branch)
                self.end(self.held[event.branch])
                self.hand(event.value)
                self.held[event.branch] = event.value
            case e.StepFinished():
                self.act(event)
            case e.UserAsked(kind="question"):
                # What a branch brings to a person ends there; the answer is a value of its own.
                self.settle_content(event.branch)
                self.end(event.prompt)
                self.questions.add(event.request_id)
            case e.UserAnswered(error=None) if event.request_id in self.questions:
                self.hand(event.value)
            case e.JoinReopened():
                # What is given to a call that is made again is one value more.
                for call in event.calls:
                    self.hand(self.calls[event.branch, event.fork][call][1])
            case e.BranchForked(plain=True):
                # Content that forks is as many values as there are calls.
                del self.content[event.branch]
                for _, value in event.calls:
                    self.hand(value)
            case e.BranchSettled(outcome="returned", contributes=False):
                self.end(event.value)
            case e.Dropped():
                self.end(event.value)

    def act(self, event: e.StepFinished) -> None:
        match event.action:
            case Invoke(calls) if event.turn:
                self.hand_in_time(event.branch, calls[0][1])
            case Invoke(calls):
                for _, value in calls:
                    self.hand(value)
            case Return(value) | Finish(value) | AskUser(value):
                self.hand(value)
            case Content(value) | EndConversation(value):
                self.hand_in_time(event.branch, value)

    def hand_in_time(self, branch: str, value: Any) -> None:
        """Content: whether it is one value or several shows at the next event of the branch."""
        self.content[branch] = value

    def settle_content(self, branch: str) -> None:
        if branch in self.content:
            self.hand(self.content.pop(branch))

    def hand(self, value: Any) -> None:
        self.handed.update(strings(value))

    def end(self, value: Any) -> None:
        self.ended.update(strings(value))


def strings(value: Any) -> Iterator[str]:
    match value:
        case str():
            yield value
        case list():
            for inner in value:
                yield from strings(inner)
        case JoinInput():
            for item in value:
                yield from strings(item.value)
