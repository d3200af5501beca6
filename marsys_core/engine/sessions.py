"""What agents said in earlier runs of a session: kept by the store, or while the engine is open."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs

from marsys_core import events as e
from marsys_core.engine.recollection import recall, remember
from marsys_core.errors import ConfigError
from marsys_core.memory import ConversationLog
from marsys_core.messages import Message
from marsys_core.orchestrator import ROOT, START, Branch
from marsys_core.values import Ref

if TYPE_CHECKING:
    from marsys_core.engine.prepared import Prepared
    from marsys_core.engine.run import RunShell
    from marsys_core.engine.turns import Turns
    from marsys_core.protocols.store import Store

__all__ = ["Opening", "SessionLog", "Sessions"]


@attrs.define(eq=False)
class SessionLog:
    """One agent's part of a session. `version` counts the runs that have added to it."""

    version: int = 0
    messages: tuple[Message, ...] = ()


Sessions = dict[tuple[str, str], SessionLog]
"""By session id and agent."""


@attrs.define(eq=False, kw_only=True)
class Opening:
    """What the agents on a run's main branch had said before it began.

    Args:
        session_id: The session that the run belongs to.
        given: The messages that each agent begins with.
        versions: Of agents that remember across the session: the version that they began from.
        sessions: Where these are kept.
        kept: Whether they are kept longer than this run.
        store: Where they are kept instead, so that they outlive the process.
        version: The version of what the store remembers of the session, which the run began from.
        refs: What stands for what it remembers, by agent: it is not written again with each run.
        ended: Whether the run had ended when it was taken up: then it adds nothing more.
    """

    session_id: str
    given: Mapping[str, Sequence[Message]]
    versions: Mapping[str, int]
    sessions: Sessions
    kept: bool = True
    store: Store | None = None
    version: int | None = None
    refs: Mapping[str, Ref] = attrs.field(factory=dict)
    ended: bool = False

    @classmethod
    def of(
        cls,
        *,
        agents: Mapping[str, Prepared],
        entries: Sequence[str],
        session_id: str,
        messages: Sequence[Message] | None,
        sessions: Sessions,
        kept: bool,
        store: Store | None = None,
    ) -> Opening | None:
        """Return what a run begins from, or None where it begins from nothing and leaves nothing.

        Raises:
            ConfigError: Messages for an agent that goes on with its session's.
        """
        lasting = {p.name for p in agents.values() if session_id and p.memory_scope == "session"}
        if not lasting and messages is None:
            return None
        given: dict[str, Sequence[Message]] = {}
        versions = {}
        for name in sorted(lasting):
            log = sessions.get((session_id, name), SessionLog()) if store is None else SessionLog()
            given[name], versions[name] = log.messages, log.version
        for entry in entries if messages is not None else ():
            name = agents[entry].name
            if name in lasting:
                msg = (
                    f"messages= is given, and agent {name!r} goes on with session {session_id!r} "
                    "(memory_scope='session'); leave one of the two out"
                )
                raise ConfigError(msg)
            given[name] = tuple(messages or ())
        where = store if lasting else None
        return cls(
            session_id=session_id, given=given, versions=versions, sessions=sessions, kept=kept, store=where
        )

    def before(self, branch: Branch, agent: str) -> Sequence[Message]:
        """Return what `agent` had said before the run, where `branch` is the main one or one of several entries."""
        main = branch.name == ROOT or (branch.join is not None and branch.join.owner.node == START)
        return self.given.get(agent, ()) if main else ()

    def written(self, pack: Callable[[Any], Any]) -> dict[str, Any]:
        """Return what the run's record has of this."""
        if self.store is None:
            return {name: pack(list(messages)) for name, messages in self.given.items()}
        own = {name: pack(list(given)) for name, given in self.given.items() if name not in self.versions}
        return {**self.refs, **own}

    async def recall(self, run: RunShell) -> None:
        """Begin from what the store remembers of the session, where it is kept there.

        Raises:
            StoreError: It cannot be read.
        """
        if self.store is not None:
            await recall(run, self, self.store)

    async def keep(self, run: RunShell) -> None:
        """Add to the session what was said on the main branch; nothing that two runs said at once is lost.

        Raises:
            StoreError: It cannot be written yet; it is with the end of the run.
        """
        said = {}
        for name in self.versions:
            log = run.conversations.get((ROOT, name), ConversationLog())
            new = (*log.messages[len(self.given.get(name, ())) :], *log.closings())
            if new:
                said[name] = new
        if self.store is None:
            self._keep_here(run, said)
        elif not self.ended and run.orchestrator.state.finished:
            for name in await remember(run, self, self.store, said):
                self._tell_of_others(run, name)

    def _keep_here(self, run: Turns, said: Mapping[str, tuple[Message, ...]]) -> None:
        for name, new in said.items():
            version = self.versions[name]
            kept = self.sessions.setdefault((self.session_id, name), SessionLog())
            if kept.version != version:
                self._tell_of_others(run, name)
            elif not self.kept:
                _warn(
                    run,
                    f"session {self.session_id!r} is forgotten with this call; keep one Orchestra open for several turns",
                )
            kept.messages += new
            kept.version += 1

    def _tell_of_others(self, run: Turns, name: str) -> None:
        _warn(
            run,
            f"another run of session {self.session_id!r} has ended meanwhile: what {name!r} said in this one stands after it",
        )


def _warn(run: Turns, message: str) -> None:
    run.record(e.Warned("", run.orchestrator.state.run_n, ("", 0), message))
