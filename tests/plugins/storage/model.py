"""What any sequence of calls does to a store, told with a few dictionaries. A test plays `CALLS` to a `Model`."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import attrs
import pytest
import trio
from hypothesis import strategies as st

from marsys_core.errors import LifecycleError, RunHeld, StoreError, UnknownName
from marsys_core.protocols.store import Entry, RunInfo, Store

FINISHED = ("succeeded", "failed", "cancelled")
NAMES = st.sampled_from(["a", "b", "c"])
SESSIONS = st.sampled_from(["s", "t\0"])
STORES = st.integers(0, 1)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
CALLS = st.one_of(
    st.tuples(st.sampled_from(["create", "take"]), STORES, NAMES),
    st.tuples(st.just("append"), NAMES, TEXTS, TEXTS, st.floats(allow_nan=False)),
    st.tuples(st.just("put"), NAMES, st.sampled_from([b"", b"one", b"\xff", b"x" * 3000])),
    st.tuples(st.just("update"), NAMES, st.sampled_from([*FINISHED, "running", "paused", "waiting"])),
    st.tuples(st.sampled_from(["commit", "cancelled", "release"]), NAMES),
    st.tuples(st.just("reopen"), STORES),
    st.tuples(st.just("remove"), STORES, st.lists(NAMES, max_size=3, unique=True)),
    st.tuples(st.just("expire"), STORES, st.sampled_from([0.0, 5.0])),
    st.tuples(st.just("pass"), st.sampled_from([1.0, 10.0])),
    st.tuples(st.just("move"), STORES, NAMES),
    st.tuples(st.just("vacuum"), STORES),
    st.tuples(
        st.just("remember"), NAMES, SESSIONS, st.dictionaries(NAMES, st.sampled_from(["[1]", '["\\u0000ü"]']))
    ),
    st.tuples(st.just("forget"), STORES, SESSIONS),
)


@attrs.define
class Run:
    """What a run should be."""

    entries: list = attrs.field(factory=list)
    blobs: dict = attrs.field(factory=dict)
    status: str = "running"
    updated: float = 0.0
    holder: int | None = None


@attrs.define
class Session:
    """What a session should remember: by run, what was said last and is in this place, and how it was before."""

    said: dict = attrs.field(factory=dict)
    seen: dict = attrs.field(factory=dict)
    used: float = 0.0


class Model:
    """Two stores of the same runs, the logs they hold, and what should be there once all is committed.

    Args:
        folder: For files of its own.
        opened: Gives a store, which goes by the clock it is given; called with how many are open.
    """

    def __init__(
        self, folder: Path, opened: Callable[[Callable[[], float], int], AbstractAsyncContextManager[Store]]
    ) -> None:
        self.folder, self.opened = folder, opened
        self.now = 1_000_000.0
        self.stores: list[Store] = []
        self.runs: dict[str, Run] = {}
        self.logs: dict[str, object] = {}
        self.sessions: dict[str, Session] = {}

    def clock(self) -> float:
        return self.now

    async def open(self) -> Store:
        return await self.opened(self.clock, len(self.stores)).__aenter__()

    async def play(self, calls) -> None:
        try:
            for _ in range(2):
                self.stores.append(await self.open())
            for name, *arguments in calls:
                await getattr(self, f"do_{name}")(*arguments)
            for log in self.logs.values():
                await log.commit()
            await self.compare()
        finally:
            for store in self.stores:
                await store.__aexit__(None, None, None)

    async def compare(self) -> None:
        for store in self.stores:
            report = await store.check()
            assert report.ok
            assert report.blobs == len({sha256 for run in self.runs.values() for sha256 in run.blobs})
            assert {info.run_id for info in await store.runs()} == self.runs.keys()
            for run_id, run in self.runs.items():
                assert await store.entries(run_id) == run.entries
                assert await store.blobs(run_id) == run.blobs
                info = await store.info(run_id)
                interrupted = run.status == "running" and run.holder is None
                assert info.status == ("interrupted" if interrupted else run.status)
                assert bool(info.holder) is (run.holder is not None)
            for session_id in ("s", "t\0"):
                session = self.sessions.get(session_id, Session())
                assert flat(await store.recall(session_id)) == flat_of(session.said)
                for version, said in session.seen.items():
                    assert flat(await store.recall(session_id, version=version)) == flat_of(said)

    async def refused(self, error, call) -> None:
        with pytest.raises(error):
            await call

    async def do_create(self, store, run_id):
        call = self.stores[store].create(RunInfo(run_id=run_id))
        if run_id in self.runs:
            await self.refused(StoreError, call)
            return
        self.logs[run_id] = await call
        self.runs[run_id] = Run(holder=store, updated=self.clock())

    async def do_take(self, store, run_id):
        call = self.stores[store].take(run_id)
        if run_id not in self.runs:
            await self.refused(UnknownName, call)
        elif self.runs[run_id].holder is not None:
            await self.refused(RunHeld, call)
        else:
            self.logs[run_id] = await call
            self.runs[run_id].holder = store

    async def do_append(self, run_id, branch, kind, time):
        if run_id in self.logs:
            seq = len(self.runs[run_id].entries)
            entry = Entry(seq, branch, seq, (kind, -1), kind, time, f'"{seq}"')
            self.logs[run_id].append(entry)
            self.runs[run_id].entries.append(entry)

    async def do_put(self, run_id, data):
        if run_id in self.logs:
            self.logs[run_id].put(hashlib.sha256(data).hexdigest(), data)
            self.runs[run_id].blobs[hashlib.sha256(data).hexdigest()] = data

    async def do_update(self, run_id, status):
        if run_id in self.logs:
            self.logs[run_id].update(status=status)
            self.runs[run_id].status, self.runs[run_id].updated = status, self.clock()

    async def do_commit(self, run_id):
        if run_id in self.logs:
            await self.logs[run_id].commit()
            run = self.runs[run_id]
            assert await self.stores[1 - run.holder].entries(run_id) == run.entries

    async def do_cancelled(self, run_id):
        if run_id in self.logs:
            with trio.CancelScope() as scope:
                scope.cancel()
                await self.logs[run_id].commit()

    async def do_release(self, run_id):
        if run_id in self.logs:
            await self.logs.pop(run_id).release()
            self.runs[run_id].holder = None

    async def do_reopen(self, store):
        await self.stores[store].__aexit__(None, None, None)
        for run_id, run in self.runs.items():
            if run.holder == store:
                run.holder = None
                log = self.logs.pop(run_id)
                with pytest.raises(LifecycleError):
                    log.update(steps=1)
        self.stores[store] = await self.open()

    async def do_remove(self, store, run_ids):
        call = self.stores[store].remove(run_ids)
        found = [self.runs.get(run_id) for run_id in run_ids]
        if None in found:
            await self.refused(UnknownName, call)
        elif any(run.holder is not None for run in found):
            await self.refused(RunHeld, call)
        else:
            await call
            for run_id in run_ids:
                del self.runs[run_id]

    async def do_expire(self, store, seconds):
        end = self.clock() - seconds
        old = [
            run_id
            for run_id, run in self.runs.items()
            if run.status in FINISHED and run.updated < end and run.holder is None
        ]
        assert await self.stores[store].expire(seconds) == len(old)
        for run_id in old:
            del self.runs[run_id]
        self.sessions = {name: each for name, each in self.sessions.items() if each.used >= end}

    async def do_remember(self, run_id, session_id, said):
        if run_id in self.logs:
            self.logs[run_id].remember(session_id, said)
            await self.logs[run_id].commit()
            session = self.sessions.get(session_id, Session())
            if session.said.get(run_id, {}) != said:
                self.sessions[session_id] = session
                session.said = {name: each for name, each in session.said.items() if name != run_id}
                session.said |= {run_id: said} if said else {}
                session.used = self.clock()
                recalled = await self.stores[0].recall(session_id)
                assert recalled.version > max(session.seen, default=0)
                session.seen[recalled.version] = session.said

    async def do_forget(self, store, session_id):
        await self.stores[store].forget_session(session_id)
        self.sessions.pop(session_id, None)

    async def do_pass(self, seconds):
        self.now += seconds

    async def do_move(self, store, run_id):
        """Export a run, remove it, and import it again."""
        if run_id in self.runs and self.runs[run_id].holder is None:
            file = self.folder / "run.jsonl"
            await self.stores[store].export(run_id, file)
            await self.stores[1 - store].remove([run_id])
            assert await self.stores[store].import_(file) == run_id

    async def do_vacuum(self, store):
        await self.stores[store].vacuum()


ENTRIES = st.builds(
    Entry,
    st.just(0),
    TEXTS,
    st.integers(-(2**63), 2**63 - 1),
    st.tuples(TEXTS, st.integers(-(2**63), 2**63 - 1)),
    TEXTS,
    st.floats(allow_nan=False),
    st.text(st.characters(exclude_categories=["Cs"])),
)


def flat(recalled):
    """Return what is remembered as something that can be compared: what agents of one run said has no order."""
    found: dict[str, dict[str, str]] = {}
    for each in recalled.said:
        found.setdefault(each.run_id, {})[each.agent] = each.data
    return list(found.items())


def flat_of(said):
    return list(said.items())
