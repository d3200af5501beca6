"""The places of a pool: which are free, who stands in line for one. It decides; who waits is the pool's business.

Used from any number of threads and Trio runs at once: a lock stands round every decision, and whoever is given
a place is woken in its own run. Nothing of a run is left here when it has ended: a waiter leaves before its task.
"""

from __future__ import annotations

import heapq
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

import attrs
import trio

if TYPE_CHECKING:
    from marsys_core.agents.base import BaseAgent

__all__ = ["Moment", "Place", "Places", "Waiter"]

_run_mark: trio.lowlevel.RunVar[object] = trio.lowlevel.RunVar("marsys pool clock")


@attrs.frozen(eq=False)
class Moment:
    """A moment on Trio's clock, and on the machine's for whoever looks at it from another run, or from none."""

    run: object
    seconds: float
    machine: float

    @classmethod
    def now(cls) -> Moment:
        """Return this moment."""
        machine = time.monotonic()
        try:
            seconds = trio.current_time()
        except RuntimeError:  # outside of Trio
            return cls(None, machine, machine)
        try:
            run = _run_mark.get()
        except LookupError:
            run = object()
            _run_mark.set(run)
        return cls(run, seconds, machine)

    def since(self, earlier: Moment) -> float:
        """Return how many seconds after `earlier` this moment is; each Trio run counts from another zero."""
        if self.run is earlier.run:
            return self.seconds - earlier.seconds
        return self.machine - earlier.machine


@attrs.define(eq=False)
class Place:
    """Room for one instance.

    Attributes:
        index: Which, from 0.
        agent: The instance, once there is one.
        free_since: When it was last given back.
        awaited: How many leases have set it aside and come back to it; as long as there are any it is kept.
    """

    index: int
    agent: BaseAgent | None = None
    free_since: Moment | None = None
    awaited: int = 0


@attrs.define(eq=False)
class Waiter:
    """Somebody in line. Woken either with a place or, where the pool was closed, without."""

    place: Place | None = None
    _woken: trio.Event = attrs.field(factory=trio.Event)
    _token: trio.lowlevel.TrioToken = attrs.field(factory=trio.lowlevel.current_trio_token)

    async def wait(self) -> None:
        """Wait until somebody calls `wake`."""
        await self._woken.wait()

    def wake(self) -> None:
        """Wake it, from wherever this is called."""
        try:
            here = trio.lowlevel.current_trio_token() is self._token
        except RuntimeError:
            here = False
        if here:
            self._woken.set()
            return
        # Its run may have ended since: then it was cancelled, and has passed its place on.
        with suppress(trio.RunFinishedError):
            self._token.run_sync_soon(self._woken.set)


