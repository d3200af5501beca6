"""What a run is made of, in a form that can be compared: source, instructions, models, topology, settings.

Never the values of attributes or the identity of objects: the same program, started again, has the same print.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import json
import weakref
from collections.abc import Hashable, Mapping
from types import CodeType
from typing import TYPE_CHECKING, Any, cast

import attrs

from marsys_core.agents import FunctionAgent
from marsys_core.agents.pool import AgentPool
from marsys_core.config import ExecutionConfig
from marsys_core.errors import ChangedRun, TopologyError
from marsys_core.models import ModelConfig

if TYPE_CHECKING:
    from marsys_core.engine.prepared import Prepared
    from marsys_core.engine.run import RunShell
    from marsys_core.tools import Tool
    from marsys_core.topology import Topology
    from marsys_core.topology.graph import Graph

__all__ = ["drawn", "made_of", "refuse_changes"]

_SHORT = 16  # hex digits: two texts that differ have the same ones by accident once in 10**19


_BESIDE = frozenset({"status", "raise_errors", "durability", "on_uncertain"})
"""Settings on how a run is shown, told and kept, and on what becomes of its calls that were cut off."""


def made_of(run: RunShell) -> dict[str, Any]:
    """Return what `run` is made of, as plain data."""
    return {
        "topology": run.topology.fingerprint[:_SHORT],
        "agents": {node: _agent(prepared) for node, prepared in sorted(run.agents.items())},
        "settings": _settings(run.config),
    }


# The graph of a topology is made anew when the topology changes; many runs have one topology.
_drawings: weakref.WeakKeyDictionary[Graph, str] = weakref.WeakKeyDictionary()


def drawn(topology: Topology) -> str:
    """Return a topology as JSON text; ``null`` where it has functions in it, which data cannot have."""
    known = _drawings.get(topology.graph)
    if known is None:
        try:
            known = json.dumps(topology.to_dict())
        except (TopologyError, TypeError, ValueError):
            known = "null"
        _drawings[topology.graph] = known
    return known


def refuse_changes(run_id: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """See that a run goes on with what it began with.

    Raises:
        ChangedRun: Something differs; each difference is one of its problems.
    """
    problems = [*_differences("", before, now)]
    if problems:
        msg = (
            f"run {run_id!r} began with something else than what is here now; "
            "resume it with accept_changes=True if that is meant"
        )
        raise ChangedRun(msg, problems)


def _differences(path: str, before: Any, now: Any) -> list[str]:
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        found = []
        for key in sorted({*before, *now}):
            inner = f"{path}.{key}" if path else key
            if key not in now:
                found.append(f"{inner}: is not there any more")
            elif key not in before:
                found.append(f"{inner}: is new")
            else:
                found += _differences(inner, before[key], now[key])
        return found
    return [] if before == now else [f"{path}: was {before!r:.100}, is {now!r:.100}"]


def _agent(prepared: Prepared) -> dict[str, Any]:
    agent = prepared.agent
    cls = agent.agent_class if isinstance(agent, AgentPool) else type(agent)
    made: dict[str, Any] = {
        "class": f"{cls.__module__}.{cls.__qualname__}",
        "source": _source(cast("Hashable", cls)),
    }
    if isinstance(agent, FunctionAgent):
        made["source"] = _source(agent.function)
    system = getattr(agent, "system", "")
    if isinstance(system, str) and system:
        made["instruction"] = _digest(system)
    if prepared.model is not None:
        given = prepared.given_model
        made["model"] = (
            str(given) if isinstance(given, str | ModelConfig) else getattr(prepared.model, "name", "")
        )
    if prepared.tools:
        made["tools"] = {name: _tool(tool) for name, tool in sorted(prepared.tools.items())}
    return made


def _tool(tool: Tool) -> str:
    return _source(getattr(tool.function, "__func__", tool.function))


def _settings(config: ExecutionConfig) -> dict[str, Any]:
    """The settings that are not the default ones, without those that do not change what a run does."""
    return {
        name: repr(value)
        for name, default in _defaults()
        if (value := getattr(config, name)) is not default and value != default
    }


@functools.cache
def _defaults() -> list[tuple[str, Any]]:
    return [
        (field.name, _default(field)) for field in attrs.fields(ExecutionConfig) if field.name not in _BESIDE
    ]


def _default(field: Any) -> Any:
    default = field.default
    return default.factory() if isinstance(default, attrs.Factory) else default  # type: ignore[arg-type]


def _source(code: Any) -> str:
    """Return a digest of the source of a class or a function; of its code, where the source is not there."""
    # A function that is made anew for each run has the same code each time, and its source is read once.
    whole = inspect.unwrap(code)
    return _source_of(getattr(whole, "__code__", whole))


@functools.lru_cache(maxsize=1024)
def _source_of(code: Any) -> str:
    try:
        return _digest(inspect.getsource(code))
    except (OSError, TypeError):
        return _digest(_compiled(code)) if isinstance(code, CodeType) else ""


def _compiled(const: Any) -> str:
    """Return what a function was compiled to; the same in each process, whatever lies where in memory."""
    if isinstance(const, CodeType):
        return f"{const.co_code!r} {[_compiled(each) for each in const.co_consts]} {const.co_names}"
    return repr(sorted(map(repr, const)) if isinstance(const, frozenset) else const)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()[:_SHORT]
