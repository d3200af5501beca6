"""The parts of a run: branches, the joins they wait for, and what joins collect."""

from __future__ import annotations

from typing import Any

import attrs

from marsys_core import events as e
from marsys_core.actions import Action, Replies
from marsys_core.events import EventId
from marsys_core.orchestrator.person import Person
from marsys_core.orchestrator.phases import LOST, Phase, Settled
from marsys_core.orchestrator.shared import Frame
from marsys_core.orchestrator.shares import Share
from marsys_core.orchestrator.writes import Entry
from marsys_core.values import Failure

__all__ = ["Branch", "Contribution", "Join"]


@attrs.define(eq=False)
class Contribution:
    """A value that a join collected: for which call, from whom, and by which event."""

    call: int
    key: tuple[int, ...]
    node: str
    source: str
    value: Any
    id: EventId


@attrs.define(eq=False)
class Join:
    """What a fork waits for."""

    owner: Branch
    number: int
    meeting: str | None
    calls: tuple[tuple[str, Any], ...]
    names: tuple[str, ...]
    first: int
    policy: Any
    limit: int | None
    plain: bool
    event: EventId
    children: list[Branch] = attrs.field(factory=list)
    contributions: list[Contribution] = attrs.field(factory=list)
    open: int = 0
    delivered: dict[int, None] = attrs.field(factory=dict)
    failed: int = 0
    left: int = 0
    dropped: int = 0
    closing: Failure | str = ""
    complete: bool = False
    met: bool = False
    again: dict[int, int] | None = None
    """Calls that a person had made again and that are still to be opened, with the index of the new child."""
    error: Failure | None = None
    passed_in: list[tuple[int, Branch]] | None = None
    """Branches from further in that delivered here, with their calls, where they wrote to the state."""
    share: Share | None = None

    @property
    def id(self) -> tuple[str, int]:
        """The forking branch and the number of its fork."""
        return (self.owner.id, self.number)

    @property
    def detached(self) -> bool:
        """Whether nobody waits for the children."""
        return self.policy is None

    @property
    def queued(self) -> int:
        """How many calls have no child yet."""
        if self.closing:
            return 0
        return len(self.calls) - len(self.children) + (len(self.again) if self.again else 0)

    @property
    def unopened(self) -> list[int]:
        """The calls that have no child yet, in the order in which they are opened."""
        return [*(self.again or ()), *range(len(self.children), len(self.calls))]

    @property
    def undelivered(self) -> list[int]:
        """The calls that failed, were cancelled or never opened: those to make once more."""
        failed = [c.call for c in self.children if c.outcome in LOST and c.call not in self.delivered]
        return [*failed, *range(len(self.children), len(self.calls))]


@attrs.define(eq=False)
class Branch:
    """One line of execution, at one node at a time.

    Where a set would be empty or hold only names, there is a dict with no values: the garbage collector
    does not look into one, and with a thousand runs at once that is a tenth of their cost.
    """

    id: str
    key: tuple[int, ...]
    name: str
    node: str
    value: Any
    inputs: tuple[EventId, ...]
    join: Join | None = None
    call: int = 0
    detached: bool = False
    depth: int = 0
    phase: Phase = Phase.READY
    how: str = "start"
    stack: tuple[str, ...] = ()
    n: int = 0
    steps: int = 0
    last: EventId = ("", 0)
    action: Action | None = None
    offered: bool = False
    turn: int = 0
    fork: Join | None = None
    forks: int = 0
    children: int = 0
    attempts: int = 0
    outcome: Settled | None = None
    error: Any = None
    result: Any = None
    started: float = 0.0
    ended: float = 0.0
    stepped: dict[str, int] = attrs.field(factory=dict)
    passed: set[str] | None = None
    asked: dict[str, set[str]] | None = None
    own: set[str] | None = None
    rounds: dict[str, int] | None = None
    replies: dict[str, Replies] | None = None
    joined: Join | None = None
    left: bool = False
    limited: e.LimitReached | None = None
    dropped: int = 0
    rulings: list[e.RuleDecided] | None = None
    """What rules have said of the step, or of the fork, that it is about."""
    person: Person | None = None
    shared: Frame | None = None
    owns_frame: bool = False
    writes: list[Entry] | None = None
    """What it wrote to the shared state, until a join has taken it; branch `0` keeps no list."""
    since: int = 0
    """How many writes its parent had when it was opened."""
    closed: tuple[str, ...] = ()
    """Where edges lead that are closed for the step that has ended, or for the gather."""
    before: dict[str, int] | None = None
    """Steps by node that count no more as stepped at."""
    share: Share | None = None

    def visits(self, node: str) -> int:
        """Return how many steps it has taken at `node`."""
        return self.stepped.get(node, 0) + (self.before.get(node, 0) if self.before else 0)

    @property
    def caller(self) -> str | None:
        """The node that waits for this branch's answer to a call."""
        return self.stack[-1] if self.stack else None

    def note_asked(self, nodes: tuple[str, ...] | list[str]) -> None:
        """Remember that the current node called, or forked to, `nodes` from this branch."""
        if self.asked is None:
            self.asked = {}
        self.asked.setdefault(self.node, set()).update(nodes)

    def start_afresh(self) -> None:
        """Begin the next round at the current node: what was asked and stepped at counts no more."""
        self.rounds = {**(self.rounds or {}), self.node: (self.rounds or {}).get(self.node, 1) + 1}
        if self.asked is not None:
            self.asked.pop(self.node, None)
        self.forget_steps()

    def forget_steps(self) -> None:
        """Plain content may enter again where a step was taken; the steps are still counted."""
        if self.before is None:
            self.before = self.stepped
        else:
            for node, n in self.stepped.items():
                self.before[node] = self.before.get(node, 0) + n
        self.stepped = {}

    def frame(self) -> Frame:
        """Return the layer of the shared state that this branch alone writes into."""
        if self.shared is None or not self.owns_frame:
            self.shared, self.owns_frame = Frame(self.shared), True
        return self.shared

    def take_down(self, entries: list[Entry]) -> None:
        """Remember writes for the join that is to take them."""
        if self.join is not None or self.detached:
            if self.writes is None:
                self.writes = []
            self.writes += entries
