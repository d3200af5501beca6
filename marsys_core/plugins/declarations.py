"""Asking every plugin, one by one, what it has."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import attrs

from marsys_core.errors import PluginError, PluginUnavailable, SettingsError, nearest
from marsys_core.plugins.kinds import KINDS, Kind
from marsys_core.plugins.providers import Provider
from marsys_core.plugins.records import Status
from marsys_core.plugins.sections import Problem, fields_of, structured, unknown_fields

if TYPE_CHECKING:
    from pluggy import HookImpl

    from marsys_core.plugins.loader import Entry, Loader

__all__ = ["Declared", "answer", "collect", "commands", "table"]


@attrs.frozen(kw_only=True, eq=False)
class Declared:
    """One thing that a plugin declared.

    Args:
        kind: What it is: ``"model"``.
        name: Its name within the kind.
        value: The `Provider`, or the thing itself.
        plugin: The name of the plugin it is from.
    """

    kind: str
    name: str
    value: Any
    plugin: str


def answer(implementation: HookImpl, **values: object) -> Any:
    """Call one implementation with those of the values that it asks for."""
    return implementation.function(*[values[name] for name in implementation.argnames])


def collect(loader: Loader) -> tuple[dict[str, list[Declared]], dict[str, Any]]:
    """Ask every loaded plugin. One that raises is taken out with all it declared.

    Returns:
        What was declared, by kind, and each plugin's own settings, by plugin.

    Raises:
        SettingsError: Sections that do not fit, every problem at once.
    """
    kinds = tuple(KINDS.values())
    problems = _sections_of_nobody(loader)
    declared: dict[str, list[Declared]] = {}
    settings: dict[str, Any] = {}
    for entry in list(loader.loaded()):
        name = entry.record.name
        own, wrong = _own_settings(loader, entry)
        problems += wrong
        if wrong or entry.record.status is not Status.LOADED:
            continue
        declared[name], settings[name] = _asked(loader, entry, own, kinds), own
        problems += _misfits(loader, entry, declared[name])
    if problems:
        msg = "plugins cannot be configured as asked:"
        raise SettingsError(msg, [problem.text for problem in problems])
    return {kind.name: _in_order(loader, kind, declared) for kind in kinds}, settings


def commands(loader: Loader) -> list[Declared]:
    """Ask every loaded plugin for its commands only, without settings."""
    kind = KINDS["command"]
    declared = {entry.record.name: _asked(loader, entry, None, (kind,)) for entry in list(loader.loaded())}
    return _in_order(loader, kind, declared)


def _own_settings(loader: Loader, entry: Entry) -> tuple[Any, list[Problem]]:
    """Return what the plugin's hooks get as `settings`, and what is wrong with its section.

    A plugin whose settings lack something, and that has no section at all, is made unavailable:
    it is installed and nobody has set it up.
    """
    name = entry.record.name
    section = loader.settings.sections.get(name, {})
    settings = getattr(entry.plugin, "marsys_settings", None)
    if settings is None:
        return MappingProxyType(dict(section)), []
    own = {key: value for key, value in section.items() if key in fields_of(settings)}
    instance, problems = structured(settings, own, f"$.plugins.{name}")
    if problems and not section and all(problem.missing for problem in problems):
        reason = f"it has to be configured: {'; '.join(problem.text for problem in problems)}"
        loader.fail(entry, Status.UNAVAILABLE, reason, SettingsError(reason))
        return None, []
    return instance, problems


def table(
    kind: Kind,
    declared: Iterable[Declared],
    prefer: Mapping[str, str],
    sources: Mapping[str, tuple[str, str]],
) -> tuple[dict[str, Declared], list[str]]:
    """Put the declarations of one kind under their names.

    Args:
        kind: Which kind.
        declared: What was declared, in order.
        prefer: Whose is taken where two have the same name.
        sources: Each plugin's distribution, normalised, and what messages call it.

    Returns:
        The table, and a problem for each name that two plugins declare or that a preference misses.
    """
    by_name: dict[str, list[Declared]] = {}
    for each in declared:
        by_name.setdefault(each.name, []).append(each)
    problems: list[str] = []
    chosen: dict[str, Declared] = {}
    for name, candidates in by_name.items():
        wanted = prefer.get(f"{kind.name}.{name}")
        if wanted is not None:
            candidates = [each for each in candidates if wanted in (each.plugin, sources[each.plugin][0])]
        if len(candidates) == 1:
            chosen[name] = candidates[0]
        elif candidates:
            origins = " and ".join(f"{each.plugin!r} ({sources[each.plugin][1]})" for each in candidates)
            problems.append(
                f"{kind.noun} {name!r} is declared by {origins}; "
                f"choose one with plugins.prefer: {{'{kind.name}.{name}': {candidates[0].plugin!r}}}"
            )
        else:
            problems.append(
                f"plugins.prefer takes {kind.noun} {name!r} from {wanted!r}, which does not declare it"
            )
    return chosen, problems


def _asked(loader: Loader, entry: Entry, settings: Any, kinds: tuple[Kind, ...]) -> list[Declared]:
    found: dict[tuple[str, str], Declared] = {}
    try:
        for kind in kinds:
            for implementation in loader.manager.implementations(kind.hook):
                if implementation.plugin is entry.plugin:
                    _add_answers(found, entry, kind, answer(implementation, settings=settings))
    except PluginUnavailable as error:
        loader.fail(entry, Status.UNAVAILABLE, str(error), error)
    except (Exception, SystemExit) as error:
        loader.fail(entry, Status.BROKEN, f"{type(error).__name__}: {error}", error)
    else:
        return list(found.values())
    return []


def _add_answers(found: dict[tuple[str, str], Declared], entry: Entry, kind: Kind, answered: object) -> None:
    if not isinstance(answered, Iterable) or isinstance(answered, (str, bytes)):
        msg = f"{kind.hook} returned {answered!r}; expected a list, empty where there is nothing"
        raise PluginError(msg)
    for value in answered:
        name = kind.name_of(value)
        if (kind.name, name) in found:
            msg = f"{kind.hook} declares {kind.noun} {name!r} twice"
            raise PluginError(msg)
        found[kind.name, name] = Declared(kind=kind.name, name=name, value=value, plugin=entry.record.name)


def _in_order(loader: Loader, kind: Kind, declared: Mapping[str, list[Declared]]) -> list[Declared]:
    names = dict.fromkeys(each.plugin_name for each in loader.manager.implementations(kind.hook))
    return [each for name in names for each in declared.get(name, ()) if each.kind == kind.name]


def _sections_of_nobody(loader: Loader) -> list[Problem]:
    known = {entry.record.name for entry in loader.entries}
    return [
        Problem(f"there is no plugin called {name!r} @ $.plugins.{name}.{nearest(name, known)}")
        for name in loader.settings.sections
        if name not in known
    ]


def _misfits(loader: Loader, entry: Entry, declared: Iterable[Declared]) -> list[Problem]:
    """Check a section against every settings class of its plugin.

    What is only missing is left until the provider is opened: it may never be.
    """
    if entry.record.status is not Status.LOADED:
        return []
    name = entry.record.name
    section, path = loader.settings.sections.get(name, {}), f"$.plugins.{name}"
    own = getattr(entry.plugin, "marsys_settings", None)
    providers = [each.value for each in declared if isinstance(each.value, Provider)]
    classes = {each.settings for each in providers if each.settings is not None and each.settings is not own}
    known = {field for each in (*classes, *([own] if own else [])) for field in fields_of(each)}
    if section and not known:
        return [Problem(f"the plugin takes no settings @ {path}")]
    problems = unknown_fields(section, known, path)
    for each in sorted(classes, key=lambda settings: settings.__qualname__):
        part = {key: value for key, value in section.items() if key in fields_of(each)}
        problems += [problem for problem in structured(each, part, path)[1] if not problem.missing]
    return list(dict.fromkeys(problems))
