"""What a run writes down: its events, its values, and who is told of them."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import attrs
import trio

from marsys_core import events as e
from marsys_core.actions import Action, Invoke
from marsys_core.config import ExecutionConfig, StatusConfig
from marsys_core.engine.deltas import Deltas, Feed
from marsys_core.engine.engine import EVENT_TYPES, STREAMED_TYPES
from marsys_core.errors import GuardRefused, ValueRefused
from marsys_core.journal import MemoryJournal, pack, unpack
from marsys_core.messages import shown
from marsys_core.orchestrator import Branch, Orchestrator
from marsys_core.protocols.event_sink import Sinks, bind_sinks
from marsys_core.protocols.guard import GuardSubject
from marsys_core.values import REF_BYTES

if TYPE_CHECKING:
    from marsys_core.engine.borrowed import Borrowed
    from marsys_core.engine.durable import Durable
    from marsys_core.engine.engine import Engine
    from marsys_core.engine.resting import Rest
    from marsys_core.engine.step import Step

__all__ = ["Recorder"]

_SPECIAL = frozenset({e.Warned, e.RunFinished})
_SHORT = REF_BYTES // 4  # characters that are no reference, whatever they are


@attrs.define(eq=False, kw_only=True, repr=False)
class Recorder:
    """The written side of a run.

    Attributes:
        news: Set at the next event, where somebody waits for one.
        warnings: What the run warned of, each text once.
        before: How many seconds the run had gone on for before it was taken up again.
        skipped: How many of its entries are void, so that the places of later ones count them.
        void: Of a run that was taken up: its entries that do not hold any more.
        durable: Where its events go besides, so that they outlive this process.
        rest: When it comes to rest; only a run that is kept does.
        lives: When each process began to carry it out: in seconds since the run started, and the date.
        deltas: Who hears the pieces of models' answers; None where nobody does.
    """

    engine: Engine
    config: ExecutionConfig
    journal: MemoryJournal
    run_id: str
    orchestrator: Orchestrator = attrs.field(init=False)
    sinks: tuple[Sinks, ...] = ()
    news: trio.Event | None = None
    warnings: dict[str, None] = attrs.field(factory=dict)
    began: float = 0.0
    before: float = 0.0
    skipped: int = 0
    durable: Durable | None = None
    void: Sequence[e.Event] | None = None
    borrowed: Borrowed | None = None
    rest: Rest | None = None
    lives: list[tuple[float, float]] = attrs.field(factory=list)
    _here: tuple[float, float] | None = None
    deltas: Deltas | None = None
    _random: random.Random | None = None
    _last: e.RunFinished | None = None

    def _record(self, event: e.Event) -> None:
        if type(event) in _SPECIAL and self._keeps_back(event):
            return
        events = self.journal.events
        event.seq = len(events) + self.skipped
        event.time = trio.current_time() - self.began
        event.run_id = self.run_id
        events.append(event)
        if self.durable is not None:
            self.durable.write(event)
        for sinks in self.sinks:
            sinks.emit(event)
        if self.news is not None:
            self.news.set()
            self.news = None

    def _keeps_back(self, event: Any) -> bool:
        """Whether `event` is the run's last, and something of it is still running that may have a word."""
        if type(event) is e.Warned:
            self.warnings[event.message] = None
            return False
        kept, self._last = self._last is None, event
        return kept

    def record(self, event: e.Event) -> None:
        """Append an event that the orchestrator has no part in."""
        self._record(event)
        self.orchestrator.state.apply(event)

    @property
    def resting(self) -> str:
        """``paused`` or ``waiting``, where the run rests, with work left; else nothing."""
        return "" if self.rest is None else self.rest.resting

    def wall_now(self) -> float:
        """Return the date, in seconds since 1970: that of the run's beginning here, and what has gone by since."""
        now = trio.current_time()
        if self._here is None:
            self._here = (self.engine.wall(), now)
        began, at = self._here
        return began + now - at

    def date_of(self, time: float) -> float:
        """Return the date of what was recorded `time` seconds after the run started, by this process or one before."""
        lives = [life for life in self.lives if life[0] <= time] or self.lives[:1]
        if not lives:
            return self.wall_now()
        began, date = lives[-1]
        return date + time - began

    def hear(self, feed: Feed) -> None:
        """Put the pieces of answers that come from now on into `feed`."""
        if self.deltas is None:
            self.deltas = Deltas(self)
        self.deltas.feeds.append(feed)

    def unhear(self, feed: Feed) -> None:
        """Put nothing more into `feed`."""
        if self.deltas is not None:
            self.deltas.feeds = [each for each in self.deltas.feeds if each is not feed]
            if not self.deltas.feeds:
                self.deltas = Deltas.of(self)

    def plain(self, value: Any) -> Any:
        """Return `value` as plain data, or raise `ValueRefused`."""
        return self.engine.converter.plain(value, self.config.max_value_bytes)

    def keep(self, value: Any) -> Any:
        """Return what events carry for `value`: plain, and a reference where it is large."""
        if type(value) is str and len(value) <= _SHORT and len(value) * 4 <= self.config.max_value_bytes:
            return value  # what most values are: no walk, and nothing to weigh
        return pack(self.journal, self.plain(value))

    def _pack(self, value: Any) -> Any:
        return pack(self.journal, value)

    def unpack(self, value: Any) -> Any:
        """Return the value behind what events carry."""
        return value if type(value) is str else unpack(self.journal, value)

    def drop_late(self, step: Step, value: Any) -> None:
        """Record what code that nobody could interrupt returned after its step was over."""
        if isinstance(value, Invoke):
            value = [payload for _, payload in value.calls]
        elif isinstance(value, Action):
            value = getattr(value, "value", None)
        if value is None:
            return
        try:
            kept = self.keep(value)
        except ValueRefused:
            kept = shown(value, 200)
        branch = step.branch
        self.record(e.Dropped(branch.id, branch.n, branch.last, kept, branch.last, "its step was over"))

    @property
    def random(self) -> Callable[[], float]:
        """The run's own source of numbers from 0 to 1."""
        if self._random is None:
            self._random = random.Random(self.config.seed)
        return self._random.random

    async def show(self, status: StatusConfig) -> None:
        """Let the console plugin, or whoever shows runs, listen to this one."""
        sink = await self.engine.status_sink(status)
        self.sinks = (*self.sinks, bind_sinks({"status": sink}, EVENT_TYPES, STREAMED_TYPES))
        self.deltas = Deltas.of(self)

    async def check(self, subject: GuardSubject, branch: Branch | None = None) -> None:
        """Ask the guards about the task, or about a call made on `branch`; a refusal is recorded and raised.

        Raises:
            GuardRefused: One of them refused, or broke.
        """
        try:
            await self.engine.ask_guards(subject)
        except GuardRefused as error:
            state = self.orchestrator.state
            where = ("", state.run_n, ("", 0)) if branch is None else (branch.id, branch.n, branch.last)
            self.record(e.GuardRefusedInput(*where, subject.name, subject.kind, str(error)))
            raise
