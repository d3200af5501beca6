"""Nested runs: a team that works inside a step, as one recorded call of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import attrs
import trio

from marsys_core import events as e
from marsys_core.agents.registry import current_lease
from marsys_core.context import Budget
from marsys_core.engine.durable import carry_out
from marsys_core.engine.opening import Request, assemble
from marsys_core.engine.parting import copy_nested
from marsys_core.engine.rebuild import take_up
from marsys_core.engine.replay import is_own
from marsys_core.engine.report import raised, report
from marsys_core.engine.run import RunShell
from marsys_core.engine.slots import Leave, Slots
from marsys_core.errors import (
    AgentError,
    CriticalError,
    ErrorClass,
    LimitError,
    RecoverableError,
    class_of,
    told,
)
from marsys_core.messages import Usage
from marsys_core.orchestrator import Outer, remaining

if TYPE_CHECKING:
    from marsys_core.agents import Team
    from marsys_core.engine.replay import RecordedTeam
    from marsys_core.engine.step import Step
    from marsys_core.results import RunResult

__all__ = ["MAX_NESTED_DEPTH", "Nested", "aside", "budget_of", "run_team"]

MAX_NESTED_DEPTH = 16
_RAISED = {
    ErrorClass.FAILURE: AgentError,
    ErrorClass.CRITICAL: CriticalError,
    ErrorClass.RECOVERABLE: RecoverableError,
}


@attrs.frozen(eq=False, kw_only=True)
class Nested:
    """Where a nested run stands.

    Args:
        step: The step that it is part of.
        outer: The same, as the orchestrator sees it.
        parent: The call that it is: run, branch, step and call id.
        depth: How deep it is nested; 1 for a run inside one that nobody nested.
    """

    step: Step
    outer: Outer
    parent: tuple[str, str, int, str]
    depth: int


@attrs.define(eq=False, kw_only=True)
class _Call:
    """A nested run as a call of its step, and what is recorded of it."""

    step: Step
    team: str
    call_id: str
    inner: str
    at: int
    began: float
    shell: RunShell | None = None
    counted: Sequence[e.TeamFailed] = ()
    """How it had ended before, each time that holds: what it had spent by then is counted."""
    paid: Sequence[e.TeamFailed] = ()
    """How it had ended before, also where that does not hold: what it had spent by then is recorded."""

    def start(self, task: Any) -> None:
        step = self.step
        step.run.record(
            e.TeamStarted(
                step.branch.id, self.at, step.cause, step.node, self.team, self.call_id, self.inner, task
            )
        )

    def end(self, result: Any = None, error: BaseException | None = None) -> None:
        """Record the end, and count what was spent where it now is known."""
        step, steps, usage, tool_calls = self.step, 0, Usage(), 0
        if self.shell is not None:
            steps, usage = self.shell.orchestrator.state.steps, self.shell.usage or usage
            tool_calls = _tool_calls(self.shell)
            if self.shell.usage is not None:
                step.usage = usage if step.usage is None else step.usage + usage
            for before in self.counted:
                steps, tool_calls = steps - before.steps, tool_calls - before.tool_calls
            for before in self.paid:
                usage = _less(usage, before.usage)
            assert self.shell.orchestrator.outer is not None  # it is nested
            self.shell.orchestrator.outer.settle(self.shell.orchestrator.state, self.counted)
        spent = (steps, usage, tool_calls, trio.current_time() - self.began)
        where = (step.branch.id, self.at + 1, step.cause, step.node, self.team, self.call_id, self.inner)
        if error is None:
            step.run.record(e.TeamFinished(*where, result, *spent))
        else:
            text = f"{type(error).__name__}: {told(error)}" if isinstance(error, Exception) else "interrupted"
            step.run.record(e.TeamFailed(*where, text, *spent))


def _less(usage: Usage, counted: Usage) -> Usage:
    """Return what was spent since `counted` was."""
    left = {
        name: value - getattr(counted, name) for name, value in attrs.asdict(usage, recurse=False).items()
    }
    return Usage(**left)


def _tool_calls(run: RunShell) -> int:
    """How many tools a run has called, its nested ones included."""
    count = 0
    for event in run.journal.events:
        if type(event) is e.ToolStarted:
            count += 1
        elif type(event) is e.TeamFinished or type(event) is e.TeamFailed:
            count += event.tool_calls
    return count


async def run_team(step: Step, team: Team, task: Any, call_id: str = "") -> Any:
    """Let `team` work on `task` inside `step`, and return its final response.

    Args:
        step: Whose call it is.
        team: Who works.
        task: What on.
        call_id: The tool call that asks, where it is one.

    Raises:
        LimitError: Runs are nested too deeply.
        AgentError: The team came to no answer.
        CriticalError: It failed for a cause that no agent can mend.
        RecoverableError: It failed for a passing cause.
    """
    _check_team(step, team)
    known = None if step.replay is None else step.replay.team(team.name, step.run.keep(task))
    if known is not None and known.ended is not None:
        return _answered(step, team, known.ended)
    call = _begin(step, team, task, call_id) if known is None else _again(step, team, known, task, call_id)
    try:
        call.shell = await _assemble(call, team, task)
        if known is not None and step.run.engine.store is not None:
            if call.inner != known.started.inner:
                store, old = step.run.engine.store, known.started.inner
                await copy_nested(store, step.run.engine.converter, old, call.inner, step.run_id)
            await take_up(call.shell, step.run.engine.store)
            assert call.shell.orchestrator.outer is not None  # it is nested
            call.shell.orchestrator.outer.take_up(call.shell.orchestrator.state, call.counted)
        async with aside(step):
            with nullcontext() if step.run.people is None else step.run.people.above(call.shell.people):
                await _carry_out(step, call.shell, call_id)
        value = step.run.plain(_answer(report(call.shell)))
    except BaseException as error:
        if not isinstance(error, Exception):
            if not step.run.resting:
                call.end(error=error)
            raise
        call.end(error=error)
        failure = _failure(team.name, error)
        step.call_error = failure
        raise failure from error
    call.end(step.run.keep(value))
    return value


async def _carry_out(step: Step, shell: RunShell, call_id: str) -> None:
    """Carry out a nested run, known to its step as what it waits for."""
    if shell.people is not None and step.run.people is not None:
        shell.people.answers = step.run.people.answers
    if step.run.rest is None:
        await carry_out(shell)
        return
    if step.teams is None:
        step.teams = {}
    rest = shell.rest
    assert rest is not None  # as the run round it has one
    if call_id and call_id not in step.teams.values():
        step.busy -= 1  # the tool that it works for does nothing else meanwhile
    step.teams[rest] = call_id
    try:
        await carry_out(shell)
    finally:
        del step.teams[rest]
        if call_id and call_id not in step.teams.values():
            step.busy += 1


def _check_team(step: Step, team: Any) -> None:
    from marsys_core.agents import Team

    if not isinstance(team, Team):
        msg = f"run_team takes a Team, not {team!r:.200}"
        raise TypeError(msg)
    nested = step.run.nested
    if nested is not None and nested.depth >= MAX_NESTED_DEPTH:
        msg = (
            f"team {team.name!r} would run {nested.depth + 1} runs deep, and the limit is {MAX_NESTED_DEPTH}; "
            "does a team contain itself?"
        )
        raise LimitError(msg, "nested_depth")


def _begin(step: Step, team: Team, task: Any, call_id: str) -> _Call:
    branch = step.branch
    at = step.team_places.pop(call_id, None) if step.team_places is not None else None
    if at is None:
        at = branch.n
        branch.n += 2
    # Where something is void, a run of this place may be there from before.
    life = f"-{step.run.skipped}" if step.run.skipped else ""
    call = _Call(
        step=step,
        team=team.name,
        call_id=call_id or f"{branch.id}:{step.step}:{at}",
        inner=f"{step.run_id}-{branch.id}-{at}{life}",
        at=at,
        began=trio.current_time(),
    )
    call.start(step.run.keep(task))
    return call


def _again(step: Step, team: Team, known: RecordedTeam, task: Any, call_id: str) -> _Call:
    """Return the call of a nested run that had begun, and had not ended or had failed: it goes on."""
    branch, at, failed = step.branch, known.started.n, known.failed
    if not is_own(known.started):
        return _begin(step, team, task, call_id)  # it is of the run that this one was forked from
    if failed is not None:  # its place is taken, or is of what does not hold any more
        at = branch.n
        branch.n += 2
    return _Call(
        step=step,
        team=team.name,
        call_id=known.started.call_id,
        inner=known.started.inner,
        at=at,
        began=trio.current_time(),
        counted=_failures(step.run.journal.events, known.started.inner),
        paid=_failures([*(step.run.void or ()), *step.run.journal.events], known.started.inner),
    )


def _failures(events: Iterable[e.Event], inner: str) -> list[e.TeamFailed]:
    return [event for event in events if type(event) is e.TeamFailed and event.inner == inner]


def _answered(step: Step, team: Team, ended: e.TeamFinished | e.TeamFailed) -> Any:
    """Return what a nested run came to, as it is recorded, or raise that it failed."""
    step.usage = ended.usage if step.usage is None else step.usage + ended.usage
    if isinstance(ended, e.TeamFailed):
        failure = AgentError(f"team {team.name!r} failed: {ended.error}")
        step.call_error = failure
        raise failure
    return step.run.unpack(ended.result)


async def _assemble(call: _Call, team: Team, task: Any) -> RunShell:
    step = call.step
    run = step.run
    assert run.origin is not None  # every run that executes has one
    orchestra, asked = run.origin
    options = asked.options.copy()
    options["agents"] = {**(asked.options.get("agents") or {}), **team.agents}  # type: ignore[dict-item]
    options["execution_config"] = team.execution_config or run.config
    options["max_steps"] = options["messages"] = None
    shell = await assemble(
        orchestra, run.engine, Request(task=task, topology=team.topology, options=options), call.inner
    )
    shell.nested = Nested(
        step=step,
        outer=Outer(run.orchestrator, step.branch),
        parent=(run.run_id, step.branch.id, step.step, call.call_id),
        depth=1 if run.nested is None else run.nested.depth + 1,
    )
    shell.orchestrator.outer = shell.nested.outer
    if run.slots is not None:
        shell.slots = run.slots if shell.slots is None else Slots(shell.slots.free, run.slots)
    return shell


@asynccontextmanager
async def aside(step: Step) -> AsyncIterator[None]:
    """Give the step's slot, and its instance of a pool, back while the team works, which may need just these."""
    lease, slots = current_lease.get(), step.run.slots
    if step.leave is None and slots is not None:
        step.leave = Leave(slots)
    # Taken again as a step takes them: first the slot, then the instance.
    instance = nullcontext() if lease is None else lease.set_aside()
    slot = nullcontext() if step.leave is None else step.leave.aside()
    async with instance, slot:
        yield


