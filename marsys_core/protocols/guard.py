"""Guards: what may refuse a task, a tool call, or what an agent is handed and says."""

from __future__ import annotations

from typing import Any, Literal, Protocol, runtime_checkable

import attrs

__all__ = ["Guard", "GuardSubject"]


@attrs.frozen(kw_only=True)
class GuardSubject:
    """What a guard is asked about.

    Args:
        kind: ``"task"`` for what a run was given, ``"tool"`` for a tool call about to run. An agent's own guards
            are asked about tool calls, and about ``"input"``, what the agent is handed, and ``"output"``, what it
            answers or hands on.
        value: The task, input or output itself, or the arguments of the call as a mapping from name to value.
        name: The name of the tool; of an output that is handed on, the node that it goes to; else empty.
        run_id: The run it belongs to.
        node: The node of the topology that is at work; empty before the first one.
    """

    kind: Literal["task", "tool", "input", "output"]
    value: Any
    name: str = ""
    run_id: str = ""
    node: str = ""


@runtime_checkable
class Guard(Protocol):
    """Looks at a subject and lets it pass, or refuses it.

    Write one for limits on input, for authorisation and for rate limits. Guards fail closed: an
    engine whose guard cannot be opened does not start, and any exception from `check` that is not
    `GuardRefused` is taken as a refusal too, with the exception as its cause.

    `check` is called by many tasks at once, and stands in the way of every one of them: it should
    answer fast, and it may be cancelled at any checkpoint.
    """

    @property
    def name(self) -> str:
        """What a refusal is signed with."""
        ...

    async def check(self, subject: GuardSubject) -> None:
        """Return to let the subject pass.

        Raises:
            marsys_core.errors.GuardRefused: The subject may not pass; the text says why.
        """
        ...
