"""Which async library code is written for, as it says itself, and what makes code for asyncio usable from Trio."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar

from marsys_core.errors import ConfigError, nearest

__all__ = ["Adapter", "adapted", "checked_library", "crossing", "uses_asyncio", "written_for"]

T = TypeVar("T")

LIBRARIES = ("trio", "asyncio")


def checked_library(library: object, whose: str) -> str:
    """Return `library` if code can be written for it.

    Raises:
        ConfigError: It is neither ``"trio"`` nor ``"asyncio"``.
    """
    if isinstance(library, str) and library in LIBRARIES:
        return library
    hint = nearest(library, LIBRARIES) if isinstance(library, str) else ""
    msg = f"{whose} says async_library={library!r:.200}, which is 'trio' or 'asyncio'.{hint}"
    raise ConfigError(msg)


def written_for(obj: Any, whose: str = "") -> str:
    """Return which async library `obj` says that it is written for: ``"trio"`` where it says nothing.

    Raises:
        ConfigError: It names another one.
    """
    library = getattr(obj, "async_library", "trio")
    return "trio" if library == "trio" else checked_library(library, whose or f"{obj!r:.200}")


def crossing(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return an async function, or an async generator function, for asyncio as one for Trio; any other as it is."""
    if getattr(function, "_crosses", False) is True:
        return function
    made: Any
    if inspect.iscoroutinefunction(function):
        from marsys_core.hosts.bridge import on_asyncio

        async def called(*args: Any, **kwargs: Any) -> Any:
            return await on_asyncio(function, *args, **kwargs)

        made = functools.update_wrapper(called, function)
    elif inspect.isasyncgenfunction(function):
        from marsys_core.hosts.streams import generator_on_asyncio

        made = generator_on_asyncio(function)
    elif inspect.iscoroutinefunction(getattr(type(function), "__call__", None)):  # noqa: B004 - which kind it is
        made = crossing(function.__call__)  # type: ignore[operator]
        made.__name__ = getattr(function, "__name__", type(function).__name__)
    else:
        return function
    made.async_library, made._crosses = "asyncio", True
    return made  # type: ignore[no-any-return]


class Adapter:
    """An object written for asyncio, as Trio code sees it: its async methods cross, everything else is its own.

    It is equal to the object, and to any other adapter of it.
    """

    def __init__(self, obj: Any) -> None:
        self.__dict__["_adapted"] = obj

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._adapted, name)
        made = crossing(value) if inspect.ismethod(value) or inspect.isfunction(value) else value
        if made is not value:
            self.__dict__[name] = made  # a method is looked up at every call, and made once
        return made

    def __setattr__(self, name: str, value: Any) -> None:
        self.__dict__.pop(name, None)
        setattr(self._adapted, name, value)

    @property
    def __class__(self) -> Any:
        return type(self._adapted)

    @__class__.setter
    def __class__(self, _: Any) -> None:
        msg = "an adapter has the class of what it adapts"
        raise TypeError(msg)

    def __dir__(self) -> list[str]:
        return dir(self._adapted)

    def __eq__(self, other: object) -> bool:
        return bool(
            self._adapted == (other.__dict__["_adapted"] if issubclass(type(other), Adapter) else other)
        )

    def __hash__(self) -> int:
        return hash(self._adapted)

    def __repr__(self) -> str:
        return repr(self._adapted)


def adapted(obj: Any, whose: str = "", *, library: str = "") -> Any:
    """Return `obj`, or, where it is written for asyncio, one that Trio code can use in its place.

    Args:
        obj: A model, a guard, a channel, ...: any object with async methods, or an async function.
        whose: What it is, for an error.
        library: What it is written for, where that is known; what it says itself by default.

    Raises:
        ConfigError: It says that it is written for something else than Trio or asyncio.
    """
    if (library or written_for(obj, whose)) == "trio" or issubclass(type(obj), Adapter):
        return obj
    if inspect.isfunction(obj) or inspect.ismethod(obj):
        return crossing(obj)
    return Adapter(obj)


def uses_asyncio(obj: T) -> T:
    """Declare that code is written for asyncio, so that it can be used in a run; a decorator.

    The code runs on one asyncio loop: that of the program, where it is an asyncio program, or else one in a thread
    that the engine owns. Cancellation and errors cross, and so does the `context` of an agent or a tool. Code that
    supports Trio, or is written with anyio, needs none of this.

    Args:
        obj: An async function, an async generator function, or a tool or an agent made of one; or a class, whose
            instances then have ``async_library = "asyncio"``.

    Raises:
        ConfigError: A plain function, which runs in a worker thread and needs nothing, or something else.
    """
    made: Any = obj
    if isinstance(obj, type):
        made.async_library = "asyncio"
        return obj
    inner = getattr(obj, "_on_asyncio", None)  # a tool, an agent: they know what of them is called
    if inner is not None:
        return inner()  # type: ignore[no-any-return]
    bare = getattr(obj, "__func__", obj) if isinstance(obj, staticmethod | classmethod) else obj
    made = crossing(bare) if callable(bare) else bare
    if made is bare and not getattr(bare, "_crosses", False):
        raise ConfigError(_refusal(obj))
    return type(obj)(made) if bare is not obj else made  # type: ignore[call-arg]


def _refusal(obj: Any) -> str:
    if inspect.isfunction(obj) or inspect.ismethod(obj):
        return (
            f"@uses_asyncio is for async functions, and {obj.__qualname__} is a plain one: "
            "plain functions run in threads and need nothing; leave it out"
        )
    return f"@uses_asyncio is for an async function, an async generator function, a class or a tool, not {obj!r:.200}"
