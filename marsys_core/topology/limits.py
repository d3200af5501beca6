"""The limits that rules set on a run, and which rule set each."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Self

import attrs

__all__ = ["NO_LIMITS", "Limits"]

_NONE: Mapping[str, Any] = MappingProxyType({})


def _frozen(value: Mapping[str, Any]) -> Mapping[str, Any]:
    return MappingProxyType(dict(value)) if value else _NONE


@attrs.frozen(kw_only=True)
class Limits:
    """What the rules of a topology allow; of several rules the smallest limit holds.

    Args:
        timeout: Seconds for the whole run.
        max_steps: Steps in the whole run.
        max_agents: Steps that are running at a time.
        max_turns: Turns of a conversation, by the node that opens it; ``""`` is for all others.
        agent_timeout: Seconds for one step, by node; ``""`` is for all others.
        set_by: Which rule set a limit, by its field: what errors name.
    """

    timeout: float | None = None
    max_steps: int | None = None
    max_agents: int | None = None
    max_turns: Mapping[str, int] = attrs.field(default=_NONE, converter=_frozen)
    agent_timeout: Mapping[str, float] = attrs.field(default=_NONE, converter=_frozen)
    set_by: Mapping[str, str] = attrs.field(default=_NONE, converter=_frozen)

    def lowered(self, field: str, value: Any, rule: object) -> Self:
        """Return these limits with `field` no higher than `value`.

        Args:
            field: Which limit.
            value: The most it may be; for `max_turns` and `agent_timeout` a mapping, whose ``""`` also
                bounds the nodes that it does not name.
            rule: Who asks for that; its text is what errors say.
        """
        present = getattr(self, field)
        if isinstance(value, Mapping):
            return self._with(field, *_lowest(field, present, value, self.set_by, str(rule)))
        if present is not None and present <= value:
            return self
        return self._with(field, value, {**self.set_by, field: str(rule)})

    def without(self, field: str) -> Self:
        """Return these limits without `field`, because the settings of the run have a smaller one."""
        return self._with(field, None, {key: rule for key, rule in self.set_by.items() if key != field})

    def of(self, field: str, node: str) -> Any:
        """Return the limit of `field` for `node`, or None where there is none."""
        by_node: Mapping[str, Any] = getattr(self, field)
        return by_node.get(node, by_node.get(""))

    def whose(self, field: str, node: str = "") -> str:
        """Return ``" (rule timeout(30))"`` where a rule set that limit, else nothing; for error messages."""
        key = f"{field}:{node}" if f"{field}:{node}" in self.set_by else field
        rule = self.set_by.get(key) or self.set_by.get(f"{field}:")
        return f" (rule {rule})" if rule else ""

    def _with(self, field: str, value: Any, set_by: Mapping[str, str]) -> Self:
        changes: dict[str, Any] = {field: value, "set_by": set_by}
        return attrs.evolve(self, **changes)


def _lowest(
    field: str, present: Mapping[str, Any], value: Mapping[str, Any], set_by: Mapping[str, str], rule: str
) -> tuple[dict[str, Any], dict[str, str]]:
    """Merge two mappings by node, each with its limit for all others, and note who set what."""
    found, names = dict(present), dict(set_by)
    for node in sorted({*present, *value}):
        asked = value.get(node, value.get(""))
        there = present.get(node, present.get(""))
        if asked is not None and (there is None or asked < there):
            found[node], names[f"{field}:{node}"] = asked, rule
        elif there is not None:
            found[node] = there
            before = set_by.get(f"{field}:{node}") or set_by.get(f"{field}:")
            if before:
                names[f"{field}:{node}"] = before
    return found, names


NO_LIMITS = Limits()
"""What holds where a topology has no rules."""
