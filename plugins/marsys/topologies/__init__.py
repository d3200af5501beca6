"""Ready-made topologies: functions from names to a `Topology`, with the steps that each takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from marsys.topologies.flows import map_reduce, pipeline, ring
from marsys.topologies.hubs import broadcast, debate, hub_and_spoke, star
from marsys.topologies.teams import hierarchical, mesh
from marsys_core.topology.patterns import Patterns

if TYPE_CHECKING:
    from marsys_core.plugins import Composition

__all__ = [
    "PatternConfig",
    "broadcast",
    "debate",
    "hierarchical",
    "hub_and_spoke",
    "map_reduce",
    "mesh",
    "pipeline",
    "ring",
    "star",
]


def _installed() -> Composition:
    from marsys_core.plugins import compose

    return compose()


if TYPE_CHECKING:

    class _Standard(Patterns):
        """The standard patterns with their signatures, for type checkers and editors."""

        broadcast = staticmethod(broadcast)
        debate = staticmethod(debate)
        hierarchical = staticmethod(hierarchical)
        hub_and_spoke = staticmethod(hub_and_spoke)
        map_reduce = staticmethod(map_reduce)
        mesh = staticmethod(mesh)
        pipeline = staticmethod(pipeline)
        ring = staticmethod(ring)
        star = staticmethod(star)

    PatternConfig = _Standard(_installed)
else:
    PatternConfig = Patterns(_installed)
"""The patterns of all installed plugins, by name: ``PatternConfig.hub_and_spoke(hub="H", spokes=["A", "B"])``."""
