"""The agents of a team file."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from marsys.cli.problems import Problems, at
from marsys.cli.team_pools import pool_settings
from marsys_core.agents import Agent, BaseAgent, FunctionAgent, Registry
from marsys_core.agents.pool import AgentPool
from marsys_core.errors import ConfigError, UnknownName, nearest
from marsys_core.plugins.providers import Provider

if TYPE_CHECKING:
    from marsys_core.plugins import Composition

__all__ = ["Agents", "make_agents"]

_TEXTS = ("model", "instruction", "goal", "memory", "description", "history", "memory_scope")
_SCHEMAS = ("output_schema", "input_schema")
_AGENT = (*_TEXTS, "tools", *_SCHEMAS, "class", "function", "pool")
_FUNCTION = ("function", "description", *_SCHEMAS, "pool")
_OWN = ("name", "agent_name")


@attrs.frozen(kw_only=True, eq=False)
class Agents:
    """The agents of a team.

    Args:
        names: All names, also of agents that could not be made.
        made: The agents.
        providers: What they name of plugins, ``(kind, name)``, and the path of the first mention.
    """

    names: tuple[str, ...]
    made: Mapping[str, BaseAgent]
    providers: Mapping[tuple[str, str], str]


def make_agents(given: object, folder: Path, composition: Composition | None, problems: Problems) -> Agents:
    """Make the agents of ``[agents.*]``; what is wrong is added to `problems`.

    Args:
        given: The table.
        folder: Where own classes and functions are imported from.
        composition: What plugins declare, to look names up; None where that is not known.
        problems: Takes what is wrong.
    """
    tables = problems.table(given, "$.agents")
    if not tables and not problems.found:
        problems.add("there is no agent; add a table [agents.NAME]", "$.agents")
    made: dict[str, BaseAgent] = {}
    providers: dict[tuple[str, str], str] = {}
    # A registry of its own, so that loading a file changes nothing for anybody else.
    with Registry():
        for name, table in tables.items():
            path = at("$.agents", name)
            fields = problems.table(table, path)
            if isinstance(table, dict) and (agent := _made(name, fields, path, folder, problems)) is not None:
                made[name] = agent
            if composition is not None:
                _look_up(fields, path, composition, providers, problems)
    return Agents(names=tuple(tables), made=made, providers=providers)


def _made(
    name: str, table: Mapping[str, Any], path: str, folder: Path, problems: Problems
) -> BaseAgent | None:
    before = len(problems.found)
    if "pool" in table:
        table = {**table, "pool": pool_settings(table["pool"], at(path, "pool"), problems)}
    for key in _TEXTS:
        problems.text(table, key, path)
    for key in _SCHEMAS:
        problems.table(table.get(key), at(path, key))
    tools = [each for _, each in problems.texts(table, "tools", path)]
    twice = sorted({each for each in tools if tools.count(each) > 1})
    if twice:
        problems.add(f"{', '.join(map(repr, twice))} twice; name each tool once", at(path, "tools"))
    if "class" in table and "function" in table:
        problems.add("an agent is a class or a function, not both; remove one", path)
    elif "function" in table:
        return _of_function(name, table, path, folder, problems)
    elif "class" in table:
        return _of_class(name, table, path, folder, problems) if len(problems.found) == before else None
    else:
        problems.refuse_unknown(table, _AGENT, path)
        if not table.get("model"):
            problems.add("an agent needs a model: model = \"NAME\"; 'marsys plugins -v' lists them", path)
    if len(problems.found) > before:
        return None
    return _constructed(Agent, {"name": name, **table}, path, problems)


def _of_function(
    name: str, table: Mapping[str, Any], path: str, folder: Path, problems: Problems
) -> BaseAgent | None:
    problems.refuse_unknown(table, _FUNCTION, path)
    found = _imported(table["function"], folder, at(path, "function"), problems)
    if found is None:
        return None
    function = found.function if isinstance(found, FunctionAgent) else found
    if isinstance(function, type) or not callable(function):
        problems.add(f"{table['function']!r} is no function: {function!r}", at(path, "function"))
        return None
    described = table.get("description") or (found.description if isinstance(found, FunctionAgent) else "")
    schemas = {key: table[key] for key in _SCHEMAS if isinstance(table.get(key), dict)}
    given = {
        "function": function,
        "name": name,
        "description": described,
        "pool": table.get("pool"),
        **schemas,
    }
    return _constructed(FunctionAgent, given, at(path, "function"), problems)


def _of_class(
    name: str, table: Mapping[str, Any], path: str, folder: Path, problems: Problems
) -> BaseAgent | None:
    place = at(path, "class")
    found = _imported(table["class"], folder, place, problems)
    if found is None:
        return None
    if not (isinstance(found, type) and issubclass(found, BaseAgent)):
        problems.add(f"{table['class']!r} is no subclass of BaseAgent: {found!r}", place)
        return None
    before = len(problems.found)
    parameters, open_ended = _parameters(found)
    given = {key: value for key, value in table.items() if key != "class"}
    for key in given:
        if key in _OWN:
            problems.add(f"the agent is called {name!r} by its table; remove this", at(path, key))
        elif key != "pool" and not open_ended and key not in parameters:
            known = sorted(set(parameters) - set(_OWN))
            hint = nearest(key, known) or f" It takes: {', '.join(known) or 'nothing'}."
            problems.add(f"{found.__name__} does not take {key!r}.{hint}", path)
    if len(problems.found) > before:
        return None
    own = next((key for key in _OWN if key in parameters), "name" if open_ended else None)
    return _constructed(found, given if own is None else {own: name, **given}, path, problems)


def _parameters(cls: type) -> tuple[list[str], bool]:
    """Return what a class is made with by name, and whether it takes anything else as well."""
    parameters = inspect.signature(cls).parameters.values()
    named = [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    return named, any(p.kind is p.VAR_KEYWORD for p in parameters)


def _constructed(make: Any, given: Mapping[str, Any], path: str, problems: Problems) -> BaseAgent | None:
    arguments = {key: value for key, value in given.items() if key != "pool"}
    try:
        agent: BaseAgent = make(**arguments)
        if given.get("pool") is not None:  # the agent was the proof that its instances can be made
            others = {key: value for key, value in arguments.items() if key not in _OWN}
            agent = AgentPool(make, name=agent.name, **given["pool"], **others)
    except ConfigError as error:
        problems.take(error, path)
    except Exception as error:
        # An agent's own code, which may raise anything.
        problems.add(f"{make.__name__} cannot be made: {type(error).__name__}: {error}", path)
    else:
        return agent
    return None


def _imported(target: object, folder: Path, path: str, problems: Problems) -> Any:
    """Return what ``"module:name"`` names, or None and a problem."""
    if not problems.expect(target, str, path):
        return None
    assert isinstance(target, str)
    module, colon, name = target.partition(":")
    if not colon or not name.isidentifier() or not all(part.isidentifier() for part in module.split(".")):
        problems.add(f"{target!r} is not of the form 'module:Name'", path)
        return None
    # As for a program that lies there: also what its agents import later is found.
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    try:
        loaded = importlib.import_module(module)
        return getattr(loaded, name)
    except AttributeError:
        known = [each for each in vars(loaded) if not each.startswith("_")] if module in sys.modules else []
        problems.add(f"module {module!r} has no {name!r}.{nearest(name, known)}", path)
    except (Exception, SystemExit) as error:
        problems.add(f"{target!r} cannot be imported: {type(error).__name__}: {error}", path)
    return None


def _look_up(
    table: Mapping[str, Any],
    path: str,
    composition: Composition,
    providers: dict[tuple[str, str], str],
    problems: Problems,
) -> None:
    """See that plugins provide what the agent names, and that one checks its schemas."""
    _check_schemas(table, path, composition, problems)
    tools = table.get("tools", ())
    wanted = [(kind, table.get(kind), at(path, kind)) for kind in ("model", "memory")]
    wanted += [
        ("tool", tool, at(at(path, "tools"), i))
        for i, tool in enumerate(tools if isinstance(tools, list) else ())
    ]
    for kind, name, place in wanted:
        if not isinstance(name, str) or not name:
            continue  # not said, or said to be wrong already
        provider = _provider_of(kind, name, composition)
        try:
            declared = composition.item(kind, provider)
        except UnknownName as error:
            problems.add(str(error), place)
            continue
        if provider != name and not isinstance(declared, Provider):
            problems.add(f"tool {provider!r} is a single tool; write {provider!r}, not {name!r}", place)
        providers.setdefault((kind, provider), place)


def _check_schemas(table: Mapping[str, Any], path: str, composition: Composition, problems: Problems) -> None:
    for key in _SCHEMAS:
        if isinstance(table.get(key), dict):
            try:
                composition.choose("schema checker")
            except ConfigError as error:
                problems.add(f"the schema cannot be checked: {error}", at(path, key))


def _provider_of(kind: str, name: str, composition: Composition) -> str:
    """Return the name under which plugins know it: for ``box:tool`` that of the box."""
    if kind != "tool" or name in composition.names("tool"):
        return name
    return name.partition(":")[0]
