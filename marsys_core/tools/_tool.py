"""The `Tool`, the ways to make one, and what a model sees of a result."""

from __future__ import annotations

import functools
import inspect
import math
import re
import threading
import types
import weakref
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol, overload

import attrs

from marsys_core.errors import ConfigError
from marsys_core.hosts.declared import checked_library, crossing, written_for
from marsys_core.messages import shown

if TYPE_CHECKING:
    from marsys_core.agents import Team
    from marsys_core.models import ToolSpec
    from marsys_core.protocols.transactions import Done
    from marsys_core.tools._signature import Signature

__all__ = [
    "Tool",
    "ToolContext",
    "ToolLike",
    "Toolbox",
    "Transaction",
    "as_tool",
    "render_result",
    "tool",
]

Isolation = Literal["process"]
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")  # what every provider of models takes


class Transaction(Protocol):
    """`context.transaction` of a tool that is ``transactional=True``: the application's tables beside the run.

    Each statement sees what is committed, and what this call has written. What it wrote is committed together with
    its outcome; it is undone when the call raises, is cancelled or takes too long. An async function awaits the
    first three; a plain one calls those that end in ``_sync``.
    """

    def execute(self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] = ()) -> Awaitable[Done]:
        """Write: carry out one statement, and return how many rows it wrote and which it returned.

        Raises:
            ToolError: It was refused, and has no effect: a constraint does not hold, or it is no SQL, or it
                writes to what is the store's own.
        """

    def executemany(
        self, sql: str, parameters: Iterable[Sequence[Any] | Mapping[str, Any]]
    ) -> Awaitable[Done]:
        """Carry out one statement for each of `parameters`, all or none.

        Raises:
            ToolError: As `execute`.
        """

    def query(
        self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] = ()
    ) -> Awaitable[list[dict[str, Any]]]:
        """Read: return the rows that a statement selects, each by the names of its columns.

        Raises:
            ToolError: It is no SQL, or it writes.
        """

    def execute_sync(self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] = ()) -> Done:
        """Do what `execute` does, for a plain function."""

    def executemany_sync(self, sql: str, parameters: Iterable[Sequence[Any] | Mapping[str, Any]]) -> Done:
        """Do what `executemany` does, for a plain function."""

    def query_sync(
        self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] = ()
    ) -> list[dict[str, Any]]:
        """Do what `query` does, for a plain function."""


class ToolContext(Protocol):
    """Where a call comes from: what a tool is handed in the parameter annotated `ToolContext`, or named `context`.

    The parameter is left out of the schema; a model never sees or fills it.
    """

    @property
    def run_id(self) -> str:
        """The run."""

    @property
    def branch_id(self) -> str:
        """The branch within the run."""

    @property
    def node(self) -> str:
        """The node whose agent made the call."""

    @property
    def step(self) -> int:
        """The step within the branch."""

    @property
    def call_id(self) -> str:
        """The call; the same when it is answered from the journal."""

    @property
    def idempotency_key(self) -> str:
        """A text for the outside world to tell this call by: the same when a resumed run makes it again, and no other's."""

    @property
    def task(self) -> Any:
        """The run's original task."""

    @property
    def state(self) -> MutableMapping[str, Any]:
        """What the agents of the run share; a write counts once the step of the call has ended well."""

    @property
    def deps(self) -> Any:
        """The object that the caller gave the run as ``deps=``, or None."""

    @property
    def transaction(self) -> Transaction:
        """What a tool that is ``transactional=True`` writes through.

        Raises:
            ConfigError: The tool is not.
        """

    async def run_team(self, team: Team, task: Any) -> Any:
        """Let `team` work on `task` in a run of its own, as part of this call; return its final response.

        Raises:
            AgentError: The team came to no answer.
            CriticalError: It failed for a cause that no agent can mend.
            RecoverableError: It failed for a passing cause.
            LimitError: Runs are nested too deeply.
        """


class ToolLike(Protocol):
    """A class-based tool: for one with settings or a connection, or with a schema that it was given from outside.

    Its arguments are parsed, but not checked against the schema: that is its own affair. It may have an
    attribute `idempotent` or `transactional` that is True, which means what it means for `tool`, and one
    `async_library` that is ``"asyncio"`` where `call` is written for asyncio.
    """

    @property
    def spec(self) -> ToolSpec:
        """What a model is told of it."""

    async def call(self, arguments: Mapping[str, Any], context: ToolContext) -> Any:
        """Do what was asked; raise `ToolError` to tell the model that something is wrong."""


