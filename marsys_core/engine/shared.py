"""The engine that bare calls of `Orchestra.run` share while they overlap.

A thousand calls at once would otherwise open every model a thousand times. The first call opens the engine in
a task of its own, the last one closes it and returns when that is done; so between calls nothing is open.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import trio

from marsys_core.engine.opening import Request, execute, open_engine
from marsys_core.plugins import Composition, compose

if TYPE_CHECKING:
    from marsys_core.engine.engine import Engine
    from marsys_core.engine.run import RunShell
    from marsys_core.orchestra import Orchestra
    from marsys_core.results import RunResult

__all__ = ["execute_bare"]


@attrs.define(eq=False)
class _Host:
    """One shared engine, and the calls that use it.

    Invariant: it is in `_hosts` as long as it has users and has not failed, so nobody joins one that closes.
    """

    orchestra: Orchestra
    composition: Composition
    users: int = 0
    runs: dict[RunShell, None] = attrs.field(factory=dict)
    ready: trio.Event = attrs.field(factory=trio.Event)
    unused: trio.Event = attrs.field(factory=trio.Event)
    closed: trio.Event = attrs.field(factory=trio.Event)
    engine: Engine | None = None
    failing: bool = False
    failure: BaseException | None = None

    async def serve(self) -> None:
        """Hold the engine open until nobody uses it; a failure of its own ends the calls that do."""
        try:
            async with open_engine(**self.orchestra.settings) as engine:
                self.engine, engine.keeps_sessions = engine, False
                self.ready.set()
                try:
                    await self.unused.wait()
                except (
                    trio.Cancelled
                ):  # something of the engine has failed; what, is known when it has closed
                    self.failing = True
                    raise
        except trio.Cancelled:
            raise
        except BaseException as error:  # raised to every caller: this task has nobody above it
            self.failure = error
        finally:
            _hosts.get().pop(id(self.composition), None)
            for run in self.runs:
                run.scope.cancel()
            self.ready.set()
            self.closed.set()

    async def close(self) -> None:
        """Close the engine that nobody uses any more, and wait until that is done."""
        _hosts.get().pop(id(self.composition), None)
        self.unused.set()
        with trio.CancelScope(shield=True):
            await self.closed.wait()


_hosts: trio.lowlevel.RunVar[dict[int, _Host]] = trio.lowlevel.RunVar("marsys shared engines")


def _host(orchestra: Orchestra) -> _Host:
    composition = compose(orchestra.settings["plugins"])
    try:
        hosts = _hosts.get()
    except LookupError:
        hosts = {}
        _hosts.set(hosts)
    host = hosts.get(id(composition))
    if host is None:
        host = hosts[id(composition)] = _Host(orchestra, composition)
        trio.lowlevel.spawn_system_task(host.serve)
    return host


async def execute_bare(orchestra: Orchestra, request: Request) -> RunResult:
    """Run `request` in the shared engine; `orchestra` is one with all its defaults.

    Raises:
        CriticalError: A cause that no agent can mend.
        RecoverableError: A passing cause that was still there after the retries.
    """
    host = _host(orchestra)
    host.users += 1
    run: RunShell | None = None

    def adopt(shell: RunShell) -> None:
        nonlocal run
        run = shell
        host.runs[shell] = None

    try:
        if not host.ready.is_set():
            await host.ready.wait()
        if host.engine is not None:
            result = await execute(orchestra, host.engine, request, orchestra.new_id(), adopt)
            if not host.failing:
                return result
            await host.closed.wait()
    finally:
        host.users -= 1
        if run is not None:
            del host.runs[run]
        if not host.users:
            await host.close()
    assert host.failure is not None  # nothing else leaves a call without its result
    raise host.failure
