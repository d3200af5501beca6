"""What the contracts and instructions of its agents mean for a run that is put together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import attrs

from marsys_core.agents import Agent
from marsys_core.agents.instruction import fill, missing
from marsys_core.engine.checks import Checks
from marsys_core.engine.prepared import Prepared
from marsys_core.errors import ConfigError
from marsys_core.shapes import Shape

if TYPE_CHECKING:
    from marsys_core.engine.turns import Turns

__all__ = ["adapted", "answering", "filled", "takes"]


def takes(agents: Mapping[str, Prepared]) -> Mapping[str, Shape] | None:
    """Return what the agents at the nodes may be handed, of those that say it; None where none does."""
    found: dict[str, Shape] | None = None
    for node, prepared in agents.items():
        if prepared.checks is not None and prepared.checks.input is not None:
            found = found or {}
            found[node] = prepared.checks.input
    return found


def answering(agents: Mapping[str, Prepared], shape: Shape) -> dict[str, Prepared]:
    """Return the agents with their answers held to `shape`, in place of their own."""
    return {
        node: attrs.evolve(prepared, checks=attrs.evolve(prepared.checks or Checks(), output=shape))
        for node, prepared in agents.items()
    }


def filled(agents: dict[str, Prepared], values: Mapping[str, Any]) -> dict[str, Prepared]:
    """Return the agents with the variables in their instructions filled in.

    Raises:
        ConfigError: Variables that nobody gave: all of them at once.
    """
    # Almost every run ends here: only a text with a brace in it can have a variable.
    for prepared in agents.values():
        if isinstance(prepared.agent, Agent) and "{" in prepared.agent.system:
            break
    else:
        return agents
    problems: list[str] = []
    made = dict(agents)
    for node, prepared in agents.items():
        text = getattr(prepared.agent, "system", "")
        if isinstance(prepared.agent, Agent) and "{" in text:
            lacking = missing(text, values)
            problems += [f"{problem} @ agent {prepared.name!r}" for problem in lacking]
            made[node] = prepared if lacking else attrs.evolve(prepared, system=fill(text, values))
    if problems:
        msg = "instructions have variables that the run was not given:"
        raise ConfigError(msg, dict.fromkeys(problems))
    return made


def adapted(run: Turns, node: str, instance: Prepared) -> Prepared:
    """Return an instance of a pool as it is in this run: its variables filled in, held to the run's output type.

    Raises:
        ConfigError: Variables that nobody gave.
    """
    made = filled({node: instance}, run.variables)
    if run.answer is not None and len(run.agents) == 1:
        made = answering(made, run.answer)
    return made[node]
