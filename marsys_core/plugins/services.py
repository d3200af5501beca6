"""Opening what providers offer, each in a task of its own, and closing it in reverse order.

Each open provider has one task that enters its context manager, waits, and leaves it again. So an opener
may hold nurseries and cancel scopes, which a stack of context managers in one task would misnest.

Who cancels what:

* While something is opening, its scope has the open timeout as its deadline and no shield: the
  application's cancellation reaches it.
* Once it is open, the scope is shielded, and only `open_services` closes it. So when the application is
  cancelled, agents unwind first and can still use what is open.
* On closing it is first told to leave, and cancelled when the grace period is over.
* Waiting for an opening may be cancelled without cancelling the opening: somebody else may wait for it.
"""

from __future__ import annotations

import contextvars
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Any

import attrs
import trio

from marsys_core.errors import LifecycleError, PluginError, PluginUnavailable
from marsys_core.hosts.declared import adapted
from marsys_core.logs import get_logger
from marsys_core.plugins.providers import EngineInfo, OpenContext, Provider
from marsys_core.plugins.secrets import Secrets

if TYPE_CHECKING:
    from marsys_core.plugins.composition import Composition

__all__ = ["Services", "open_services"]

_CLOSED = "the services are closed; use them inside 'async with open_services(...)'"


@attrs.define(eq=False, kw_only=True)
class _Service:
    """One provider on its way from opening to closed.

    Invariant: `ready` is set exactly once, when it is open (`is_open`) or when that failed (`failure`).
    """

    kind: str
    provider: Provider[Any]
    plugin: str
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    ready: trio.Event = attrs.field(factory=trio.Event)
    shutdown: trio.Event = attrs.field(factory=trio.Event)
    closed: trio.Event = attrs.field(factory=trio.Event)
    live: Any = None
    is_open: bool = False
    failure: BaseException | None = None

    def __str__(self) -> str:
        return f"{self.kind} provider {self.provider.name!r} of plugin {self.plugin!r}"

    async def serve(self, context: OpenContext, settings: Any, timeout: float) -> None:
        """Open, wait until told to close, close. Raises only where it fails while it is open."""
        self.scope.deadline = trio.current_time() + timeout
        try:
            with self.scope:
                async with self._entered(context, settings) as live:
                    await self._hold(self._usable(live))
            self._explain_the_end(timeout)
        except Exception as error:
            self._explain(error)
        finally:
            if not self.ready.is_set():
                self._fail(self.failure or LifecycleError("it was cancelled while it was opening"))
            self.is_open = False
            self.closed.set()

    def _entered(self, context: OpenContext, settings: Any) -> AbstractAsyncContextManager[Any]:
        opener = self.provider.open
        assert opener is not None  # what is made is never served
        if self.provider.async_library == "trio":
            return _entered(opener(context, settings))
        from marsys_core.hosts.streams import entered_on_asyncio

        return entered_on_asyncio(lambda: _entered(opener(context, settings)))

    def _usable(self, live: Any) -> Any:
        """Return what it opened to as Trio code can use it."""
        library = self.provider.async_library
        return adapted(live, str(self), library="" if library == "trio" else library)

    async def _hold(self, live: object) -> None:
        # An opener that blocked past its deadline without a checkpoint is late all the same.
        if not self.scope.cancel_called:
            self.scope.shield = True
            self.scope.deadline = float("inf")
            self.live, self.is_open = live, True
            self.ready.set()
        await self.shutdown.wait()

    def _explain_the_end(self, timeout: float) -> None:
        if self.shutdown.is_set():
            return
        if self.is_open:
            msg = f"{self} stopped by itself while it was in use"
            raise PluginError(msg)
        self.failure = trio.TooSlowError(f"it took longer than {timeout:g} s")

    def _explain(self, error: Exception) -> None:
        if not self.ready.is_set():
            self._fail(error)
        elif self.shutdown.is_set():
            # Closing never hides what went wrong before it, and never keeps the rest from closing.
            get_logger("plugins").error("%s failed to close", self, exc_info=error)
        else:
            error.add_note(f"in the {self}, while it was in use")
            raise error

    def _fail(self, error: BaseException) -> None:
        self.failure = error
        self.ready.set()

    def raise_failure(self) -> None:
        """Raise why it could not be opened, as an exception of the caller's own."""
        error = self.failure
        if error is None:
            return
        what = "is unavailable" if isinstance(error, PluginUnavailable) else "cannot be opened"
        text = str(error) if isinstance(error, PluginUnavailable) else f"{type(error).__name__}: {error}"
        msg = f"{self} {what}: {text}"
        raise PluginError(msg) from error

    async def close(self, grace: float) -> None:
        """Ask it to leave, wait, and cancel it where that takes longer than the grace period."""
        self.shutdown.set()
        if not self.is_open:
            self.scope.cancel()
        with trio.move_on_after(grace):
            await self.closed.wait()
            return
        get_logger("plugins").warning("%s did not close within %g s and is cancelled", self, grace)
        self.scope.cancel()
        await self.closed.wait()


def _entered(opened: Any) -> AbstractAsyncContextManager[Any]:
    if not hasattr(type(opened), "__aenter__"):
        if hasattr(opened, "close"):
            opened.close()  # a coroutine, which would warn that nobody awaited it
        msg = f"open returned {opened!r}; expected an async context manager"
        raise TypeError(msg)
    context_manager: AbstractAsyncContextManager[Any] = opened
    return context_manager


