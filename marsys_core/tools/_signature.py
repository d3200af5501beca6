"""Reading a function: what a model is told of it, and how its arguments are structured. Imported on first use."""

from __future__ import annotations

import inspect
import re
import sys
import types
import typing
import weakref
from collections.abc import Callable, Mapping
from typing import Any

import attrs

from marsys_core.errors import ConfigError, ToolError
from marsys_core.tools._arguments import Mismatch, parse_object, sentence
from marsys_core.tools._compiler import Compiler, Unsupported, signature_of
from marsys_core.tools._docstring import describe
from marsys_core.tools._kinds import Field, object_kind
from marsys_core.tools._tool import ToolContext

__all__ = ["Signature", "read"]

_CONTEXT_TEXT = re.compile(r"([\w.]+\.)?ToolContext(\s*\|\s*None)?")


@attrs.frozen(kw_only=True)
class Signature:
    """What was read of a function, once for all tools that are made of it."""

    description: str
    parameters: Mapping[str, Any]
    context_parameter: str | None
    structure: Callable[[dict[str, Any]], dict[str, Any]]

    def bind(self, name: str, arguments: str | Mapping[str, Any]) -> dict[str, Any]:
        """Parse, check and structure the arguments of one call."""
        try:
            given = parse_object(arguments) if isinstance(arguments, str) else dict(arguments)
            return self.structure(given)
        except Mismatch as fault:
            msg = f"{name}: {sentence(fault.problems)}"
            raise ToolError(msg) from None
        except ToolError as error:
            msg = f"{name}: {error}"
            raise ToolError(msg) from None
        except RecursionError:
            msg = f"{name}: the arguments are nested too deeply"
            raise ToolError(msg) from None


_read: weakref.WeakKeyDictionary[types.FunctionType, dict[bool, Signature]] = weakref.WeakKeyDictionary()


def read(function: Callable[..., Any], name: str) -> Signature:
    """Return the signature of a function, from the cache where it was read before.

    Raises:
        ConfigError: A parameter that a model cannot fill; all of them at once.
    """
    bound = inspect.ismethod(function)
    plain = function.__func__ if inspect.ismethod(function) else function
    if not isinstance(plain, types.FunctionType):
        return _compile(function, name)
    known = _read.setdefault(plain, {})
    if bound not in known:
        known[bound] = _compile(function, name)
    return known[bound]


def _compile(function: Callable[..., Any], name: str) -> Signature:
    parameters = _parameters(function, name)
    raw, namespace = _annotations(function)
    context = _context_parameter(parameters, raw)
    description, descriptions = describe(function.__doc__)
    compiler, fields, problems = Compiler(), dict[str, Field](), list[str]()
    for parameter in parameters.values():
        if parameter.name == context:
            continue
        written = raw.get(parameter.name, Any)
        try:
            kind = compiler.compile(_resolve(written, namespace))
        except Unsupported as error:
            problems.append(
                f"{parameter.name!r} is annotated {inspect.formatannotation(written)}, and {error}"
            )
        else:
            fields[parameter.name] = Field.of(parameter, kind, descriptions.get(parameter.name, ""))
    if problems:
        msg = f"tool {name!r} has parameters that a model cannot fill:"
        raise ConfigError(msg, problems)
    kind = object_kind(fields)
    defined = {"$defs": compiler.definitions} if compiler.definitions else {}
    return Signature(
        description=description,
        parameters={**kind.schema, **defined},
        context_parameter=context,
        structure=kind.structure,
    )


def _parameters(function: Callable[..., Any], name: str) -> Mapping[str, inspect.Parameter]:
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        msg = f"tool {name!r} is a generator; return the whole result, for example a list"
        raise ConfigError(msg)
    parameters = signature_of(function).parameters
    problems = [
        f"{str(parameter)!r} is {parameter.kind.description}: a model names each argument of a fixed list"
        for parameter in parameters.values()
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
    ]
    if problems:
        msg = f"tool {name!r} has parameters that a model cannot fill:"
        raise ConfigError(msg, problems)
    return parameters


def _annotations(function: Callable[..., Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the annotations as written, and the names that they are written in."""
    plain: Any = inspect.unwrap(function)  # of a method, what the attributes of its function are
    if sys.version_info >= (3, 14):
        import annotationlib

        raw = annotationlib.get_annotations(plain, format=annotationlib.Format.FORWARDREF)
    else:
        raw = plain.__annotations__
    return raw, plain.__globals__


def _context_parameter(parameters: Mapping[str, inspect.Parameter], raw: Mapping[str, Any]) -> str | None:
    for name in parameters:
        if _is_context(raw.get(name)):
            return name
    if "context" not in parameters:
        return None
    # One of that name that is annotated as something else is an argument like any other.
    annotation = raw.get("context", Any)
    text = annotation if isinstance(annotation, str) else getattr(annotation, "__name__", "")
    return "context" if annotation is Any or text.split(".")[-1] in ("Any", "Context", "object") else None


def _is_context(annotation: Any) -> bool:
    text = annotation if isinstance(annotation, str) else getattr(annotation, "__forward_arg__", "")
    if _CONTEXT_TEXT.fullmatch(text.strip()):  # by its text: the name may be imported for typing only
        return True
    union = typing.get_origin(annotation) in (typing.Union, types.UnionType)
    return annotation is ToolContext or (union and ToolContext in typing.get_args(annotation))


def _resolve(annotation: Any, namespace: dict[str, Any]) -> Any:
    holder = types.SimpleNamespace(__annotations__={"it": annotation})
    try:
        return typing.get_type_hints(holder, globalns=namespace, include_extras=True)["it"]
    except Exception as error:  # evaluating what somebody wrote as a string can raise anything
        raise Unsupported(annotation, f"{error}") from error
