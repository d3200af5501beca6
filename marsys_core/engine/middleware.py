"""Middleware that is written for asyncio, made ready to stand round calls in Trio."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import attrs

from marsys_core.hosts.bridge import Abroad, Call, on_asyncio
from marsys_core.hosts.declared import Adapter, written_for
from marsys_core.protocols.middleware import METHODS

__all__ = ["usable_middleware"]


@attrs.frozen(eq=False)
class _Proceed:
    """What does the rest of the work; awaited in asyncio, it does so in Trio."""

    _proceed: Callable[[Any], Awaitable[Any]]

    def _for_asyncio(self, call: Call) -> Any:
        return Abroad(self._proceed, call)


class _Adapter(Adapter):
    def __getattr__(self, name: str) -> Any:
        if name not in METHODS:
            return super().__getattr__(name)
        method = getattr(self._adapted, name)

        @functools.wraps(method)
        async def layer(call: Any, proceed: Any) -> Any:
            return await on_asyncio(method, call, _Proceed(proceed))

        return layer


def usable_middleware(given: Sequence[Any]) -> tuple[Any, ...]:
    """Return the middleware, each as Trio code can use it.

    Raises:
        ConfigError: One says that it is written for something else than Trio or asyncio.
    """
    return tuple(
        each
        if isinstance(each, type) or written_for(each, f"middleware {each!r:.200}") == "trio"
        else _Adapter(each)
        for each in given
    )
