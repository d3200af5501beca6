"""The log of one run that lies in the state of its session."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping

import attrs
import trio

from marsys_core.backend.document import KeptRun, entry_text
from marsys_core.backend.opened import Opened, Session, key_of
from marsys_core.errors import LifecycleError, StoreError
from marsys_core.protocols.store import STATUSES, Entry

__all__ = ["BackendLog"]

# What may wait for the next step: decisions, and what a model said. All else is somebody else's doing, too.
_WAITING = ("Branch", "Join", "Model", "Step")


@attrs.define(eq=False, kw_only=True)
class BackendLog:
    """One run that somebody holds; made by `BackendStore.create` and `BackendStore.take`.

    Args:
        opened: The backend.
        session: The state that the run lies in.
        run: The run.
        clock: Seconds since 1970.
        ended: Called when the run is given back.
    """

    _opened: Opened
    _session: Session
    _run: KeptRun
    _ended: Callable[[BackendLog], None]
    _clock: Callable[[], float] = time.time
    _open: bool = True
    _last: int = 0
    _urgent: int = 0
    _steps: deque[int] = attrs.field(factory=deque, init=False)
    _elsewhere: list[tuple[str, dict[str, str]]] = attrs.field(factory=list, init=False)

    @property
    def run_id(self) -> str:
        """The run."""
        return self._run.info.run_id

    @property
    def next_seq(self) -> int:
        """The `seq` that the next entry has to have."""
        return len(self._run.entries)

    def append(self, entry: Entry) -> None:
        """Take `entry`; it is written with a commit.

        Raises:
            ValueError: Its `seq` is not the next one, or it holds text that UTF-8 does not have.
            LifecycleError: The log was released.
        """
        self._check()
        if entry.seq != len(self._run.entries):
            msg = f"the next entry of run {self.run_id!r} has seq {self.next_seq}, not {entry.seq!r}"
            raise ValueError(msg)
        self._run.entries.append(entry_text(entry))
        self._changed(urgent=not entry.kind.startswith(_WAITING))
        if entry.kind == "StepFinished":
            self._steps.append(self._last)

    def put(self, sha256: str, data: bytes) -> None:
        """Take a large value, once however often it is put."""
        self._check()
        if self._run.put(sha256, bytes(data)):
            self._changed(urgent=False)

    def update(
        self, *, status: str | None = None, steps: int | None = None, error: str | None = None
    ) -> None:
        """Change what is told about the run.

        Raises:
            ValueError: There is no such status.
        """
        self._check()
        if status is not None and status not in STATUSES:
            msg = f"the status of a run is one of {', '.join(STATUSES)}, not {status!r}"
            raise ValueError(msg)
        info = self._run.info
        self._run.info = attrs.evolve(
            info,
            status=info.status if status is None else status,
            steps=info.steps if steps is None else steps,
            error=info.error if error is None else error,
            updated=self._clock(),
        )
        self._changed(urgent=True)

    def remember(self, session_id: str, said: Mapping[str, str]) -> None:
        """Add what the run says to its session. That of a nested run lies in another state than the run.

        Raises:
            ValueError: It holds text that UTF-8 does not have.
            LifecycleError: The log was released.
        """
        self._check()
        for text in (session_id, *said, *said.values()):
            text.encode()
        key = key_of(session_id, "")
        if key != self._session.key:
            self._elsewhere.append((key, dict(said)))
            self._changed(urgent=True)
        elif self._session.memory.remember(self.run_id, said):
            self._changed(urgent=True)

    async def commit(self) -> None:
        """Wait until everything before is kept, or return where `save_every` lets it wait for more steps.

        Raises:
            StoreError: It could not be written; the next commit tries again.
        """
        saved = self._session.saved
        while self._steps and self._steps[0] <= saved:
            self._steps.popleft()
        every = self._opened.backend.save_every
        # With 1, all is written that a commit asks for, also at the levels between steps.
        if self._last <= saved or (every > 1 and self._urgent <= saved and len(self._steps) < every):
            await trio.lowlevel.checkpoint()
            return
        await self._save()

    async def _save(self) -> None:
        while self._elsewhere:  # first: it may be added again, and the run may not end without it
            key, said = first = self._elsewhere[0]
            session = await self._opened.hold(key)
            try:
                session.memory.remember(self.run_id, said)
                await self._opened.save(session, session.changed())
            finally:
                self._opened.let_go(session)
            if self._elsewhere and self._elsewhere[0] is first:
                del self._elsewhere[0]
        await self._opened.save(self._session, self._last)

    async def release(self) -> None:
        """Write what is not written, and give the run back.

        Raises:
            StoreError: It could not be written; the run is still held.
        """
        if not self._open:
            await trio.lowlevel.checkpoint()
            return
        self._open = False
        try:
            await self._save()
        except BaseException:
            self._open = True
            raise
        self._give_back()

    async def end(self) -> str:
        """Write what is not written, and take nothing more: the store is closing. Return what went wrong."""
        if not self._open:
            return ""
        self._open = False
        try:
            await self._save()
        except StoreError as error:
            return f"run {self.run_id!r} ({error})"
        finally:
            self._give_back()
        return ""

    def _give_back(self) -> None:
        self._opened.held.pop(self.run_id, None)
        self._opened.let_go(self._session)
        self._ended(self)

    def _changed(self, *, urgent: bool) -> None:
        self._last = self._session.changed()
        if urgent:
            self._urgent = self._last

    def _check(self) -> None:
        if not self._open:
            msg = f"the log of run {self.run_id!r} was released; take the run again to go on with it"
            raise LifecycleError(msg)
