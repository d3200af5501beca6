"""What a step sees of its run: the `context` of `_run`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import attrs

if TYPE_CHECKING:
    from marsys_core.actions import Action, Invoke
    from marsys_core.agents import Team
    from marsys_core.engine.state import SharedState
    from marsys_core.memory import ConversationMemory
    from marsys_core.messages import Message, ToolCall
    from marsys_core.models import (
        Caching,
        Model,
        ModelConfig,
        ModelResponse,
        Reasoning,
        Sampling,
        ToolChoice,
        ToolSpec,
    )
    from marsys_core.orchestrator import Offer
    from marsys_core.tools import Tool

__all__ = ["Budget", "Context"]


@attrs.frozen(kw_only=True)
class Budget:
    """What is left of a run's limits for one of its steps, at one moment; None where there is no limit.

    Of several limits, those of a share, of the run, and of the run that it is nested in, the smallest counts.
    What is set aside for model calls that are under way is not left.

    Args:
        steps: Steps that may still be taken.
        tokens: Tokens that may still be used.
        cost: What may still be spent, in the currency that the models report.
        tool_calls: Tool calls that may still be made.
        seconds: Until the first deadline: the step's, the branch's, the run's, or one round it.
    """

    steps: int | None = None
    tokens: int | None = None
    cost: float | None = None
    tool_calls: int | None = None
    seconds: float | None = None


class Context(Protocol):
    """A step's view of its run, handed to `_run`. It lives as long as the step.

    Attributes:
        task: The run's original task.
        run_id: The run.
        session_id: The session that the run belongs to, or an empty string.
        branch_id: The branch, for example ``0.1``.
        node: The node at which the step is taken.
        step: Which step of its branch this is, from 1.
        data: What the caller gave the run as ``context=``.
        variables: What the caller gave as ``variables=``, and then as ``context=``: what fills instructions.
        deps: The object that the caller gave the run as ``deps=``, or None.
        system: The agent's instruction and goal, with its variables filled in; empty for an agent without.
        output_schema: The JSON Schema that this agent's answer has to meet, or None.
        notes: What was wrong with the last reply, where the step is taken again because of it.
        max_tool_rounds: How many replies of a model one step may take.
        answered: Whether the prompt is what a person has answered to the question of this agent.
        offered: What this agent may do besides answering.
        memory: The agent's conversation along this branch.
        state: What the agents of the run share: ``state[key] = value`` writes.
        budget: What is left to it of the run's limits at this moment.
    """

    task: Any
    run_id: str
    session_id: str
    branch_id: str
    node: str
    step: int
    data: Mapping[str, Any]
    variables: Mapping[str, Any]
    deps: Any
    system: str
    output_schema: Mapping[str, Any] | None
    notes: Sequence[str]
    max_tool_rounds: int

    @property
    def offered(self) -> Offer:
        """What this agent may do besides answering."""

    @property
    def answered(self) -> bool:
        """Whether the prompt is what a person has answered to the question of this agent."""

    @property
    def memory(self) -> ConversationMemory:
        """The agent's conversation along this branch."""

    @property
    def state(self) -> SharedState:
        """What the agents of the run share.

        A write counts once the step has ended well. Lists and dicts that are read cannot be changed in place.
        """

    @property
    def budget(self) -> Budget:
        """What is left to it of the run's limits at this moment."""

    def __getitem__(self, key: str) -> Any: ...

    def get(self, key: str, default: Any = None) -> Any:
        """Return what the caller gave under `key`."""

    def incoming(self) -> Sequence[Message]:
        """Return what was handed over as messages: the answers to the agent's own calls, or a user's turn."""

    def tool_specs(self) -> Sequence[ToolSpec]:
        """Return the agent's own tools, as a model sees them."""

    def reserved_specs(self) -> Sequence[ToolSpec]:
        """Return the reserved tools that are offered here; none where the model cannot call tools."""

    def comes_back(self, action: Invoke) -> bool:
        """Whether the branch will be back at this node with the answers to `action`, if all goes well."""

    def handed_over(self, action: Action) -> str:
        """Say in a few words where `action` leads, as the answer to the call that named it."""

    async def generate(
        self,
        messages: str | Sequence[Message] | None = None,
        *,
        model: str | Model | ModelConfig | None = None,
        system: str = "",
        tools: Sequence[Tool | ToolSpec] = (),
        output_schema: Mapping[str, Any] | None = None,
        sampling: Sampling | None = None,
        tool_choice: ToolChoice | None = None,
        parallel_tool_calls: bool | None = None,
        reasoning: Reasoning | str | None = None,
        caching: Caching | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> ModelResponse:
        """Ask a model, through the run's limits, middleware and journal.

        Args:
            messages: A question, or a conversation; the agent's own memory by default.
            model: Another model than the agent's.
            system: The instruction.
            tools: What the model may call; calling them is up to the agent.
            output_schema: A JSON Schema for the answer. `context.output_schema` is asked for by a tool or in the
                instruction where the model cannot be held to it; another one is then an error.
            sampling: How to sample.
            tool_choice: Whether it has to call a tool.
            parallel_tool_calls: Whether one answer may call several tools.
            reasoning: How much to think: an effort, such as ``"low"``, or a `Reasoning`.
            caching: What to keep at the provider.
            options: What only this provider knows, by its own names.

        Raises:
            ModelError: What went wrong at the model.
            ModelTimeout: It took longer than `model_timeout`.
        """

    async def call_tool(self, name: str, /, **arguments: Any) -> Any:
        """Run one of the agent's tools, through the run's limits, guards and journal.

        Raises:
            ToolError: The arguments do not fit, a person rejected the call, or the tool said so.
            ToolTimeout: It took too long.
            UnknownName: The agent has no tool of that name.
            UserUnavailable: It needs a person's approval, and nobody can be asked.
        """

    async def call_tools(self, calls: Sequence[ToolCall]) -> list[Message]:
        """Run the calls of one reply side by side; return their results as messages, in order.

        What goes wrong is a result too, so that the model can mend it.
        """

    async def sleep(self, seconds: float) -> None:
        """Wait for so many seconds; in a run that is kept, from when the step first came here.

        A run that is resumed waits for what is left by the clock on the wall. The deadline of the step stands still, and
        its place among `max_parallel_branches` is free. Timers of a step are told apart by their lengths and their order.

        Raises:
            ConfigError: It is no number from 0.
        """

    async def run_team(self, team: Team, task: Any) -> Any:
        """Let `team` work on `task` in a run of its own, as part of this step; return its final response.

        Raises:
            AgentError: The team came to no answer.
            CriticalError: It failed for a cause that no agent can mend.
            RecoverableError: It failed for a passing cause.
            LimitError: Runs are nested too deeply.
        """
