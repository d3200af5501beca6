"""What a store remembers of a session: read as a run begins, added to as it ends.

A run's record does not have what its agents had said before it, which would be written again with each run. It has
the version of the session that they began from, and a hash of what that was; the store can tell how the session was
at any version. What a run adds is known by the run: adding it twice changes nothing, so it does not matter between
which two instructions a process dies.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

import trio

from marsys_core import events as e
from marsys_core.errors import StoreError
from marsys_core.format import decode_value, encode_value
from marsys_core.messages import Message
from marsys_core.values import Ref

if TYPE_CHECKING:
    from marsys_core.engine.run import RunShell
    from marsys_core.engine.sessions import Opening
    from marsys_core.protocols.store import Store

__all__ = ["recall", "recall_again", "remember"]


async def recall(run: RunShell, opening: Opening, store: Store) -> None:
    """Let a run that has not begun begin from what `store` remembers of its session.

    Raises:
        StoreError: It cannot be read.
        FormatError: It is nothing that was written.
    """
    recalled = await store.recall(opening.session_id)
    texts = {agent: text for agent, text in recalled.by_agent().items() if agent in opening.versions}
    read = {agent: decode_value(text, run.engine.converter) for agent, text in texts.items()}
    opening.given = {**opening.given, **read}
    opening.refs = {agent: _ref(text) for agent, text in texts.items()}
    opening.version = recalled.version


async def recall_again(run: RunShell, events: Sequence[e.Event], blobs: Mapping[str, bytes]) -> None:
    """Let a run that is taken up begin from what it had begun from, whatever was added to its session since.

    Args:
        run: The run, put together and not rebuilt.
        events: Its record.
        blobs: Its large values; one that came from another store has what it began from among them.

    Raises:
        StoreError: What it began from was forgotten, and it is not at its end.
    """
    started, opening = events[0], run.opening
    if type(started) is not e.RunStarted or opening is None:
        return
    opening.given, opening.version = {}, started.session_version
    if opening.store is None or started.session_version is None:
        return
    wanted = {
        agent: ref for agent, ref in started.given.items() if type(ref) is Ref and ref.sha256 not in blobs
    }
    if not wanted:
        return
    recalled = await opening.store.recall(started.session_id, version=started.session_version)
    texts = recalled.by_agent()
    for agent, ref in wanted.items():
        text = texts.get(agent, "[]")
        if _ref(text).sha256 != ref.sha256:
            if not _has_succeeded(events):
                raise _forgotten(run.run_id, started.session_id, agent)
            text = "[]"  # it takes no further step
        opening.given[agent] = decode_value(text, run.engine.converter, run_id=run.run_id)
    opening.refs = wanted


async def remember(
    run: RunShell, opening: Opening, store: Store, said: Mapping[str, Sequence[Message]]
) -> Collection[str]:
    """Add to the session what was said in `run`, and return who has said something in another that ended meanwhile.

    Raises:
        StoreError: It could not be written; it is tried again with the run's end.
    """
    assert run.durable is not None  # its engine has a store
    log, converter = run.durable.log, run.engine.converter
    if not said and not run.taken_up:
        return ()
    log.remember(
        opening.session_id, {agent: encode_value(list(new), converter) for agent, new in said.items()}
    )
    if opening.version is None:
        return ()
    with trio.CancelScope(shield=True):
        await log.commit()  # of two runs that end at once, one sees what the other has added
        others = await store.recall(opening.session_id, after=opening.version)
    return sorted({each.agent for each in others.said if each.run_id != run.run_id} & said.keys())


def _ref(text: str) -> Ref:
    import hashlib

    data = text.encode()
    return Ref(hashlib.sha256(data).hexdigest(), len(data))


def _has_succeeded(events: Sequence[e.Event]) -> bool:
    last = events[-1]
    return type(last) is e.RunFinished and last.success


def _forgotten(run_id: str, session_id: str, agent: str) -> StoreError:
    msg = (
        f"run {run_id!r} cannot go on: what agent {agent!r} remembered of session {session_id!r} as it began was "
        "forgotten; begin a new run"
    )
    return StoreError(msg)
