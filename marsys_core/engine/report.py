"""What a finished run tells its caller: the result, and which of the three endings it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from marsys_core.engine.state import final_state
from marsys_core.errors import (
    ActionError,
    ConvergenceError,
    CriticalError,
    ErrorClass,
    RecoverableError,
    class_of,
    told,
)
from marsys_core.messages import Message, Usage
from marsys_core.orchestrator import ROOT, Branch, Settled, exception_of, flatten
from marsys_core.results import BranchResult, RunResult
from marsys_core.shapes import Misfit
from marsys_core.values import Failure, render

if TYPE_CHECKING:
    from marsys_core.engine.run import RunShell

__all__ = ["raised", "report"]

_BAD = frozenset({Settled.FAILED, Settled.CANCELLED})


def report(run: RunShell) -> RunResult:
    """Return the result of a run that has ended."""
    state = run.orchestrator.state
    contributions = sorted(state.contributions, key=lambda contribution: contribution.key)
    values = flatten(run.unpack(contribution.value) for contribution in contributions)
    branches = sorted(state.branches.values(), key=lambda branch: branch.key)
    final = values[0] if len(values) == 1 else (values or None)
    success, error = state.success, None if state.success or run.resting else _error_of(run)
    if run.answer is not None and success:
        try:
            one = len(values) == 1
            fitted = run.answer.fit(final, run.plain) if one else run.answer.fit_several(values, run.plain)
            final = run.answer.instance(fitted)
        except Misfit as misfit:
            success, error = (
                False,
                ActionError(f"the run's answer is not {run.answer.called}: {misfit}", final),
            )
    return RunResult(
        success=success,
        final_response=final,
        branch_results=tuple(_branch_result(run, branch) for branch in branches),
        total_steps=state.steps,
        total_duration=run.ended - run.began,
        usage=run.usage or Usage(),
        error=error,
        run_id=run.run_id,
        session_id=run.session_id,
        metadata={"warnings": tuple(run.warnings)},
        conversation=_conversation(run),
        state=final_state(state, run),
        status=run.standing if success == state.success else "failed",
        questions=() if run.rest is None or not run.resting else run.rest.questions,
    )


def _conversation(run: RunShell) -> list[Message]:
    entries = run.graph.entries
    prepared = run.agents.get(entries[0]) if len(entries) == 1 else None
    log = None if prepared is None else run.conversations.get((ROOT, prepared.name))
    if log is None or not log.messages:  # a first step that failed has said nothing
        task = run.unpack(run.task)
        return [Message("user", task if type(task) is str else render(task))]
    return [*log.messages, *log.closings()] if log.open_calls else list(log.messages)


def _branch_result(run: RunShell, branch: Branch) -> BranchResult:
    return BranchResult(
        branch_id=branch.id,
        agent=branch.node,
        success=branch.outcome not in _BAD,
        response=run.unpack(branch.result),
        error=None if branch.error is None else exception_of(branch.error),
        steps=branch.steps,
        duration=branch.ended - branch.started,
        outcome="" if branch.outcome is None else branch.outcome.value,
    )


def _error_of(run: RunShell) -> BaseException | None:
    state = run.orchestrator.state
    failure: Failure | None = state.stopping
    if failure is None and ROOT in state.branches:
        failure = state.branches[ROOT].error
    return None if failure is None else exception_of(failure)


def raised(result: RunResult) -> BaseException | None:
    """Return what the caller of a failed run is to be raised, or None where the result says it all.

    The first cause of the worst class, in branch order, is raised, and the others are its notes.
    """
    error = result.error
    if error is None or (wanted_class := class_of(error)) is ErrorClass.FAILURE:
        return None
    causes = _causes(error)
    grave = [cause for cause in causes if class_of(cause) is wanted_class]
    first = grave[0] if grave else error
    wanted = CriticalError if wanted_class is ErrorClass.CRITICAL else RecoverableError
    if isinstance(first, wanted):
        chosen = first
    else:
        chosen = wanted(told(first))
        chosen.__cause__ = first
    for other in causes:
        if other is not first:
            chosen.add_note(f"beside it: {type(other).__name__}: {told(other)}")
    chosen.result = result
    return chosen


def _causes(error: BaseException) -> list[BaseException]:
    """The errors behind `error`, in branch order, joins opened."""
    if not isinstance(error, ConvergenceError):
        return [error]
    return [cause for failure in error.failures for cause in _causes(failure)]
