"""What plain code does with an `Orchestra`: open one for a block, and run in one that is open."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from typing import TYPE_CHECKING, Any

from marsys_core.embed.blocking import refuse_in_loop
from marsys_core.embed.gate import Gate, asked
from marsys_core.embed.serving import Serving
from marsys_core.embed.trio_thread import call_alone
from marsys_core.errors import LifecycleError

if TYPE_CHECKING:
    from marsys_core.events import Event
    from marsys_core.options import RunOptions
    from marsys_core.orchestra import Orchestra
    from marsys_core.results import RunResult

__all__ = ["run_alone", "run_in", "serve", "stream_in"]

_OPENED_BY = "with Orchestra(...) as orchestra:"


def run_alone(what: str, work: Callable[[], Awaitable[RunResult]]) -> RunResult:
    """Return what a run comes to that has a thread of its own; `what` is the call, with ``_sync``.

    Raises:
        LifecycleError: An event loop runs in this thread.
    """
    refuse_in_loop(what, f"await {what.removesuffix('_sync')}(...)")
    result: RunResult = call_alone(work)
    return result


def serve(orchestra: Orchestra) -> Serving:
    """Open `orchestra` in a thread of its own.

    Raises:
        LifecycleError: It was opened before, or an event loop runs in this thread.
    """
    refuse_in_loop("'with Orchestra(...)'", "async with Orchestra(...) as orchestra:")
    if orchestra._opened is not None:
        msg = f"an Orchestra is opened once, by 'with' or by 'async with'; make a new one: {_OPENED_BY}"
        raise LifecycleError(msg)
    serving = Serving(orchestra, "Orchestra", _OPENED_BY)
    serving.open()
    return serving


def run_in(
    orchestra: Orchestra, task: Any, topology: Any, output_type: Any, options: RunOptions
) -> RunResult:
    """Run in an open orchestra from plain code, and wait.

    Raises:
        LifecycleError: It is not open, or an event loop runs in this thread.
    """
    gate = _gate(orchestra, "run_sync", "await orchestra.run(...)")
    return gate.run(asked(task, topology, output_type, options))


def stream_in(
    orchestra: Orchestra, task: Any, topology: Any, output_type: Any, options: RunOptions
) -> Generator[Event, None, None]:
    """Yield the events of a run in an open orchestra.

    Raises:
        LifecycleError: It is not open, or an event loop runs in this thread.
    """
    gate = _gate(orchestra, "stream_sync", "async for event in orchestra.stream(...)")
    return gate.stream(asked(task, topology, output_type, options))


def _gate(orchestra: Orchestra, what: str, instead: str) -> Gate:
    refuse_in_loop(f"orchestra.{what}", instead)
    if orchestra._serving is not None:
        gate: Gate = orchestra._serving.gate()
    elif orchestra._engine is not None:  # an event loop of another thread has opened it
        gate = Gate(orchestra, orchestra._engine, "Orchestra")
    else:
        state = "not open" if orchestra._opened is None else "closed"
        msg = f"the Orchestra is {state}; use it inside '{_OPENED_BY}'"
        raise LifecycleError(msg)
    gate.refuse_here(f"orchestra.{what}")
    return gate
