"""Plain functions as agents."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypedDict, Unpack, overload

from marsys_core.agents.base import BaseAgent
from marsys_core.errors import ConfigError
from marsys_core.hosts.declared import crossing, written_for

__all__ = ["ContractOptions", "FunctionAgent", "agent"]


class ContractOptions(TypedDict, total=False):
    """What an agent function may say of what it takes and gives; `BaseAgent` says what each means.

    Attributes:
        output_type: What it returns, as a type.
        output_schema: What it returns, as a JSON Schema.
        input_type: What it takes, as a type; it is handed an instance.
        input_schema: What it takes, as a JSON Schema.
        guards: Functions that are asked about what it takes and gives.
    """

    output_type: Any
    output_schema: Mapping[str, Any] | None
    input_type: Any
    input_schema: Mapping[str, Any] | None
    guards: Sequence[Callable[..., Any]]


class FunctionAgent(BaseAgent):
    """An agent that is a function of the prompt, or of the prompt and the context.

    An async function is awaited; a plain one runs in a worker thread. Where it returns None, an empty
    text is handed on, and the run says so once in a `Warned` event.
    """

    none_is_empty = True

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        name: str | None = None,
        description: str = "",
        **contract: Unpack[ContractOptions],
    ) -> None:
        summary = description or (inspect.getdoc(function) or "").partition("\n")[0]
        super().__init__(name=name or function.__name__, description=summary, **contract)
        self.function = function
        takes_context = _takes_context(function)
        if written_for(function, f"agent {self.name!r}") == "asyncio":
            function = crossing(function)
        if inspect.iscoroutinefunction(function):
            self._run = _asynchronous(function, takes_context)  # type: ignore[method-assign]
        else:
            self._run = _synchronous(function, takes_context)  # type: ignore[method-assign]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function as it was written."""
        return self.function(*args, **kwargs)

    def _on_asyncio(self) -> FunctionAgent:
        """Return the agent itself, which now says that its function is written for asyncio."""
        if not inspect.iscoroutinefunction(self.function):
            msg = (
                f"agent {self.name!r} says that it is written for asyncio, and its function is a plain one: "
                "plain functions run in threads and need nothing; leave it out"
            )
            raise ConfigError(msg)
        self.async_library = "asyncio"
        return self


def _asynchronous(function: Callable[..., Any], takes_context: bool) -> Callable[..., Any]:
    if takes_context:
        return function

    async def run(prompt: Any, _context: Any) -> Any:
        return await function(prompt)

    return run


def _synchronous(function: Callable[..., Any], takes_context: bool) -> Callable[..., Any]:
    return function if takes_context else lambda prompt, _context: function(prompt)


def _takes_context(function: Callable[..., Any]) -> bool:
    parameters = list(inspect.signature(function).parameters.values())
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    required = [p for p in positional if p.default is p.empty]
    several = any(p.kind is p.VAR_POSITIONAL for p in parameters)
    if positional and positional[0].name == "context" and len(positional) > 1:
        msg = f"an agent function takes the prompt first, then the context: {function.__name__}{inspect.signature(function)}"
        raise ConfigError(msg)
    missing = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is p.empty]
    if missing or len(required) > 2 or not (positional or several):
        msg = (
            f"an agent function takes (prompt) or (prompt, context), not "
            f"{function.__name__}{inspect.signature(function)}"
        )
        raise ConfigError(msg)
    if len(positional) < 2:
        return several
    # A default is how a loop binds a value; only a parameter called context is given one in its place.
    return positional[1].default is inspect.Parameter.empty or positional[1].name == "context"


@overload
def agent(function: Callable[..., Any], /) -> FunctionAgent: ...
@overload
def agent(
    *, name: str | None = None, description: str = "", **contract: Unpack[ContractOptions]
) -> Callable[[Callable[..., Any]], FunctionAgent]: ...
def agent(
    function: Callable[..., Any] | str | None = None,
    /,
    *,
    name: str | None = None,
    description: str = "",
    **contract: Unpack[ContractOptions],
) -> Any:
    """Make an agent of a plain function; a decorator, bare or with arguments.

    Args:
        function: Takes the prompt, or the prompt and the context.
        name: What topologies know it by; the function's name by default.
        description: One line; the first of the docstring by default.
        contract: What it takes and gives, and its guards; see `ContractOptions`.

    Raises:
        ConfigError: The function takes something else, or what it takes and gives cannot be checked.
    """
    if isinstance(function, str):
        msg = f"@agent takes the name as a keyword: @agent(name={function!r})"
        raise ConfigError(msg)
    if function is None:
        return lambda decorated: FunctionAgent(decorated, name=name, description=description, **contract)
    return FunctionAgent(function, name=name, description=description, **contract)
