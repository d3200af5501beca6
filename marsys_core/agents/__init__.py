"""Agents: what takes a turn at a node."""

from marsys_core.agents.agent import Agent
from marsys_core.agents.base import BaseAgent
from marsys_core.agents.function import FunctionAgent, agent
from marsys_core.agents.registry import Registry, current_registry
from marsys_core.agents.team import Team

__all__ = ["Agent", "BaseAgent", "FunctionAgent", "Registry", "Team", "agent", "current_registry"]
