"""The plugin `topologies`: the ready-made patterns, by name."""

from __future__ import annotations

from marsys import topologies
from marsys_core import hookimpl
from marsys_core.topology import Pattern

__all__ = ["marsys_topologies"]

_SUMMARIES = {
    "hub_and_spoke": "a hub calls its spokes, one by one or all at once, and gets their answers back",
    "star": "a center deals with its points one by one, or hands over to all",
    "broadcast": "one agent's content goes to all receivers at once",
    "pipeline": "stages of one or more agents, each with what the one before made",
    "hierarchical": "managers call those below them and answer above",
    "mesh": "agents call each other and decide themselves whom",
    "ring": "content goes round, from each agent to the next",
    "debate": "a judge hears all debaters in each round, then decides",
    "map_reduce": "each item of a list goes to a worker, and a reducer gets what they made",
}


@hookimpl
def marsys_topologies() -> list[Pattern]:
    """Return the ready-made patterns; they have no settings."""
    return [
        Pattern(name, build=getattr(topologies, name), summary=summary)
        for name, summary in _SUMMARIES.items()
    ]
