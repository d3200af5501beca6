"""Rules that bound a run. Of several limits, the settings of the run included, the smallest holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import attrs

from marsys_core.errors import TopologyError
from marsys_core.topology import Limits
from marsys_core.topology.names import clip
from marsys_core.topology.rules import rule_to_text

__all__ = ["AgentTimeout", "MaxAgents", "MaxSteps", "MaxTurns", "Timeout"]

_MOST = 1e9  # seconds: thirty years
_DEFAULT = "default"


def _seconds(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= _MOST:
        msg = f"a number of seconds above 0, at most 1e9, is expected, not {clip(value)}"
        raise TopologyError(msg)
    return value


def _count(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        msg = f"a whole number, at least 1, is expected, not {clip(value)}"
        raise TopologyError(msg)
    return value


def _by_node(given: Mapping[str, Any], default: object, check: Callable[[object], Any]) -> dict[str, Any]:
    """Return limits by node, with ``""`` for all others."""
    found = {str(node): check(limit) for node, limit in given.items() if node != _DEFAULT}
    for other in (default, given.get(_DEFAULT)):
        if other is not None:
            found[""] = check(other)
    if not found:
        msg = "it needs a limit, as in (90), (A:120) or (A:120, default:90)"
        raise TopologyError(msg)
    return found


def _as_data(limits: Mapping[str, Any]) -> Any:
    named = {node: limit for node, limit in limits.items() if node}
    if not named:
        return limits[""]
    return {**named, _DEFAULT: limits[""]} if "" in limits else named


@attrs.frozen
class Timeout:
    """Ends the run after so many seconds, with `RunTimeout`.

    Args:
        seconds: From its first step on.
    """

    seconds: float = attrs.field(converter=_seconds)

    def limits(self, limits: Limits) -> Limits:
        """Lower `timeout`."""
        return limits.lowered("timeout", self.seconds, rule_to_text(self))

    def to_dict(self) -> dict[str, Any]:
        """Return it as data."""
        return {"timeout": self.seconds}


@attrs.frozen
class MaxSteps:
    """Ends the run where it would take more steps, with `LimitError`.

    Args:
        steps: In the whole run.
    """

    steps: int = attrs.field(converter=_count)

    def limits(self, limits: Limits) -> Limits:
        """Lower `max_steps`."""
        return limits.lowered("max_steps", self.steps, rule_to_text(self))

    def to_dict(self) -> dict[str, Any]:
        """Return it as data."""
        return {"max_steps": self.steps}


@attrs.frozen
class MaxAgents:
    """Lets no more than so many steps run at a time; the others wait their turn.

    Args:
        agents: Steps at a time.
    """

    agents: int = attrs.field(converter=_count)

    def limits(self, limits: Limits) -> Limits:
        """Lower `max_agents`."""
        return limits.lowered("max_agents", self.agents, rule_to_text(self))

    def to_dict(self) -> dict[str, Any]:
        """Return it as data."""
        return {"max_agents": self.agents}


class _ByNode:
    """A limit that may differ from node to node."""

    _field = ""
    _check: Callable[[object], Any]

    def __init__(self, /, *default: Any, **by_node: Any) -> None:
        if len(default) > 1:
            msg = f"one limit is for all nodes that are not named, and {len(default)} are given"
            raise TopologyError(msg)
        others: Any = next(iter(default), None)
        if isinstance(others, Mapping):
            others, by_node = None, {**others, **by_node}
        self._limits = _by_node(by_node, others, type(self)._check)

    @property
    def nodes(self) -> tuple[str, ...]:
        """The nodes that it names."""
        return tuple(node for node in self._limits if node)

    def limits(self, limits: Limits) -> Limits:
        """Lower the limit of each node."""
        return limits.lowered(self._field, self._limits, rule_to_text(self))

    def to_dict(self) -> dict[str, Any]:
        """Return it as data."""
        return {self._field: _as_data(self._limits)}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({_as_data(self._limits)!r})"


class MaxTurns(_ByNode):
    """Ends a conversation after so many turns; a turn is a step of either side.

    Args:
        default: For the conversations of all nodes that are not named.
        by_node: For those that a node of this name opens, as keywords or as one mapping.
    """

    _field, _check = "max_turns", staticmethod(_count)


class AgentTimeout(_ByNode):
    """Ends a step of an agent after so many seconds, with `StepTimeout`.

    Args:
        default: For all nodes that are not named.
        by_node: For a node of this name, as keywords or as one mapping.
    """

    _field, _check = "agent_timeout", staticmethod(_seconds)
