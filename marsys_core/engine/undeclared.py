"""What a step fails with whose code awaits asyncio and does not say so, or says so and awaits Trio."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from marsys_core.agents import FunctionAgent
from marsys_core.errors import AsyncioError, MarsysError
from marsys_core.hosts.undeclared import asyncio_awaited, trio_awaited

if TYPE_CHECKING:
    from marsys_core.engine.prepared import Prepared
    from marsys_core.tools import Tool

__all__ = ["undeclared_in_agent", "undeclared_in_model", "undeclared_in_tool"]


def undeclared_in_agent(error: BaseException, prepared: Prepared) -> AsyncioError | None:
    """Return the error that says what to declare, where an async agent awaits asyncio without saying so."""
    if not prepared.is_async:
        return None
    agent = prepared.agent
    if isinstance(agent, FunctionAgent):
        return _explained(error, f"agent {prepared.name!r}", _above(agent.function))
    return _explained(error, f"agent {prepared.name!r}", _inside(agent))


def undeclared_in_model(error: BaseException, model: Any, name: str) -> AsyncioError | None:
    """Return the error that says what to declare, where a model awaits asyncio without saying so."""
    return _explained(error, f"model {name!r}", _inside(model))


def undeclared_in_tool(error: BaseException, tool: Tool) -> AsyncioError | None:
    """Return the error that says what to declare, where an async tool awaits asyncio without saying so."""
    if not tool.is_async or isinstance(error, MarsysError):
        return None
    function, name = tool.function, f"tool {tool.name!r}"
    if inspect.ismethod(function) and function.__name__ == "call":
        return _explained(error, name, _inside(function.__self__))
    return _explained(error, name, _above(function))


def _above(function: Any) -> str:
    return f"@uses_asyncio above the function {getattr(function, '__qualname__', repr(function))}"


def _inside(obj: Any) -> str:
    return f'async_library = "asyncio" in the class {type(obj).__qualname__}'


def _explained(error: BaseException, who: str, declaration: str) -> AsyncioError | None:
    found = asyncio_awaited(error)
    if found is not None:
        said = f"{who} awaits asyncio and does not say so: {found}. Write {declaration}, and it runs on an asyncio loop"
    else:
        found, declaration = trio_awaited(error), "no declaration of asyncio"
        if found is None:
            return None
        said = (
            f"{who} awaits Trio on an asyncio loop: {found}. Write {declaration} for this code, "
            "or await asyncio in it"
        )
    msg = f"{said}. What it raised: {type(found.error).__name__}: {found.error}"
    failure = AsyncioError(msg, declaration)
    failure.__cause__ = error
    return failure
