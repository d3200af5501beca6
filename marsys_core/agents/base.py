"""`BaseAgent`: something that takes a turn."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, Unpack, overload

from marsys_core.agents.contract import Contract
from marsys_core.agents.registry import register
from marsys_core.errors import ConfigError, nearest
from marsys_core.tools import Tool, as_tool

if TYPE_CHECKING:
    from marsys_core.context import Context
    from marsys_core.models import Model, ModelConfig
    from marsys_core.options import RunOptions
    from marsys_core.results import RunResult

__all__ = ["BaseAgent", "one_of"]

T = TypeVar("T")


class BaseAgent:
    """Something that takes a turn in a run. Subclass it and write `_run`.

    The engine never writes to an agent and keeps no state of a run on it: one object serves any number of
    runs at once. Constructing an agent registers it under its name.

    Args:
        model: A model, its name (``"extractive"``, ``"provider:model"``) or a `ModelConfig`; None for an agent that needs none.
        name: What topologies know it by; the class name by default.
        agent_name: The same as `name`.
        tools: What it may call: tools, functions, or names of tools that plugins provide.
        memory: The name of a provider that chooses what of its conversation a model is shown.
        description: One line for other agents and for people.
        history: What a model is shown of the run: ``"own"``, its own conversation; ``"branch"``, all that was
            said on its branch; ``"run"``, all that led to the step.
        memory_scope: How long its conversation lasts: ``"run"``, or ``"session"``, where the runs of one
            `session_id` in an open `Orchestra`, or on one store, go on with it.
        allowed_peers: The agents that it may call in `auto_run`.
        output_type: What its answers have to be: an attrs class, a dataclass, a pydantic model, ``list[int]``
            and so on. What fits travels on as plain data.
        output_schema: The same as a JSON Schema.
        input_type: What it may be handed, and is handed: an instance of the type, but for an `Agent`, which
            reads it as JSON.
        input_schema: What it may be handed, as a JSON Schema.
        guards: Functions of a `GuardSubject`, plain or async, that are asked about its input, its output and
            its tool calls. None and True let it pass; False, a text that says why, or an exception refuse.

    Raises:
        ConfigError: Two different names, an empty one, tools that are no list, or a word that is not known; a type without a JSON
            Schema, or guards that cannot be called.
    """

    accepts_notes: bool = False
    """Whether a step may be taken again with a note that says what was wrong with its action."""
    acts_by_tools: bool = False
    """Whether it is offered the reserved tools, such as `invoke_agent`."""
    async_library: str = "trio"
    """What its async methods are written for: ``"trio"`` or ``"asyncio"``."""
    contract: Contract | None = None
    """What it takes and gives, and its guards; None where it says nothing of this."""

    def __init__(
        self,
        model: str | Model | ModelConfig | None = None,
        *,
        name: str | None = None,
        agent_name: str | None = None,
        tools: Sequence[Tool | str | Any] = (),
        memory: str | None = None,
        description: str = "",
        history: str = "own",
        memory_scope: str = "run",
        allowed_peers: Iterable[str] = (),
        output_type: Any = None,
        output_schema: Mapping[str, Any] | None = None,
        input_type: Any = None,
        input_schema: Mapping[str, Any] | None = None,
        guards: Sequence[Callable[..., Any]] = (),
    ) -> None:
        if name is not None and agent_name is not None and name != agent_name:
            msg = f"name and agent_name are the same thing, and here they differ: {name!r} and {agent_name!r}"
            raise ConfigError(msg)
        self.name: str = name or agent_name or type(self).__name__
        if not isinstance(self.name, str) or not self.name.strip():
            msg = f"an agent's name is text, not {self.name!r}"
            raise ConfigError(msg)
        if isinstance(tools, str | Tool) or not isinstance(tools, Iterable):
            msg = f"tools is a list of tools, functions or names, not {tools!r}; write tools=[{tools!r}]"
            raise ConfigError(msg)
        self.model = model
        self.tools: tuple[Tool | str, ...] = tuple(
            each if isinstance(each, str) else as_tool(each) for each in tools
        )
        self.memory = memory
        self.description = description
        self.history = one_of("history", history, ("own", "branch", "run"))
        self.memory_scope = one_of("memory_scope", memory_scope, ("run", "session"))
        self.allowed_peers = _peers(allowed_peers)
        self.contract = Contract.of(
            self.name,
            input_type=input_type,
            input_schema=input_schema,
            output_type=output_type,
            output_schema=output_schema,
            guards=guards,
        )
        register(self.name, self)

    @property
    def agent_name(self) -> str:
        """The same as `name`."""
        return self.name

    async def _run(self, prompt: Any, context: Context, **kwargs: Any) -> Any:
        """Take one turn.

        Args:
            prompt: What was handed over: text or data, or a `JoinInput` where several branches met.
            context: The step's view of the run.
            kwargs: Reserved for the engine.

        Returns:
            Text, data, a `Message`, an attrs, dataclass or pydantic object, or an action. None is an error.
            The method may also be a plain ``def``; it then runs in a worker thread. In a class with
            ``async_library = "asyncio"`` an async one runs on an asyncio loop, with a `context` that works there.
        """
        msg = f"{type(self).__name__} does not say what it does: write its _run(self, prompt, context, **kwargs)"
        raise ConfigError(msg)

    @overload
    async def run(
        self, task: Any, *, output_type: None = None, **options: Unpack[RunOptions]
    ) -> RunResult: ...
    @overload
    async def run(
        self, task: Any, *, output_type: type[T], **options: Unpack[RunOptions]
    ) -> RunResult[T]: ...
    @overload
    async def run(self, task: Any, *, output_type: Any, **options: Unpack[RunOptions]) -> RunResult: ...
    async def run(self, task: Any, *, output_type: Any = None, **options: Unpack[RunOptions]) -> RunResult:
        """Run this agent alone on `task`.

        Errors are in the result, also those that `Orchestra.run` would raise.

        Args:
            task: What to do: text or data.
            output_type: What its answer has to be in this run; the final response is an instance of it.
            options: What else the run is given; see `RunOptions`.
        """
        from marsys_core.orchestra import run_agent

        return await run_agent(self, task, options, output_type)

    @overload
    def run_sync(
        self, task: Any, *, output_type: None = None, **options: Unpack[RunOptions]
    ) -> RunResult: ...
    @overload
    def run_sync(self, task: Any, *, output_type: type[T], **options: Unpack[RunOptions]) -> RunResult[T]: ...
    @overload
    def run_sync(self, task: Any, *, output_type: Any, **options: Unpack[RunOptions]) -> RunResult: ...
    def run_sync(self, task: Any, *, output_type: Any = None, **options: Unpack[RunOptions]) -> RunResult:
        """Run this agent alone from code that runs no event loop, and wait; otherwise as `run`.

        Raises:
            LifecycleError: An event loop runs in this thread, where `run` is awaited instead.
        """
        from marsys_core.embed.orchestras import run_alone

        return run_alone("agent.run_sync", lambda: self.run(task, output_type=output_type, **options))

    async def auto_run(self, task: Any, **options: Unpack[RunOptions]) -> RunResult:
        """Run a team that `allowed_peers` describe: this agent, those it may call, those they may call.

        A call comes back with the answer. Errors are in the result, as with `run`.

        Args:
            task: What to do: text or data.
            options: What else the run is given; see `RunOptions`.
        """
        from marsys_core.orchestra import auto_run_agent

        return await auto_run_agent(self, task, options)

    def as_tool(self, name: str | None = None, description: str | None = None) -> Tool:
        """Return a tool that gives this agent a request, alone, in a nested run, and returns its answer.

        Args:
            name: What models call it; by default the agent's name, with ``_`` for what a tool's name cannot have.
            description: What models are told; by default the agent's description.

        Raises:
            ConfigError: A name that no tool can have.
        """
        from marsys_core.agents.team import Team, single

        team = Team(single(self), {self.name: self}, name=self.name, description=self.description)
        return team.as_tool(name, description)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {getattr(self, 'name', None)!r}>"


def _peers(given: Iterable[str]) -> tuple[str, ...]:
    if isinstance(given, str) or not isinstance(given, Iterable):
        msg = f"allowed_peers is a list of agents' names, not {given!r}; write allowed_peers=[{given!r}]"
        raise ConfigError(msg)
    peers = tuple(dict.fromkeys(given))
    for peer in peers:
        if not isinstance(peer, str) or not peer:
            msg = f"allowed_peers is a list of agents' names, and {peer!r} is none"
            raise ConfigError(msg)
    return peers


def one_of(argument: str, given: object, words: tuple[str, ...]) -> str:
    """Return `given` if it is one of `words`.

    Raises:
        ConfigError: It is not.
    """
    if isinstance(given, str) and given in words:
        return given
    known = ", ".join(map(repr, words))
    msg = f"{argument} is one of {known}, not {given!r}.{nearest(given, words) if isinstance(given, str) else ''}"
    raise ConfigError(msg)
