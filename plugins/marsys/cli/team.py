"""Team files: a team of agents, how they are connected, and the limits of its runs, in TOML.

::

    name = "Research"

    [agents.Reader]
    model = "extractive"
    tools = ["search"]

    [agents.Writer]
    model = "extractive"

    [topology]
    flows = ["Reader -> Writer"]

    [limits]
    timeout = 60

    [plugins.search]
    folder = "library"
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import attrs

from marsys.cli.knobs import Knobs
from marsys.cli.notes import prints_on_stderr
from marsys.cli.problems import Problems, at
from marsys.cli.team_agents import make_agents
from marsys.cli.team_file import read_team_file
from marsys.cli.team_topology import lay_out
from marsys_core.config import ExecutionConfig, RetryConfig, StatusConfig
from marsys_core.errors import ConfigError, UnknownName
from marsys_core.plugins import PluginSettings, compose

if TYPE_CHECKING:
    from marsys_core.agents import BaseAgent
    from marsys_core.plugins import Composition
    from marsys_core.topology import Topology

__all__ = ["LoadedTeam", "load_team", "team_from"]

_KEYS = ("team", "name", "description", "agents", "topology", "limits", "plugins")
_PLACES = ("database", "directory", "files", "folder", "path")
_CONFIG = "$.execution_config"


@attrs.frozen(kw_only=True, eq=False)
class LoadedTeam:
    """A team, ready to run.

    Args:
        name: What people call it.
        description: What it is for.
        topology: Who may invoke whom; it can run.
        agents: The agents, by name.
        config: The limits of its runs; errors are in the result.
        plugins: Which plugins, and with what settings.
    """

    name: str
    description: str
    topology: Topology
    agents: Mapping[str, BaseAgent]
    config: ExecutionConfig
    plugins: PluginSettings


def load_team(
    path: Path,
    knobs: Knobs | None = None,
    *,
    input_folder: Path | None = None,
    models: Mapping[str, str] = MappingProxyType({}),
    to_run: bool = True,
) -> LoadedTeam:
    """Read a team file, and check all of it.

    Args:
        path: The file. Relative folders in it are relative to where it lies, and own agents are imported
            from there.
        knobs: What the command line says of plugins.
        input_folder: The folder that the team's search tools are to search.
        models: Models to take instead of those in the file, by agent; under an empty name, for all that have one.
        to_run: Whether the plugins' settings must be complete.

    Raises:
        ConfigError: Everything that is wrong, at once, each with its path in the file.
    """
    return team_from(
        _with_models(read_team_file(path), models),
        folder=path.absolute().parent,
        called=f"team file {str(path)!r}",
        knobs=knobs or Knobs(),
        input_folder=input_folder,
        to_run=to_run,
    )


def team_from(
    data: Mapping[str, Any],
    *,
    folder: Path,
    called: str = "the team",
    knobs: Knobs = Knobs(),  # noqa: B008 - immutable
    input_folder: Path | None = None,
    to_run: bool = True,
) -> LoadedTeam:
    """Make a team of the data of a team file.

    Args:
        data: What the file says.
        folder: Where relative folders begin, and where own agents are imported from.
        called: What messages call it.
        knobs: What the command line says of plugins.
        input_folder: The folder that the team's search tools are to search.
        to_run: Whether the plugins' settings must be complete.

    Raises:
        ConfigError: Everything that is wrong, at once, each with its path in the file.
    """
    problems = Problems()
    table = problems.table(dict(data), "$", _KEYS)
    name, description = (_title(table, key, problems) for key in ("name", "description"))
    config = _limits(table.get("limits"), problems)
    plugins = _plugins(table.get("plugins"), folder, knobs, input_folder, problems)
    composition = _composed(plugins, knobs, problems)
    agents = make_agents(table.get("agents"), folder, composition, problems)
    topology = lay_out(table.get("topology"), agents.names, composition, problems)
    if input_folder is not None and composition is not None:  # what the agents name is known only with it
        _check_input(input_folder, agents.providers, problems)
    if to_run and composition is not None and not problems.found:
        _check_settings(composition, agents.providers, input_folder, problems)
    problems.raise_all(f"{called} cannot be used:")
    assert config is not None
    assert plugins is not None
    assert topology is not None  # each is missing only with a problem
    return LoadedTeam(
        name=name,
        description=description,
        topology=topology,
        agents=agents.made,
        config=config,
        plugins=plugins,
    )


def _with_models(data: dict[str, Any], models: Mapping[str, str]) -> dict[str, Any]:
    """Return what a team file says, with other models.

    Raises:
        ConfigError: An agent that is not in the file, or one that has no model.
    """
    agents = data.get("agents")
    if not models or not isinstance(agents, dict):
        return data
    tables = {name: table for name, table in agents.items() if isinstance(table, dict)}
    problems = []
    for name in models:
        if name and name not in tables:
            problems.append(str(UnknownName("agent of the team", name, tables)))
        elif name and "function" in tables[name]:
            problems.append(f"agent {name!r} is a function and has no model")
    if not problems and not any("model" in table for table in tables.values()) and "" in models:
        problems.append("no agent of the team has a model")
    if problems:
        raise ConfigError("--model cannot be used:", problems)
    everyone = models.get("")
    chosen = {
        name: models.get(name, everyone if "model" in table else None) for name, table in tables.items()
    }
    changed = {name: {**tables[name], "model": model} for name, model in chosen.items() if model is not None}
    return {**data, "agents": {**agents, **changed}}


def _title(table: Mapping[str, Any], key: str, problems: Problems) -> str:
    """Return a name or description, which stands at the top or under ``[team]``."""
    team = table.get("team", {})
    if key == "name":  # once is enough
        problems.table(team, "$.team", ("name", "description"))
    team = team if isinstance(team, dict) else {}
    if key in table and key in team:
        problems.add(f"{key!r} stands at the top of the file too; remove one of them", f"$.team.{key}")
    return problems.text(table, key, "$") or problems.text(team, key, "$.team")


def _limits(given: object, problems: Problems) -> ExecutionConfig | None:
    table = dict(problems.table(given, "$.limits"))
    if "raise_errors" in table:
        problems.add("the command line always reports errors itself; remove this", "$.limits.raise_errors")
        del table["raise_errors"]
    sound = True
    for key, kind in (("retry", RetryConfig), ("status", StatusConfig)):
        if key in table:
            section = problems.table(table.pop(key), f"$.limits.{key}")
            made = _configured(kind, section, f"{_CONFIG}.{key}", f"$.limits.{key}", problems)
            sound = sound and made is not None
            table |= {} if made is None else {key: made}
    config = _configured(ExecutionConfig, {**table, "raise_errors": False}, _CONFIG, "$.limits", problems)
    return config if sound else None


def _configured(kind: Any, table: Mapping[str, Any], instead_of: str, path: str, problems: Problems) -> Any:
    try:
        return kind(**table)
    except ConfigError as error:
        problems.take(error, path, instead_of=instead_of)
        return None


def _plugins(
    given: object, folder: Path, knobs: Knobs, input_folder: Path | None, problems: Problems
) -> PluginSettings | None:
    table = {
        name: _with_places(section, folder) if isinstance(section, dict) else section
        for name, section in problems.table(given, "$.plugins").items()
    }
    if input_folder is not None and isinstance(table.setdefault("search", {}), dict):
        table["search"]["folder"] = str(input_folder.absolute())
    try:
        return knobs.over(PluginSettings.from_mapping(table))
    except ConfigError as error:
        problems.take(
            error, ""
        )  # it says itself whether the file, the environment or the command line is wrong
        return None


def _with_places(section: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return a plugin's section with relative places made absolute; ``:memory:`` and URLs stay as they are."""
    return {key: _placed(folder, value) if key in _PLACES else value for key, value in section.items()}


