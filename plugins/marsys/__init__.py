"""MARSYS: the public names of the engine and of its standard plugins.

Names are imported on first use, so that a program pays for what it uses.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from marsys_core import __version__

if TYPE_CHECKING:
    from marsys.people import QueueChannel, TerminalChannel
    from marsys_core.actions import AskUser, EndConversation, Fail, Finish, Invoke, Return
    from marsys_core.agents import Agent, BaseAgent, FunctionAgent, Registry, Team, agent
    from marsys_core.agents.pool import AgentPool
    from marsys_core.config import ExecutionConfig, RetryConfig, StatusConfig
    from marsys_core.context import Budget, Context
    from marsys_core.embed import EngineThread, RunFuture
    from marsys_core.errors import (
        ActionError,
        AgentError,
        ConfigError,
        ConvergenceError,
        CriticalError,
        GuardRefused,
        LimitError,
        MarsysError,
        MaxRetriesExceeded,
        ModelError,
        RecoverableError,
        RuleBlocked,
        RuleError,
        RuleStopped,
        RunError,
        ToolError,
        TopologyError,
    )
    from marsys_core.hosts.bridge import on_asyncio
    from marsys_core.hosts.declared import uses_asyncio
    from marsys_core.messages import DataPart, Message, ToolCall, Usage
    from marsys_core.models import Capabilities, ModelConfig, ModelRequest, ModelResponse, Reasoning, Sampling
    from marsys_core.options import RunOptions
    from marsys_core.orchestra import Orchestra
    from marsys_core.orchestrator import Facts
    from marsys_core.plugins import PluginSettings
    from marsys_core.protocols.guard import GuardSubject
    from marsys_core.protocols.rule import Allow, Block, Modify, RuleFacts, Stop
    from marsys_core.questions import Question
    from marsys_core.results import BranchResult, RunResult
    from marsys_core.run import Run
    from marsys_core.tools import Tool, ToolContext, Transaction, tool
    from marsys_core.topology import ConvergencePolicy, Edge, EdgePattern, Node, Topology
    from marsys_core.topology.patterns import Patterns
    from marsys_core.values import Detached, Failure, JoinInput

    PatternConfig: Patterns

_HOMES = {
    "marsys_core.actions": ("AskUser", "EndConversation", "Fail", "Finish", "Invoke", "Return"),
    "marsys_core.agents": ("Agent", "BaseAgent", "FunctionAgent", "Registry", "Team", "agent"),
    "marsys_core.agents.pool": ("AgentPool",),
    "marsys_core.config": ("ExecutionConfig", "RetryConfig", "StatusConfig"),
    "marsys_core.context": ("Budget", "Context"),
    "marsys_core.embed": ("EngineThread", "RunFuture"),
    "marsys_core.errors": (
        "ActionError",
        "AgentError",
        "ConfigError",
        "ConvergenceError",
        "CriticalError",
        "GuardRefused",
        "LimitError",
        "MarsysError",
        "MaxRetriesExceeded",
        "ModelError",
        "RecoverableError",
        "RuleBlocked",
        "RuleError",
        "RuleStopped",
        "RunError",
        "ToolError",
        "TopologyError",
    ),
    "marsys_core.hosts.bridge": ("on_asyncio",),
    "marsys_core.hosts.declared": ("uses_asyncio",),
    "marsys_core.messages": ("DataPart", "Message", "ToolCall", "Usage"),
    "marsys_core.models": (
        "Capabilities",
        "ModelConfig",
        "ModelRequest",
        "ModelResponse",
        "Reasoning",
        "Sampling",
    ),
    "marsys_core.options": ("RunOptions",),
    "marsys_core.orchestra": ("Orchestra",),
    "marsys_core.run": ("Run",),
    "marsys_core.orchestrator": ("Facts",),
    "marsys_core.plugins": ("PluginSettings",),
    "marsys_core.protocols.rule": ("Allow", "Block", "Modify", "RuleFacts", "Stop"),
    "marsys_core.protocols.guard": ("GuardSubject",),
    "marsys_core.questions": ("Question",),
    "marsys_core.results": ("BranchResult", "RunResult"),
    "marsys_core.tools": ("Tool", "ToolContext", "Transaction", "tool"),
    "marsys_core.topology": ("ConvergencePolicy", "Edge", "EdgePattern", "Node", "Topology"),
    "marsys_core.values": ("Detached", "Failure", "JoinInput"),
    "marsys.people": ("QueueChannel", "TerminalChannel"),
    "marsys.topologies": ("PatternConfig",),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "ActionError",
    "Agent",
    "AgentError",
    "AgentPool",
    "Allow",
    "AskUser",
    "BaseAgent",
    "Block",
    "BranchResult",
    "Budget",
    "Capabilities",
    "ConfigError",
    "Context",
    "ConvergenceError",
    "ConvergencePolicy",
    "CriticalError",
    "DataPart",
    "Detached",
    "Edge",
    "EdgePattern",
    "EndConversation",
    "EngineThread",
    "ExecutionConfig",
    "Facts",
    "Fail",
    "Failure",
    "Finish",
    "FunctionAgent",
    "GuardRefused",
    "GuardSubject",
    "Invoke",
    "JoinInput",
    "LimitError",
    "MarsysError",
    "MaxRetriesExceeded",
    "Message",
    "ModelConfig",
    "ModelError",
    "ModelRequest",
    "ModelResponse",
    "Modify",
    "Node",
    "Orchestra",
    "PatternConfig",
    "PluginSettings",
    "Question",
    "QueueChannel",
    "Reasoning",
    "RecoverableError",
    "Registry",
    "RetryConfig",
    "Return",
    "RuleBlocked",
    "RuleError",
    "RuleFacts",
    "RuleStopped",
    "Run",
    "RunError",
    "RunFuture",
    "RunOptions",
    "RunResult",
    "Sampling",
    "StatusConfig",
    "Stop",
    "Team",
    "TerminalChannel",
    "Tool",
    "ToolCall",
    "ToolContext",
    "ToolError",
    "Topology",
    "TopologyError",
    "Transaction",
    "Usage",
    "__version__",
    "agent",
    "on_asyncio",
    "tool",
    "uses_asyncio",
]


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        msg = f"module 'marsys' has no attribute {name!r}"
        raise AttributeError(msg)
    value = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