@attrs.define(eq=False, kw_only=True)
class Services:
    """What is open. Made by `open_services`; belongs to one engine, and to the task tree that opened it.

    Args:
        composition: What can be opened.
        nursery: Where the providers' tasks live; what else belongs to the engine may live there too.
    """

    composition: Composition
    _engine: EngineInfo
    _open_timeout: float
    nursery: trio.Nursery
    _context: contextvars.Context = attrs.field(factory=contextvars.copy_context)
    _services: dict[tuple[str, str], _Service] = attrs.field(factory=dict)
    _made: dict[tuple[str, str], Any] = attrs.field(factory=dict)
    _closed: bool = False

    async def get(self, kind: str, name: str) -> Any:
        """Return the live object of a provider, and open it the first time.

        Any number of tasks may ask at once: it is opened once. Where opening fails, everybody who
        waits is told, and the next one to ask tries again.

        Args:
            kind: For example ``"model"``.
            name: The provider's name.

        Raises:
            UnknownName: Nothing of that kind has the name.
            SettingsError: The plugin's section does not fit.
            PluginError: It could not be opened; the cause is chained.
            LifecycleError: The services are closed.
        """
        made = self.get_made(kind, name)
        if made is not None:
            await trio.lowlevel.checkpoint()
            return made
        service = self._services.get((kind, name))
        if service is None:
            service = self._begin(kind, name)
        if service.ready.is_set():
            await trio.lowlevel.checkpoint()
        else:
            await service.ready.wait()
        service.raise_failure()
        self._check_open()
        return service.live

    def get_made(self, kind: str, name: str) -> Any:
        """Return the object of a provider that needs no opening, without a checkpoint; None if it needs one.

        Raises:
            UnknownName: Nothing of that kind has the name.
            SettingsError: The plugin's section does not fit.
            PluginError: It could not be made; the cause is chained.
            LifecycleError: The services are closed.
        """
        self._check_open()
        made = self._made.get((kind, name))
        if made is None:
            provider = self.composition.provider(kind, name)
            if provider.make is None:
                return None
            made = self._made[kind, name] = self._make(kind, provider)
        return made

    def _make(self, kind: str, provider: Provider[Any]) -> Any:
        assert provider.make is not None  # the caller has looked
        plugin = self.composition.owner_of(kind, provider.name)
        service = _Service(kind=kind, provider=provider, plugin=plugin)
        settings = self.composition.settings_for(kind, provider.name)
        try:
            made = provider.make(
                OpenContext(self._engine, get_logger(plugin), self._secrets_for(kind)), settings
            )
        except Exception as error:
            service.failure = error
            service.raise_failure()
        if made is None:
            service.failure = TypeError("its make returned None")
            service.raise_failure()
        return service._usable(made)

    def get_nowait(self, kind: str, name: str) -> Any:
        """Return the live object of a provider that is already open, without a checkpoint.

        Raises:
            LifecycleError: It is not open, or the services are closed.
        """
        self._check_open()
        if (kind, name) in self._made:
            return self._made[kind, name]
        service = self._services.get((kind, name))
        if service is None or not service.is_open:
            msg = f"{kind} provider {name!r} is not open; await get({kind!r}, {name!r}) opens it"
            raise LifecycleError(msg)
        return service.live

    def _check_open(self) -> None:
        if self._closed:
            raise LifecycleError(_CLOSED)

    @property
    def secrets(self) -> Secrets:
        """What finds keys: in the environment, then in what plugins offer."""
        return Secrets(self)

    def _secrets_for(self, kind: str) -> Secrets:
        # A source of secrets that needs a key itself can have it from the environment only.
        return Secrets() if kind == "secret source" else self.secrets

    def _begin(self, kind: str, name: str) -> _Service:
        composition = self.composition
        settings = composition.settings_for(kind, name)
        plugin = composition.owner_of(kind, name)
        service = _Service(kind=kind, provider=composition.provider(kind, name), plugin=plugin)
        context = OpenContext(self._engine, get_logger(plugin), self._secrets_for(kind))
        self._services[kind, name] = service
        # The task gets the context in which the services were opened, not that of whoever asked first:
        # what is opened outlives them.
        self._context.run(self.nursery.start_soon, self._serve, service, context, settings)
        return service

    async def _serve(self, service: _Service, context: OpenContext, settings: Any) -> None:
        try:
            await service.serve(context, settings, self._open_timeout)
        finally:
            self._services.pop((service.kind, service.provider.name), None)

    async def close(self, grace: float) -> None:
        """Close everything in reverse order of opening; called by `open_services`."""
        self._closed = True
        if not self._services:
            return
        with trio.CancelScope(shield=True):
            for service in reversed(list(self._services.values())):
                await service.close(grace)


@asynccontextmanager
async def open_services(
    composition: Composition, *, engine: EngineInfo, grace: float = 5.0, open_timeout: float = 30.0
) -> AsyncIterator[Services]:
    """Open providers as they are asked for, and close them all at the end of the block.

    Nothing is opened before it is asked for; ask at the start for what has to be there. When something
    fails in the background of an open provider, the block is cancelled, the rest is closed in order,
    and the failure is raised with a note that names the provider.

    Args:
        composition: What can be opened.
        engine: Who is opening; every opener is told.
        grace: How many seconds each provider has to close before it is cancelled.
        open_timeout: How many seconds each provider has to open.

    Raises:
        BaseException: What the block raised, as it is; or what failed in the background; or both, in a group.
    """
    failure: BaseException
    try:
        async with trio.open_nursery() as nursery:
            services = Services(
                composition=composition, engine=engine, open_timeout=open_timeout, nursery=nursery
            )
            try:
                yield services
            finally:
                await services.close(grace)
        return
    except BaseExceptionGroup as group:
        # The nursery is nobody's business but ours: a single exception is what the block raised.
        failure = group.exceptions[0] if len(group.exceptions) == 1 else group
    # Outside the handler, so that the group does not become its context.
    raise failure
