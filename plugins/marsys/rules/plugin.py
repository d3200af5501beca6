"""The plugin `rules`: the rules that a topology may name."""

from __future__ import annotations

from marsys_core import hookimpl
from marsys_core.protocols.rule import RuleType

__all__ = ["marsys_rules"]


@hookimpl
def marsys_rules() -> list[RuleType]:
    """Return the standard rules; they have no settings."""
    from marsys.rules import limits, shapes

    return [
        RuleType("timeout", limits.Timeout, "seconds for the whole run"),
        RuleType("max_steps", limits.MaxSteps, "steps in the whole run"),
        RuleType("max_agents", limits.MaxAgents, "steps that are running at a time"),
        RuleType("max_turns", limits.MaxTurns, "turns of a conversation, by the node that opens it"),
        RuleType("agent_timeout", limits.AgentTimeout, "seconds for one step, by node"),
        RuleType("parallel", shapes.Parallel, "agents that work side by side"),
        RuleType("convergence_point", shapes.ConvergencePoint, "a node at which forks go on"),
    ]
