"""Agents: what takes a turn at a node."""

from marsys_core.agents.agent import Agent
from marsys_core.agents.base import BaseAgent
from marsys_core.agents.function import FunctionAgent, agent
from marsys_core.agents.registry import Registry, current_registry

__all__ = ["Agent", "BaseAgent", "FunctionAgent", "Registry", "agent", "current_registry"]
