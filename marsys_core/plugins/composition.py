"""Everything that a set of plugins declares, in one immutable table.

A composition is made once for a set of plugins and settings, and kept for the process: making one
imports the plugins and asks their hooks, and getting it again is a dictionary lookup.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import attrs

from marsys_core.errors import ConfigError, ErrorClass, PluginError, SettingsError, UnknownName, nearest
from marsys_core.logs import get_logger
from marsys_core.plugins.declarations import Declared, answer, collect, commands, table
from marsys_core.plugins.kinds import KINDS, Kind, kind_called
from marsys_core.plugins.knobs import PluginSettings
from marsys_core.plugins.providers import Provider
from marsys_core.plugins.records import Record, Status
from marsys_core.plugins.scan import Found, scan
from marsys_core.plugins.sections import fields_of, structured
from marsys_core.plugins.specifiers import Requirement, normalized

if TYPE_CHECKING:
    from marsys_core.plugins.loader import Loader, Manager

__all__ = ["Composition", "compose", "load_commands", "survey"]

_DERIVED = 1024  # what follows from things that are made for one run must not pile up
_KEPT = 32  # compositions of plugins that the application hands over are made anew once there are more

_lock = threading.Lock()
_made: dict[object, tuple[tuple[Found, ...], Composition]] = {}
_from_environment: dict[tuple[str | None, ...], PluginSettings] = {}


@attrs.frozen(kw_only=True, eq=False)
class Composition:
    """What a set of plugins declares. Immutable, shared, and without anything open; made by `compose`.

    Args:
        settings: What was asked for.
        records: Every plugin that was found, and what became of it, in loading order.
        manager: The private plugin manager, frozen.
    """

    settings: PluginSettings
    records: tuple[Record, ...]
    manager: Manager
    _tables: Mapping[str, Mapping[str, Declared]]
    _own: Mapping[str, Any]
    _structured: dict[tuple[str, str], Any] = attrs.field(factory=dict)
    _derived: dict[object, Any] = attrs.field(factory=dict)

    def names(self, kind: str) -> tuple[str, ...]:
        """Return the names of one kind, sorted."""
        return tuple(sorted(self._tables[kind_called(kind).name]))

    def items(self, kind: str) -> tuple[Any, ...]:
        """Return the declarations of one kind, providers and plain ones, in the order of their plugins."""
        return tuple(each.value for each in self.declared(kind))

    def declared(self, kind: str) -> tuple[Declared, ...]:
        """Return the declarations of one kind together with their names and plugins."""
        return tuple(self._tables[kind_called(kind).name].values())

    def item(self, kind: str, name: str) -> Any:
        """Return one declaration: a `Provider`, or the thing itself.

        Raises:
            UnknownName: Nothing of that kind has the name. The message has the names there are, the
                nearest, and plugins that are not loaded and might have it.
        """
        return self._declaration(kind, name).value

    def provider(self, kind: str, name: str) -> Provider[Any]:
        """Return one provider.

        Raises:
            UnknownName: As `item` does.
            PluginError: There is something of that name, and it is not to be opened: a plain function.
        """
        value = self.item(kind, name)
        if not isinstance(value, Provider):
            msg = f"{kind} {name!r} of plugin {self.owner_of(kind, name)!r} is no provider; there is nothing to open"
            raise PluginError(msg)
        return value

    def owner_of(self, kind: str, name: str) -> str:
        """Return the name of the plugin that declares something.

        Raises:
            UnknownName: As `item` does.
        """
        return self._declaration(kind, name).plugin

    def origin_of(self, kind: str, name: str) -> str:
        """Return ``"from plugin 'x' (marsys-x 1.2)"``, for the note on an exception that came out of it."""
        owner = self.owner_of(kind, name)
        return f"from plugin {owner!r} ({self.record(owner).source})"

    def record(self, plugin: str) -> Record:
        """Return the record of a plugin; where several have the name, that of the one that holds it.

        Raises:
            UnknownName: No plugin has the name.
        """
        named = [record for record in self.records if record.name == plugin]
        if not named:
            raise UnknownName("plugin", plugin, {record.name for record in self.records})
        return next((record for record in named if record.status is not Status.BLOCKED), named[0])

    def choose(self, kind: str) -> str:
        """Return the name of the default of one kind.

        That is the one in `PluginSettings.choices`, or else the first answer of the plugins, or else the
        only one there is.

        Raises:
            UnknownName: The one in `choices` is not there.
            PluginError: There is none, or there are several and nobody chooses; or a plugin chose badly.
        """
        chosen = self.settings.choices.get(kind)
        if chosen is not None:
            return self._declaration(kind, chosen).name
        names = self.names(kind)
        if not names:
            msg = f"there is no {kind_called(kind).noun}.{self._causes(kind_called(kind), '')}"
            raise PluginError(msg)
        return self._asked_to_choose(kind, names)

    def classify(self, error: BaseException) -> ErrorClass | None:
        """Ask the plugins what an exception means; None where nobody knows. For the exception path only."""
        for implementation in self.manager.implementations("marsys_classify_error"):
            try:
                found = _error_class(answer(implementation, error=error))
            except Exception:
                # Someone is already handling an error, which this one must not replace.
                get_logger("plugins").exception(
                    "marsys_classify_error of plugin %r is skipped", implementation.plugin_name
                )
            else:
                if found is not None:
                    return found
        return None

    def settings_of(self, plugin: str) -> Any:
        """Return a loaded plugin's own settings: its ``marsys_settings``, or its section, read-only.

        Raises:
            UnknownName: No plugin has the name.
            PluginError: It is not loaded.
        """
        if plugin not in self._own:
            raise PluginError(self.record(plugin).cause)
        return self._own[plugin]

    def settings_for(self, kind: str, name: str) -> Any:
        """Return what a provider's `open` gets: its settings class, filled from its plugin's section.

        Raises:
            UnknownName: As `item` does.
            SettingsError: The section does not fit or lacks something, every problem at once.
        """
        kept = self._structured.get((kind, name))
        if kept is None:
            kept = self._structured[kind, name] = self._structure(kind, name)
        return kept

    def once(self, key: object, make: Callable[[], Any]) -> Any:
        """Return what `make` returns, which follows from `key` and these declarations, made once for both."""
        found = self._derived.get(key)
        if found is None:
            if len(self._derived) >= _DERIVED:
                self._derived.clear()
            found = self._derived[key] = make()
        return found

    def _structure(self, kind: str, name: str) -> Any:
        provider, owner = self.provider(kind, name), self.owner_of(kind, name)
        if provider.settings is None:
            return self.settings_of(owner)
        section = self.settings.sections.get(owner, {})
        part = {key: value for key, value in section.items() if key in fields_of(provider.settings)}
        instance, problems = structured(provider.settings, part, f"$.plugins.{owner}")
        if problems:
            msg = f"{kind} provider {name!r} cannot be configured:"
            raise SettingsError(msg, [problem.text for problem in problems])
        return instance

    def _declaration(self, kind: str, name: str) -> Declared:
        known = kind_called(kind)
        found = self._tables[kind].get(name)
        if found is None:
            raise UnknownName(known.noun, name, self._tables[kind], self._causes(known, name).strip())
        return found

    def _asked_to_choose(self, kind: str, names: Sequence[str]) -> str:
        from marsys_core.plugins.loader import OWN

        for implementation in self.manager.implementations("marsys_choose"):
            owner = implementation.plugin_name
            try:
                found = answer(implementation, kind=kind, names=names, settings=self._own.get(owner))
            except Exception as error:
                if owner == OWN:
                    raise
                msg = f"plugin {owner!r} failed to choose a {kind}: {type(error).__name__}: {error}; name one of: "
                raise PluginError(msg + ", ".join(names)) from error
            if found is None:
                continue
            if found not in names:
                msg = f"plugin {owner!r} chose {found!r} as {kind}; there are: {', '.join(names)}"
                raise PluginError(msg)
            return str(found)
        # Only a caller that takes the engine's own implementation out could come here.
        msg = f"nothing chooses a {kind}; name one of: {', '.join(names)}"
        raise PluginError(msg)

    def _causes(self, kind: Kind, name: str) -> str:
        """Say which plugins are not loaded and might have declared a name."""
        out = [
            record
            for record in self.records
            if record.status not in (Status.LOADED, Status.SHADOWED)
            and (not record.hooks or kind.hook in record.hooks)
        ]
        named = [record for record in out if name and normalized(record.name) == normalized(name)]
        causes = "; ".join(record.cause for record in (named or out))
        if not causes:
            return ""
        return f" The {causes}" if named else f" It may be in what is not loaded: {causes}"


def compose(settings: PluginSettings | None = None) -> Composition:
    """Find, load and ask the plugins, or return what that gave the last time.

    Args:
        settings: What is wanted. Left out: every installed plugin, as far as the environment allows.

    Raises:
        ConfigError: The settings cannot be honoured: a name that nothing has, a requirement that is not
            met, two declarations of one name, a section that does not fit.
        BaseException: What a plugin raised, in strict mode or where the application handed it over.
    """
    if settings is None:
        settings = _environment_settings()
    found = scan() if settings.discover else ()
    kept = _made.get(settings.key)
    if kept is not None and kept[0] is found:
        return kept[1]
    composition = _composed(settings, found)
    if settings.key is not None:
        with _lock:
            while len(_made) >= _KEPT:
                del _made[next(iter(_made))]
            _made[settings.key] = (found, composition)
    return composition


def survey(settings: PluginSettings) -> tuple[tuple[Record, ...], Exception | None]:
    """Return what became of every plugin, also where the plugins cannot be used as asked.

    For listings and diagnosis. In strict mode the records are those of an engine that is not strict, so
    that all that is wrong can be shown and not only the first.

    Returns:
        The records, and what `compose` raises, or None.
    """
    try:
        return compose(settings).records, None
    except Exception as error:
        # Whatever it is, it is what was asked about.
        loader = _load_leniently(settings)
        with contextlib.suppress(ConfigError):  # wrong settings are in `error` already
            collect(loader)
        return tuple(entry.record for entry in loader.entries), error


def load_commands(settings: PluginSettings) -> tuple[Declared, ...]:
    """Ask the plugins for their commands and nothing else; no section is read and no requirement checked.

    For a command line, which has to start before it knows its settings, and also where they are wrong.
    Where two plugins have a command of one name, the first is taken.
    """
    declared = commands(_load_leniently(settings))
    return tuple({each.name: each for each in reversed(declared)}.values())[::-1]


def _load_leniently(settings: PluginSettings) -> Loader:
    from marsys_core.plugins.loader import load

    return load(settings, scan() if settings.discover else (), lenient=True)


def _environment_settings() -> PluginSettings:
    # Three variables are read on every call, so that one that was changed is honoured.
    names = ("MARSYS_PLUGINS", "MARSYS_BLOCK_PLUGINS", "MARSYS_STRICT_PLUGINS")
    key = tuple(os.environ.get(name) for name in names)
    settings = _from_environment.get(key)
    if settings is None:
        settings = _from_environment[key] = PluginSettings.from_environment()
    return settings


def _composed(settings: PluginSettings, found: tuple[Found, ...]) -> Composition:
    from marsys_core.plugins.loader import load

    _refuse_unknown_names(settings, found)
    loader = load(settings, found)
    declared, own = collect(loader)
    _refuse_unmet(settings, loader)
    tables = _tables(settings, loader, declared)
    loader.manager.frozen = True
    return Composition(
        settings=settings,
        records=tuple(entry.record for entry in loader.entries),
        manager=loader.manager,
        tables=MappingProxyType(tables),
        own=MappingProxyType(own),
    )


def _tables(
    settings: PluginSettings, loader: Loader, declared: Mapping[str, Iterable[Declared]]
) -> dict[str, Mapping[str, Declared]]:
    records = [entry.record for entry in loader.loaded()]
    sources = {each.name: (normalized(each.distribution), each.source) for each in records}
    prefer = {key: _as_plugin(wanted, sources) for key, wanted in settings.prefer.items()}
    tables: dict[str, Mapping[str, Declared]] = {}
    problems = [_bad_preference(key, declared) for key in settings.prefer]
    for kind in KINDS.values():
        chosen, clashes = table(kind, declared[kind.name], prefer, sources)
        tables[kind.name] = MappingProxyType(chosen)
        problems += clashes
    problems = [problem for problem in problems if problem]
    if problems:
        msg = "plugins do not fit together:"
        raise PluginError(msg, problems)
    return tables


def _error_class(answered: object) -> ErrorClass | None:
    if answered is None or isinstance(answered, ErrorClass):
        return answered
    msg = f"it answered with {answered!r}, which is no ErrorClass"
    raise TypeError(msg)


def _as_plugin(wanted: str, sources: Mapping[str, tuple[str, str]]) -> str:
    return wanted if wanted in sources else normalized(wanted)


def _bad_preference(key: str, declared: Mapping[str, Iterable[Declared]]) -> str:
    kind, _, name = key.partition(".")
    if kind not in declared:
        return f"plugins.prefer has {key!r}, and there is no kind {kind!r}.{nearest(kind, declared)}"
    names = {each.name for each in declared[kind]}
    if name not in names:
        return f"plugins.prefer has {key!r}, and nothing declares {KINDS[kind].noun} {name!r}.{nearest(name, names)}"
    return ""


def _refuse_unknown_names(settings: PluginSettings, found: Sequence[Found]) -> None:
    if not settings.discover:
        return
    known = {name: normalized(name) for each in found for name in (each.name, each.distribution)}
    asked = [(settings.only_knob(), name) for name in settings.only or ()]
    asked += [(settings.block_knob(name), name) for name in settings.block]
    problems = [
        f"{knob} names {name!r}, and no plugin or distribution is called that.{nearest(name, known)}"
        for knob, name in asked
        if normalized(name) not in known.values()
    ]
    if problems:
        msg = "plugins cannot be chosen as asked:"
        raise PluginError(msg, problems)


def _refuse_unmet(settings: PluginSettings, loader: Loader) -> None:
    records = [entry.record for entry in loader.entries]
    problems = [problem for text in settings.require for problem in _unmet(text, records)]
    if problems:
        msg = "required plugins are missing:"
        raise PluginError(msg, problems)


def _unmet(text: str, records: Sequence[Record]) -> list[str]:
    try:
        requirement = Requirement.parse(text)
        wanted = normalized(requirement.name)
        named = [record for record in records if normalized(record.name) == wanted]
        named = [record for record in named if record.status is not Status.SHADOWED] or named
        matching = named or [record for record in records if normalized(record.distribution) == wanted]
        if not matching:
            known = {name for record in records for name in (record.name, record.distribution) if name}
            return [
                f"{text!r}: no plugin or distribution is called {requirement.name!r}.{nearest(requirement.name, known)}"
            ]
        return [problem for record in matching for problem in _shortfall(text, requirement, record)]
    except ConfigError as error:
        return [f"{text!r}: {error}"]


def _shortfall(text: str, requirement: Requirement, record: Record) -> list[str]:
    if record.status is not Status.LOADED:
        return [f"{text!r}: {record.cause}"]
    if requirement.clauses and not record.distribution:
        return [f"{text!r}: plugin {record.name!r} is the application's and has no version"]
    if not requirement.allows(record.version):
        return [f"{text!r}: plugin {record.name!r} is from {record.source}"]
    return []
