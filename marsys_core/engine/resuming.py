"""Going on with a run that a store has: taking it, rebuilding it, carrying it out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import trio

from marsys_core import events as e
from marsys_core.engine.durable import begin_log, carry_out
from marsys_core.engine.fingerprint import made_of, refuse_changes
from marsys_core.engine.opening import Request, assemble, concluded
from marsys_core.engine.parting import own_teams
from marsys_core.engine.rebuild import parted, read_events, rebuild, refuse_unparted, take_up
from marsys_core.engine.recollection import recall_again
from marsys_core.errors import ConfigError, LifecycleError, TopologyError, UnknownName
from marsys_core.options import RunOptions, going_on
from marsys_core.protocols.store import STATUSES
from marsys_core.topology import Topology

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from marsys_core.engine.engine import Engine
    from marsys_core.engine.run import RunShell
    from marsys_core.orchestra import Orchestra
    from marsys_core.protocols.store import RunInfo, Store
    from marsys_core.results import RunResult

__all__ = ["fork", "place_of_step", "resume", "store_of", "taken_up", "unfinished"]

_WANTED = tuple(status for status in (*STATUSES, "interrupted") if status != "cancelled")
_KEEP: Any = object()  # stands for the input that a step was given


def store_of(engine: Engine) -> Store:
    """Return where the engine keeps its runs.

    Raises:
        LifecycleError: Nowhere.
    """
    if engine.store is None:
        msg = "this Orchestra keeps no runs; open it with Orchestra(storage='runs.db'), or Orchestra.open(directory)"
        raise LifecycleError(msg)
    return engine.store


async def unfinished(engine: Engine, session_id: str) -> str:
    """Return the id of the run of a session that is to be gone on with, or returned as it is; nothing where a new one begins.

    That is the newest one. One that was cancelled is not wanted any more, and leaves the place to the one before it; but
    not to one that had succeeded, which the cancelled one was already meant to follow.
    """
    store = store_of(engine)
    newest = await store.runs(session_id=session_id, limit=1)
    if newest and newest[0].status == "cancelled":
        older = await store.runs(session_id=session_id, status=_WANTED, limit=1)
        newest = [info for info in older if info.status != "succeeded"]
    return newest[0].run_id if newest else ""


async def resume(
    orchestra: Orchestra,
    engine: Engine,
    run_id: str,
    topology: Any,
    options: RunOptions,
    accept_changes: bool,
    adopt: Callable[[RunShell], None] | None = None,
) -> RunResult:
    """Go on with a run, and return what it came to, or raise it, as its settings ask.

    `adopt` is told of the run when it is ready to go on.
    """
    run = await taken_up(orchestra, engine, run_id, topology, options, accept_changes)
    if adopt is not None:
        adopt(run)
    await carry_out(run)
    return concluded(run)


async def taken_up(
    orchestra: Orchestra,
    engine: Engine,
    run_id: str,
    topology: Any,
    options: RunOptions,
    accept_changes: bool,
    check: Callable[[], Awaitable[None]] | None = None,
) -> RunShell:
    """Return a run that is held here, and ready to go on from where its record ends.

    `check` is called when it is held, and may refuse to go on with it; then nothing has changed.

    Raises:
        LifecycleError: It is nested in another run, and goes on with that one only.
    """
    store = store_of(engine)
    await _refuse_nested(store, run_id)
    info = await store.info(run_id)
    run = await _assembled(orchestra, engine, info, topology, options, accept_changes)
    await take_up(run, store, check, _source_of(info))
    return run


async def _refuse_nested(store: Store, run_id: str) -> None:
    """Refuse to go on with a run by itself that is part of another one, and name the outermost one."""
    outer, seen = run_id, {run_id}
    while (parent := (await store.info(outer)).parent) and parent not in seen:
        outer = parent
        seen.add(outer)
        try:
            await store.info(outer)
        except UnknownName:
            msg = (
                f"run {run_id!r} is nested in run {outer!r}, which is not kept here, and goes on only with it"
            )
            raise LifecycleError(msg) from None
    if outer != run_id:
        msg = f"run {run_id!r} is nested in run {outer!r}, and goes on with it: resume {outer!r}"
        raise LifecycleError(msg)


async def fork(
    orchestra: Orchestra,
    engine: Engine,
    run_id: str,
    at: int,
    accept_changes: bool,
    changes: dict[str, Any],
    new_id: str,
    adopt: Callable[[RunShell], None] | None = None,
) -> RunResult:
    """Begin a new run that shares the past of another one up to its step number `at`, and return what it came to.

    `adopt` is told of the run when it is ready to go on.
    """
    store, edit, topology = store_of(engine), changes.pop("edit", _KEEP), changes.pop("topology", None)
    options = going_on(cast("RunOptions", changes))
    info = await store.info(run_id)
    run = await _assembled(orchestra, engine, info, topology, options, accept_changes, new_id)
    events = read_events(await store.entries(run_id), engine.converter, new_id)
    refuse_unparted(run_id, _source_of(info), events)
    kept, _ = parted(events)
    index = place_of_step(kept, at, run_id)
    past, step = kept[:index], kept[index]
    await own_teams(store, engine.converter, past, events, (run_id, new_id))
    # It has the other's whole record: what it does not share answers it as what is void does, whatever happens to both.
    events.append(_parting(events, past, step.seq, run.wall_now()))
    blobs = await store.blobs(run_id)
    await recall_again(run, events, blobs)
    rebuild(run, events, blobs, len(events))
    run.source, run.began = run_id, trio.current_time() - run.before
    given_instead = edit if edit is _KEEP else run.keep(edit)
    await begin_log(run, store, (run_id, step.seq))
    assert run.durable is not None  # its log was begun
    for event in events:
        run.durable.write(event)
    if edit is not _KEEP:
        branch = run.orchestrator.state.branches[step.branch]
        run.record(e.BranchEdited(branch.id, branch.n, branch.last, branch.node, given_instead))
    if adopt is not None:
        adopt(run)
    await carry_out(run)
    return concluded(run)


def _parting(events: Sequence[e.Event], past: Sequence[e.Event], at: int, now: float) -> e.RunResumed:
    """Return what makes void in a fork what it does not share; its clock goes on from there."""
    n = max(event.n for event in events if not event.branch) + 1
    event = e.RunResumed("", n, ("", 0), at, now)
    event.seq, event.time, event.run_id = events[-1].seq + 1, past[-1].time, past[-1].run_id
    return event


def _source_of(info: RunInfo) -> str:
    """Return the run that one was forked from; a nested run of a fork is a copy, and has not parted."""
    return info.forked_from[0] if info.forked_from is not None and not info.parent else ""


def place_of_step(events: Sequence[e.Event], at: int, run_id: str) -> int:
    """Return the place of the beginning of a step among the events that hold.

    Args:
        events: Those of the run.
        at: The step, counted from 1 in the order in which they began.
        run_id: The run.

    Raises:
        ConfigError: The run has no such step.
    """
    begun = [index for index, event in enumerate(events) if type(event) is e.StepStarted]
    if not 1 <= at <= len(begun):
        msg = f"run {run_id!r} has taken {len(begun)} steps; at= is one of them, from 1, not {at!r}"
        raise ConfigError(msg)
    return begun[at - 1]


async def _assembled(
    orchestra: Orchestra,
    engine: Engine,
    info: RunInfo,
    topology: Any,
    options: RunOptions,
    accept_changes: bool,
    new_id: str = "",
) -> RunShell:
    run_id = info.run_id
    known = json.loads(info.fingerprint)
    if topology is None:
        topology = _drawn(run_id, known["drawn"])
    options["session_id"] = info.session_id or None
    if info.origin:  # a fork comes from where the run does
        options.setdefault("origin", info.origin)
    request = Request(task=engine.converter.decode(known["task"]), topology=topology, options=options)
    run = await assemble(orchestra, engine, request, new_id or run_id)
    if not accept_changes:
        refuse_changes(run_id, known["made"], made_of(run))
    return run


def _drawn(run_id: str, plain: Any) -> Topology:
    """Return the topology that a run began with.

    Raises:
        ConfigError: It has functions or objects in it, which are not recorded.
    """
    try:
        if plain is not None:
            return Topology.of(plain)
    except TopologyError as error:
        unread: TopologyError | None = error
    else:
        unread = None
    msg = (
        f"run {run_id!r} has a topology with functions or objects in it, which cannot be recorded: "
        "give it again with topology="
    )
    raise ConfigError(msg) from unread
