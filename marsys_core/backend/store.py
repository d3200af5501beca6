"""A store of runs on top of a backend that knows sessions only."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing, closing
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, NoReturn, Self

import attrs
import trio

from marsys_core.backend.backend import DatabaseBackend
from marsys_core.backend.document import KeptRun, counted_in, entries_of, entry_text
from marsys_core.backend.log import BackendLog
from marsys_core.backend.memory import Memory
from marsys_core.backend.opened import Hold, Opened, Session, key_of, opened_of
from marsys_core.backend.pruning import pruned
from marsys_core.errors import ConfigError, LifecycleError, RunHeld, StoreError, UnknownName
from marsys_core.hosts.declared import checked_library
from marsys_core.hosts.loops import loops
from marsys_core.keeping.steps import with_steps
from marsys_core.protocols.store import Entry, Recalled, RunInfo, StoreReport

if TYPE_CHECKING:
    from marsys_core.transfer import Run

__all__ = ["BackendStore"]

_HINT = "A run is found by its session here: ask for runs(session_id=...) first."


@attrs.define(eq=False)
class BackendStore:
    """The runs that a `DatabaseBackend` keeps; an async context manager.

    A run is found by its session, or by its id where it was seen in this process before or has no session. What
    needs a list of all sessions is refused with `StoreError`.

    Args:
        backend: The backend; several stores of one Trio run may share it.
        clock: Seconds since 1970.

    Raises:
        ConfigError: Settings of its class that cannot be honoured.
        StoreError: On entering: it could not be initialized. On leaving: something could not be written or closed.
    """

    backend: DatabaseBackend = attrs.field()
    clock: Callable[[], float] = attrs.field(default=time.time, kw_only=True)
    _opened: Opened | None = attrs.field(default=None, init=False)
    _logs: set[BackendLog] = attrs.field(factory=set, init=False)

    @backend.validator
    def _check(self, _: object, backend: DatabaseBackend) -> None:
        name, problems = type(backend).__name__, []
        try:
            checked_library(backend.async_library, name)
        except ConfigError as error:
            problems.append(str(error))
        for setting, least in (("save_every", 1), ("keep_runs", 0)):
            value = getattr(backend, setting)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                problems.append(f"{name}.{setting} is a whole number from {least}, not {value!r:.200}")
        if problems:
            msg = f"{name} has settings that cannot be honoured: {'; '.join(problems)}"
            raise ConfigError(msg, problems)

    async def __aenter__(self) -> Self:
        if self._opened is not None:
            msg = f"the store of {self._name} is open already"
            raise LifecycleError(msg)
        opened = opened_of(self.backend)
        loop = loops()
        await loop.__aenter__()
        try:
            await opened.enter()
        except BaseException:
            await loop.__aexit__()
            raise
        self._opened = opened
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        opened, self._opened = self._use(), None
        with trio.CancelScope(shield=True):
            try:
                lost = [told for log in tuple(self._logs) if (told := await log.end())]
                try:
                    await opened.leave()
                except StoreError as failed:
                    lost.append(str(failed))
            finally:
                await loops().__aexit__()
        if lost:
            msg = f"the store of {self._name} was closed, and not all went well: {'; '.join(lost)}"
            if error is None:
                raise StoreError(msg, self._name)
            error.add_note(msg)

    @property
    def _name(self) -> str:
        return type(self.backend).__name__

    def _use(self) -> Opened:
        if self._opened is None:
            msg = f"the store of {self._name} is not open; use it inside 'async with'"
            raise LifecycleError(msg)
        return self._opened

    # -- holding -----------------------------------------------------------------------------

    async def create(self, info: RunInfo, holder: str = "") -> BackendLog:
        """Begin a run and hold it. Runs of its session that ended before the last `keep_runs` are let go.

        Raises:
            StoreError: There is a run with this id in the session, or it could not be written.
        """
        opened, now = self._use(), self.clock()
        if info.run_id in opened.held:
            self._refuse(info.run_id)
        run = KeptRun(
            info=attrs.evolve(
                info,
                status="running" if info.status == "interrupted" else info.status,
                created=info.created or now,
                updated=info.updated or now,
                holder="",
            )
        )
        return await self._begin(run, holder, opened, now)

    async def _begin(self, run: KeptRun, holder: str, opened: Opened, now: float) -> BackendLog:
        info = run.info
        key = key_of(info.session_id, info.run_id)
        opened.held[info.run_id] = Hold(holder, now)
        try:
            session = await opened.hold(key)
            try:
                if session.find(info.run_id) is not None:
                    self._refuse(info.run_id)
                await self._add(run, session, opened)
            except BaseException:
                opened.let_go(session)
                raise
        except BaseException:
            del opened.held[info.run_id]
            raise
        if not info.parent and info.forked_from is None:
            before = session.all()
            session.runs = pruned(before, self.backend.keep_runs, opened.held)
            if len(session.runs) < len(before):
                session.changed()  # written with the next commit
        return self._log(run, session, opened)

    async def _add(self, run: KeptRun, session: Session, opened: Opened) -> None:
        session.all().append(run)
        try:
            await opened.save(session, session.changed())
        except BaseException:
            session.all().remove(run)
            session.changed()
            raise
        opened.see(run.info.run_id, session.key)

    def _refuse(self, run_id: str) -> NoReturn:
        msg = f"there is a run {run_id!r} already; take it to go on with it, or give the new one another id"
        raise StoreError(msg, self._name)

    async def take(self, run_id: str, holder: str = "") -> BackendLog:
        """Hold a run that is there, to go on with it. Another process that has it is not noticed.

        Raises:
            UnknownName: There is no such run where it can be found.
            RunHeld: Somebody in this process has it.
        """
        opened = self._use()
        self._refuse_held(run_id)
        opened.held[run_id] = Hold(holder, self.clock())
        try:
            session = await opened.hold(self._place(run_id))
        except BaseException:
            del opened.held[run_id]
            raise
        run = session.find(run_id)
        if run is None:
            del opened.held[run_id]
            opened.let_go(session)
            raise self._unknown(run_id)
        return self._log(run, session, opened)

    def _log(self, run: KeptRun, session: Session, opened: Opened) -> BackendLog:
        log = BackendLog(opened=opened, session=session, run=run, clock=self.clock, ended=self._logs.discard)
        self._logs.add(log)
        return log

    def _refuse_held(self, run_id: str) -> None:
        hold = self._use().held.get(run_id)
        if hold is None:
            return
        moment = datetime.fromtimestamp(hold.since, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        by = f"by {hold.holder!r} " if hold.holder else ""
        msg = f"run {run_id!r} is held {by}in this process, since {moment}; end it there first"
        raise RunHeld(msg, self._name, run_id=run_id, holder=hold.holder, since=hold.since)

    # -- finding -----------------------------------------------------------------------------

    def _place(self, run_id: str) -> str:
        return self._use().places.get(run_id) or key_of("", run_id)

    async def _find(self, run_id: str) -> KeptRun:
        for run in await self._use().load(self._place(run_id)):
            if run.info.run_id == run_id:
                return run
        raise self._unknown(run_id)

    def _unknown(self, run_id: str) -> UnknownName:
        return UnknownName("run", run_id, self._use().known(), _HINT)

    def _shown(self, run: KeptRun) -> RunInfo:
        hold = self._use().held.get(run.info.run_id)
        info = with_steps(run.info, lambda: counted_in(run))
        if hold is not None:
            return attrs.evolve(info, holder=hold.holder or "this process")
        return attrs.evolve(info, status="interrupted") if info.status == "running" else info

    async def info(self, run_id: str) -> RunInfo:
        """Return what is known about a run."""
        return self._shown(await self._find(run_id))

    async def runs(
        self,
        *,
        status: Iterable[str] = (),
        session_id: str | None = None,
        limit: int = 100,
        before: str | None = None,
    ) -> Sequence[RunInfo]:
        """Return the runs of a session that are in its state, the one that came last first.

        Raises:
            StoreError: No session is given: a backend cannot list them.
        """
        opened = self._use()
        if limit < 0:
            msg = f"limit is how many runs are listed at most, and not {limit!r}"
            raise ValueError(msg)
        if not session_id:
            self._cannot("list the runs of all sessions; ask for those of one with session_id=")
        wanted = {status} if isinstance(status, str) else set(status)
        found = [self._shown(run) for run in await opened.load(key_of(session_id, ""))][::-1]
        if before is not None:
            ids = [info.run_id for info in found]
            if before not in ids:
                raise UnknownName("run", before, ids)
            found = found[ids.index(before) + 1 :]
        return [
            info for info in found if info.session_id == session_id and (not wanted or info.status in wanted)
        ][:limit]

    async def entries(self, run_id: str, start: int = 0, stop: int | None = None) -> Sequence[Entry]:
        """Return what is committed of a run's log."""
        return entries_of(await self._find(run_id), start, stop)

    async def blobs(self, run_id: str) -> Mapping[str, bytes]:
        """Return all large values of a run."""
        return (await self._find(run_id)).blobs()

    async def blob(self, sha256: str) -> bytes:
        """Return a large value of a session that this process has seen."""
        opened = self._use()
        for key in dict.fromkeys(opened.places.values()):
            for run in await opened.load(key):
                if sha256 in run.texts or sha256 in run.binary:
                    return run.blobs()[sha256]
        raise KeyError(sha256)

    async def recall(self, session_id: str, *, after: int = 0, version: int | None = None) -> Recalled:
        """Return what is remembered of a session."""
        opened, key = self._use(), key_of(session_id, "")
        session = opened.sessions.get(key)
        if session is None or session.runs is None:
            return (await opened.load_all(key))[1].recall(after, version)
        await trio.lowlevel.checkpoint()
        return session.memory.recall(after, version)

    # -- removing, moving --------------------------------------------------------------------

    async def forget_session(self, session_id: str) -> None:
        """Forget what was said in a session."""
        opened = self._use()
        session = await opened.hold(key_of(session_id, ""))
        before, session.memory = session.memory, Memory()
        try:
            if before.version:
                await opened.save(session, session.changed())
        except BaseException:
            session.memory = before
            session.changed()
            raise
        finally:
            opened.let_go(session)

    async def remove(self, run_ids: Iterable[str]) -> None:
        """Forget runs and those nested in them. Of one session all or none go; sessions go one after the other.

        A state without runs is written as an empty object: a backend has no way to remove it.
        """
        from marsys_core.backend.families import whole_families

        wanted = (run_ids,) if isinstance(run_ids, str) else tuple(run_ids)
        opened, places = self._use(), dict[str, set[str]]()
        every = await whole_families(self._find, wanted)
        for run_id in every:
            self._refuse_held(run_id)
            places.setdefault(self._place(run_id), set()).add(run_id)
        for key, gone in places.items():
            session = await opened.hold(key)
            try:
                await self._without(session, gone, opened)
            finally:
                opened.let_go(session)

    async def _without(self, session: Session, gone: set[str], opened: Opened) -> None:
        for run_id in gone:
            self._refuse_held(run_id)  # taken while the state was loaded
        removed = [run for run in session.all() if run.info.run_id in gone]
        session.runs = [run for run in session.all() if run.info.run_id not in gone]
        try:
            await opened.save(session, session.changed())
        except BaseException:
            session.runs = removed + session.all()
            session.changed()
            raise
        for run_id in gone:
            opened.places.pop(run_id, None)

    async def expire(self, older_than_seconds: float) -> int:
        """Refuse: which sessions there are is not known here.

        Raises:
            StoreError: Always.
        """
        self._cannot(
            f"look for what ended {older_than_seconds:g} seconds ago; remove old states in the database"
        )

    async def vacuum(self) -> None:
        """Do nothing: the room in the database is the database's own affair."""
        self._use()
        await trio.lowlevel.checkpoint()

    async def check(self) -> StoreReport:
        """Refuse: which sessions there are is not known here.

        Raises:
            StoreError: Always.
        """
        self._cannot("read all there is; read one run with entries() and blobs()")

    def _cannot(self, what: str) -> NoReturn:
        self._use()
        msg = f"{self._name} keeps states by their sessions, and cannot {what}"
        raise StoreError(msg, self._name)

    async def export(self, run_id: str, path: Path | str) -> None:
        """Write a run and those nested in it, with all they refer to, into one file of JSON Lines."""
        from marsys_core.backend.families import family
        from marsys_core.transfer import write_file

        kept = await self._find(run_id)
        inner = [each.info.run_id async for each in family(self._find, kept)][1:]
        run = await self._exported(kept)

        async def exported(run_id: str) -> Run:
            return await self._exported(await self._find(run_id))

        # One by one, so that only one of them is held in memory.
        nested = (trio.from_thread.run(exported, each) for each in inner)
        await trio.to_thread.run_sync(write_file, run, Path(path), nested)

    async def _exported(self, kept: KeptRun) -> Run:
        from marsys_core.transfer import Run, began_in, of_run

        entries, said = entries_of(kept), []
        if (began := began_in(entries)) is not None:
            before, now = await self.recall(began[0], version=began[1]), await self.recall(began[0])
            said = of_run(kept.info.run_id, before, now)
        return Run(info=self._shown(kept), blobs=kept.blobs(), entries=entries, said=said)

    async def import_(self, path: Path | str) -> str:
        """Take a run and those nested in it from a file that `export` wrote, and return its id.

        Each has a state of its own; they are written one after the other, and the run itself last.
        """
        self._use()
        await self._refuse_there(Path(path))
        taken = list[str]()
        try:
            async with aclosing(_runs_of(Path(path))) as runs:
                first = await anext(runs)
                async for nested in runs:
                    await self._take_in(nested)
                    taken.append(nested.info.run_id)
            await self._take_in(first)
        except BaseException:
            with trio.CancelScope(shield=True):
                await self._take_back(taken)
            raise
        return first.info.run_id

    async def _refuse_there(self, path: Path) -> None:
        """Raise where the file is not whole, or one of its runs is there already."""
        async with aclosing(_runs_of(path)) as runs:
            async for run in runs:
                run_id, key = run.info.run_id, key_of(run.session_id, run.info.run_id)
                there = [kept.info.run_id for kept in await self._use().load(key)]
                if run_id in there or run_id in self._use().held:
                    self._refuse(run_id)

    async def _take_back(self, run_ids: Sequence[str]) -> None:
        for run_id in run_ids[::-1]:
            session = await self._use().hold(self._place(run_id))
            try:
                await self._without(session, {run_id}, self._use())
            finally:
                self._use().let_go(session)

    async def _take_in(self, run: Run) -> None:
        opened = self._use()
        status = "running" if run.info.status == "interrupted" else run.info.status
        kept = KeptRun(
            info=attrs.evolve(run.info, status=status, holder=""), entries=list(map(entry_text, run.entries))
        )
        for sha256, data in run.blobs.items():
            kept.put(sha256, data)
        if run.info.run_id in opened.held:
            self._refuse(run.info.run_id)
        session = await opened.hold(key_of(run.session_id, run.info.run_id))
        before, session.memory = session.memory, session.memory.copy()
        try:
            for run_id, said in run.additions(known=before.version > 0):
                session.memory.remember(run_id, said)
            log = await self._begin(kept, "", opened, self.clock())
            await opened.save(session, session.changed())
        except BaseException:
            session.memory = before
            session.changed()
            raise
        finally:
            opened.let_go(session)
        await log.release()


async def _runs_of(path: Path) -> AsyncGenerator[Run, None]:
    """Yield the runs of a file, each read when it is asked for."""
    from marsys_core.transfer import read_file

    with closing(read_file(path)) as runs:
        while (run := await trio.to_thread.run_sync(next, runs, None)) is not None:
            yield run
