"""Instructions with variables: ``"You write about {topic}."``

``{topic}`` stands for the variable `topic`, and ``{{topic}}`` for the text ``{topic}``. Nothing else is
touched: braces round anything but one name (``{"a": 1}``, ``{}``, ``{ x }``, ``{a.b}``) are text, and so is a
pair of them. A value is put in as it is, and not read again.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from marsys_core.errors import ConfigError, nearest
from marsys_core.values import render

if TYPE_CHECKING:
    from marsys_core.agents.agent import Agent
    from marsys_core.context import Context

__all__ = ["compose", "fill", "missing", "placeholders", "told"]

_MARK = re.compile(r"\{\{([^\W\d]\w*)\}\}|\{([^\W\d]\w*)\}")


def compose(instruction: str, goal: str) -> str:
    """Return an instruction and a goal as a model is told them."""
    if not goal:
        return instruction
    return f"{instruction}\n\nYour goal: {goal}" if instruction else f"Your goal: {goal}"


@functools.lru_cache(maxsize=1024)
def placeholders(text: str) -> tuple[str, ...]:
    """Return the names of the variables in `text`, each once, in their order."""
    return tuple(dict.fromkeys(found[2] for found in _MARK.finditer(text) if found[2]))


def missing(text: str, known: Iterable[str]) -> list[str]:
    """Say which variables of `text` nobody gave, each with the nearest name that somebody gave."""
    names = sorted(name for name in known if isinstance(name, str))
    return [
        f"no variable is called {name!r}.{nearest(name, names)} Give it with variables={{{name!r}: ...}}, "
        f"or write {{{{{name}}}}} for the text itself"
        for name in placeholders(text)
        if name not in names
    ]


def fill(text: str, values: Mapping[str, Any]) -> str:
    """Return `text` with its variables filled in.

    Raises:
        KeyError: A variable is not among `values`.
    """
    return _MARK.sub(lambda found: f"{{{found[1]}}}" if found[1] else render(values[found[2]]), text)


async def told(agent: Agent, context: Context) -> str:
    """Return what the model of an agent is told whose instruction is a function of the context.

    Raises:
        ConfigError: The function returned no text.
    """
    given: Any = agent.instruction
    text = given(context)
    if hasattr(text, "__await__"):
        text = await text
    if not isinstance(text, str):
        msg = f"the instruction of agent {agent.name!r} returned {text!r:.200}, and not a text"
        raise ConfigError(msg)
    return compose(text, fill(agent.goal, context.variables) if "{" in agent.goal else agent.goal)