def _answer(result: RunResult) -> Any:
    """Return what a team came to, or raise why it came to nothing."""
    if result.success:
        return result.final_response
    raise raised(result) or result.error or AgentError("it came to no answer")


def _failure(team: str, error: Exception) -> Exception:
    """Return the error of the step: of the class of what went wrong in the team, which is its cause."""
    kind = _RAISED[class_of(error)]
    return kind(f"team {team!r} failed: {told(error)}")


def budget_of(step: Step, end: float | None = None, clock: trio.abc.Clock | None = None) -> Budget:
    """Return what is left to `step` of every limit that holds for it.

    Args:
        step: Whose budget.
        end: When the first deadline ends, and
        clock: what tells the time, where the caller is no Trio task.
    """
    left = remaining(step.run.orchestrator, step.branch)
    share = step.branch.share
    if share is not None:
        for each in share.chain():
            held = step.run.purse.held(each)
            for limit, most, spent in (
                ("max_tokens", each.max_tokens, each.tokens + held.tokens),
                ("max_cost", each.max_cost, each.cost + held.cost),
            ):
                if most is not None:
                    left[limit] = max(0, min(left[limit], most - spent))
    if end is None:
        end = trio.current_effective_deadline()
    tokens, calls = left.get("max_tokens"), left.get("max_tool_calls")
    now = trio.current_time() if clock is None else clock.current_time()
    return Budget(
        steps=int(left["max_steps"]),
        tokens=None if tokens is None else int(tokens),
        cost=left.get("max_cost"),
        tool_calls=None if calls is None else int(calls),
        seconds=None if end == float("inf") else max(0.0, end - now),
    )