@attrs.define(eq=False)
class Places:
    """All places of a pool, and the line of those who wait.

    Invariant: a place is in exactly one of `free`, `empty` and the hands of one lease or waiter; while one is
    free or empty, nobody is in line.
    """

    size: int
    max_idle: float | None = None
    free: dict[Place, None] = attrs.field(factory=dict)
    empty: list[tuple[int, Place]] = attrs.field(factory=list)
    line: dict[Waiter, None] = attrs.field(factory=dict)
    returning: dict[Place, dict[Waiter, None]] = attrs.field(factory=dict)
    retired: list[BaseAgent] = attrs.field(factory=list)
    closed: bool = False
    made: int = 0
    dropped: int = 0
    leases: int = 0
    longest_wait: float = 0.0
    _all: tuple[Place, ...] = ()
    _lock: threading.Lock = attrs.field(factory=threading.Lock)

    def __attrs_post_init__(self) -> None:
        self._all = tuple(Place(index) for index in range(self.size))
        self.empty = [(place.index, place) for place in self._all]

    def __iter__(self) -> Iterator[Place]:
        return iter(self._all)

    def count(self) -> dict[str, int]:
        """Return how many places are idle and leased, and how many stand in line."""
        with self._lock:
            self._retire_idle()
            idle = len(self.free)
            waiting = len(self.line) + sum(map(len, self.returning.values()))
            return {"idle": idle, "leased": self.size - idle - len(self.empty), "waiting": waiting}

    # -- leases --------------------------------------------------------------------------------

    @trio.lowlevel.enable_ki_protection
    def ask(self, waiter: Waiter) -> bool:
        """Give `waiter` a place, or put it at the end of the line; say whether it need not wait.

        Where the pool is closed it has neither.
        """
        with self._lock:
            if self.closed:
                return True
            self._retire_idle()
            waiter.place = self._unclaimed()
            if waiter.place is None:
                self.line[waiter] = None
                return False
            self.leases += 1
            return True

    def _unclaimed(self) -> Place | None:
        """Return a place that nobody has; one that a lease comes back to only where there is no other.

        Of the free ones the one given back last: those that are not needed are left to grow old.
        """
        place = next((each for each in reversed(self.free) if not each.awaited), None)
        if place is None and self.empty:
            return heapq.heappop(self.empty)[1]
        if place is None:
            place = next(reversed(self.free), None)
        if place is not None:
            del self.free[place]
        return place

    @trio.lowlevel.enable_ki_protection
    def reclaim(self, place: Place, waiter: Waiter) -> bool:
        """Give `waiter` that place, which its lease had set aside, or let it wait for it before all others."""
        with self._lock:
            if place in self.free:
                del self.free[place]
                place.awaited -= 1
                waiter.place = place
                return True
            self.returning.setdefault(place, {})[waiter] = None
            return False

    @trio.lowlevel.enable_ki_protection
    def withdraw(self, waiter: Waiter, place: Place | None = None) -> None:
        """Take `waiter` out of the line, or out of that for `place`; a place it has been given is passed on."""
        with self._lock:
            if waiter.place is not None:
                self._pass_on(waiter.place)
                return
            if place is None:
                self.line.pop(waiter, None)
                return
            waiting = self.returning[place]
            del waiting[waiter]
            if not waiting:
                del self.returning[place]
            place.awaited -= 1

    @trio.lowlevel.enable_ki_protection
    def give(self, place: Place, *, aside: bool = False) -> None:
        """Take `place` back: for good, or set aside for a lease that comes back to it."""
        with self._lock:
            place.awaited += aside
            self._pass_on(place)

    def _pass_on(self, place: Place) -> None:
        """Give `place` to whoever comes back to it, else to the first in line, else keep it."""
        if place in self.returning:
            waiter = _first(waiting := self.returning[place])
            if not waiting:
                del self.returning[place]
            place.awaited -= 1
        elif self.line and not self.closed:
            waiter = _first(self.line)
            self.leases += 1
        elif place.agent is None:
            heapq.heappush(self.empty, (place.index, place))
            return
        else:
            place.free_since = None if self.max_idle is None else Moment.now()
            self.free[place] = None
            self._retire_idle()
            return
        waiter.place = place
        waiter.wake()

    def waited(self, seconds: float) -> None:
        """Take note of how long somebody was in line."""
        with self._lock:
            self.longest_wait = max(self.longest_wait, seconds)

    # -- instances -----------------------------------------------------------------------------

    @trio.lowlevel.enable_ki_protection
    def fill(self, place: Place, agent: BaseAgent) -> None:
        """Put an instance into a place that the caller holds."""
        with self._lock:
            place.agent = agent
            self.made += 1

    @trio.lowlevel.enable_ki_protection
    def take_empty(self) -> list[Place]:
        """Return all places without an instance, for the caller to fill and to give."""
        with self._lock:
            taken = [place for _, place in sorted(self.empty)]
            self.empty.clear()
            return taken

    @trio.lowlevel.enable_ki_protection
    def retire_idle(self) -> None:
        """Drop the instances that have been idle for too long; of a closed pool, all that nobody comes back to."""
        with self._lock:
            self._retire_idle()

    def _retire_idle(self) -> None:
        if self.closed:
            due = list(self.free)
        elif self.max_idle is None or not self.free:
            return
        else:
            due, now = [], Moment.now()
            for place in self.free:  # in the order in which they were given back
                if place.free_since is None or now.since(place.free_since) <= self.max_idle:
                    break
                due.append(place)
        for place in due:
            if not place.awaited:
                self._retire(place)

    def _retire(self, place: Place) -> None:
        del self.free[place]
        assert place.agent is not None  # a free place has an instance
        self.retired.append(place.agent)
        place.agent, place.free_since = None, None
        self.dropped += 1
        heapq.heappush(self.empty, (place.index, place))

    @trio.lowlevel.enable_ki_protection
    def take_retired(self) -> list[BaseAgent]:
        """Return the instances that were dropped since the last call, for the caller to close."""
        with self._lock:
            retired, self.retired = self.retired, []
            return retired

    @trio.lowlevel.enable_ki_protection
    def close(self) -> None:
        """Give no more places, and wake everybody in line without one; leases that are out go on to their end."""
        with self._lock:
            self.closed = True
            waiting, self.line = self.line, {}
            self._retire_idle()
            for waiter in waiting:
                waiter.wake()


def _first(line: dict[Waiter, None]) -> Waiter:
    waiter = next(iter(line))
    del line[waiter]
    return waiter
