"""An agent made ready for runs: what is looked up once, so that a step need not."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import attrs

from marsys_core.agents import Agent
from marsys_core.agents.loop import work
from marsys_core.agents.pool import AgentPool
from marsys_core.agents.team import is_team_tool
from marsys_core.engine.checks import Checks, prepare_checks
from marsys_core.engine.leases import Leases
from marsys_core.errors import ConfigError, PluginError, UnknownName
from marsys_core.hosts.declared import crossing, written_for
from marsys_core.memory import Memory
from marsys_core.models import ModelConfig, ToolSpec, usable_model
from marsys_core.orchestrator import Traits
from marsys_core.plugins.providers import Provider
from marsys_core.tools import Tool, as_tool

if TYPE_CHECKING:
    from marsys_core.agents import BaseAgent
    from marsys_core.agents.contract import Contract
    from marsys_core.engine.engine import Engine

__all__ = ["Prepared", "named_tools", "prepare"]

_TRAITS = {(notes, tools): Traits(notes, tools) for notes in (False, True) for tools in (False, True)}


@attrs.define(eq=False, kw_only=True)
class Prepared:
    """What the engine has to know of an agent."""

    agent: BaseAgent
    name: str
    act: Callable[..., Any]
    is_async: bool
    traits: Traits
    none_is_empty: bool
    model: Any
    given_model: Any
    calls_tools: bool
    tools: Mapping[str, Tool]
    given_tools: Sequence[Any]
    memory: Memory | None
    history: str = "own"
    memory_scope: str = "run"
    leases: Leases | None = None
    contract: Contract | None = None
    checks: Checks | None = None
    system: str | None = None
    team_tools: frozenset[str] = frozenset()
    transactional: bool = False
    _specs: Sequence[ToolSpec] | None = None

    @property
    def specs(self) -> Sequence[ToolSpec]:
        """The agent's own tools, as a model sees them."""
        if self._specs is None:
            self._specs = tuple(tool.spec for tool in self.tools.values())
        return self._specs

    def is_stale(self) -> bool:
        """Whether the agent's owner has given it another model, or other tools since."""
        agent = self.agent
        return (
            agent.model is not self.given_model
            or agent.tools is not self.given_tools
            or agent.contract is not self.contract
        )


async def prepare(agent: BaseAgent, engine: Engine) -> Prepared:
    """Resolve the names that `agent` gives for its model, its tools and its memory, and open them.

    Raises:
        UnknownName: A model, a tool or a memory that no plugin provides.
        PluginError: One that cannot be opened.
        ConfigError: Two tools of one name.
    """
    try:
        return await _resolved(agent, engine)
    except UnknownName as error:
        raise error.asked_by(f"agent {agent.name!r}") from error


async def _resolved(agent: BaseAgent, engine: Engine) -> Prepared:
    act: Callable[..., Any] = agent._run
    leases = Leases(agent, engine) if isinstance(agent, AgentPool) else None
    if leases is not None:
        await leases.make_ready()
    if written_for(agent, f"agent {agent.name!r}") == "asyncio":
        act = crossing(act)
    is_async = leases is None and inspect.iscoroutinefunction(act)
    if type(agent)._run is Agent._run and "_run" not in vars(agent):
        act = functools.partial(
            work, cast("Any", agent)
        )  # one await less for every resumption of a waiting model call
    model = agent.model
    if isinstance(model, str | ModelConfig):
        model = await engine.model(model)
    elif model is not None:
        model = usable_model(model, f"the model of agent {agent.name!r}")
    tools = await _tools(agent, engine) if agent.tools else {}
    traits = _TRAITS[bool(agent.accepts_notes), bool(agent.acts_by_tools)]
    return Prepared(
        agent=agent,
        name=agent.name,
        act=act,
        is_async=is_async,
        traits=traits,
        none_is_empty=getattr(agent, "none_is_empty", False),
        model=model,
        given_model=agent.model,
        calls_tools=getattr(getattr(model, "capabilities", None), "tools", True),
        given_tools=agent.tools,
        tools=tools,
        memory=None if agent.memory is None else await engine.get("memory", agent.memory),
        history=agent.history,
        memory_scope=agent.memory_scope,
        leases=leases,
        contract=agent.contract,
        checks=None if agent.contract is None else await _checks(agent, agent.contract, engine),
        team_tools=frozenset([name for name, each in tools.items() if is_team_tool(each)]),
        transactional=any(each.transactional for each in tools.values()),
    )


async def _checks(agent: BaseAgent, contract: Contract, engine: Engine) -> Checks:
    # A model is handed what it can read; other code what it can work with.
    return await prepare_checks(contract, agent.name, engine, as_instance=not isinstance(agent, Agent))


async def _tools(agent: BaseAgent, engine: Engine) -> Mapping[str, Tool]:
    found: dict[str, Tool] = {}
    for each in agent.tools:
        for tool in [each] if isinstance(each, Tool) else await named_tools(each, engine):
            if tool.name in found and found[tool.name] is not tool:
                msg = f"agent {agent.name!r} has two tools called {tool.name!r}"
                raise ConfigError(msg)
            found[tool.name] = tool
    return found


async def named_tools(name: str, engine: Engine) -> Sequence[Tool]:
    """Return the tools that plugins provide under `name`: one, those of a toolbox, or ``box:tool`` of one."""
    box_name, colon, only = name.partition(":")
    if colon and name not in engine.composition.names("tool"):
        tools = await named_tools(box_name, engine)
        chosen = [tool for tool in tools if tool.name == only]
        if not chosen:
            raise UnknownName(f"tool of {box_name!r}", only, {tool.name for tool in tools})
        return chosen
    declared = engine.composition.item("tool", name)
    if not isinstance(declared, Provider):
        return [as_tool(declared)]
    box = await engine.get("tool", name)
    if not hasattr(box, "tools"):
        msg = f"the tool provider {name!r} opened to {box!r}, which has no tools()"
        raise PluginError(msg)
    tools = [as_tool(each) for each in box.tools()]
    if written_for(box, f"toolbox {name!r}") == "asyncio":
        tools = [engine.on_asyncio(tool) for tool in tools]
    return tools
