"""A store in memory that can be cut: what a process that died at one entry would have left behind."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import trio

from marsys_core.errors import LifecycleError, RunHeld, StoreError, UnknownName
from marsys_core.keeping.steps import with_steps
from marsys_core.protocols.store import Entry, Recalled, RunInfo, Said, StoreReport

__all__ = ["MemoryStore"]


@attrs.define(eq=False)
class Kept:
    """One run: what is known of it, its entries, and its large values with how many entries came before each."""

    info: RunInfo
    entries: list[Entry] = attrs.field(factory=list)
    blobs: dict[str, tuple[int, bytes]] = attrs.field(factory=dict)


@attrs.define(eq=False)
class Addition:
    """What a run has added to a session, and how many of its entries came before."""

    session_id: str
    run_id: str
    said: dict[str, str]
    entries: int


@attrs.define(eq=False)
class MemoryLog:
    """The log of one run. What was appended is there for others once it is committed."""

    store: MemoryStore
    kept: Kept
    open: bool = True
    _queued: list[Entry] = attrs.field(factory=list)
    _changes: dict[str, Any] = attrs.field(factory=dict)
    _said: list[Addition] = attrs.field(factory=list)

    @property
    def run_id(self) -> str:
        return self.kept.info.run_id

    @property
    def next_seq(self) -> int:
        return len(self.kept.entries) + len(self._queued)

    def append(self, entry: Entry) -> None:
        self._check_open()
        if entry.seq != self.next_seq:
            msg = f"the next entry of run {self.run_id!r} has seq {self.next_seq}, not {entry.seq!r}"
            raise ValueError(msg)
        entry.data.encode()  # text that UTF-8 does not have is refused here
        self._queued.append(entry)

    def put(self, sha256: str, data: bytes) -> None:
        self._check_open()
        self.kept.blobs.setdefault(sha256, (self.next_seq, data))

    def update(
        self, *, status: str | None = None, steps: int | None = None, error: str | None = None
    ) -> None:
        self._check_open()
        given = {"status": status, "steps": steps, "error": error}
        self._changes.update((name, value) for name, value in given.items() if value is not None)

    def remember(self, session_id: str, said: Mapping[str, str]) -> None:
        self._check_open()
        self._said.append(Addition(session_id, self.run_id, dict(said), self.next_seq))

    async def commit(self) -> None:
        self._check_open()
        await trio.lowlevel.checkpoint()
        self._flush()

    async def release(self) -> None:
        await trio.lowlevel.checkpoint()
        if self.open:
            self._flush()
            self.open = False
            self.store.holders.pop(self.run_id, None)

    def _flush(self) -> None:
        self.kept.entries += self._queued
        self.kept.info = attrs.evolve(self.kept.info, **self._changes)
        for added in self._said:
            if self.store.held_by(added.session_id).get(added.run_id, {}) != added.said:
                self.store.added.append(added)
        self._queued, self._changes, self._said = [], {}, []

    def _check_open(self) -> None:
        if not self.open:
            msg = f"the log of run {self.run_id!r} was released"
            raise LifecycleError(msg)


@attrs.define(eq=False)
class MemoryStore:
    """Keeps runs as long as the object lives."""

    kept: dict[str, Kept] = attrs.field(factory=dict)
    holders: dict[str, str] = attrs.field(factory=dict)
    added: list[Addition] = attrs.field(factory=list)

    def cut(self, run_id: str, entries: int) -> MemoryStore:
        """Return what would be there had the process died when this many entries of a run were written."""
        whole = self.kept[run_id]
        left = Kept(
            attrs.evolve(whole.info, status="running", steps=0, error=""),
            whole.entries[:entries],
            {sha256: found for sha256, found in whole.blobs.items() if found[0] <= entries},
        )
        added = [each for each in self.added if each.run_id != run_id or each.entries <= entries]
        return MemoryStore({run_id: left}, added=added)

    def held_by(self, session_id: str, version: int | None = None) -> dict[str, dict[str, str]]:
        """Return what is remembered of a session, by run, in order."""
        found: dict[str, dict[str, str]] = {}
        for added in [each for each in self.added if each.session_id == session_id][:version]:
            found.pop(added.run_id, None)
            found[added.run_id] = added.said
        return found

    async def create(self, info: RunInfo, holder: str = "") -> MemoryLog:
        await trio.lowlevel.checkpoint()
        if info.run_id in self.kept:
            msg = f"there is a run {info.run_id!r} already"
            raise StoreError(msg)
        self.kept[info.run_id] = Kept(info)
        return self._held(info.run_id, holder)

    async def take(self, run_id: str, holder: str = "") -> MemoryLog:
        await trio.lowlevel.checkpoint()
        self._of(run_id)
        if run_id in self.holders:
            msg = f"run {run_id!r} is held by {self.holders[run_id]!r}"
            raise RunHeld(msg, run_id=run_id, holder=self.holders[run_id])
        return self._held(run_id, holder)

    async def info(self, run_id: str) -> RunInfo:
        await trio.lowlevel.checkpoint()
        return self._told(self._of(run_id))

    async def runs(
        self,
        *,
        status: Iterable[str] = (),
        session_id: str | None = None,
        limit: int = 100,
        before: str | None = None,
    ) -> Sequence[RunInfo]:
        await trio.lowlevel.checkpoint()
        found = [self._told(kept) for kept in reversed(self.kept.values())]
        if before is not None:
            found = found[[info.run_id for info in found].index(before) + 1 :]
        wanted = tuple(status)
        return [
            info
            for info in found
            if (not wanted or info.status in wanted) and session_id in (None, info.session_id)
        ][:limit]

    async def entries(self, run_id: str, start: int = 0, stop: int | None = None) -> Sequence[Entry]:
        await trio.lowlevel.checkpoint()
        return self._of(run_id).entries[start:stop]

    async def blobs(self, run_id: str) -> Mapping[str, bytes]:
        await trio.lowlevel.checkpoint()
        return {sha256: data for sha256, (_, data) in self._of(run_id).blobs.items()}

    async def blob(self, sha256: str) -> bytes:
        await trio.lowlevel.checkpoint()
        for kept in self.kept.values():
            if sha256 in kept.blobs:
                return kept.blobs[sha256][1]
        raise KeyError(sha256)

    async def recall(self, session_id: str, *, after: int = 0, version: int | None = None) -> Recalled:
        await trio.lowlevel.checkpoint()
        all_of_it = [each for each in self.added if each.session_id == session_id][:version]
        late = {each.run_id for each in all_of_it[after:]}
        held = self.held_by(session_id, version)
        said = [
            Said(agent, run_id, data)
            for run_id, by_agent in held.items()
            for agent, data in by_agent.items()
            if not after or run_id in late
        ]
        return Recalled(len(all_of_it), said)

    async def forget_session(self, session_id: str) -> None:
        await trio.lowlevel.checkpoint()
        self.added = [each for each in self.added if each.session_id != session_id]

    async def remove(self, run_ids: Iterable[str]) -> None:
        await trio.lowlevel.checkpoint()
        gone = {run_id: self._of(run_id) for run_id in run_ids}
        for run_id, kept in gone.items():
            outer = kept.info
            while outer.parent in self.kept:
                outer = self.kept[outer.parent].info
            if outer.run_id not in gone:
                msg = f"run {run_id!r} is nested in run {outer.run_id!r}"
                raise StoreError(msg)
        while more := {
            run_id: kept
            for run_id, kept in self.kept.items()
            if kept.info.parent in gone and run_id not in gone
        }:
            gone |= more
        for run_id in gone:
            del self.kept[run_id]

    async def expire(self, older_than_seconds: float) -> int:
        await trio.lowlevel.checkpoint()
        return 0

    async def vacuum(self) -> None:
        await trio.lowlevel.checkpoint()

    async def export(self, run_id: str, path: Path | str) -> None:
        raise NotImplementedError

    async def import_(self, path: Path | str) -> str:
        raise NotImplementedError

    async def check(self) -> StoreReport:
        await trio.lowlevel.checkpoint()
        counts = [(len(kept.entries), len(kept.blobs)) for kept in self.kept.values()]
        return StoreReport(
            runs=len(counts), entries=sum(e for e, _ in counts), blobs=sum(b for _, b in counts)
        )

    def _held(self, run_id: str, holder: str) -> MemoryLog:
        self.holders[run_id] = holder
        return MemoryLog(self, self.kept[run_id])

    def _of(self, run_id: str) -> Kept:
        if run_id not in self.kept:
            raise UnknownName("run", run_id, self.kept)
        return self.kept[run_id]

    def _told(self, kept: Kept) -> RunInfo:
        holder = self.holders.get(kept.info.run_id, "")
        lost = kept.info.status == "running" and not holder
        info = attrs.evolve(kept.info, holder=holder, status="interrupted" if lost else kept.info.status)
        return with_steps(info, lambda: [(entry.seq, entry.kind, entry.data) for entry in kept.entries])
