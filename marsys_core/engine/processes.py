"""Functions of isolated tools, each call in a process of its own that never outlives the call."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import trio

from marsys_core import errors
from marsys_core.errors import ConfigError, ErrorClass, MarsysError, ToolError, ValueRefused

if TYPE_CHECKING:
    from marsys_core.engine.calls import ToolRun

__all__ = ["run_in_process"]

_CHUNK = 1 << 16
_NONSENSE = (
    "the process of tool {!r} wrote something else than its answer: who else has written to its descriptors?"
)
_GROUPS = sys.platform != "win32"


async def run_in_process(call: ToolRun) -> Any:
    """Run the function of an isolated tool in a process of its own, and return its result.

    The process has ended when this returns, also by a cancellation, and with it what it has started, unless
    that has left its process group.

    Raises:
        ToolError: What the function raised, or how its process ended without an answer.
        ValueRefused: Its result is no plain data, or too large.
    """
    from marsys_core.tools._isolation import request_of

    run = call.step.run
    most = run.config.max_value_bytes
    request = request_of(call.tool, call.arguments, most)
    async with _a_place(run.engine.threads), _worker(call.tool.name) as process:
        with contextlib.suppress(trio.BrokenResourceError):  # it has ended: how, is seen below
            await process.stdin.send_all(request)  # type: ignore[union-attr]
        # Text may be six times as long in JSON, and what stands between the values is counted roughly.
        answer = await _answer(process, call.tool.name, 8 * most + _CHUNK)
    if "error" in answer:
        raise _raised(answer["error"])
    return run.engine.converter.decode(answer["result"])


@contextlib.asynccontextmanager
async def _a_place(places: trio.CapacityLimiter) -> AsyncIterator[None]:
    """Take one of the places that plain functions have: a thousand calls at once are not a thousand processes."""
    borrower = object()
    await places.acquire_on_behalf_of(borrower)
    try:
        yield
    finally:
        places.release_on_behalf_of(borrower)


@contextlib.asynccontextmanager
async def _worker(name: str) -> AsyncIterator[trio.Process]:
    """Start a worker, and at the end of the block have it killed, waited for and closed."""
    from subprocess import PIPE

    from marsys_core.tools._isolation import search_path

    if not sys.executable:
        msg = "isolation='process' starts a Python interpreter, and sys.executable does not say where one is"
        raise ConfigError(msg)
    try:
        process = await trio.lowlevel.open_process(
            # -P: what lies about in the working directory is no module of ours.
            [sys.executable, "-P", "-m", "marsys_core.tools._worker"],
            stdin=PIPE,
            stdout=PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(search_path())},
            start_new_session=True,
        )
    except OSError as error:
        msg = f"the process of tool {name!r} cannot be started: {error}"
        raise ToolError(msg) from error
    # Invariant: nothing waits between here and `try`, so no cancellation comes between.
    try:
        yield process
    finally:
        _kill(process)
        with trio.CancelScope(shield=True):  # it was killed: this takes as long as the kernel does
            await process.wait()
            await _close(process)


async def _close(process: trio.Process) -> None:
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            await pipe.aclose()


def _kill(process: trio.Process) -> None:
    """Kill the worker and what it has started. Its id is its group's, and not free for others while it is not waited for."""
    # It may have ended; of a group of which nothing runs any more macOS says that it is not permitted.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if _GROUPS:
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()


async def _answer(process: trio.Process, name: str, most: int) -> dict[str, Any]:
    """Read the one frame that the worker writes.

    Raises:
        ToolError: It ended before it had written it, or wrote something else.
        ValueRefused: The frame is too large.
    """
    from marsys_core.tools._isolation import HEAD, decode, length_of

    received, wanted = bytearray(), HEAD
    while len(received) < wanted:
        chunk = await process.stdout.receive_some(_CHUNK)  # type: ignore[union-attr]
        if not chunk:
            raise ToolError(_ending(name, await process.wait()))
        received += chunk
        if wanted == HEAD and len(received) >= HEAD:
            try:
                wanted += length_of(bytes(received[:HEAD]))
            except ValueError as error:
                raise ToolError(_NONSENSE.format(name)) from error
        if wanted > most:
            msg = f"the process of tool {name!r} answers with {wanted} bytes, which is more than max_value_bytes allows"
            raise ValueRefused(msg)
    try:
        answer = decode(bytes(received[HEAD:wanted]))
    except (ValueError, RecursionError) as error:
        raise ToolError(_NONSENSE.format(name)) from error
    if not isinstance(answer, dict) or answer.keys() not in ({"result"}, {"error"}):
        raise ToolError(_NONSENSE.format(name))
    return answer


def _ending(name: str, code: int) -> str:
    """Say how a process ended that did not answer."""
    if code >= 0 or not _GROUPS:
        return f"the process of tool {name!r} ended with exit code {code} before it answered"
    try:
        called = signal.Signals(-code).name
    except ValueError:  # a real-time signal has no name
        called = "signal"
    return f"the process of tool {name!r} was killed by {called} ({-code})"


def _raised(told: dict[str, str]) -> MarsysError:
    """Return the error that the worker describes: of its own class where that is one of ours."""
    known = getattr(errors, told["base"], None) if told["base"] else None
    if isinstance(known, type) and issubclass(known, MarsysError):
        error: MarsysError = known(told["message"])
    else:
        error = ToolError(f"{told['type']}: {told['message']}")
    given = ErrorClass(told["class"])
    if error.error_class is not given:
        error.error_class = given
    error.add_note(f"in the process of the tool:\n{told['traceback'].rstrip()}")
    return error
