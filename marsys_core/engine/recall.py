"""What a recorded step left behind: its part of the conversation, and what it came to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from marsys_core import events as e
from marsys_core.actions import AskUser, Invoke
from marsys_core.journal import unpack, unpack_call
from marsys_core.memory import ConversationLog
from marsys_core.messages import Message
from marsys_core.values import Ref

if TYPE_CHECKING:
    from marsys_core.engine.replay import Replay
    from marsys_core.engine.turns import Turns
    from marsys_core.orchestrator import Branch, Command

__all__ = ["recall", "repeat"]


def repeat(run: Turns, branch: Branch, replay: Replay) -> list[Command] | None:
    """Let a step come to what it came to before, without taking it; None where it is to be taken."""
    finished = replay.finished
    if finished is None:
        return None
    if finished.messages:
        recall(run, branch, finished)
    run.count(finished.usage)
    return run.orchestrator.on_step(
        branch,
        finished.action,
        messages=finished.messages,
        usage=finished.usage,
        duration=finished.duration,
        writes=finished.writes,
    )


def recall(run: Turns, branch: Branch, step: e.StepFinished) -> None:
    """Add what a recorded step said to the conversation of its agent; `branch` is as it was when the step ended."""
    agent = run.agents[step.node].name
    log = run.conversations.get((branch.name, agent))
    if log is None:
        before = () if run.opening is None else run.opening.before(branch, agent)
        log = run.conversations[branch.name, agent] = ConversationLog(list(before))
    log.messages.extend([_whole(run, message) for message in step.messages])
    action = step.action
    log.open_calls, log.handed_to = (), ""
    if type(action) is Invoke and action.replies and run.orchestrator.comes_back(branch, action):
        log.open_calls = tuple(call for call, _, _ in action.replies)
        log.handed_to = ", ".join(node for node, _ in action.calls)
    elif type(action) is AskUser and action.replies:
        log.open_calls, log.handed_to = tuple(call for call, _, _ in action.replies), "user"


def _whole(run: Turns, message: Message) -> Message:
    """Return a message with what was put away for being large."""
    content: Any = message.content
    if isinstance(content, Ref):
        content = unpack(run.journal, content)
        content = content if isinstance(content, str) else tuple(content)
    calls = tuple(unpack_call(run.journal, call) for call in message.tool_calls)
    return attrs.evolve(message, content=content, tool_calls=calls)