def _placed(folder: Path, value: Any) -> Any:
    if isinstance(value, list):
        return [_placed(folder, each) for each in value]
    return str(folder / value) if isinstance(value, str) and value and ":" not in value else value


def _composed(plugins: PluginSettings | None, knobs: Knobs, problems: Problems) -> Composition | None:
    """Return what plugins declare; where their settings are wrong, what they declare without any."""
    if plugins is not None:
        try:
            with prints_on_stderr():
                return compose(plugins)
        except ConfigError as error:
            problems.take(error, "")
        except Exception as error:
            # In strict mode, whatever a plugin raised.
            _take_any(error, problems)
    with contextlib.suppress(Exception), prints_on_stderr():  # whatever it is, it is among the problems
        return compose(knobs.over())
    return None


def _take_any(error: Exception, problems: Problems) -> None:
    notes = "; ".join(getattr(error, "__notes__", ()))
    problems.add(f"{type(error).__name__}: {error} ({notes})", "")


def _check_input(folder: Path, providers: Mapping[tuple[str, str], str], problems: Problems) -> None:
    from marsys.search.reading import SUFFIXES, list_files

    shown = repr(str(folder))
    if ("tool", "search") not in providers:
        problems.add(
            "nothing in this team uses an input: no agent has a tool 'search' or 'search:...'", "--input"
        )
    if folder.is_file():
        problems.add(f"{shown} is a file; name the folder that it is in", "--input")
    elif not folder.is_dir():
        problems.add(f"there is no folder {shown}", "--input")
    elif not list_files(folder):
        endings = ", ".join(sorted(SUFFIXES))
        problems.add(f"folder {shown} has no file that can be read ({endings})", "--input")


def _check_settings(
    composition: Composition,
    providers: Mapping[tuple[str, str], str],
    input_folder: Path | None,
    problems: Problems,
) -> None:
    """Check that what the agents name is configured, before anything is opened."""
    from marsys_core.plugins import Provider

    for kind, name in providers:
        if not isinstance(composition.item(kind, name), Provider):
            continue
        try:
            composition.settings_for(kind, name)
        except ConfigError as error:
            problems.take(error, at("$.plugins", composition.owner_of(kind, name)))
            if (kind, name) == ("tool", "search") and input_folder is None:
                problems.found[-1] += "; or give the folder with --input FOLDER"
