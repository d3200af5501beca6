"""Tools that run in a process of their own: which functions can, and how the two processes talk.

The worker is started as ``python -m marsys_core.tools._worker`` and reads one frame from its standard input:
where to find the function, and its arguments. It answers with one frame: a result, or what went wrong. A
frame is its length in bytes as eight digits of hexadecimal, and as many bytes of JSON in UTF-8. Nothing is
pickled. Imported on first use.
"""

from __future__ import annotations

import importlib
import inspect
import json
import os
import sys
import types
from collections.abc import Callable, Mapping
from typing import Any

import attrs

from marsys_core.errors import ConfigError, ToolError
from marsys_core.messages import shown
from marsys_core.tools._signature import Signature
from marsys_core.tools._tool import Tool

__all__ = [
    "HEAD",
    "decode",
    "encode",
    "function_of",
    "isolated",
    "length_of",
    "refusals",
    "request_of",
    "search_path",
]

HEAD = 8
"""How many bytes say how long a frame is."""


def refusals(function: Callable[..., Any], isolation: object) -> list[str]:
    """Say why this function cannot run in a process of its own, as far as that is known when it is defined."""
    if isolation != "process":
        return [f"isolation should be 'process' or None, not {shown(isolation)}"]
    if inspect.ismethod(function) or isinstance(function, classmethod | staticmethod):
        return ["isolation='process' needs a function of a module: a method's object stays in its process"]
    module, name = _address(function)
    if "<" in name:
        return [f"isolation='process' needs a function of a module, which is found by its name, not {name!r}"]
    if module == "__main__":
        return [
            f"isolation='process' cannot find {name!r} in the program that was started: "
            "move it to a module of its own, and import it"
        ]
    return []


def isolated(tool: Tool, signature: Signature) -> Signature:
    """Return the signature of a tool that runs elsewhere: its arguments are checked, and stay as they are.

    Raises:
        ConfigError: The function cannot be found there, or takes a context.
    """
    module, name = _address(tool.function)
    problems = refusals(tool.function, tool.isolation)
    if signature.context_parameter is not None:
        problems.append(
            f"{signature.context_parameter!r} takes the context, which stays in its process: "
            "take what is needed of it as parameters"
        )
    if not problems:
        there = _found(module, name)
        if getattr(sys.modules.get(module), "__spec__", None) is None:
            problems.append(
                f"module {module!r} was made while the program ran: the process could not import it"
            )
        elif there is None or _function(there) is not tool.function:
            problems.append(
                f"{name!r} of module {module!r} is {shown(there)}: "
                "the process would not find the function by its name"
            )
    if problems:
        msg = f"tool {tool.name!r} cannot run in a process of its own:"
        raise ConfigError(msg, problems)

    def check(arguments: dict[str, Any]) -> dict[str, Any]:
        signature.structure(arguments)
        return arguments

    return attrs.evolve(signature, structure=check)


def _address(function: Callable[..., Any]) -> tuple[str, str]:
    return str(function.__module__), function.__qualname__


def _found(module: str, name: str) -> Any:
    """Return what `name` is in `module`, or None. A module that is being imported is left alone."""
    holder: Any = sys.modules.get(module) or importlib.import_module(module)
    for part in name.split("."):
        holder = inspect.getattr_static(holder, part, None)
    return holder


def _function(thing: Any) -> Any:
    """Return the function of a tool, a static method or a function."""
    while isinstance(thing, Tool | staticmethod):
        thing = thing.function if isinstance(thing, Tool) else thing.__func__
    return thing


def search_path() -> list[str]:
    """Return where modules are looked for, here and in the worker."""
    return [entry for entry in sys.path if isinstance(entry, str)]


def request_of(tool: Tool, arguments: Mapping[str, Any], max_bytes: int) -> bytes:
    """Return the frame that asks the worker for a call.

    Raises:
        ToolError: The arguments are no plain data any more: something between has changed them.
    """
    module, name = _address(tool.function)
    try:
        return encode(
            {
                "module": module,
                "name": name,
                "tool": tool.name,
                "arguments": dict(arguments),
                "max_bytes": max_bytes,
                "path": search_path(),
                "pythonpath": os.environ.get("PYTHONPATH"),
            }
        )
    except (TypeError, ValueError) as error:
        msg = f"{tool.name}: the arguments cannot be sent to its process: {error}"
        raise ToolError(msg) from error


def encode(data: Any) -> bytes:
    """Return `data` as a frame.

    Raises:
        TypeError: It is no JSON data.
        ValueError: It is none, or too large.
    """
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    body = text.encode("utf-8", "surrogatepass")
    if len(body) >= 16**HEAD:
        msg = f"{len(body)} bytes are more than a frame holds"
        raise ValueError(msg)
    return b"%08x" % len(body) + body


def length_of(head: bytes) -> int:
    """Return the length that a frame begins with.

    Raises:
        ValueError: It is none.
    """
    return int(head.decode("ascii"), 16)


def decode(body: bytes) -> Any:
    """Return the data of a frame without its head.

    Raises:
        ValueError: It is no JSON.
    """
    return json.loads(body.decode("utf-8", "surrogatepass"))


def function_of(module: str, name: str) -> types.FunctionType:
    """Return the function that a request names.

    Raises:
        ToolError: It is not there.
    """
    try:
        function = _function(_found(module, name))
    except Exception as error:  # importing runs the code of the module
        msg = f"the process of the tool cannot import {module!r}: {type(error).__name__}: {error}"
        raise ToolError(msg) from error
    if not isinstance(function, types.FunctionType):
        msg = f"{name!r} of module {module!r} is {shown(function)} here, and no function"
        raise ToolError(msg)
    return function
