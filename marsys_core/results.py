"""What a run came to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic

import attrs

from marsys_core.errors import AgentError
from marsys_core.messages import Message, Usage

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    from marsys_core.questions import Question

    T_co = TypeVar("T_co", covariant=True, default=Any)
else:
    from typing import TypeVar

    T_co = TypeVar("T_co", covariant=True)  # what a type checker takes for Any where it is left out

__all__ = ["BranchResult", "RunResult"]


@attrs.frozen(kw_only=True)
class BranchResult:
    """What one branch came to.

    Args:
        branch_id: Its place in the tree of branches: ``0``, ``0.1``, ``0.1.0``.
        agent: The node at which it ended.
        success: Whether it ended without failing and without being cancelled.
        response: What it delivered, returned or finished with.
        error: Why it failed, or None.
        steps: How many steps it took.
        duration: Seconds from its start to its end.
        outcome: ``delivered``, ``returned``, ``finished``, ``left``, ``failed`` or ``cancelled``.
    """

    branch_id: str
    agent: str
    success: bool
    response: Any
    error: BaseException | None
    steps: int
    duration: float
    outcome: str


@attrs.frozen(kw_only=True)
class RunResult(Generic[T_co]):
    """What a run came to.

    A run with ``output_type=T`` gives a ``RunResult[T]``; ``RunResult`` alone is ``RunResult[Any]``.

    Args:
        success: Whether at least one contribution reached the run and its main branch did not fail.
        final_response: The one contribution as it is, several as a list in branch order, None without any.
        branch_results: One for each branch, in branch order.
        total_steps: Steps of the whole run.
        total_duration: Seconds.
        usage: What the model calls cost together.
        error: Why the run failed, or None.
        run_id: The run.
        session_id: The session it belongs to, or an empty string.
        metadata: What else is known: ``warnings``, what the run said once.
        conversation: What the agent that the run began with has said and heard; the task, where it keeps none.
        state: The shared state as it was at the end; empty where nobody used it.
        status: ``succeeded``, ``failed``, ``cancelled``; or ``paused`` or ``waiting`` of a run that rests: it has work
            left, and goes on with `Orchestra.resume` or `Orchestra.answer`. By default what `success` says.
        questions: What a run that rests has open, each with the run that asks it.
    """

    success: bool
    final_response: T_co
    branch_results: tuple[BranchResult, ...] = ()
    total_steps: int = 0
    total_duration: float = 0.0
    usage: Usage = Usage()  # noqa: RUF009 - frozen, shared on purpose
    error: BaseException | None = None
    run_id: str = ""
    session_id: str = ""
    metadata: Mapping[str, Any] = attrs.field(factory=dict)
    state: Mapping[str, Any] = attrs.field(factory=dict)
    conversation: Sequence[Message] = attrs.field(default=(), repr=False)
    status: str = attrs.field()
    questions: tuple[Question, ...] = ()

    @status.default
    def _status(self) -> str:
        return "succeeded" if self.success else "failed"

    @property
    def messages(self) -> list[Message]:
        """The run as one conversation: give it to the next one as ``messages=`` to go on with it.

        It is that of the agent the run began with, and ends with the final response, whoever gave it.
        """
        said = list(self.conversation)
        if self.success and (not said or said[-1].role != "assistant" or said[-1].text != self._answer):
            said.append(Message("assistant", self._answer))
        return said

    @property
    def _answer(self) -> str:
        from marsys_core.shapes.plain import plain_form
        from marsys_core.values import render

        return render(plain_form(self.final_response))

    @property
    def response(self) -> T_co:
        """The same as `final_response`."""
        return self.final_response

    def unwrap(self) -> T_co:
        """Return the final response of a run that succeeded.

        Raises:
            AgentError: The run rests, with work left.
            BaseException: The error of a run that did not succeed.
        """
        if self.success:
            return self.final_response
        if self.error is None and self.status in ("paused", "waiting"):
            msg = f"run {self.run_id!r} is {self.status}, and has come to no answer yet"
            raise AgentError(msg)
        raise self.error if self.error is not None else AgentError("the run came to no answer")
