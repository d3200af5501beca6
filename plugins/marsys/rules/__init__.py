"""Rules of a topology: limits, shapes, and what an object has to have to be a rule of your own."""

from __future__ import annotations

from marsys.rules.limits import AgentTimeout, MaxAgents, MaxSteps, MaxTurns, Timeout
from marsys.rules.shapes import ConvergencePoint, Parallel
from marsys_core.protocols.rule import Allow, Block, Modify, Rule, RuleFacts, RuleType, Stop

__all__ = [
    "AgentTimeout",
    "Allow",
    "Block",
    "ConvergencePoint",
    "MaxAgents",
    "MaxSteps",
    "MaxTurns",
    "Modify",
    "Parallel",
    "Rule",
    "RuleFacts",
    "RuleType",
    "Stop",
    "Timeout",
]
