"""Middleware: what stands round a model call, a tool call or an agent's step."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Protocol, TypeAlias

import attrs

from marsys_core.errors import PluginError, UnknownName, nearest

__all__ = ["METHODS", "Layer", "Layers", "Middleware", "Proceed", "check", "compose"]

METHODS = ("model_call", "tool_call", "agent_step")
"""What can be wrapped."""

Proceed: TypeAlias = Callable[[Any], Awaitable[Any]]
"""Does the rest of the work: takes the call, as it is or changed, and returns what came of it."""

Layer: TypeAlias = Callable[[Any, Proceed], Awaitable[Any]]
"""One middleware method, or several nested into one."""


class Middleware(Protocol):
    """Has a name and any of three async methods, each of which wraps one kind of call.

    * ``async def model_call(self, call, proceed)``
    * ``async def tool_call(self, call, proceed)``
    * ``async def agent_step(self, call, proceed)``

    Each returns what ``await proceed(call)`` returned, or something in its place. It may change the
    call before, look at the result after, call `proceed` again to retry, or not at all to answer
    from elsewhere. An exception goes to the next one out and then to the run's own error handling.
    One object serves many calls at once. It is looked up once, when the engine opens: a method that
    is not there costs nothing.

    An optional ``def applies(self, config)`` is asked once for each run, with its `ExecutionConfig`;
    where it returns False, the middleware stands round none of the run's calls and costs it nothing.
    """

    @property
    def name(self) -> str:
        """Unique among the middleware of an engine."""
        ...


@attrs.frozen(eq=False)
class Layers:
    """Everything that stands round the calls of a run; None where nothing does."""

    model_call: Layer | None = None
    tool_call: Layer | None = None
    agent_step: Layer | None = None

    @classmethod
    def of(cls, middleware: Iterable[object]) -> Layers:
        """Nest each method of `middleware`, outermost first."""
        each = tuple(middleware)
        return cls(*(compose(each, method) for method in METHODS))


def check(middleware: Iterable[object]) -> None:
    """Refuse what is no middleware.

    Raises:
        PluginError: An object has none of the methods; every such object at once, with the nearest names.
    """
    problems = []
    for each in middleware:
        if not isinstance(each, type) and any(callable(getattr(each, method, None)) for method in METHODS):
            continue
        near = [nearest(name, METHODS) for name in dir(each) if not name.startswith("_")]
        hint = next(filter(None, near), "")
        problems.append(f"{each!r:.200} has none of {', '.join(METHODS)}.{hint}")
    if problems:
        msg = "this is no middleware:"
        raise PluginError(msg, problems)


def compose(middleware: Iterable[object], method: str) -> Layer | None:
    """Nest one method of several middleware into a single callable, outermost first.

    Args:
        middleware: The objects, in the order in which a call meets them.
        method: One of `METHODS`.

    Returns:
        A function of a call and what to do with it, or None where nobody has that method, so that
        the engine can leave it out altogether.

    Raises:
        UnknownName: `method` cannot be wrapped.
    """
    if method not in METHODS:
        raise UnknownName("middleware method", method, METHODS)
    layers: list[Layer] = [
        each for each in (getattr(m, method, None) for m in middleware) if each is not None
    ]
    if not layers:
        return None
    composed = layers.pop()
    while layers:
        composed = _around(layers.pop(), composed)
    return composed


def _around(outer: Layer, inner: Layer) -> Layer:
    def nested(call: Any, proceed: Proceed) -> Awaitable[Any]:
        def onward(call: Any) -> Awaitable[Any]:
            return inner(call, proceed)

        return outer(call, onward)

    return nested
