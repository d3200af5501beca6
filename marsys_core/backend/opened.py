"""A backend in use: initialized once, shared by the engines of one Trio run, closed by the last of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, NoReturn

import attrs
import trio

from marsys_core.backend.backend import DatabaseBackend
from marsys_core.backend.document import KeptRun, escaped, read_state, state_of
from marsys_core.backend.memory import Memory
from marsys_core.errors import LifecycleError, StoreError
from marsys_core.hosts.bridge import on_asyncio
from marsys_core.hosts.declared import checked_library

__all__ = ["Hold", "Opened", "Session", "key_of", "opened_of"]

_PLACES = 10_000  # runs whose session is remembered
_LEDGER = "_marsys_ledger"


def key_of(session_id: str, run_id: str) -> str:
    """Return what the state is kept under that a run lies in."""
    return escaped(session_id or run_id)


@attrs.frozen
class Hold:
    """Who has a run, and since when, in seconds since 1970."""

    holder: str
    since: float


@attrs.define(eq=False)
class Session:
    """The state of a session while somebody here holds a run of it.

    Args:
        key: What it is kept under.
        runs: Its runs, in the order in which they came; None until they are loaded.
        memory: What it remembers, loaded with them.
        version: Goes up with each change.
        saved: The version that is kept.
        users: How many hold it.
        lock: Whoever loads or saves has it.
    """

    key: str
    runs: list[KeptRun] | None = None
    memory: Memory = attrs.field(factory=Memory)
    version: int = 0
    saved: int = 0
    users: int = 0
    lock: trio.Lock = attrs.field(factory=trio.Lock)

    def all(self) -> list[KeptRun]:
        """Return its runs, which are loaded."""
        assert self.runs is not None  # nobody has a session before
        return self.runs

    def find(self, run_id: str) -> KeptRun | None:
        """Return a run of it."""
        return next((run for run in self.all() if run.info.run_id == run_id), None)

    def changed(self) -> int:
        """Return the version that has what was just changed."""
        self.version += 1
        return self.version


@attrs.define(eq=False)
class _Ledger:
    """What is known of a backend in this process; it lies on the backend, and is gone with it."""

    places: dict[str, str] = attrs.field(factory=dict)
    opened: Opened | None = None


def opened_of(backend: DatabaseBackend) -> Opened:
    """Return how `backend` is in use in this Trio run.

    Raises:
        LifecycleError: It is in use in another one.
    """
    ledger: _Ledger = vars(backend).setdefault(_LEDGER, _Ledger())
    token, opened = trio.lowlevel.current_trio_token(), ledger.opened
    if opened is not None and opened.token is token:
        return opened
    if opened is not None and opened.users:
        msg = f"{backend!r:.200} is in use on another event loop; make one for each loop, or close the other first"
        raise LifecycleError(msg)
    ledger.opened = Opened(backend, ledger.places, token)
    return ledger.opened


@attrs.define(eq=False)
class Opened:
    """A backend in use.

    Args:
        backend: The backend.
        places: In which state a run lies, as far as it was seen.
        token: The Trio run.
        users: How many stores use it.
        held: The runs that somebody has.
        sessions: The states they lie in.
    """

    backend: DatabaseBackend
    places: dict[str, str]
    token: trio.lowlevel.TrioToken
    users: int = 0
    held: dict[str, Hold] = attrs.field(factory=dict)
    sessions: dict[str, Session] = attrs.field(factory=dict)
    _lock: trio.Lock = attrs.field(factory=trio.Lock)
    _ready: bool = False
    _found: list[tuple[str, Any]] = attrs.field(factory=list)

    @property
    def name(self) -> str:
        """The name of its class, for errors."""
        return type(self.backend).__name__

    # -- lifetime ----------------------------------------------------------------------------

    async def enter(self) -> None:
        """Begin to use it; the first one initializes it.

        Raises:
            StoreError: That did not work.
        """
        self.users += 1
        try:
            async with self._lock:
                if not self._ready:
                    await self._initialize()
                    self._ready = True
        except BaseException:
            self.users -= 1
            raise

    async def leave(self) -> None:
        """Use it no more; the last one closes it.

        Raises:
            StoreError: That did not work.
        """
        self.users -= 1
        with trio.CancelScope(shield=True):
            async with self._lock:
                if self._ready and not self.users:
                    self._ready = False
                    await self._close()

    async def _initialize(self) -> None:
        before = dict(vars(self.backend))
        try:
            await self._call("be initialized", self.backend.initialize)
        except BaseException as error:
            self._look(before)
            with trio.CancelScope(shield=True):
                try:
                    await self._close()
                except StoreError as second:
                    error.add_note(str(second))
            raise
        self._look(before)

    def _look(self, before: dict[str, Any]) -> None:
        """Remember what `initialize` has put on the backend."""
        now = vars(self.backend).items()
        self._found = [(name, value) for name, value in now if before.get(name) is not value]

    async def _close(self) -> None:
        own = getattr(self.backend, "close", None)
        found, self._found = [("itself", self.backend)] if callable(own) else self._found[::-1], []
        errors: list[StoreError] = []
        for name, value in found:
            close = own if callable(own) else getattr(value, "aclose", None) or getattr(value, "close", None)
            if isinstance(value, type) or not callable(close):
                continue
            try:
                await self._call(f"close {name}", _awaited, close)
            except StoreError as error:
                errors.append(error)
        if errors:
            for more in errors[1:]:
                errors[0].add_note(str(more))
            raise errors[0]

    # -- states ------------------------------------------------------------------------------

    async def load(self, key: str) -> list[KeptRun]:
        """Return the runs of a state as it is kept.

        Raises:
            StoreError: It cannot be read.
        """
        return (await self.load_all(key))[0]

    async def load_all(self, key: str) -> tuple[list[KeptRun], Memory]:
        """Return the runs of a state as it is kept, and what its session remembers.

        Raises:
            StoreError: It cannot be read.
        """
        given = await self._call(f"load session {key!r}", self.backend.load_state, key)
        runs, memory = read_state(given, f"the state of session {key!r} in {self.name}")
        for run in runs:
            self.see(run.info.run_id, key)
        return runs, memory

    def see(self, run_id: str, key: str) -> None:
        """Remember in which state a run lies."""
        self.places.pop(run_id, None)
        self.places[run_id] = key
        if len(self.places) > _PLACES:
            del self.places[next(iter(self.places))]

    async def hold(self, key: str) -> Session:
        """Return a session with its runs, until `let_go`.

        Raises:
            StoreError: It cannot be read.
        """
        session = self.sessions.get(key)
        if session is None:
            session = self.sessions[key] = Session(key)
        session.users += 1
        try:
            async with session.lock:
                if session.runs is None:
                    session.runs, session.memory = await self.load_all(key)
        except BaseException:
            self.let_go(session)
            raise
        return session

    def let_go(self, session: Session) -> None:
        """Say that a session is used no more by one who held it."""
        session.users -= 1
        if not session.users:
            del self.sessions[session.key]

    async def save(self, session: Session, version: int) -> None:
        """Return when that version of a session, or a later one, is kept. Who comes meanwhile shares a write.

        Raises:
            StoreError: It could not be written.
        """
        async with session.lock:
            if session.saved >= version:
                return
            version, state = session.version, state_of(session.all(), session.memory)
            await self._call(f"save session {session.key!r}", self.backend.save_state, session.key, state)
            session.saved = version

    async def _call(self, doing: str, function: Callable[..., Awaitable[Any]], *args: Any) -> Any:
        library = checked_library(self.backend.async_library, self.name)
        try:
            if library == "trio":
                return await function(*args)
            return await on_asyncio(function, *args)
        except StoreError:
            raise
        except Exception as error:
            _raise(f"{self.name} could not {doing}: {type(error).__name__}: {error}", error, self.name)

    def known(self) -> list[str]:
        """Return the runs whose session is remembered, to suggest one of them."""
        return list(self.places)


def _raise(message: str, cause: Exception, path: str) -> NoReturn:
    raise StoreError(message, path) from cause


async def _awaited(close: Callable[[], Any]) -> None:
    result = close()
    if hasattr(result, "__await__"):
        await result