class Toolbox(Protocol):
    """Several tools that are opened and closed together: what a plugin's provider opens to."""

    def tools(self) -> Sequence[Tool]:
        """Return the tools, in the order in which a model is told of them."""


@attrs.define(eq=False, repr=False)
class Tool:
    """A function that a model may call. Make one with `tool` or `as_tool`.

    Its schema is read on first use, once for each function, so a tool costs next to nothing until it is
    needed. Calling it calls the function as it was written, unchecked.

    Attributes:
        function: What is called, with keyword arguments.
        name: What a model calls it.
        timeout: The limit of one call in seconds, or None for the limit of the run.
        is_async: Whether `function` is a coroutine function.
        idempotent: Whether a call may be run again after a crash that left its outcome unknown.
        isolation: ``"process"`` where each call runs in a process of its own, or None.
        approval: Whether a person is asked before each call.
        verify: Finds out whether a call took effect, or None.
        transactional: Whether it writes through the transaction that records its outcome.
    """

    function: Callable[..., Any]
    name: str
    timeout: float | None = None
    is_async: bool = False
    idempotent: bool = False
    isolation: Isolation | None = None
    approval: bool = attrs.field(default=False, kw_only=True)
    verify: Callable[..., Any] | None = attrs.field(default=None, kw_only=True)
    transactional: bool = attrs.field(default=False, kw_only=True)
    _description: str | None = None
    _signature: Signature | None = None
    _spec: ToolSpec | None = attrs.field(default=None, init=False)

    @property
    def description(self) -> str:
        """What a model is told that it does: as given, or the first paragraph of the docstring."""
        return self._read().description if self._description is None else self._description

    @property
    def parameters(self) -> Mapping[str, Any]:
        """The JSON Schema of its arguments, of type object."""
        return self._read().parameters

    @property
    def context_parameter(self) -> str | None:
        """The parameter that takes the `ToolContext`, or None."""
        return self._read().context_parameter

    @property
    def spec(self) -> ToolSpec:
        """The tool as a model sees it.

        Raises:
            ConfigError: A parameter that a model cannot fill, or whose annotation has no JSON Schema.
        """
        if self._spec is None:
            from marsys_core.models import ToolSpec

            self._spec = ToolSpec(self.name, self.description, self.parameters)
        return self._spec

    def bind(self, arguments: str | Mapping[str, Any]) -> dict[str, Any]:
        """Return the keyword arguments for `function`, without the context; never runs it.

        Use it before running a call: each argument is checked and structured by its annotation, without
        coercion (the string ``"1"`` is no integer), and defaults are left to the function. Of an isolated
        tool they are checked and left as plain data, which is structured in its process.

        Args:
            arguments: JSON text, as a model sent it, or what such text holds.

        Raises:
            ToolError: Everything that is wrong with them, in one line that tells a model how to mend the call.
        """
        return self._read().bind(self.name, arguments)

    def _read(self) -> Signature:
        if self._signature is None:
            from marsys_core.tools._signature import read

            signature = read(self.function, self.name)
            if self.isolation is not None:
                from marsys_core.tools._isolation import isolated

                signature = isolated(self, signature)
            if self.transactional and signature.context_parameter is None:
                msg = (
                    f"tool {self.name!r} is transactional=True, and has no parameter for the ToolContext, whose "
                    "`transaction` it would write through; add one: context: ToolContext"
                )
                raise ConfigError(msg)
            self._signature = signature
        return self._signature

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(*args, **kwargs)

    def __get__(self, instance: object, owner: type | None = None) -> Tool:
        """Bind to an instance, as a function in a class does, or a class method to its class."""
        if instance is None and not isinstance(self.function, classmethod):
            return self
        return attrs.evolve(self, function=self.function.__get__(instance, owner), signature=None)

    def _on_asyncio(self) -> Tool:
        """Return the same tool, with a function that is written for asyncio."""
        function = crossing(self.function)
        if function is self.function and not self.is_async:
            raise ConfigError(_plain_on_asyncio(self.name))
        # `_read` has looked at the function itself, if at all, and the one that crosses has its signature.
        return self if function is self.function else attrs.evolve(self, function=function)

    def __repr__(self) -> str:
        return f"<Tool {self.name!r}>"


