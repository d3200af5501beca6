"""What a run may be given besides its task and its topology."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypedDict

from marsys_core.agents import BaseAgent
from marsys_core.errors import ConfigError, UnknownName

if TYPE_CHECKING:
    from marsys_core.config import ExecutionConfig
    from marsys_core.messages import Message

__all__ = ["Agents", "RunOptions", "agents_by_name", "checked", "going_on", "instance_of", "usable_channel"]

Agents = Mapping[str, BaseAgent] | Iterable[BaseAgent] | BaseAgent
"""Agents by name, as a sequence, or one."""


class RunOptions(TypedDict, total=False):
    """What a run may be given besides its task and its topology; all of it is optional.

    Attributes:
        agents: Agents by name or as a sequence; others are found in the registry that they were put into
            when they were made.
        execution_config: Limits, retries and policies.
        context: What the agents may read as ``context["key"]``; never recorded.
        session_id: The session that the run belongs to.
        max_steps: A limit on steps; the smaller of this one and the config's holds.
        messages: A conversation that the first agent goes on with, for example an earlier `RunResult.messages`.
        variables: What fills the ``{names}`` in the instructions of agents, before what `context` has; never
            recorded.
        deps: An object of the caller's that agents and tools find as ``context.deps``; never recorded.
        channel: Who answers questions: the name of a channel that a plugin provides, a function of the
            question, or a channel.
        state: What the shared state begins with, by key; over what the topology declares.
        storage: Where `Orchestra.run` keeps this run: a file (``"runs.db"``), the name of a store, a store, or a
            `DatabaseBackend`. An open orchestra has its own.
        resume: Whether to go on with the newest run of the session that has not ended well, where there is one;
            a run that has succeeded is returned as it is.
        origin: What the application wants to know again of the run, as text, for example from where to go on with it;
            kept with the run, and found in `RunInfo.origin`.
    """

    agents: Agents | None
    execution_config: ExecutionConfig | None
    context: Mapping[str, Any] | None
    session_id: str | None
    max_steps: int | None
    messages: Sequence[Message] | None
    variables: Mapping[str, Any] | None
    deps: Any
    channel: Any
    state: Mapping[str, Any] | None
    storage: Any
    resume: bool
    origin: str


_KINDS = {
    "context": (Mapping, "a mapping"),
    "session_id": (str, "text"),
    "max_steps": (int, "a whole number"),
    "messages": (Sequence, "a sequence of Message"),
    "variables": (Mapping, "a mapping"),
    "state": (Mapping, "a mapping"),
    "resume": (bool, "True or False"),
    "origin": (str, "text"),
}


_ANY: tuple[type, str] = (object, "")


def checked(options: RunOptions) -> RunOptions:
    """Return `options` with the agents by name.

    Raises:
        ConfigError: A value of another kind, or an option that there is not.
    """
    given: dict[str, Any] = dict(options)
    known = RunOptions.__annotations__
    for name, value in given.items():
        if name not in known:
            raise UnknownName("option of a run", name, [*known, "output_type"], _BELONGS.get(name, ""))
        kind, noun = _KINDS.get(name, _ANY)
        if value is not None and not isinstance(value, kind):
            msg = f"{name}= takes {noun}, not {value!r:.200}"
            raise ConfigError(msg)
    if given.get("storage") is not None:
        msg = "storage= is for Orchestra.run, on the class; an open one keeps its runs where Orchestra(storage=...) says"
        raise ConfigError(msg)
    _check_messages(given.get("messages"))
    given["agents"] = agents_by_name(given.get("agents"))
    instance_of("execution_config", "ExecutionConfig", given.get("execution_config"))
    usable_channel(given.get("channel"))
    return given  # type: ignore[return-value]  # the same keys


def going_on(options: RunOptions) -> RunOptions:
    """Return `options` as `checked` does, for a run that has begun.

    Raises:
        ConfigError: As `checked` does; or an option that only the beginning of a run has.
    """
    given = checked(options)
    at_first = [name for name in ("messages", "resume", "session_id", "state") if given.get(name)]
    if at_first:
        msg = f"{at_first[0]}= belongs to the beginning of a run, and this one has begun; leave it out"
        raise ConfigError(msg)
    return given


_BELONGS = {
    "rules": "Rules belong to the topology: Topology(..., rules=[...]).",
    "timeout": "Limits belong to execution_config=ExecutionConfig(timeout=...).",
    "output_schema": "A schema belongs to an agent: Agent(..., output_schema=...).",
}


def _check_messages(messages: Any) -> None:
    from marsys_core.messages import Message

    if messages is None:
        return
    wrong = (
        messages
        if isinstance(messages, str)
        else next((m for m in messages if not isinstance(m, Message)), None)
    )
    if wrong is not None:
        msg = (
            f"messages= takes Message objects, such as result.messages of an earlier run, not {wrong!r:.200}"
        )
        raise ConfigError(msg)
    _check_answers(messages)


def _check_answers(messages: Sequence[Message]) -> None:
    """Refuse what is no conversation that a provider accepts: each tool call is answered once, right after it."""
    wanted: list[str] = []
    for index, message in enumerate(messages):
        if message.role == "tool" and message.tool_call_id in wanted:
            wanted.remove(message.tool_call_id)
            continue
        if message.role == "tool":
            msg = f"messages[{index}] answers the tool call {message.tool_call_id!r}, which is not open there"
            raise ConfigError(msg)
        if wanted:
            break
        wanted = [call.id for call in message.tool_calls]
    if wanted:
        msg = (
            f"messages= leaves the tool calls {', '.join(map(repr, wanted))} without an answer; "
            "a Message of the role 'tool' for each belongs right after the call"
        )
        raise ConfigError(msg)


def instance_of(argument: str, wanted: str, value: Any) -> Any:
    """Return `value` if it is None or an instance of the class of that name, and refuse it otherwise.

    The class is named, not imported, so that an orchestra is made without it.
    """
    if value is not None and not any(cls.__name__ == wanted for cls in type(value).__mro__):
        msg = f"{argument}= takes {wanted}(...), not {value!r:.200}"
        raise ConfigError(msg)
    return value


def usable_channel(given: Any) -> Any:
    """Return `given` if it can stand for a channel: a name, a function, an object with `ask`, or None."""
    if given is None or callable(given) or hasattr(given, "ask") or (isinstance(given, str) and given):
        return given
    msg = f"channel= takes a name, a function of the question or a channel with `ask`, not {given!r:.200}"
    raise ConfigError(msg)


def _listed(agents: Any) -> list[BaseAgent]:
    if not isinstance(agents, Iterable):
        msg = f"agents= takes agents, by name or as a sequence, not {agents!r:.200}"
        raise ConfigError(msg)
    return list(agents)


def agents_by_name(agents: Agents | None) -> Mapping[str, BaseAgent]:
    """Return agents by name.

    Raises:
        ConfigError: Something that is no agent, or two of one name.
    """
    if agents is None:
        return {}
    if isinstance(agents, Mapping):
        found = dict(agents)
    else:
        given = [agents] if isinstance(agents, BaseAgent) else _listed(agents)
        found = {agent.name if hasattr(agent, "name") else repr(agent): agent for agent in given}
        if len(found) != len(given):
            names = [agent.name for agent in given]
            twice = sorted({name for name in names if names.count(name) > 1})
            msg = f"agents= has two agents called {', '.join(map(repr, twice))}; give a dict of names"
            raise ConfigError(msg)
    for name, agent in found.items():
        if not isinstance(agent, BaseAgent):
            msg = f"agents= has {agent!r} under {name!r}, which is no agent; subclass BaseAgent or use @agent"
            if hasattr(agent, "as_node"):
                msg = f"agents= has {agent!r}, which is a team; write team.as_node({name!r})"
            raise ConfigError(msg)
        if not hasattr(agent, "name"):
            msg = f"a {type(agent).__name__} was made without BaseAgent's part; call super().__init__(...) in its __init__"
            raise ConfigError(msg)
    return found
