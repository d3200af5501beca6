"""`EngineThread`: an open engine for threads that run no event loop."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Generator, Iterable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar, Unpack, overload

from marsys_core.embed.blocking import refuse_in_loop
from marsys_core.embed.gate import Gate, asked
from marsys_core.embed.serving import Serving
from marsys_core.errors import LifecycleError
from marsys_core.orchestra import Orchestra

if TYPE_CHECKING:
    from marsys_core.config import ExecutionConfig
    from marsys_core.embed.future import RunFuture
    from marsys_core.events import Event
    from marsys_core.options import Agents, RunOptions
    from marsys_core.plugins import PluginSettings
    from marsys_core.results import RunResult

__all__ = ["EngineThread", "Settings"]

T = TypeVar("T")
_OPENED_BY = "with EngineThread(...) as engine:"
_WAIT_ELSEWHERE = {
    "trio": "future = engine.submit(...), and await trio.to_thread.run_sync(future.result)",
    "asyncio": "await asyncio.wrap_future(engine.submit(...))",
}


class Settings(TypedDict, total=False):
    """What an `EngineThread` is made with: the arguments of `Orchestra`."""

    agents: Agents | None
    execution_config: ExecutionConfig | None
    plugins: PluginSettings | None
    sinks: Sequence[str | Any]
    middleware: Sequence[Any]
    types: Iterable[type]
    name: str
    max_threads: int
    new_id: Callable[[], str]
    deps: Any
    channel: Any
    storage: Any


class EngineThread:
    """An open engine in a background thread. Use it from plain threads: a WSGI application, a worker, a window.

    Any number of threads hand it runs, and wait for them or do not::

        with EngineThread(agents=[...]) as engine:
            future = engine.submit("Say hello", "Greeter")
            result = future.result(timeout=30)

    Where there is no block, call `start` and `close`. One that is left open is closed when the program ends,
    and when nobody holds it any more, with a ResourceWarning. A forked child has no threads of its parent:
    start one in each worker process.

    Args:
        settings: The arguments of `Orchestra`.

    Raises:
        ConfigError: Settings that cannot be honoured.
    """

    def __init__(self, **settings: Unpack[Settings]) -> None:
        self._orchestra: Orchestra | None = Orchestra(**settings)
        self._serving: Serving | None = None
        self._starting = threading.Lock()

    # -- lifetime ------------------------------------------------------------------------------

    def start(self) -> EngineThread:
        """Start the thread, and return the same object when the engine is open.

        Raises:
            LifecycleError: It was started before, or an event loop runs in this thread.
            BaseException: What opening the engine raised; nothing is left of it then.
        """
        refuse_in_loop(
            "EngineThread.start",
            {
                "trio": "async with Orchestra(...) as orchestra:",
                "asyncio": "await asyncio.to_thread(engine.start)",
            },
        )
        with self._starting:
            orchestra, self._orchestra = self._orchestra, None
            if orchestra is None:
                msg = f"an EngineThread is started once; make a new one: {_OPENED_BY}"
                raise LifecycleError(msg)
            serving = self._serving = Serving(orchestra, "EngineThread", _OPENED_BY)
        serving.open()
        # The thread holds the orchestra, and never this object, which can so be seen to be forgotten.
        weakref.finalize(self, serving.dropped).atexit = False
        return self

    def close(self) -> None:
        """Cancel what still runs, and return when the thread has ended. Closing it again does nothing.

        Raises:
            BaseException: What failed in the engine in the meantime, a plugin's background task for example.
            LifecycleError: It was never started, or one of its own runs closes it, or an event loop runs in
                this thread.
        """
        if self._serving is None:
            msg = f"the EngineThread is not started; write '{_OPENED_BY}', or call start()"
            raise LifecycleError(msg)
        self._serving.close()

    def __enter__(self) -> EngineThread:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._serving is not None  # __enter__ has started it
        self._serving.close_after(error)

    @property
    def running(self) -> bool:
        """Whether it takes runs."""
        return self._serving is not None and self._serving.is_open

    @property
    def closed(self) -> bool:
        """Whether it was started, and takes no runs any more."""
        return self._serving is not None and self._serving.is_over

    # -- runs ----------------------------------------------------------------------------------

    @overload
    def submit(
        self, task: Any, topology: Any, output_type: None = None, **options: Unpack[RunOptions]
    ) -> RunFuture[Any]: ...
    @overload
    def submit(
        self, task: Any, topology: Any, output_type: type[T], **options: Unpack[RunOptions]
    ) -> RunFuture[T]: ...
    @overload
    def submit(
        self, task: Any, topology: Any, output_type: Any, **options: Unpack[RunOptions]
    ) -> RunFuture[Any]: ...
    def submit(
        self, task: Any, topology: Any, output_type: Any = None, **options: Unpack[RunOptions]
    ) -> RunFuture[Any]:
        """Start a run and return its future at once, from any thread; the arguments are those of `Orchestra.run`.

        The run sees the caller's context variables as they are now.

        Raises:
            ConfigError: An option that there is not, or of another kind. What else is wrong, with the topology
                for example, is found when the run is put together, and comes through the future.
            LifecycleError: The engine is not started, closed, or of the process that this one was forked from.
        """
        gate = self._gate()
        return gate.submit(asked(task, topology, output_type, options, attended=True))

    @overload
    def run(
        self, task: Any, topology: Any, output_type: None = None, **options: Unpack[RunOptions]
    ) -> RunResult: ...
    @overload
    def run(
        self, task: Any, topology: Any, output_type: type[T], **options: Unpack[RunOptions]
    ) -> RunResult[T]: ...
    @overload
    def run(self, task: Any, topology: Any, output_type: Any, **options: Unpack[RunOptions]) -> RunResult: ...
    def run(
        self, task: Any, topology: Any, output_type: Any = None, **options: Unpack[RunOptions]
    ) -> RunResult:
        """Run `task` over `topology` and wait; the arguments are those of `Orchestra.run`.

        Ctrl-C cancels the run, and is raised when everything under it has ended.

        Raises:
            CriticalError: A cause that no agent can mend; bad configuration is one.
            RecoverableError: A passing cause that was still there after the retries.
            concurrent.futures.CancelledError: The engine was closed meanwhile.
            LifecycleError: The engine is not started or closed, or waiting here would stop an event loop.
        """
        gate = self._waiting_gate("EngineThread.run")
        return gate.run(asked(task, topology, output_type, options))

    def stream(
        self, task: Any, topology: Any, output_type: Any = None, **options: Unpack[RunOptions]
    ) -> Generator[Event, None, None]:
        """Run `task` and yield its events as they happen; the arguments are those of `Orchestra.run`.

        The run begins with the first event that is asked for. Closing the iterator cancels it, and waits for
        its end. What `run` would raise is raised after the last event.

        Raises:
            ConfigError: An option that there is not, or of another kind.
            LifecycleError: The engine is not started or closed, or waiting here would stop an event loop.
        """
        gate = self._waiting_gate("EngineThread.stream")
        return self._stream(gate.stream(asked(task, topology, output_type, options)))

    def _stream(self, events: Generator[Event, None, None]) -> Generator[Event, None, None]:
        """Hold this object as long as its events are looked at."""
        yield from events

    def _gate(self) -> Gate:
        if self._serving is None:
            msg = f"the EngineThread is not started; write '{_OPENED_BY}', or call start()"
            raise LifecycleError(msg)
        return self._serving.gate()

    def _waiting_gate(self, what: str) -> Gate:
        gate = self._gate()
        gate.refuse_here(what)
        refuse_in_loop(what, _WAIT_ELSEWHERE)
        return gate
