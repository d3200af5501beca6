"""Calls that may have taken effect: telling them apart to the outside world, and settling what a crash left open."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from marsys_core.engine.replay import key_of
from marsys_core.engine.threads import run_in_thread
from marsys_core.errors import UncertainOutcome

if TYPE_CHECKING:
    from marsys_core.engine.replay import RecordedTool
    from marsys_core.engine.step import Step
    from marsys_core.events import ToolStarted
    from marsys_core.tools import Tool

__all__ = ["UNMADE", "idempotency_key", "settled"]

UNMADE: Any = object()
"""Stands for the outcome of a call that did not take effect, and is to be made."""


def idempotency_key(step: Step, name: str, arguments: Any) -> str:
    """Return the key of the next call of that tool with these arguments in `step`.

    It depends on the run, the branch, the step, the tool, the arguments and how many calls of the same came before
    it in the step, and on nothing else.
    """
    import hashlib

    if step.made is None:
        step.made = {}
    called = (name, key_of(step.run.journal, arguments))
    number = step.made[called] = step.made.get(called, 0) + 1
    parts = (step.run_id, step.branch_id, str(step.step), *called, str(number))
    return hashlib.sha256("\0".join(parts).encode("utf-8", "backslashreplace")).hexdigest()[:32]


async def settled(step: Step, tool: Tool, known: RecordedTool, bound: Mapping[str, Any]) -> Any:
    """Return what a call came to that had begun when its run was interrupted; `UNMADE` where it is to be made.

    Raises:
        UncertainOutcome: Nobody knows, and it may not be made twice.
    """
    started, replay = known.started, step.replay
    if tool.idempotent or started.transactional:  # with its outcome, its writes are missing, too
        return UNMADE
    if tool.name in step.prepared.team_tools:
        return UNMADE  # a team goes on from its own record
    if tool.approval and replay is not None and replay.never_made(known):
        return UNMADE
    arguments = step.run.unpack(started.arguments)
    if (changed := _changed(step, known)) is not None:
        arguments, bound = changed, tool.bind(changed)
    if tool.verify is not None:
        verify = tool.verify
        if inspect.iscoroutinefunction(verify):
            found = await verify(**bound)
        else:
            found = await run_in_thread(step, f"verify of tool {tool.name!r}", lambda: verify(**bound))
        return UNMADE if found is None else found
    if step.run.config.on_uncertain == "retry":
        return UNMADE
    prompt, people = _prompt(step, tool, started, arguments), step.run.people
    # Who was asked before is heard, whatever the settings of the one who brings the answer.
    wanted = step.run.config.on_uncertain == "ask" or (
        replay is not None and replay.inquired(step.run.plain(prompt))
    )
    if wanted and people is not None:
        said = await people.ask_about(step, "uncertain", prompt, step.branch.n)
        word = said if isinstance(said, Mapping) else {"decision": said}
        if word["decision"] == "retry":
            return UNMADE
        if word["decision"] == "done":
            return word.get("result")
    msg = (
        f"tool {tool.name!r} had been called with {arguments!r:.400} when the run was interrupted, and nobody knows "
        f"whether it took effect (call {started.call_id!r}); it is not called again. Declare the tool idempotent=True, "
        "give it verify=, or resume with ExecutionConfig(on_uncertain='retry') where it may be called twice, or 'ask' for a "
        "person to say what became of it"
    )
    raise UncertainOutcome(msg)


def _changed(step: Step, known: RecordedTool) -> Mapping[str, Any] | None:
    """Return the arguments that the call was made with where a person had changed them; else None."""
    allowed = None if known.answer is None else step.run.unpack(known.answer.value)
    return allowed.get("arguments") if isinstance(allowed, Mapping) else None


def _prompt(step: Step, tool: Tool, started: ToolStarted, arguments: Any) -> dict[str, Any]:
    """What a person is told of the call, who may know whether it took effect."""
    return {"tool": tool.name, "arguments": arguments, "agent": step.prepared.name, "call": started.call_id}