@overload
def tool(
    function: Callable[..., Any],
    /,
    *,
    name: str | None = None,
    description: str | None = None,
    timeout: float | None = None,
    idempotent: bool = False,
    isolation: Isolation | None = None,
    approval: bool = False,
    verify: Callable[..., Any] | None = None,
    transactional: bool = False,
    async_library: Literal["trio", "asyncio"] | None = None,
) -> Tool: ...
@overload
def tool(
    *,
    name: str | None = None,
    description: str | None = None,
    timeout: float | None = None,
    idempotent: bool = False,
    isolation: Isolation | None = None,
    approval: bool = False,
    verify: Callable[..., Any] | None = None,
    transactional: bool = False,
    async_library: Literal["trio", "asyncio"] | None = None,
) -> Callable[[Callable[..., Any]], Tool]: ...
def tool(
    function: Any = None,
    /,
    *,
    name: str | None = None,
    description: str | None = None,
    timeout: float | None = None,
    idempotent: bool = False,
    isolation: Isolation | None = None,
    approval: bool = False,
    verify: Any = None,
    transactional: bool = False,
    async_library: Literal["trio", "asyncio"] | None = None,
) -> Any:
    """Make a `Tool` of a plain or an async function; a decorator, bare or with arguments.

    Args:
        function: The function; its type hints and docstring are what a model is told.
        name: What a model calls it; the function's name by default.
        description: What it does; the first paragraph of the docstring by default.
        timeout: The limit of one call, in seconds; it begins when the call is approved.
        idempotent: Whether a call that ran twice does no more than one that ran once: it reads only, or
            sets a value. Such a call may be run again after a crash that left its outcome unknown; any
            other is never run again silently.
        isolation: ``"process"`` to run each call in a process of its own, which is killed at the limit, when
            the call is cancelled and when the run ends: for a plain function that a limit has to stop. It is
            found there by its module and name, and takes and gives plain data.
        approval: Whether a person is asked before each call; with nobody to ask it never runs.
        verify: Asked after a crash that left the outcome of a call unknown, with what the tool was called with: a plain
            or an async function that returns what the call came to, or None where it did not take effect; it is
            then made.
        transactional: Whether what it does is done through ``context.transaction``, its `ToolContext`'s, and nowhere
            else. It is then done exactly once: written to the store of the run together with the outcome of the
            call, and after a crash that left no outcome the call is made again. A run without a store that writes
            in transactions, such as an SQLite file, refuses the tool.
        async_library: ``"asyncio"`` for an async function that is written for asyncio; what the function says
            itself by default, or else ``"trio"``.

    Raises:
        ConfigError: It is not a function, or the name or a setting is none that can be used.
    """
    if function is None:
        return functools.partial(
            tool,
            name=name,
            description=description,
            timeout=timeout,
            idempotent=idempotent,
            isolation=isolation,
            approval=approval,
            verify=verify,
            transactional=transactional,
            async_library=async_library,
        )
    plain = getattr(function, "__func__", function)
    if not isinstance(inspect.unwrap(plain), types.FunctionType):
        msg = f"a tool is made of a function, not of {shown(function)}{_instead(function)}"
        raise ConfigError(msg)
    name = function.__name__ if name is None else name
    problems = _problems(name, timeout, idempotent)
    if verify is not None and not callable(verify):
        problems.append(f"verify should be a function, not {shown(verify)}")
    problems += _transactional(transactional, idempotent, verify, isolation)
    if isolation is not None:
        from marsys_core.tools._isolation import refusals

        problems += refusals(function, isolation)
    if problems:
        msg = f"{function!r} cannot be made a tool:"
        raise ConfigError(msg, problems)
    made = Tool(
        function,
        name,
        timeout,
        inspect.iscoroutinefunction(plain),
        idempotent,
        isolation,
        description=description,
        approval=approval,
        verify=verify,
        transactional=transactional,
    )
    whose = f"tool {name!r}"
    library = written_for(function, whose) if async_library is None else checked_library(async_library, whose)
    return made if library == "trio" else made._on_asyncio()


def _plain_on_asyncio(name: str) -> str:
    return (
        f"tool {name!r} says that it is written for asyncio, and its function is a plain one: "
        "plain functions run in threads and need nothing; leave it out"
    )


def _instead(function: Any) -> str:
    if isinstance(function, Tool):
        return ", which is one already"
    if isinstance(getattr(function, "__func__", None), Tool):
        return "; put @tool above @classmethod"
    if isinstance(function, str):
        return f"; write @tool(name={function!r})"
    if isinstance(function, type):
        return (
            "; pass an instance of it" if hasattr(function, "call") else "; write a function that makes one"
        )
    if hasattr(function, "as_tool"):
        return "; write as_tool()"
    return "; write a function around it" if callable(function) else ""


