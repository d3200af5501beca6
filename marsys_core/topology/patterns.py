"""Patterns: named ways to make a topology, as plugins provide them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import attrs

from marsys_core.topology.topology import Topology

if TYPE_CHECKING:
    from marsys_core.plugins import Composition

__all__ = ["Pattern", "Patterns"]


@attrs.frozen
class Pattern:
    """A named way to make a topology; what the hook `marsys_topologies` returns.

    Args:
        name: What it is asked for by, for example ``"hub_and_spoke"``.
        build: A pure function from the pattern's parameters to a topology.
        summary: One line for people who choose between patterns.
    """

    name: str
    build: Callable[..., Topology]
    summary: str = ""


class Patterns:
    """The patterns of a set of plugins, as attributes: ``patterns.ring(["A", "B", "C"])``.

    Args:
        composition: Returns what the plugins declare; asked each time, so that it need not exist yet.
    """

    def __init__(self, composition: Callable[[], Composition]) -> None:
        self._composition = composition

    def __getattr__(self, name: str) -> Callable[..., Topology]:
        if name.startswith("_"):
            raise AttributeError(name)
        pattern: Pattern = self._composition().item("topology", name)
        return pattern.build

    def __dir__(self) -> list[str]:
        return list(self._composition().names("topology"))

    def __repr__(self) -> str:
        return f"<Patterns: {', '.join(dir(self))}>"
