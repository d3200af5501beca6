"""`Agent`: a model with an instruction and tools."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from marsys_core.agents.base import BaseAgent
from marsys_core.agents.instruction import compose
from marsys_core.errors import ConfigError
from marsys_core.tools import Tool

if TYPE_CHECKING:
    from marsys_core.context import Context
    from marsys_core.models import Model, ModelConfig, Reasoning, Sampling

__all__ = ["RESERVED", "Agent"]

RESERVED = frozenset({"invoke_agent", "return_result", "finish", "ask_user", "end_conversation"})
"""Names of the tools by which an agent names an action; none of its own can have one."""


class Agent(BaseAgent):
    """A model with an instruction and tools, which works until it has an answer or names an action.

    The tool calls of one reply run side by side. A call that cannot be run goes back to the model as an
    error. Its history is at all times one that a provider accepts. The agents it may invoke are offered to
    it as reserved tools, as far as the topology allows them at that moment.

    Args:
        name: What topologies know it by.
        model: A model, its name (``"extractive"``, ``"provider:model"``) or a `ModelConfig`.
        instruction: What it is told to be and do: the system message. A text may have variables, ``{topic}``,
            which the run's ``variables=`` and ``context=`` fill; ``{{topic}}`` is the text ``{topic}``, and other
            braces are text. A function of the context, plain or async, returns the text as it is to be.
        goal: What it is to achieve; put after the instruction. It may have variables, too.
        tools: What it may call: tools, functions, or names of tools that plugins provide.
        sampling: How to sample.
        reasoning: How much its model is to think: an effort, such as ``"low"``, or a `Reasoning`.
        output_schema: A JSON Schema for its answers: the model is held to it if it can be, or else told it, and
            asked again with what was wrong where an answer does not fit.
        memory: The name of a provider that chooses what of its conversation the model is shown.
        description: One line for other agents and for people.
        history: What the model is shown of the run: ``"own"``, its own conversation; ``"branch"``, all that was
            said on its branch; ``"run"``, all that led to the step.
        memory_scope: How long its conversation lasts: ``"run"``, or ``"session"``, where the runs of one
            `session_id` in an open `Orchestra`, or on one store, go on with it.
        allowed_peers: The agents that it may call in `auto_run`.
        output_type: The same as a type; see `BaseAgent`.
        input_type: What it may be handed, as a type.
        input_schema: What it may be handed, as a JSON Schema.
        guards: Functions that are asked about its input, output and tool calls; see `BaseAgent`.

    Raises:
        ConfigError: An empty name, tools that are no list, a tool with a reserved name, a type without a JSON
            Schema, or guards that cannot be called.
    """

    accepts_notes = True
    acts_by_tools = True

    def __init__(
        self,
        name: str | None = None,
        *,
        model: str | Model | ModelConfig | None = None,
        instruction: str | Callable[[Context], Any] = "",
        goal: str = "",
        tools: Sequence[Tool | str | Any] = (),
        sampling: Sampling | None = None,
        reasoning: Reasoning | str | None = None,
        output_schema: Mapping[str, Any] | None = None,
        memory: str | None = None,
        description: str = "",
        history: str = "own",
        memory_scope: str = "run",
        allowed_peers: Iterable[str] = (),
        agent_name: str | None = None,
        output_type: Any = None,
        input_type: Any = None,
        input_schema: Mapping[str, Any] | None = None,
        guards: Sequence[Callable[..., Any]] = (),
    ) -> None:
        super().__init__(
            model, name=name, agent_name=agent_name, tools=tools, memory=memory, description=description,
            output_type=output_type, output_schema=output_schema, input_type=input_type,
            input_schema=input_schema, guards=guards, history=history, memory_scope=memory_scope,
            allowed_peers=allowed_peers,
        )  # fmt: skip
        told: Any = instruction
        if not isinstance(told, str) and not callable(told):
            msg = f"the instruction of {self.name!r} is a text or a function of the context, not {instruction!r:.200}"
            raise ConfigError(msg)
        self.instruction = instruction
        self.goal = goal
        self.sampling = sampling
        self.reasoning: Reasoning | None = None
        if reasoning is not None:
            from marsys_core.models.request import Reasoning

            self.reasoning = Reasoning.of(reasoning)
        for each in self.tools:
            if (each if isinstance(each, str) else each.name) in RESERVED:
                msg = (
                    f"{self.name!r} has a tool called {each!r}, which is a reserved name: {sorted(RESERVED)}"
                )
                raise ConfigError(msg)

    @property
    def system(self) -> str:
        """The instruction and the goal as they were written; without what a function is yet to say."""
        instruction = self.instruction if isinstance(self.instruction, str) else ""
        return compose(instruction, self.goal) if self.goal else instruction

    @property
    def output_schema(self) -> Mapping[str, Any] | None:
        """The JSON Schema of its answers, or None."""
        return None if self.contract is None else self.contract.output_schema

    async def _run(self, prompt: Any, context: Context, **kwargs: Any) -> Any:
        # The loop is imported on first use: constructing agents needs neither models nor actions.
        from marsys_core.agents.loop import work

        return await work(self, prompt, context)
