"""What a plugin hands over: how to open one named thing."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Generic, TypeVar

import attrs

from marsys_core.hosts.declared import checked_library
from marsys_core.plugins.secrets import Secrets
from marsys_core.protocols.secret_source import SecretLookup

__all__ = ["EngineInfo", "OpenContext", "Provider"]

T_co = TypeVar("T_co", covariant=True)


@attrs.frozen(kw_only=True)
class EngineInfo:
    """Who is opening.

    Args:
        name: What the embedding application calls its engine; for logs and metrics.
        version: The version of `marsys_core`.
        directory: Where files may be written, or None: then nothing is written to disk.
        storage: The file that runs are to be kept in, where the application names one.
    """

    name: str
    version: str
    directory: Path | None = None
    storage: Path | None = None


@attrs.frozen(eq=False)
class OpenContext:
    """What an opener may use.

    Args:
        engine: Who is opening.
        log: The plugin's own logger, ``marsys.<plugin>``.
        secrets: Finds keys: in the environment, then in the secret sources of plugins.
    """

    engine: EngineInfo
    log: logging.Logger
    secrets: SecretLookup = attrs.field(factory=Secrets)


def _is_a_name(_provider: object, _attribute: object, name: Any) -> None:
    if not isinstance(name, str) or not name or name != name.strip():
        msg = f"a provider's name is a string without spaces round it, not {name!r}"
        raise ValueError(msg)


def _is_callable(_provider: object, attribute: Any, function: Any) -> None:
    if function is not None and not callable(function):
        returned = "async context manager" if attribute.name == "open" else "object"
        msg = (
            f"a provider's {attribute.name} is a function (context, settings) -> {returned}, not {function!r}"
        )
        raise TypeError(msg)


def _is_attrs_class(_provider: object, _attribute: object, settings: Any) -> None:
    if settings is not None and not (isinstance(settings, type) and attrs.has(settings)):
        msg = f"a provider's settings is an attrs class, not {settings!r}"
        raise TypeError(msg)


def _is_a_library(provider: Any, _attribute: object, library: object) -> None:
    checked_library(library, f"provider {provider.name!r}")


def _names(features: Iterable[str]) -> frozenset[str]:
    return frozenset(features)


@attrs.frozen(eq=False)
class Provider(Generic[T_co]):
    """How to open one named thing. Cheap to make; nothing happens until the engine opens it.

    Import what is heavy inside `open`, so that a plugin that is installed and not used costs nothing.
    Raise `PluginUnavailable` there where a package is missing; its text is the remedy.

    Args:
        name: Unique within its kind; what the configuration says: ``model = "echo"``.
        open: Takes an `OpenContext` and the settings, and returns an async context manager. It is
            entered and left in one task of its own, so it may hold nurseries.
        make: In place of `open`, for what needs no closing: takes the same and returns the object at once.
            It costs no task, and it must not block.
        settings: An attrs class. The plugin's section of the configuration is structured into it, and
            `open` gets the instance; without one, `open` gets the plugin's own settings.
        features: Optional abilities, by name; contract checks read them.
        summary: One line for ``marsys plugins``.
        async_library: ``"asyncio"`` where what `open` returns is written for asyncio: it is entered and left in
            one asyncio task, and the async methods of the object that it opens to run on that loop, too.
    """

    name: str = attrs.field(validator=_is_a_name)
    open: Callable[[OpenContext, Any], AbstractAsyncContextManager[T_co]] | None = attrs.field(
        default=None, validator=_is_callable
    )
    make: Callable[[OpenContext, Any], T_co] | None = attrs.field(
        default=None, kw_only=True, validator=_is_callable
    )
    settings: type | None = attrs.field(default=None, kw_only=True, validator=_is_attrs_class)
    features: frozenset[str] = attrs.field(default=frozenset(), kw_only=True, converter=_names)
    summary: str = attrs.field(default="", kw_only=True)
    async_library: str = attrs.field(default="trio", kw_only=True, validator=_is_a_library)

    def __attrs_post_init__(self) -> None:
        if (self.open is None) is (self.make is None):
            msg = f"provider {self.name!r} has one of open and make, and not both: what it offers is opened or made"
            raise TypeError(msg)
