"""`Team`: a topology with its agents, to run by itself, to stand as a node, or to be a tool."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Unpack

from marsys_core.agents.base import BaseAgent
from marsys_core.errors import ConfigError, TopologyError
from marsys_core.tools import Tool, ToolContext, tool

if TYPE_CHECKING:
    from marsys_core.config import ExecutionConfig
    from marsys_core.context import Context
    from marsys_core.options import Agents, RunOptions
    from marsys_core.results import RunResult
    from marsys_core.topology import Topology

__all__ = ["Team", "TeamNode", "is_team_tool", "single"]

_NO_TOOL_NAME = re.compile(r"[^A-Za-z0-9_-]+")
_LONGEST = 64


class Team:
    """A topology with its agents. Use one where a part of your work is a team of its own.

    Run it by itself, put it into a larger topology as a node, or give it to an agent as a tool. As a node or
    a tool it works in a run of its own, inside the step that asks for it: within that step's deadline,
    cancelled with it, and spending from the same budget.

    Args:
        topology: A `Topology`, or what makes one: a text, a list of texts, a dict.
        agents: Its agents, by name or as a sequence. Names that are not here are looked up among the agents of
            the run that it is part of, then where all agents are.
        name: What events, errors and models call it.
        description: What it does, in a line, for models that may call it.
        execution_config: Its settings; those of the run that it is part of where left out. Its limits hold
            within those of that run.

    Raises:
        ConfigError: A name that is none, or agents that are none.
        TopologyError: A topology that cannot be read.
    """

    def __init__(
        self,
        topology: Any,
        agents: Agents | None = None,
        *,
        name: str | None = None,
        description: str = "",
        execution_config: ExecutionConfig | None = None,
    ) -> None:
        from marsys_core.options import agents_by_name, instance_of
        from marsys_core.topology import Topology

        self.name = "team" if name is None else name
        if not isinstance(self.name, str) or not self.name.strip():
            msg = f"a team's name is text, not {name!r:.200}"
            raise ConfigError(msg)
        self.topology = Topology.of(topology)
        self.agents = agents_by_name(agents)
        self.description = description
        self.execution_config = instance_of("execution_config", "ExecutionConfig", execution_config)

    async def run(self, task: Any, **options: Unpack[RunOptions]) -> RunResult:
        """Run the team by itself on `task`.

        Args:
            task: What to do: text or data.
            options: What else the run is given; see `RunOptions`. Its agents are added to the team's.

        Raises:
            CriticalError: A cause that no agent can mend; bad configuration is one.
            RecoverableError: A passing cause that was still there after the retries.
        """
        from marsys_core.options import agents_by_name
        from marsys_core.orchestra import Orchestra

        options["agents"] = {**self.agents, **agents_by_name(options.get("agents"))}
        if options.get("execution_config") is None:
            options["execution_config"] = self.execution_config
        return await Orchestra.run(task, self.topology, **options)

    def run_sync(self, task: Any, **options: Unpack[RunOptions]) -> RunResult:
        """Run the team by itself from code that runs no event loop, and wait; otherwise as `run`.

        Raises:
            LifecycleError: An event loop runs in this thread, where `run` is awaited instead.
        """
        from marsys_core.embed.orchestras import run_alone

        return run_alone("team.run_sync", lambda: self.run(task, **options))

    def as_node(self, name: str | None = None) -> TeamNode:
        """Return an agent whose turn is a run of this team; its final response is the agent's plain content.

        Args:
            name: What topologies know it by; the team's own name by default.
        """
        return TeamNode(self, name=name)

    def as_tool(self, name: str | None = None, description: str | None = None) -> Tool:
        """Return a tool that gives this team a request, and returns its final response.

        Args:
            name: What models call it; by default the team's name, with ``_`` for what a tool's name cannot have.
            description: What models are told; by default the team's description.

        Raises:
            ConfigError: A name that no tool can have.
        """
        if name is None:
            name = _NO_TOOL_NAME.sub("_", self.name)[:_LONGEST]
        if description is None:
            description = self.description or f"Ask {self.name}."
        return tool(_Asked(self).ask, name=name, description=description)

    def __repr__(self) -> str:
        return f"<Team {self.name!r}>"


class TeamNode(BaseAgent):
    """An agent whose turn is a run of a team; made by `Team.as_node`."""

    none_is_empty = True

    def __init__(self, team: Team, *, name: str | None = None) -> None:
        super().__init__(name=name or team.name, description=team.description)
        self.team = team

    async def _run(self, prompt: Any, context: Context, **kwargs: Any) -> Any:
        from marsys_core.actions import Content

        response = await context.run_team(self.team, prompt)
        return None if response is None else Content(response)  # what looks like an action was the team's own


class _Asked:
    """A team that is asked by a tool call."""

    def __init__(self, team: Team) -> None:
        self.team = team

    async def ask(self, request: str, context: ToolContext) -> Any:
        """Ask.

        Args:
            request: What you ask for, with everything that is needed to do it.
        """
        return await context.run_team(self.team, request)


def is_team_tool(given: Tool) -> bool:
    """Say whether calling this tool runs a team."""
    return isinstance(getattr(given.function, "__self__", None), _Asked)


def single(agent: BaseAgent) -> Topology:
    """Return the topology of one agent alone."""
    from marsys_core.topology import Node, NodeKind, Topology

    try:
        node: Node | None = Node(agent.name)
    except TopologyError:  # an agent's name is free; a node's is not
        node = None
    if node is None or node.kind is not NodeKind.AGENT:  # start, end, user
        node = Node("agent", agent=agent.name)
    return Topology(nodes=[node])
