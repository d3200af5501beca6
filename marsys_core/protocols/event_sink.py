"""Event sinks: listeners on the stream of a run's events, for metrics, traces and logs."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

import attrs

from marsys_core.errors import PluginError, nearest
from marsys_core.logs import get_logger

__all__ = ["EventSink", "Sinks", "bind_sinks"]

_CAPITAL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


class EventSink(Protocol):
    """An object with any of these synchronous methods; it need not inherit from anything.

    * ``on_event(event)`` hears every event that is recorded.
    * ``on_<kind>(event)`` hears one kind, written in snake case: ``on_step_finished``.

    * ``on_model_delta(event)`` hears the pieces of answers as they come, which are not recorded; where a sink has
      it, models that can are asked to answer in pieces.

    Where both are there, `on_event` is called first. The methods run between two steps of the engine:
    they must not block and they cannot wait; what takes long is handed to a task that the sink's
    opener started. A sink that raises is disabled for the rest of its life, which one log line with
    the traceback says, and the run goes on.
    """


@attrs.define(eq=False)
class _Listener:
    """One sink, whose methods stand in the table under each event type it hears."""

    name: str
    disabled: bool = False


_Table = dict[type, tuple[tuple[_Listener, Callable[[Any], object]], ...]]


@attrs.define(eq=False)
class Sinks:
    """Who hears which type of event. Made by `bind_sinks`; belongs to one engine."""

    _table: _Table

    def hears(self, event_type: type) -> bool:
        """Say whether anyone listens, so that an event nobody wants need not be made."""
        return event_type in self._table

    def emit(self, event: object) -> None:
        """Tell everyone who listens to this type. A sink that raises hears nothing more."""
        for listener, method in self._table.get(type(event), ()):
            if listener.disabled:
                continue  # its other method for this very event has just raised
            try:
                method(event)
            except Exception:
                self._disable(listener, event)

    def _disable(self, broken: _Listener, event: object) -> None:
        get_logger("plugins").exception(
            "event sink %r raised on %s and is disabled", broken.name, type(event).__name__
        )
        broken.disabled = True
        for event_type, entries in list(self._table.items()):
            kept = tuple(entry for entry in entries if entry[0] is not broken)
            if kept:
                self._table[event_type] = kept
            else:
                del self._table[event_type]


def bind_sinks(
    sinks: Mapping[str, object], event_types: Iterable[type], streamed: Iterable[type] = ()
) -> Sinks:
    """Look up every sink's methods once, so that telling them is a dictionary lookup.

    Args:
        sinks: The open sinks under the names of their providers.
        event_types: Every type of event there is that is recorded.
        streamed: Those that are not, which only a sink hears that has the method of the kind.

    Raises:
        PluginError: A sink has a method for a kind of event that does not exist, or none at all.
    """
    kinds = {_method_name(event_type): event_type for event_type in event_types}
    passing = {_method_name(event_type): event_type for event_type in streamed}
    problems = [
        problem for name, sink in sinks.items() for problem in _problems(name, sink, {**kinds, **passing})
    ]
    if problems:
        msg = "event sinks cannot be bound:"
        raise PluginError(msg, problems)
    table: _Table = {}
    for name, sink in sinks.items():
        listener = _Listener(name)
        for method_name, event_type in (*kinds.items(), *passing.items()):
            wanted = ("on_event", method_name) if method_name in kinds else (method_name,)
            methods = (getattr(sink, each, None) for each in wanted)
            found = tuple((listener, method) for method in methods if method is not None)
            if found:
                table[event_type] = table.get(event_type, ()) + found
    return Sinks(table)


def _method_name(event_type: type) -> str:
    return f"on_{_CAPITAL.sub('_', event_type.__name__).lower()}"


def _problems(name: str, sink: object, kinds: Mapping[str, type]) -> list[str]:
    known = {"on_event", *kinds}
    methods = [each for each in dir(sink) if each.startswith("on_") and callable(getattr(sink, each))]
    if not methods:
        return [f"sink {name!r} has no on_event nor any other on_... method: {sink!r}"]
    waiting = [each for each in methods if inspect.iscoroutinefunction(getattr(sink, each))]
    return [
        *(f"sink {name!r} has an async {each!r}; a sink's methods are plain functions" for each in waiting),
        *(
            f"sink {name!r} has {each!r}, and there is no such kind of event.{nearest(each, known)}"
            for each in methods
            if each not in known
        ),
    ]
