"""Model calls and tool calls: limits, guards, middleware, and their record."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import attrs
import trio

from marsys_core import events as e
from marsys_core.agents.parts import as_content
from marsys_core.engine.asking import ask, check_response
from marsys_core.engine.budget import Hold, count_tools, within_budget
from marsys_core.engine.people import approved
from marsys_core.engine.processes import run_in_process
from marsys_core.engine.raised import class_name, text_of
from marsys_core.engine.replay import INTERRUPTED, UNCALLED, answered, asked
from marsys_core.engine.threads import run_in_thread
from marsys_core.engine.uncertain import UNMADE, idempotency_key, settled
from marsys_core.engine.undeclared import undeclared_in_model, undeclared_in_tool
from marsys_core.errors import (
    AsyncioError,
    CriticalError,
    MarsysError,
    ModelError,
    ModelErrorKind,
    ModelTimeout,
    RecoverableError,
    StoreError,
    ToolTimeout,
    UncertainOutcome,
    UnknownName,
    ValueRefused,
)
from marsys_core.journal import pack, pack_calls
from marsys_core.messages import Message, ToolCall, Usage, shown
from marsys_core.models import ModelRequest, ModelResponse
from marsys_core.protocols.guard import GuardSubject
from marsys_core.tools import Tool, render_result

if TYPE_CHECKING:
    from marsys_core.config import ExecutionConfig
    from marsys_core.engine.replay import RecordedTool
    from marsys_core.engine.state import CallState
    from marsys_core.engine.step import Step
    from marsys_core.engine.transactions import Work
    from marsys_core.engine.turns import Turns
    from marsys_core.protocols.middleware import Layer

__all__ = ["ModelCall", "StepCall", "ToolRun", "attempt_model", "call_model", "call_tool", "call_tools"]


@attrs.define(eq=False, kw_only=True)
class ModelCall:
    """A model call on its way through the middleware.

    Args:
        request: What is asked.
        model: Who is asked.
        config: The limits of the run.
        random: A source of numbers from 0 to 1; the same in every run with the same ``seed``.
        step: The step that asks.
        attempt: Which attempt this is, from 1.
    """

    request: ModelRequest
    model: Any
    config: ExecutionConfig
    random: Callable[[], float]
    step: Step
    attempt: int = 1


@attrs.define(eq=False, kw_only=True)
class ToolRun:
    """A tool call on its way through the middleware; `arguments` are checked already."""

    tool: Tool
    arguments: Mapping[str, Any]
    call_id: str
    step: Step
    branch_id: str
    node: str
    run_id: str
    task: Any
    idempotency_key: str = ""
    state: CallState | None = None
    transaction: Work | None = None
    recorded: bool = False


@attrs.define(eq=False, kw_only=True)
class StepCall:
    """A step on its way through the middleware; a changed `prompt` is what the agent sees."""

    agent: Any
    prompt: Any
    step: Step


async def call_model(step: Step, model: Any, request: ModelRequest, layer: Layer) -> ModelResponse:
    """Ask `model` through the middleware in `layer`; every attempt is recorded."""
    run = step.run
    call = ModelCall(request=request, model=model, config=run.config, random=run.random, step=step)
    response = await layer(call, _proceed_model)
    if not isinstance(response, ModelResponse):
        msg = f"middleware round a call of model {model.name!r} returned {response!r:.200}, and not a ModelResponse"
        raise ModelError(msg, kind=ModelErrorKind.MALFORMED)
    return response


async def _proceed_model(call: ModelCall) -> ModelResponse:
    return await attempt_model(call.step, call.model, call.request, call.attempt)


def _unable(model: Any, request: ModelRequest) -> str:
    """Say what the request asks for that the model says it cannot do, or nothing."""
    able = getattr(model, "capabilities", None)
    if able is None:
        return ""
    if request.tools and not able.tools:
        return "call tools"
    if request.tools and not able.tool_choice and request.tool_choice.mode in ("required", "tool"):
        return "be made to call a tool"
    return (
        "be held to an output schema" if request.output_schema is not None and not able.output_schema else ""
    )


async def attempt_model(
    step: Step, model: Any, request: ModelRequest, attempt: int = 1, hold: Hold | None = None
) -> ModelResponse:
    """Ask `model` once, within its limit, and record it; `hold` is what was set aside in a budget."""
    run, branch, name = step.run, step.branch, model.name
    if step.replay is not None and (known := step.replay.reply(request)) is not None:
        step.usage = known.usage if step.usage is None else step.usage + known.usage
        return known
    if hold is None and branch.share is not None:
        return await within_budget(step, model, request, attempt)
    tools = len(request.tools)
    if (tools or request.output_schema is not None) and (cannot := _unable(model, request)):
        msg = f"model {name!r} cannot {cannot}, and was asked to"
        raise ModelError(msg, kind=ModelErrorKind.BAD_REQUEST)
    at = branch.n
    run.record(
        e.ModelCalled(branch.id, at, step.cause, step.node, name, len(request.messages), tools, attempt)
    )
    started = trio.current_time()
    try:
        limit = run.config.model_timeout
        if limit is None and run.deltas is None:
            response: ModelResponse = await model.generate(request)
        else:
            response = await ask(step, model, request, limit, (branch.id, at), attempt)
        check_response(name, response)
    except Exception as error:
        failure = undeclared_in_model(error, model, name) or _as_model_error(error, name)
        lost = getattr(failure, "usage", None)
        if hold is not None:
            lost = hold.lost(failure) if lost is None else hold.spent(lost)
        _model_failed(step, name, failure, trio.current_time() - started, lost)
        step.call_error = failure
        if failure is error:
            raise
        raise failure from error
    usage = response.usage
    if hold is not None:
        usage = hold.spent(usage)
    if not usage.model_calls:  # a model tells tokens; that it was called is known here
        usage = attrs.evolve(usage, model_calls=1)
    step.usage = usage if step.usage is None else step.usage + usage
    content, calls = response.content, response.tool_calls
    if calls and len({call.id for call in calls if call.id}) < len(calls):
        calls = _told_apart(calls)
        response = attrs.evolve(response, tool_calls=calls)
    content = pack(run.journal, content if type(content) is str else list(content))
    if calls:
        calls = pack_calls(run.journal, calls)
    # `_value_` is what `value` returns by two calls.
    run.record(
        e.ModelReplied(
            branch.id, branch.n, step.cause, step.node, name, content, calls,
            response.finish_reason._value_, response.usage if hold is None else usage, trio.current_time() - started,
            0 if run.durable is None else asked(request), response.raw_finish_reason, response.model,
            response.provider, response.id,
            None if response.metadata is None else _kept(run, response.metadata),
        )
    )  # fmt: skip
    return response


def _kept(run: Turns, metadata: Any) -> Any:
    """What is recorded of what else a provider said: as much of it as is plain."""
    try:
        return run.keep(metadata)
    except ValueRefused:
        return shown(metadata, 400)


def _told_apart(calls: tuple[ToolCall, ...]) -> tuple[ToolCall, ...]:
    """Give a call without an id, or with that of an earlier one of the reply, an id of its own to be answered by."""
    ids: dict[str, None] = {}
    for number, call in enumerate(calls, 1):
        id = call.id
        while not id or id in ids:
            id = f"{id or 'call'}-{number}"
        ids[id] = None
    return tuple(attrs.evolve(call, id=id) for call, id in zip(calls, ids, strict=True))


def _as_model_error(error: Exception, name: str) -> MarsysError:
    """Models raise `ModelError` and nothing else; what a broken one raises is made one."""
    if isinstance(error, MarsysError):
        return error
    msg = f"model {name!r} raised {type(error).__name__}: {error}"
    network = isinstance(error, ConnectionError | TimeoutError | trio.BrokenResourceError)
    return ModelError(msg, kind=ModelErrorKind.NETWORK if network else ModelErrorKind.MALFORMED)


def _model_failed(step: Step, name: str, error: MarsysError, duration: float, lost: Usage | None) -> None:
    kind = error.kind.value if isinstance(error, ModelError) else type(error).__name__
    retryable = error.retryable if isinstance(error, ModelError) else isinstance(error, ModelTimeout)
    branch = step.branch
    if lost is not None:
        step.usage = lost if step.usage is None else step.usage + lost
    step.run.record(
        e.ModelFailed(
            branch.id, branch.n, step.cause, step.node, name, str(error), kind, retryable, duration, lost,
            getattr(error, "status", None), getattr(error, "code", ""), getattr(error, "request_id", ""),
        )
    )  # fmt: skip


async def call_tools(step: Step, calls: tuple[ToolCall, ...]) -> list[Message]:
    """Run the calls of one reply side by side; the results come in the order of the calls."""
    if not calls:
        return []
    if step.branch.share is not None:
        known = [call for call in calls if call.name in step.prepared.tools]
        counted = [call.name for call in known] if step.replay is None else step.replay.unrecorded(known)
        if counted:
            count_tools(step, counted)
    if len(calls) == 1:
        return [await _result_message(step, calls[0])]
    results: list[Message | None] = [None] * len(calls)
    # Each call has its places in the journal reserved, so that the record does not depend on which ends first.
    places = _places(step, calls)
    if step.prepared.team_tools:
        step.reserve_teams(calls)

    failures: dict[int, Exception] = {}

    async def one(index: int, call: ToolCall) -> None:
        step.busy -= 1
        try:
            results[index] = await _result_message(step, call, places[index])
        except Exception as error:  # it ends the run, so the others need not go on
            failures[index] = error
            nursery.cancel_scope.cancel()
        finally:
            step.look()

    step.busy += len(calls)  # until their tasks have begun
    async with trio.open_nursery() as nursery:
        for index, call in enumerate(calls):
            nursery.start_soon(one, index, call)
    if failures:
        raise _first(failures)
    return [result for result in results if result is not None]


def _places(step: Step, calls: tuple[ToolCall, ...]) -> list[int]:
    """Reserve the places of each call: its start and its end, and a question and its answer in between."""
    places = []
    for call in calls:
        tool = step.prepared.tools.get(call.name)
        places.append(step.branch.n)
        step.branch.n += 2 if tool is None or not tool.approval else 4
    return places


def _first(failures: Mapping[int, Exception]) -> Exception:
    """The one error that several calls of a reply came to: the first in their order, the rest as notes."""
    first, *rest = [failures[index] for index in sorted(failures)]
    for other in rest:
        first.add_note(f"beside it: {type(other).__name__}: {other}")
    return first


async def _result_message(step: Step, call: ToolCall, at: int | None = None) -> Message:
    try:
        tool = step.tool(call.name)
    except UnknownName as error:
        return Message("tool", str(error), tool_call_id=call.id, name=call.name, is_error=True)
    if step.branch.share is not None and (step.replay is None or step.replay.unrecorded((call,))):
        count_tools(step, (tool.name,))
    try:
        result = await call_tool(step, tool, call.arguments, call.id, at)
    except (CriticalError, RecoverableError):
        raise
    except Exception as error:
        if isinstance(error, AsyncioError) and error.declaration:
            raise  # no model can mend it
        told = str(error) if isinstance(error, MarsysError) else f"{type(error).__name__}: {error}"
        return Message("tool", told, tool_call_id=call.id, name=call.name, is_error=True)
    content = result if type(result) is str else as_content(result, render_result)
    return Message("tool", content, tool_call_id=call.id, name=call.name)


async def call_tool(
    step: Step, tool: Tool, arguments: str | Mapping[str, Any], call_id: str, at: int | None = None
) -> Any:
    """Run one tool: check the arguments, ask the guards, run it within its limit, and record it."""
    run, branch = step.run, step.branch
    given = run.keep(arguments)
    known = None if step.replay is None else step.replay.tool(tool.name, given)
    key = "" if tool.context_parameter is None else idempotency_key(step, tool.name, given)
    if known is not None and known.ended is not None:
        return answered(step, known.ended)
    width = 4 if tool.approval else 2  # its end has a place too, whatever else is recorded meanwhile
    if known is not None and step.replay is not None:
        call_id = known.started.call_id  # what it is known by outside stays the same
        at = step.replay.place(known, width) or at
    if at is None:
        at = branch.n
        branch.n += width
    end = at + (3 if tool.approval else 1)
    if known is None:
        run.record(
            e.ToolStarted(
                branch.id, at, step.cause, step.node, tool.name, call_id, given,
                tool.idempotent, tool.transactional,
            )
        )  # fmt: skip
    started, call, made = trio.current_time(), None, known is not None
    step.busy += 1
    try:
        bound: Mapping[str, Any] = tool.bind(arguments)
        before = UNMADE if known is None else await settled(step, tool, known, bound)
        if run.engine.guards:
            await _ask_guards(step, tool, bound)
        if step.prepared.checks is not None:
            await step.prepared.checks.allow(step, tool.name, bound)
        if tool.approval:
            bound = await _approved(step, tool, arguments, bound, at + 1, known)
        call = ToolRun(
            tool=tool, arguments=bound, call_id=call_id, step=step, branch_id=branch.id, node=step.node,
            run_id=run.run_id, task=run.task, idempotency_key=key,
        )  # fmt: skip
        if before is not UNMADE:
            result = before
        elif tool.transactional:
            from marsys_core.engine.transactions import transacted

            made = True
            result = await transacted(call, _perform, end, started)
            step.settle()
            return result
        else:
            if run.durable is not None and not tool.idempotent:
                await run.durable.keep()
            made, layer = True, run.layers.tool_call
            result = await (_run_tool(call) if layer is None else layer(call, _run_tool))
        result = run.plain(result)
    except BaseException as error:
        if call is not None and call.recorded:
            step.settle()
            raise  # the call has ended well; that it could not be written is told as it is
        failure = undeclared_in_tool(error, tool) or error
        _tool_failed(step, tool, call_id, end, failure, trio.current_time() - started, _writes(call), made)
        step.settle()
        if isinstance(failure, Exception):
            step.call_error = failure
        if failure is not error:
            raise failure from error
        raise
    duration = trio.current_time() - started
    kept = pack(run.journal, result)
    run.record(
        e.ToolFinished(
            branch.id, end, step.cause, step.node, tool.name, call_id, kept, duration, _writes(call)
        )
    )
    step.settle()
    if run.durable is not None:
        await (run.durable.after_call() if tool.idempotent else run.durable.keep())
    return result if type(result) is str else run.unpack(kept)


async def _approved(
    step: Step,
    tool: Tool,
    given: str | Mapping[str, Any],
    bound: Mapping[str, Any],
    at: int,
    known: RecordedTool | None,
) -> Mapping[str, Any]:
    """Ask a person; what the person has changed is put before the guards again."""
    changed = await approved(step, tool, given, bound, at, known)
    if changed is not bound:
        if step.run.engine.guards:
            await _ask_guards(step, tool, changed)
        if step.prepared.checks is not None:
            await step.prepared.checks.allow(step, tool.name, changed)
    return changed


async def _ask_guards(step: Step, tool: Tool, bound: Mapping[str, Any]) -> None:
    run = step.run
    subject = GuardSubject(kind="tool", value=bound, name=tool.name, run_id=run.run_id, node=step.node)
    await run.check(subject, step.branch)


def _tool_failed(
    step: Step,
    tool: Tool,
    call_id: str,
    at: int,
    error: BaseException,
    duration: float,
    writes: Any,
    made: bool,
) -> None:
    """Record how a call went wrong; one that was cancelled leaves a record too, also of whether it was made."""
    if isinstance(error, UncertainOutcome):
        branch = step.branch
        step.run.record(e.ToolUncertain(branch.id, at, step.cause, step.node, tool.name, call_id, str(error)))
        return
    if step.run.resting and not isinstance(error, Exception):
        return  # it goes on when the run does
    told = text_of(error)
    if not isinstance(error, Exception):
        told = INTERRUPTED if made else UNCALLED
    elif isinstance(error, StoreError) and not made:  # what kept it from being made
        told = UNCALLED
    branch = step.branch
    step.run.record(
        e.ToolFailed(
            branch.id, at, step.cause, step.node, tool.name, call_id, told, duration, writes, class_name(error)
        )
    )  # fmt: skip


def _writes(call: ToolRun | None) -> tuple[Any, ...]:
    """What a call has written to the shared state."""
    return () if call is None or call.state is None else tuple(call.state.writes)


async def _perform(call: ToolRun) -> Any:
    layer = call.step.run.layers.tool_call
    return await (_run_tool(call) if layer is None else layer(call, _run_tool))


async def _run_tool(call: ToolRun) -> Any:
    tool, limits = call.tool, (call.tool.timeout, call.step.run.config.tool_timeout)
    given = [limit for limit in limits if limit is not None]
    if not given:
        return await _invoke_tool(call)
    limit = min(given)
    with trio.CancelScope(deadline=trio.current_time() + limit) as scope:
        result = await _invoke_tool(call)
        if not scope.cancel_called:
            return result
    msg = f"tool {tool.name!r} took longer than {limit:g} s"
    raise ToolTimeout(msg, "timeout" if tool.timeout == limit else "tool_timeout", limit)


async def _invoke_tool(call: ToolRun) -> Any:
    tool, arguments = call.tool, dict(call.arguments)
    if tool.isolation is not None:
        return await run_in_process(call)
    if tool.context_parameter is not None:
        arguments[tool.context_parameter] = call.step.tool_context(call)
    if tool.is_async:
        return await tool.function(**arguments)
    result = await run_in_thread(call.step, f"tool {tool.name!r}", lambda: tool.function(**arguments))
    if hasattr(result, "__await__"):
        return await result
    return result
