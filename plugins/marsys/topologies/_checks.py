"""What every pattern asks of its arguments."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from marsys_core.errors import TopologyError
from marsys_core.topology import Node, NodeKind


def team(pattern: str, **groups: Sequence[str] | str) -> None:
    """Check that every name is an agent's and stands once in all groups together.

    Raises:
        TopologyError: It is not so; the message names the pattern and the argument.
    """
    seen: dict[str, str] = {}
    for argument, names in groups.items():
        # Anything may be handed in where a name belongs: `_agent` says so, and a loop over it would not.
        group: Sequence[str] = names if isinstance(names, list | tuple) else [names]  # type: ignore[list-item]
        for name in group:
            _agent(pattern, argument, name)
            if name in seen:
                where = "twice" if seen[name] == argument else f"as {seen[name]} too"
                msg = f"{pattern}: {name!r} stands in {argument} {where}; each agent has one place"
                raise TopologyError(msg)
            seen[name] = argument


def several(pattern: str, argument: str, names: object, least: int = 1) -> list[str]:
    """Return `names` as a list with at least so many names.

    Raises:
        TopologyError: It is no list, or too short.
    """
    if isinstance(names, str) or not isinstance(names, Iterable):
        msg = f"{pattern}: {argument} is a list of names, not {names!r}"
        raise TopologyError(msg)
    found = list(names)
    if len(found) < least:
        msg = f"{pattern}: {argument} needs at least {least} name{'s' if least > 1 else ''}, and has {len(found)}"
        raise TopologyError(msg)
    return found


def whole(pattern: str, argument: str, value: object) -> int:
    """Return `value`, a whole number from 1.

    Raises:
        TopologyError: It is none.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        msg = f"{pattern}: {argument} is a whole number from 1, not {value!r}"
        raise TopologyError(msg)
    return value


def _agent(pattern: str, argument: str, name: object) -> None:
    try:
        node = Node(name)  # whatever it is, Node says what is wrong with it
    except TopologyError as error:
        msg = f"{pattern}: {argument}: {error}"
        raise TopologyError(msg) from None
    if node.kind is not NodeKind.AGENT:
        msg = f"{pattern}: {argument} has {name!r}, a name kept for nodes of kind {node.kind.value!r}; name an agent"
        raise TopologyError(msg)
