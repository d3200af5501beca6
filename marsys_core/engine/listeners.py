"""Event sinks that are written for asyncio: they hear events on its loop."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from marsys_core.hosts.bridge import soon_on
from marsys_core.hosts.declared import Adapter, written_for
from marsys_core.hosts.loops import loops
from marsys_core.logs import get_logger

__all__ = ["usable_sink"]


class _Listener(Adapter):
    """A sink whose methods are called on the asyncio loop, one after another, in the order of the events."""

    def __init__(self, sink: Any, name: str, soon: Callable[..., Any]) -> None:
        super().__init__(sink)
        self.__dict__.update(_name=name, _soon=soon, _disabled=False)

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._adapted, name)
        if not name.startswith("on_") or not callable(method):
            return method

        @functools.wraps(method)
        def hear(event: object) -> None:
            self._soon(self._tell, method, event)

        return hear

    def _tell(self, method: Callable[[Any], object], event: object) -> None:
        if self.__dict__["_disabled"]:
            return
        try:
            method(event)
        except Exception:
            self.__dict__["_disabled"] = True
            get_logger("plugins").exception(
                "event sink %r raised on %s and is disabled", self._name, type(event).__name__
            )


def usable_sink(sink: Any, name: str) -> Any:
    """Return `sink`, or, where it is written for asyncio, one that tells it of events on the asyncio loop.

    The caller holds that loop for as long as there are events.

    Raises:
        ConfigError: It says that it is written for something else than Trio or asyncio.
    """
    if isinstance(sink, type) or written_for(sink, f"event sink {name!r}") == "trio":
        return sink
    return _Listener(sink, name, soon_on(loops().loop()))
