"""Stores of runs: where what happened is kept, so that it outlives the process.

A store takes what happened as text, and reads it for nothing but the steps of a run that has not ended. A run is
written by one holder at a time, under a lease; anybody may read what is committed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import attrs

__all__ = [
    "SHOWN",
    "STATUSES",
    "Damage",
    "Entry",
    "Recalled",
    "RunInfo",
    "RunLog",
    "Said",
    "Store",
    "StoreReport",
]


STATUSES = ("running", "paused", "waiting", "succeeded", "failed", "cancelled")
"""What a run may be, as it is written. One that is running without a holder is shown as ``interrupted``."""

SHOWN = (*STATUSES, "interrupted", "damaged")
"""What a run may be, as it is shown."""


@attrs.frozen
class Entry:
    """One thing that happened in a run, as a store keeps it.

    Args:
        seq: Its place in the run's log: 0, 1, 2 and so on, without gaps.
        branch: The branch it happened in; ``""`` is the run itself.
        n: Its place in the branch.
        cause: The branch and the place there of what led to it.
        kind: What happened, for example ``"StepFinished"``.
        time: Seconds since the run started.
        data: The rest, as JSON text.
    """

    seq: int
    branch: str
    n: int
    cause: tuple[str, int]
    kind: str
    time: float
    data: str


@attrs.frozen(kw_only=True)
class RunInfo:
    """What a store tells about a run without reading its log.

    Args:
        run_id: The run.
        session_id: The session it belongs to.
        status: One of `STATUSES`, or ``interrupted``: it is running, and nobody has it any more; or ``damaged``: what
            was known of it is not as it was written, and `error` says so.
        task: The beginning of its task in one line, to show to a person: of a text the text itself, of data JSON.
        fingerprint: What the run was made of, as JSON text.
        origin: What the application that began it wants to know again, as text; nobody else reads it.
        created: When it was created, in seconds since 1970; 0 lets the store say.
        updated: When its status was last written, likewise.
        steps: How many steps it has taken; until it has ended, those of its log as it is committed.
        error: How it failed; ``""`` where it has not.
        parent: The run that it is nested in, or ``""``.
        forked_from: The run that it was forked from, and the `seq` of the last entry they share; or None.
        format: The version of the format of its entries' data.
        holder: Who has it now, in words; ``""`` where nobody has.

    Raises:
        ValueError: There is no such status.
    """

    run_id: str
    session_id: str = ""
    status: str = attrs.field(default="running", validator=attrs.validators.in_(SHOWN))
    task: str = ""
    fingerprint: str = "{}"
    origin: str = ""
    created: float = 0.0
    updated: float = 0.0
    steps: int = 0
    error: str = ""
    parent: str = ""
    forked_from: tuple[str, int] | None = None
    format: int = 1
    holder: str = ""


@attrs.frozen
class Said:
    """What one run has added to what an agent remembers of a session.

    Args:
        agent: The agent.
        run_id: The run.
        data: What was said in it, as the text of a JSON array that is not empty.
    """

    agent: str
    run_id: str
    data: str


def _in_order(said: Iterable[Said]) -> tuple[Said, ...]:
    return tuple(said)


@attrs.frozen
class Recalled:
    """What is remembered of a session.

    Args:
        version: Goes up with each run that adds to it; 0 is a session that nobody has added to.
        said: What was said, in the order in which it was added.
    """

    version: int = 0
    said: tuple[Said, ...] = attrs.field(default=(), converter=_in_order)

    def by_agent(self) -> dict[str, str]:
        """Return all that each agent remembers, as the text of one JSON array."""
        parts: dict[str, list[str]] = {}
        for each in self.said:
            parts.setdefault(each.agent, []).append(each.data[1:-1])
        return {agent: f"[{','.join(texts)}]" for agent, texts in parts.items()}


@attrs.frozen(kw_only=True)
class Damage:
    """Something in a store that is not as it was written.

    Args:
        run_id: The run it is in; ``""`` where it is the store's own or cannot be told.
        seq: The first entry of the run that cannot be read, or None.
        what: What was found.
    """

    what: str
    run_id: str = ""
    seq: int | None = None


@attrs.frozen(kw_only=True)
class StoreReport:
    """What a look at everything in a store has found.

    Args:
        runs: How many runs can be read in full.
        entries: How many entries can be read, over all runs.
        blobs: How many large values can be read.
        damage: What cannot; empty where all is well.
    """

    runs: int
    entries: int
    blobs: int
    damage: tuple[Damage, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether all is as it was written."""
        return not self.damage


