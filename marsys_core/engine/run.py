"""The Trio shell of one run: it carries out what the orchestrator decides, and decides nothing itself.

Tasks mirror the tree of branches. A branch is a loop in one task; a fork opens a nursery in that task, and
the loop goes on when the nursery has closed, which is when the join is complete. So nothing outlives its
join, and nothing outlives the run.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
import trio

from marsys_core import events as e
from marsys_core.agents.registry import inside_run
from marsys_core.engine.clocks import Clock
from marsys_core.engine.deadlines import Deadlines
from marsys_core.engine.deltas import Deltas
from marsys_core.engine.people import People
from marsys_core.engine.rulebook import Asked, Rulebook
from marsys_core.engine.slots import Slots
from marsys_core.engine.turns import Turns
from marsys_core.errors import Cancelled, GuardRefused, RunTimeout, StoreError, told
from marsys_core.orchestrator import (
    ROOT,
    Ask,
    Branch,
    CancelJoin,
    Command,
    Join,
    Judge,
    Orchestrator,
    Phase,
    RunStep,
    Sharing,
    Steer,
    StopRun,
    exception_of,
    judged,
)
from marsys_core.protocols.channel import Channel
from marsys_core.protocols.guard import GuardSubject
from marsys_core.topology import NO_LIMITS, Limits, Topology

__all__ = ["RunShell"]


@attrs.define(eq=False, kw_only=True, repr=False)
class RunShell(Turns):
    """One run, from its task to its last event."""

    topology: Topology
    limits: Limits = NO_LIMITS
    points: Mapping[str, Asked] | None = None
    state: dict[str, Any] | None = None
    judge: Judge = judged
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    ended: float = 0.0
    taken_up: bool = False
    voids: int | None = None
    source: str = ""
    over: trio.Event | None = None
    _mail: dict[str, Command] = attrs.field(factory=dict)
    _tasks: dict[str, None] = attrs.field(factory=dict)
    _nurseries: dict[tuple[str, int], trio.Nursery] = attrs.field(factory=dict)
    _waiting: dict[tuple[str, int], list[Branch]] = attrs.field(factory=dict)
    _detached: dict[str, trio.CancelScope] = attrs.field(factory=dict)
    _idle: trio.Event | None = None
    _crash: BaseException | None = None

    def __attrs_post_init__(self) -> None:
        self.orchestrator = Orchestrator(
            self.graph,
            self.config,
            {node: prepared.traits for node, prepared in self.agents.items()},
            append=self._record,
            pack=self._pack,
            unpack=self.unpack,
            limits=self.limits,
            turn_limits=self.limits.max_turns or None,
            sharing=Sharing(self.topology.state, self.keep, self.unpack),
            judge=self.judge,
        )
        if self.points is not None:
            self.orchestrator.rules = self._rulebook(self.points)
        if self.takes is not None:
            self.orchestrator.admits = self._misfit
        limit = self.config.max_parallel_branches if self.config.allow_parallel else 1
        if limit is not None:
            self.slots = Slots(limit)
        self._deadlines = Deadlines.of(self.config, self.limits)
        if self.sinks:
            self.deltas = Deltas.of(self)

    def _rulebook(self, points: Mapping[str, Asked]) -> Rulebook:
        return Rulebook(
            **points,
            task=self.task,
            unpack=self.unpack,
            keep=self.keep,
            elapsed=lambda: trio.current_time() - self.began,
        )

    def _misfit(self, node: str, value: Any) -> str:
        """Say what is wrong with handing `value` to `node`, or nothing."""
        if node not in (self.takes or ()):
            return ""
        checks = self.agents[node].checks
        assert checks is not None  # it takes something
        return checks.misfit(node, self.unpack(value), self.plain)

    def admit(self, channel: Channel | None) -> None:
        """Let the run ask people, through `channel`; without one its questions stay open until somebody answers."""
        self.people = People(self, channel)
        self.orchestrator.reachable = True

    # -- the run -------------------------------------------------------------------------------

    async def execute(self) -> None:
        """Run to the end. Afterwards nothing of it is running, however it ended."""
        # The calls of one step are few and flat on purpose: Trio resumes a task through every await above it.
        self.began = trio.current_time() - self.before
        self.engine.runs[self] = self.scope
        token = inside_run.set(True)
        if self.config.timeout is not None:
            self.scope.deadline = self.began + self.config.timeout
        try:
            with self.scope:
                root = self._go_on() if self.taken_up else self._begin()
                if self.durable is not None and not self.taken_up and (self.state or self.opening):
                    await self.durable.keep()
                if not self.engine.guards or await self._is_let_in():
                    await self._branch(root)
                if self._detached:
                    await self._until_idle()
            if not self.orchestrator.state.finished and not self.resting:
                self._stop_from_outside()
        except BaseException:
            if not self.resting:
                self._accept(self.orchestrator.stop(Cancelled("the run was cancelled"), "cancelled"))
            raise
        finally:
            if self._detached:
                self.drop_detached()
                with trio.CancelScope(shield=True):
                    await self._until_idle()
            inside_run.reset(token)
            self.ended = trio.current_time()
            try:
                if self.rest is not None and self.rest.resting:
                    self.record(self.rest.told())
                elif self.opening is not None:
                    await self.opening.keep(self)
            finally:
                if self._last is not None:
                    self._record(self._last)
                del self.engine.runs[self]
                self.engine.wake()
                if self.over is not None:
                    self.over.set()
        if self._crash is not None:
            raise self._crash

    def _begin(self) -> Branch:
        commands = self.orchestrator.start(
            self._pack(self.task),
            run_id=self.run_id,
            session_id=self.session_id,
            fingerprint=self.topology.fingerprint,
            wall_time=self.wall_now(),
            given=None if self.opening is None else self.opening.written(self._pack),
            state=self.state,
            parent=None if self.nested is None else self.nested.parent,
            session_version=None if self.opening is None else self.opening.version,
        )
        self._tasks[ROOT] = None
        self._accept(commands)
        return self.orchestrator.state.branches[ROOT]

    def _go_on(self) -> Branch:
        """Carry on a run that was rebuilt from its record: what it had decided is done, its open steps are taken again."""
        state = self.orchestrator.state
        if not state.finished:
            now, at = self.wall_now(), len(self.journal.events) + self.skipped
            at = at if self.voids is None else self.voids
            self.record(e.RunResumed("", state.run_n, ("", 0), at, now, self.source))
        self._tasks[ROOT] = None
        self._accept(self.orchestrator.resume())
        for branch in list(state.branches.values()):
            if branch.phase is Phase.RUNNING:
                recorded = self.recorded.get((branch.id, branch.steps))
                self._mail[branch.id] = Steer(branch, "" if recorded is None else recorded.note)
            if branch.phase is not Phase.SETTLED:
                self._look_after(branch)
        if self.people is not None:
            self.people.go_on()
        return state.branches[ROOT]

    @property
    def has_mail(self) -> bool:
        """Whether the task of a branch has yet to take up what it is to do."""
        return bool(self._mail)

    @property
    def standing(self) -> str:
        """How the run stands, in the words of a store."""
        state = self.orchestrator.state
        if not state.finished:
            return self.resting or "running"
        if state.success:
            return "succeeded"
        error = exception_of(state.stopping) if state.stopping is not None else None
        return "cancelled" if isinstance(error, Cancelled) else "failed"

    @property
    def failing(self) -> str:
        """Why it has failed, in a line; nothing where it has not."""
        state = self.orchestrator.state
        failure = state.stopping or (state.branches[ROOT].error if ROOT in state.branches else None)
        if state.success or failure is None:
            return ""
        error = exception_of(failure)
        return f"{type(error).__name__}: {told(error)}"

    async def _is_let_in(self) -> bool:
        """Ask the guards about the task; a refusal ends the run before its first step."""
        try:
            await self.check(GuardSubject(kind="task", value=self.task, run_id=self.run_id))
        except GuardRefused as refusal:
            self.orchestrator.stop(refusal, "guard")
            return False
        return True

    def lose(self, error: StoreError) -> None:
        """End the run here: what happens in it cannot be kept any more. It is raised by `execute`."""
        self._crash = error
        self.scope.cancel()
        self.drop_detached()

    def _stop_from_outside(self) -> None:
        """The scope ended the run before its branches did: its deadline passed, or somebody cancelled it."""
        limit = self.config.timeout
        if isinstance(self._crash, StoreError):
            self._accept(self.orchestrator.stop(self._crash, "storage"))
        elif limit is not None and trio.current_time() >= self.began + limit:
            msg = f"the run took longer than timeout={limit:g} s{self.limits.whose('timeout')}"
            self._accept(self.orchestrator.stop(RunTimeout(msg, "timeout", limit), "timeout"))
        else:
            self._accept(self.orchestrator.stop(Cancelled("the run was cancelled"), "cancelled"))

    async def _until_idle(self) -> None:
        while self._detached:
            self._idle = trio.Event()
            await self._idle.wait()

    def drop_detached(self) -> None:
        """Cancel the branches that nobody waits for."""
        for scope in self._detached.values():
            scope.cancel()

    # -- commands ------------------------------------------------------------------------------

    def _accept(self, commands: list[Command]) -> None:
        for command in commands:
            if type(command) is RunStep or type(command) is Steer:
                self._post(command.branch, command)
            elif isinstance(command, CancelJoin):
                nursery = self._nurseries.get(command.join.id)
                if nursery is not None:
                    nursery.cancel_scope.cancel()
            elif isinstance(command, StopRun):
                self.scope.cancel()
                self.drop_detached()
            elif isinstance(command, Ask):
                self._look_after(command.branch)
        if self.people is not None:
            self.people.update_clocks()

    def _post(self, branch: Branch, command: Command) -> None:
        """Give `command` to the task of its branch."""
        self._mail[branch.id] = command
        if branch.id not in self._tasks:
            self._look_after(branch)

    def _look_after(self, branch: Branch) -> None:
        """Start the task of this branch if there is none."""
        if branch.id in self._tasks:
            return
        self._tasks[branch.id] = None
        if branch.join is None:
            self._detach(branch)
            return
        nursery = self._nurseries.get(branch.join.id)
        if nursery is None:
            self._waiting.setdefault(branch.join.id, []).append(branch)
        else:
            nursery.start_soon(self._branch, branch)

    def _detach(self, branch: Branch) -> None:
        scope = trio.CancelScope()
        self.engine.start_soon(self._detached_branch, branch, scope)
        self._detached[branch.id] = scope

    async def _detached_branch(self, branch: Branch, scope: trio.CancelScope) -> None:
        token = inside_run.set(True)
        try:
            with scope:
                await self._branch(branch)
            if branch.phase is not Phase.SETTLED:
                self.scope.cancel()
        except trio.Cancelled:
            raise
        except BaseException as error:  # Ctrl-C, an exit: it belongs to the run, not to the engine of others
            self._crash = error
            self.scope.cancel()
        finally:
            inside_run.reset(token)
            del self._detached[branch.id]
            if not self._detached and self._idle is not None:
                self._idle.set()

    # -- branches ------------------------------------------------------------------------------

    async def _branch(self, branch: Branch) -> None:
        """Carry one branch on until it has settled."""
        mail = self._mail
        while True:
            command = mail.pop(branch.id, None)
            if command is not None:
                take = self._step if self.rest is None else self._kept_step
                if self.slots is None:
                    await take(branch, command)
                else:
                    async with self.slots:
                        await take(branch, command)
                if self.durable is not None:
                    await self.durable.keep()
            elif branch.phase is Phase.WAITING:
                await self._wait_for_answer(branch)
            elif branch.fork is not None and branch.phase is not Phase.SETTLED:
                await self._fork(branch, branch.fork)
            else:
                return

    async def _kept_step(self, branch: Branch, command: Command) -> None:
        """Take a step of a run that may come to rest."""
        assert self.rest is not None  # the caller has looked
        await self.rest.enter(branch)
        try:
            await self._step(branch, command)
        finally:
            self.rest.leave(branch)
        self.rest.look()

    async def _wait_for_answer(self, branch: Branch) -> None:
        assert self.people is not None  # without people nothing is asked
        assert branch.person is not None  # the phase says so
        await self.people.ask(next(iter(branch.person.open.values())))

    async def _fork(self, branch: Branch, join: Join) -> None:
        """Run the children of a fork; when this returns, the orchestrator has completed the join."""
        limit = join.policy.timeout if join.policy.timeout is not None else self.config.convergence_timeout
        join_end = float("inf") if limit is None else trio.current_time() + limit
        branch_end = float("inf") if self._deadlines is None else self._deadlines.branch_end(self, branch)
        try:
            async with trio.open_nursery() as nursery:
                self._nurseries[join.id] = nursery
                if (end := min(join_end, branch_end)) < float("inf"):
                    nursery.cancel_scope.deadline = end
                    if self.people is not None:
                        self.people.clocks[join.id] = clock = Clock(join, nursery.cancel_scope, end)
                        clock.update()
                for child in self._waiting.pop(join.id, ()):
                    nursery.start_soon(self._branch, child)
        except BaseExceptionGroup as group:
            raise _alone(group) from None
        finally:
            del self._nurseries[join.id]
            paused = 0.0 if self.people is None else self.people.stop_clock(join)
        join_end, branch_end = join_end + paused, branch_end + paused
        if not join.complete and trio.current_time() >= min(join_end, branch_end):
            if branch_end <= join_end:
                assert self._deadlines is not None  # it has set the earlier end
                self._accept(self.orchestrator.on_branch_timeout(branch, self._deadlines.overrun(branch)))
            else:
                self._accept(self.orchestrator.on_timeout(join, limit or 0.0))


def _alone(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Children report their errors to the orchestrator; what still comes out is the interpreter's (Ctrl-C)."""
    if len(group.exceptions) > 1:
        return group
    only = group.exceptions[0]
    return _alone(only) if isinstance(only, BaseExceptionGroup) else only
