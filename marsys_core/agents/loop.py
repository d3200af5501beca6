"""The model-and-tools loop of an `Agent`: what it does with one turn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from marsys_core.actions import Action, AskUser, CallTools, Invoke, Malformed, read_action
from marsys_core.agents.agent import RESERVED
from marsys_core.agents.instruction import told
from marsys_core.agents.parts import spoken
from marsys_core.agents.reserved import read_reserved
from marsys_core.errors import LimitError
from marsys_core.messages import Message, ToolCall
from marsys_core.models import FinishReason

if TYPE_CHECKING:
    from marsys_core.agents.agent import Agent
    from marsys_core.context import Context

__all__ = ["work"]

_PAUSED = FinishReason.PAUSED


async def work(agent: Agent, prompt: Any, context: Context) -> Any:
    """Take one turn: ask the model, run what it calls, until it answers or names an action.

    Args:
        agent: Who takes it.
        prompt: What was handed over; `context.incoming` says it as messages.
        context: The step's view of the run.

    Raises:
        LimitError: It still called tools after `max_tool_rounds` replies.
    """
    memory = context.memory
    for message in context.incoming():
        memory.add(message)
    own, reserved = context.tool_specs(), context.reserved_specs()
    tools = [*own, *reserved] if own and reserved else own or reserved
    system = context.system if isinstance(agent.instruction, str) else await told(agent, context)
    output_schema = context.output_schema
    for _ in range(context.max_tool_rounds):
        messages: Sequence[Message] = memory.messages
        if context.notes:
            messages = [*messages, Message("user", context.notes[-1])]
        response = await context.generate(
            messages,
            system=system,
            tools=tools,
            output_schema=output_schema,
            sampling=agent.sampling,
            reasoning=agent.reasoning,
        )
        memory.add(
            Message(
                "assistant", response.content, response.tool_calls, "", agent.name, False, response.provider
            )
        )
        if response.finish_reason is _PAUSED and not response.tool_calls:
            continue
        if not response.tool_calls:
            if type(response.content) is tuple and (shown := spoken(response.content)) is not None:
                return shown
            action = read_action(response.text)
            if type(action) is not CallTools:
                return action
            await _call_as_text(context, action)
        elif (ended := await _call(context, response.tool_calls)) is not None:
            return ended
    msg = f"{agent.name!r} still called tools after max_tool_rounds={context.max_tool_rounds} replies"
    raise LimitError(msg, "max_tool_rounds")


async def _call(context: Context, calls: tuple[ToolCall, ...]) -> Action | None:
    """Run the ordinary calls of a reply, then see whether a reserved one ends the step."""
    ordinary = calls
    named = [call for call in calls if call.name in RESERVED]
    if named:
        ordinary = tuple(call for call in calls if call.name not in RESERVED)
    for result in await context.call_tools(ordinary):
        context.memory.add(result)
    if not named:
        return None
    action, undone = read_reserved(named)
    if type(action) is not Malformed:
        _answer_reserved(context, action, named, undone)
    return action


def _answer_reserved(
    context: Context, action: Action, named: Sequence[ToolCall], undone: Mapping[str, str]
) -> None:
    """Answer now what will not be answered by this agent's next step here."""
    waiting = context.comes_back(action) if isinstance(action, Invoke) else isinstance(action, AskUser)
    for call in named:
        if call.id in undone:
            context.memory.add(Message("tool", undone[call.id], tool_call_id=call.id))
        elif not waiting:
            context.memory.add(Message("tool", context.handed_over(action), tool_call_id=call.id))


async def _call_as_text(context: Context, action: CallTools) -> None:
    """Tool calls written as JSON text get their results as a user's message: no provider saw a call."""
    import json

    calls = [
        ToolCall(f"text-{i}", name, given if isinstance(given, str) else json.dumps(given))
        for i, (name, given) in enumerate(action.calls)
    ]
    results = await context.call_tools(calls)
    told = "\n".join(f"{call.name}: {result.text}" for call, result in zip(calls, results, strict=True))
    context.memory.add(Message("user", f"Results of your tool calls:\n{told}"))
