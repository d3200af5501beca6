"""The stored side of a run: its events go to a store as they happen, and who has to wait for the disk does."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import attrs
import trio

from marsys_core.engine.spending import usage_of
from marsys_core.errors import ConfigError, RunHeld, StoreError
from marsys_core.events import Event
from marsys_core.format import Texts, decode_value, encode, encode_value
from marsys_core.journal import MemoryJournal
from marsys_core.protocols.store import Entry, RunInfo, RunLog
from marsys_core.values import Ref

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from marsys_core.engine.run import RunShell
    from marsys_core.protocols.store import Store

__all__ = ["Durable", "StoredJournal", "adopt_log", "begin_log", "carry_out", "holder", "refuse_unkept"]

_HEADLINE = 200
_UNSEEN = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


@attrs.define(eq=False)
class StoredJournal(MemoryJournal):
    """A journal in memory whose large values go to a store as well."""

    log: RunLog | None = None

    def put(self, value: Any) -> Ref:
        """Keep a large value under its hash."""
        ref, data = self.weighed(value)
        if ref.sha256 not in self._blobs:
            self._blobs[ref.sha256] = value
            if self.log is not None:
                self.log.put(ref.sha256, data)
        return ref

    def weighed(self, value: Any) -> tuple[Ref, bytes]:
        """Return what stands for `value`, and its form in a store, which that is the hash of."""
        import hashlib

        data = encode_value(value, self.converter).encode()
        return Ref(hashlib.sha256(data).hexdigest(), len(data)), data

    def blobs(self) -> Iterator[tuple[str, bytes]]:
        """Yield the large values that it has, as they are stored."""
        for sha256, value in self._blobs.items():
            yield sha256, self.weighed(value)[1]

    def load(self, sha256: str, data: bytes) -> None:
        """Take a large value that the store had.

        Raises:
            FormatError: It is none that was written.
        """
        self._blobs[sha256] = decode_value(data.decode("utf-8", "replace"), self.converter)


@attrs.define(eq=False, kw_only=True)
class Durable:
    """A run's log in a store.

    Args:
        log: Where its events go.
        journal: Its journal, which encodes them.
        level: ``"run"``, ``"step"`` or ``"call"``: when what happened has to be kept before the run goes on.
        lose: Ends the run here, when the store cannot keep it.
        broken: Why the store could not; from then on nothing more is waited for, and nothing may take effect.
    """

    log: RunLog
    journal: StoredJournal
    level: str = "step"
    lose: Callable[[StoreError], None]
    broken: StoreError | None = None
    _texts: Texts = attrs.field(factory=Texts, init=False)

    def write(self, event: Event) -> None:
        """Hand `event` to the store; nobody waits."""
        self.log.append(
            Entry(
                event.seq, event.branch, event.n, event.cause, type(event).__name__, event.time,
                encode(event, self.journal.converter, self._texts),
            )
        )  # fmt: skip

    async def keep(self) -> None:
        """Wait until all of it is kept: as a run with more than its task begins, after a step, round an effect."""
        if self.level == "run":
            return
        broken = self.broken
        if broken is None:
            try:
                await self.log.commit()
            except StoreError as error:
                self.fail(error)
                broken = error
            else:
                return
        # What is not kept must take no effect: the run is cancelled, and code that is shielded from that has the error.
        await trio.lowlevel.checkpoint()
        raise broken

    def fail(self, error: StoreError) -> None:
        """Let the run end here: the store cannot keep it."""
        self.broken = error
        self.lose(error)

    async def after_call(self) -> None:
        """A call has ended, and its step is about to go on."""
        if self.level == "call":
            await self.keep()

    async def close(self, run: RunShell) -> None:
        """The run goes on no further here: say how it stands, and give it back."""
        self.log.update(status=run.standing, steps=run.orchestrator.state.steps, error=run.failing)
        try:
            with trio.CancelScope(shield=True):
                await self.log.release()
        except StoreError as error:
            if not isinstance(error, RunHeld):  # which somebody else has now
                run.engine.unreleased[run.run_id] = self.log  # for whoever goes on with it here
            if self.broken is None:  # else that is raised, and this is the same trouble
                raise


async def carry_out(run: RunShell) -> None:
    """Carry out a run; where its engine has a store, keep it there as it goes.

    Raises:
        StoreError: The store cannot keep it.
    """
    store = run.engine.store
    if store is None:
        await run.execute()
        return
    if run.durable is None:
        await begin_log(run, store)
    assert run.durable is not None  # it was begun or taken up
    try:
        await run.execute()
    finally:
        if run.void is not None:  # what it is answered from the record was paid for once
            borrowed = () if run.borrowed is None else run.borrowed.by(run.journal.events)
            run.usage = usage_of((*run.void, *borrowed, *run.journal.events))
        await run.durable.close(run)


async def begin_log(run: RunShell, store: Store, forked_from: tuple[str, int] | None = None) -> None:
    """Begin a run's log in `store`."""
    import json

    from marsys_core.engine.fingerprint import drawn, made_of

    refuse_unkept(run)
    if run.opening is not None and forked_from is None:
        await run.opening.recall(run)
    plain = _brief(run)
    info = RunInfo(
        run_id=run.run_id,
        session_id=run.session_id if run.nested is None else "",
        task=_headline(plain),
        fingerprint=f'{{"made": {json.dumps(made_of(run))}, "drawn": {drawn(run.topology)}, "task": {json.dumps(plain)}}}',
        origin=_origin(run),
        parent="" if run.nested is None else run.nested.parent[0],
        forked_from=forked_from,
    )
    adopt_log(run, await store.create(info, holder()))


def _brief(run: RunShell) -> Any:
    """Return the task, for a run that is interrupted before its first entry is kept."""
    return run.journal.converter.encode(run.unpack(run.task))


def _headline(task: Any) -> str:
    """Return the beginning of a task, plain as it is, in one line that any terminal and any database takes."""
    import json

    text = task if isinstance(task, str) else json.dumps(task, ensure_ascii=False)
    line = _UNSEEN.sub("\N{REPLACEMENT CHARACTER}", " ".join(text.split(None, _HEADLINE)[:_HEADLINE]))
    return line if len(line) <= _HEADLINE else f"{line[: _HEADLINE - 1]}…"


def _origin(run: RunShell) -> str:
    """Return what the application wants to know again of `run`; a nested run is not the application's."""
    if run.nested is not None or run.origin is None:
        return ""
    return run.origin[1].options.get("origin") or ""


def adopt_log(run: RunShell, log: RunLog) -> None:
    """Have what happens in `run` from now on go to `log`."""
    journal = run.journal
    assert isinstance(journal, StoredJournal)  # it was assembled for a store
    journal.log = log
    for sha256, value in journal.blobs():
        log.put(sha256, value)
    run.durable = Durable(log=log, journal=journal, level=run.config.durability, lose=run.lose)


def holder() -> str:
    """Say who has a run, for others that want it."""
    import os
    import platform

    return f"process {os.getpid()} on {platform.node()}"


def refuse_unkept(run: RunShell) -> None:
    """See that nothing is done twice without anybody knowing.

    Raises:
        ConfigError: What is recorded at the end only, and calls tools that may not be called twice.
    """
    if run.config.durability != "run":
        return
    for node, prepared in sorted(run.agents.items()):
        for name, tool in prepared.tools.items():
            once = tool.idempotent or tool.transactional
            if not once and name not in prepared.team_tools:
                msg = (
                    f"durability='run' records a run at its end, and agent {node!r} has the tool {name!r}, which may "
                    "not be called twice; declare it idempotent=True, or use durability='step'"
                )
                raise ConfigError(msg)