def _problems(name: str, timeout: float | None, idempotent: object = False) -> list[str]:
    problems = []
    if not (isinstance(name, str) and _NAME.fullmatch(name)):
        problems.append(
            f"the name should be 1 to 64 of A-Z, a-z, 0-9, '_' and '-', not {shown(name)}; give it with name="
        )
    number = isinstance(timeout, int | float) and not isinstance(timeout, bool)
    if timeout is not None and not (number and 0 < timeout < math.inf):
        problems.append(f"timeout should be a number of seconds above 0, or None, not {shown(timeout)}")
    if not isinstance(idempotent, bool):
        problems.append(f"idempotent should be True or False, not {shown(idempotent)}")
    return problems


def _transactional(given: object, idempotent: object, verify: object, isolation: object) -> list[str]:
    if not isinstance(given, bool):
        return [f"transactional should be True or False, not {shown(given)}"]
    if not given:
        return []
    problems = []
    if idempotent is True:
        problems.append(
            "transactional=True is done once anyway, and idempotent=True may be done twice: leave out one"
        )
    if verify is not None:
        problems.append(
            "transactional=True leaves no outcome unknown, so there is nothing for verify to find out"
        )
    if isolation is not None:
        problems.append("transactional=True writes through the context, which isolation='process' has not")
    return problems


# Invariant: a key is made of ids, and its tool keeps the objects of these ids alive; the tools themselves
# are held by whoever uses them. A dictionary weak in the functions would never let go: its values hold its keys.
_tools: weakref.WeakValueDictionary[tuple[int, int], Tool] = weakref.WeakValueDictionary()
_lock = threading.RLock()  # a `spec` may be a property that makes tools itself


def as_tool(obj: Tool | ToolLike | Callable[..., Any]) -> Tool:
    """Return `obj` as a `Tool`: the same one every time, as long as somebody holds it.

    Use it wherever tools are taken: a `Tool` is returned as it is, a function or a bound method becomes
    one, and so does an object with a `spec` and an async `call`.

    Raises:
        ConfigError: It is none of these.
    """
    if isinstance(obj, Tool):
        return obj
    if inspect.ismethod(obj):
        key = id(obj.__self__), id(obj.__func__)
    else:
        key = 0, id(obj)
    with _lock:
        found = _tools.get(key)
        if found is None:
            found = _tools[key] = _make(obj)
    return found


def _make(obj: Any) -> Tool:
    if obj is None:
        msg = "a tool is a function, a Tool, or an object with a `spec` and an async `call`, not None"
        raise ConfigError(msg)
    if isinstance(obj, type) or not (hasattr(obj, "spec") and hasattr(obj, "call")):
        return tool(obj)
    from marsys_core.models import ToolSpec

    spec = obj.spec
    if not isinstance(spec, ToolSpec) or not inspect.iscoroutinefunction(obj.call):
        msg = (
            f"{obj!r} should have a `spec` that is a ToolSpec, and an async method `call(arguments, context)`"
        )
        raise ConfigError(msg)
    if problems := _problems(spec.name, None):
        msg = f"{obj!r} cannot be made a tool:"
        raise ConfigError(msg, problems)
    from marsys_core.tools._signature import Signature

    signature = Signature(
        description=spec.description,
        parameters=spec.parameters,
        context_parameter="context",
        structure=lambda arguments: {"arguments": arguments},
    )
    idempotent, transactional = (
        getattr(obj, name, False) is True for name in ("idempotent", "transactional")
    )
    if idempotent and transactional:
        msg = f"{obj!r} cannot be made a tool:"
        raise ConfigError(msg, _transactional(True, True, None, None))
    call = obj.call if written_for(obj, f"tool {spec.name!r}") == "trio" else crossing(obj.call)
    return Tool(
        call,
        spec.name,
        is_async=True,
        idempotent=idempotent,
        signature=signature,
        transactional=transactional,
    )


def render_result(value: object) -> str:
    """Return what a model sees of a result: text as it is, JSON for what JSON can hold, else ``str(value)``.

    It never raises: a result that cannot be written at all is named by its type, and by what writing it raised.
    """
    if type(value) is str:
        return value
    if value is not None and not isinstance(value, bool | int | float | dict | list | tuple):
        return _as_text(value)
    import json

    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str, allow_nan=False)
    except Exception:  # a key that is no text, NaN, a value that holds itself or whose own code raises
        return _as_text(value)


def _as_text(value: object) -> str:
    try:
        return str(value)
    except Exception as error:  # an integer of 5,000 digits, or the code of the value; the model is told
        if isinstance(value, int):
            return shown(value)
        return f"<{type(value).__qualname__} that cannot be written as text: {type(error).__name__}>"
