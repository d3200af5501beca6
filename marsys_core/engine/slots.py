"""Slots: how many steps run at a time, in a run and in the runs that it is part of."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import attrs
import trio

__all__ = ["Leave", "Slots"]


@attrs.define(eq=False)
class Slots:
    """A number of slots, handed out in the order of asking; a step holds one while its code runs.

    Args:
        free: How many there are.
        parent: Where a step of a nested run needs a slot besides: it runs in the outer run as well.
    """

    # Invariant: whoever holds a slot of `parent` waits for none further in, so the order of taking has no circle.
    free: int
    parent: Slots | None = None
    _waiting: deque[trio.Event] = attrs.field(factory=deque)

    async def __aenter__(self) -> None:
        await self.take()

    async def __aexit__(self, *_: object) -> None:
        self.give_back()

    async def take(self, *, first: bool = False) -> None:
        """Wait for a slot, here and in the runs round this one; with `first`, before everybody else."""
        await self._take_own(first)
        if self.parent is not None:
            try:
                await self.parent.take(first=first)
            except BaseException:
                self._give_own_back()
                raise

    def seize(self) -> None:
        """Take a slot even if none is free: for code that is ending, and gives it back at once."""
        for slots in self._chain():
            slots.free -= 1

    def give_back(self) -> None:
        """Let the next one have the slot."""
        for slots in self._chain():
            slots._give_own_back()

    def _chain(self) -> Iterator[Slots]:
        slots: Slots | None = self
        while slots is not None:
            yield slots
            slots = slots.parent

    async def _take_own(self, first: bool) -> None:
        if self.free > 0:
            self.free -= 1
            return
        turn = trio.Event()
        (self._waiting.appendleft if first else self._waiting.append)(turn)
        try:
            await turn.wait()
        except BaseException:
            if turn.is_set():  # it was handed over in the moment of the cancellation
                self._give_own_back()
            else:
                self._waiting.remove(turn)
            raise

    def _give_own_back(self) -> None:
        if self.free >= 0 and self._waiting:
            self._waiting.popleft().set()
        else:
            self.free += 1


@attrs.define(eq=False)
class Leave:
    """A step's slot, given back while the step waits for nested runs, of which several may go on at once."""

    slots: Slots
    _away: int = 0
    _held: bool = True
    _taking: bool = False

    @asynccontextmanager
    async def aside(self) -> AsyncIterator[None]:
        """Give the slot back for the time of the block, and take it again, first in line, before the code goes on."""
        self._away += 1
        self._let_go()
        try:
            yield
        except Exception:
            await self._back()
            raise
        except BaseException:
            self._away -= 1
            if not self._away and not self._held and not self._taking:
                self.slots.seize()
                self._held = True
            raise
        else:
            await self._back()

    def _let_go(self) -> None:
        if self._held:
            self._held = False
            self.slots.give_back()

    def _let_go_if_away(self) -> None:
        """Another nested run of the step may have begun while the slot was waited for."""
        if self._away:
            self._let_go()

    async def _back(self) -> None:
        self._away -= 1
        if self._away or self._held or self._taking:
            return
        self._taking = True
        try:
            await self.slots.take(first=True)
        except BaseException:
            self.slots.seize()
            raise
        finally:
            self._taking, self._held = False, True
        self._let_go_if_away()
