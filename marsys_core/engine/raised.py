"""What tools raise: how its class is recorded, and how it is raised again where the call is answered from the record.

No code comes from the record: a class is looked for among what is imported already, and nothing is imported for it.
"""

from __future__ import annotations

import builtins
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from marsys_core import errors
from marsys_core.errors import ToolError

__all__ = ["class_name", "raised_again", "text_of"]

_KNOWN = (builtins, errors)
_LONGEST = 1_000
# Raised again, these would end a generator or a task and not the call.
_NEVER = (StopIteration, StopAsyncIteration, GeneratorExit)


def text_of(error: BaseException) -> str:
    """Return how an error of a tool is recorded; one that is no error is a cancellation."""
    return f"{type(error).__name__}: {error}" if isinstance(error, Exception) else "interrupted"


def class_name(error: BaseException) -> str:
    """Return where the class of `error` is found, as ``"module:name"``; nothing where `text_of` tells it."""
    cls = type(error)
    if not isinstance(error, Exception) or any(vars(module).get(cls.__name__) is cls for module in _KNOWN):
        return ""
    return f"{cls.__module__}:{cls.__qualname__}"


def raised_again(text: str, recorded: str, function: Callable[..., Any] | None) -> Exception:
    """Return the error that a tool raised, or a `ToolError` with the name of its class where that is not found.

    Args:
        text: What `text_of` gave.
        recorded: What `class_name` gave.
        function: The function of the tool, in whose module the class may be.
    """
    name, _, said = text.partition(": ")
    for cls in _classes(name, recorded, function):
        for make in (_called, _made, _read):
            error = make(cls, said)
            if error is not None and type(error) is cls and _told(error) == text:
                return error
    return ToolError(text)


def _classes(name: str, recorded: str, function: Callable[..., Any] | None) -> Iterator[type[Exception]]:
    """Yield the classes that may be meant."""
    if not recorded:
        found = [vars(module).get(name) for module in reversed(_KNOWN)]
    else:
        module, _, path = recorded.partition(":")
        found = [_inside(vars(sys.modules[module]), path) if module in sys.modules else None]
    if function is not None:
        found.append(getattr(inspect.unwrap(function), "__globals__", {}).get(name))
    for cls in found:
        if (
            isinstance(cls, type)
            and issubclass(cls, Exception)
            and not issubclass(cls, _NEVER)
            and cls.__name__ == name
        ):
            yield cls


def _inside(names: Mapping[str, Any], path: str) -> Any:
    """Return what lies at `path`, without asking a module or a class that makes what it is asked for."""
    found: Any = None
    for part in path.split("."):
        found = names.get(part)
        names = vars(found) if isinstance(found, type) else {}
    return found


def _called(cls: type[Exception], said: str) -> Exception | None:
    try:
        return cls(said)
    except Exception:  # it is made of something else
        return None


def _made(cls: type[Exception], said: str) -> Exception | None:
    try:
        error = cls.__new__(cls)
        error.args = (said,)
    except Exception:  # it cannot be made without what it is made of
        return None
    return error


def _read(cls: type[Exception], said: str) -> Exception | None:
    """Return a `KeyError`, which says what it was given as it is written in code."""
    if not issubclass(cls, KeyError) or len(said) > _LONGEST:
        return None
    import ast

    try:
        return _called(cls, ast.literal_eval(said))
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None


def _told(error: Exception) -> str:
    try:
        return text_of(error)
    except Exception:  # it says something about what it was not given
        return ""