class RunLog(Protocol):
    """The log of one run, held by whoever created or took it. Used by one task or several of one loop."""

    @property
    def run_id(self) -> str:
        """The run it is the log of."""
        ...

    @property
    def next_seq(self) -> int:
        """The `seq` that the next entry has to have."""
        ...

    def append(self, entry: Entry) -> None:
        """Take `entry`; never waits and never fails for want of room on a disk.

        Raises:
            ValueError: Its `seq` is not the next one, or it holds text that UTF-8 does not have.
            LifecycleError: The log was released.
        """
        ...

    def put(self, sha256: str, data: bytes) -> None:
        """Keep `data` under its hash, once in the whole store; never waits.

        Put it before the entry that refers to it. It is kept as long as a run that put it.
        """
        ...

    def update(
        self, *, status: str | None = None, steps: int | None = None, error: str | None = None
    ) -> None:
        """Change what the store tells about the run, with the next commit; never waits.

        Raises:
            ValueError: There is no such status.
        """
        ...

    def remember(self, session_id: str, said: Mapping[str, str]) -> None:
        """Add to a session what agents said in this run, with the next commit; never waits.

        It comes after everything that other runs have added, and takes the place of what this run had added
        before; where that is the same, nothing changes.

        Args:
            session_id: The session.
            said: Texts as in `Said.data`, by agent.

        Raises:
            ValueError: It holds text that UTF-8 does not have.
            LifecycleError: The log was released.
        """
        ...

    async def commit(self) -> None:
        """Return when everything that was appended, put, updated and remembered before is kept as the store promises.

        When it is cancelled, what was appended is written all the same, at some time.

        Raises:
            StoreError: It could not be written. It is tried again with the next commit.
            RunHeld: Somebody else took the run over; nothing more of this log will be written.
        """
        ...

    async def release(self) -> None:
        """Commit, and give the run back. To do it again does nothing.

        Raises:
            StoreError: Something could not be written; the run is still held.
        """
        ...


@runtime_checkable
class Store(Protocol):
    """Keeps runs: a few facts about each, its log, and the large values that it refers to.

    All methods may be called by many tasks at once. A method that is cancelled has taken effect whole or
    not at all.
    """

    async def create(self, info: RunInfo, holder: str = "") -> RunLog:
        """Begin a run and hold it.

        Args:
            info: What is known of it; `holder` there is not looked at.
            holder: Who will have it, for messages to others.

        Raises:
            StoreError: There is a run with this id.
        """
        ...

    async def take(self, run_id: str, holder: str = "") -> RunLog:
        """Hold a run that is there already, to go on with it.

        Raises:
            UnknownName: There is no such run.
            RunHeld: Somebody has it, who is alive.
        """
        ...

    async def info(self, run_id: str) -> RunInfo:
        """Return what is known about a run.

        Raises:
            UnknownName: There is no such run.
        """
        ...

    async def runs(
        self,
        *,
        status: Iterable[str] = (),
        session_id: str | None = None,
        limit: int = 100,
        before: str | None = None,
    ) -> Sequence[RunInfo]:
        """Return runs, the one that came into the store last first.

        Args:
            status: Only those with one of these; all where it is empty.
            session_id: Only those of this session.
            limit: How many at most.
            before: Only those that came before this run: the last one of the page before.

        Raises:
            UnknownName: There is no run called `before`.
        """
        ...

    async def entries(self, run_id: str, start: int = 0, stop: int | None = None) -> Sequence[Entry]:
        """Return what is committed of a run's log, from `seq` `start` on and before `stop`.

        Raises:
            UnknownName: There is no such run.
            StoreDamaged: An entry is not as it was written; `entries` of the error are those before it.
        """
        ...

    async def blobs(self, run_id: str) -> Mapping[str, bytes]:
        """Return all large values of a run by their hashes.

        Raises:
            UnknownName: There is no such run.
            StoreDamaged: One is not as it was written.
        """
        ...

    async def blob(self, sha256: str) -> bytes:
        """Return a large value.

        Raises:
            KeyError: The store does not have it.
            StoreDamaged: It is not as it was written.
        """
        ...

    async def recall(self, session_id: str, *, after: int = 0, version: int | None = None) -> Recalled:
        """Return what is remembered of a session; of one that nobody knows, nothing.

        Args:
            session_id: The session.
            after: Only what was added after this version.
            version: How it was then, when later runs had not added to it; None is how it is now.

        Raises:
            StoreDamaged: Something is not as it was written.
        """
        ...

    async def forget_session(self, session_id: str) -> None:
        """Forget what was said in a session; its runs stay. Where nothing is remembered, nothing happens."""
        ...

    async def remove(self, run_ids: Iterable[str]) -> None:
        """Forget runs, those nested in them, and the large values that no other run has put.

        What sessions remember of them stays. A nested run goes with the outermost one; by itself it is removed only
        where the store does not have what it is nested in.

        Raises:
            UnknownName: There is no such run; then nothing is removed.
            StoreError: One is nested in a run that is to stay, which is named; then nothing is removed.
            RunHeld: Somebody has one of them; then nothing is removed.
        """
        ...

    async def expire(self, older_than_seconds: float) -> int:
        """Remove the runs that ended longer ago, and return how many: succeeded, failed or cancelled.

        Nested runs go with their outermost one, whenever they ended, and are not counted. While somebody has one of
        them, all stay.

        Sessions that nobody has added to for as long, and that no run is left of, are forgotten.
        """
        ...

    async def vacuum(self) -> None:
        """Give back the room that removed runs took."""
        ...

    async def export(self, run_id: str, path: Path | str) -> None:
        """Write a run, with all it refers to, into one file of JSON Lines: also what its agents began with.

        The runs that are nested in it, and those nested in them, follow in the same file.

        Raises:
            UnknownName: There is no such run.
            StoreDamaged: One of them cannot be read in full; then no file is written.
        """
        ...

    async def import_(self, path: Path | str) -> str:
        """Take a run, and those nested in it, from a file that `export` wrote, and return its id.

        What it added to its session is added here. A session that is not known here begins with what the run
        began with.

        Raises:
            StoreError: One of the runs is there already, or the file is not whole; then nothing is taken.
        """
        ...

    async def check(self) -> StoreReport:
        """Read everything and say what is not as it was written."""
        ...
