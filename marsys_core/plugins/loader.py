"""Importing and registering plugins. What goes wrong is written on the plugin's record.

A plugin object is a module, or an instance of an ordinary class. Everything that pluggy accepts and
that would then quietly not work is refused here: classes, unhashable objects, wrappers, coroutine
functions, misspelt hooks, unmarked hooks, and arguments with defaults, which are never passed.
"""

from __future__ import annotations

import inspect
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import attrs
import pluggy

from marsys_core import hookspecs
from marsys_core.errors import LifecycleError, PluginError, PluginUnavailable, nearest
from marsys_core.plugins import choice
from marsys_core.plugins.records import API, OLDEST_API, Record, Status
from marsys_core.plugins.scan import GROUP, Found
from marsys_core.plugins.specifiers import normalized

if TYPE_CHECKING:
    from pluggy import HookCaller, HookImpl

    from marsys_core.plugins.knobs import PluginSettings

__all__ = ["OWN", "Entry", "Loader", "Manager", "load"]

OWN = "marsys_core"
"""The name under which the engine's own implementations are registered."""

_FROZEN = "plugins are frozen once the engine is open; hand {name!r} over in plugins={{...}} when you open it"


class Manager(pluggy.PluginManager):
    """Holds the plugins of one composition, and lets nobody in once that is made."""

    def __init__(self) -> None:
        super().__init__(GROUP)
        self.frozen = False

    def register(self, plugin: object, name: str | None = None) -> str | None:
        """Register a plugin.

        Raises:
            LifecycleError: The composition is already made.
        """
        if self.frozen:
            raise LifecycleError(_FROZEN.format(name=name or plugin))
        return super().register(plugin, name)

    def unregister(self, plugin: object = None, name: str | None = None) -> Any:
        """Take a plugin out.

        Raises:
            LifecycleError: The composition is already made.
        """
        if self.frozen:
            raise LifecycleError(_FROZEN.format(name=name or plugin))
        return super().unregister(plugin, name)

    def implementations(self, hook: str) -> list[HookImpl]:
        """Return who implements a hook, in the order in which they are asked."""
        return sorted(getattr(self.hook, hook).get_hookimpls(), key=_turn)


def _turn(implementation: HookImpl) -> int:
    # Within a turn, pluggy's list is in the order of registration. Its own calls go from the last to
    # the first; here the application comes before the standard plugins, and these before the others.
    return 0 if implementation.tryfirst else 2 if implementation.trylast else 1


@attrs.define(eq=False)
class Entry:
    """A plugin on its way in: its record so far, and the object once it is registered."""

    record: Record
    plugin: object = None
    handed_over: bool = False


@attrs.define(eq=False)
class Loader:
    """Loads one set of plugins.

    Args:
        settings: Which ones, and how.
        lenient: Never raise for a plugin, whatever it did: for those who only want to see the records.
    """

    settings: PluginSettings
    lenient: bool = False
    manager: Manager = attrs.field(factory=Manager)
    entries: list[Entry] = attrs.field(factory=list)

    def loaded(self) -> Iterator[Entry]:
        """Yield the entries that are loaded so far."""
        return (entry for entry in self.entries if entry.record.status is Status.LOADED)

    def hand_over(self, name: str, plugin: object) -> None:
        """Register a plugin of the application. What it raises is raised."""
        entry = Entry(Record(name=name, target=_described(plugin)), handed_over=True)
        self.entries.append(entry)
        self._admit(entry, lambda: plugin)

    def add(self, found: Found) -> None:
        """Import and register an installed plugin, unless a knob or its name keeps it out."""
        entry = Entry(
            Record(
                name=found.name,
                distribution=found.distribution,
                version=found.version,
                target=found.entry_point.value,
                path=found.path,
            )
        )
        knob = self._knob_against(found)
        namesake = next((each.record for each in self.entries if _holds(each.record, found.name)), None)
        if knob is not None:
            reason = f"by {knob}" if knob != self.settings.only_knob() else f"not named in {knob}"
            entry.record = attrs.evolve(entry.record, status=Status.BLOCKED, reason=reason, knob=knob)
        elif namesake is not None:
            reason = f"{namesake.source} has the name"
            entry.record = attrs.evolve(entry.record, status=Status.SHADOWED, reason=reason)
        self.entries.append(entry)
        if entry.record.status is Status.LOADED:
            self._admit(entry, found.entry_point.load)

    def fail(self, entry: Entry, status: Status, reason: str, error: Exception | SystemExit) -> None:
        """Take a plugin out and say why, or raise where that is not allowed to pass.

        Raises:
            PluginError: The plugin holds guards, which fail closed; or it called ``sys.exit()``, which must
                not end the application.
            Exception: `error`, in strict mode or where the application handed the plugin over.
        """
        plugin, record = entry.plugin, entry.record
        if isinstance(error, SystemExit):
            error = _instead_of(error)
        _unregister(self.manager, plugin, record.name)
        entry.record = attrs.evolve(record, status=status, reason=reason, error=error)
        if self.lenient:
            return
        if entry.handed_over or (self.settings.strict and status is not Status.UNAVAILABLE):
            error.add_note(f"while loading plugin {record.name!r} from {record.source}")
            raise error
        # Looked up without running code of the plugin, which has just shown what it can do.
        if inspect.getattr_static(plugin, "marsys_guards", None) is not None:
            msg = (
                f"{entry.record.cause}. It holds guards, and without them the engine does not start; "
                f"mend it, or block {record.name!r}"
            )
            raise PluginError(msg) from error

    def _knob_against(self, found: Found) -> str | None:
        settings = self.settings
        for name in settings.block:
            if found.is_called(frozenset({normalized(name)})):
                return settings.block_knob(name)
        if settings.only is not None and not found.is_called(frozenset(map(normalized, settings.only))):
            return settings.only_knob()
        return None

    def _admit(self, entry: Entry, imported: Callable[[], object]) -> None:
        started = time.perf_counter()
        error: Exception | SystemExit
        try:
            entry.plugin = imported()
            entry.record = _measured(entry.record, time.perf_counter() - started)
            against = _version_against(entry.plugin)
            if against is None:
                self._register(entry)
                return
            status, reason, error = Status.INCOMPATIBLE, against, PluginError(f"it is {against}")
        except PluginUnavailable as raised:
            status, reason, error = Status.UNAVAILABLE, str(raised), raised
        except (Exception, SystemExit) as raised:
            # A module that calls sys.exit() when imported is broken too, and must not end the application.
            status, reason, error = Status.BROKEN, f"{type(raised).__name__}: {raised}", raised
        self.fail(entry, status, reason, error)

    def _register(self, entry: Entry) -> None:
        name, plugin, manager = entry.record.name, entry.plugin, self.manager
        _refuse_what_cannot_work(plugin)
        twin = manager.get_name(plugin)
        if twin is not None:
            msg = f"the same object is already loaded as plugin {twin!r}"
            raise PluginError(msg)
        try:
            manager.register(plugin, name)
        except pluggy.PluginValidationError as error:
            raise PluginError(_misfit(manager, plugin, error)) from error
        callers = manager.get_hookcallers(plugin) or []
        for caller in callers:
            for implementation in caller.get_hookimpls():
                if implementation.plugin is plugin:
                    _refuse_implementation(implementation, caller)
        hooks = sorted({caller.name for caller in callers})
        _refuse_unmarked(plugin, hooks)
        entry.record = attrs.evolve(entry.record, hooks=tuple(hooks))


def load(settings: PluginSettings, found: Sequence[Found], *, lenient: bool = False) -> Loader:
    """Load plugins: those the application hands over first, then those that are installed, in order.

    Raises:
        PluginError: A plugin that holds guards cannot be loaded; never where `lenient`.
        BaseException: What a plugin raised, in strict mode or where the application handed it over; never
            where `lenient`.
    """
    loader = Loader(settings, lenient)
    loader.manager.add_hookspecs(hookspecs)
    loader.manager.register(choice, OWN)
    for name, plugin in settings.plugins.items():
        loader.hand_over(name, plugin)
    for each in found:
        loader.add(each)
    return loader


def _holds(record: Record, name: str) -> bool:
    # A plugin that failed keeps its name: which one answers to it must not depend on what is broken.
    return record.name == name and record.status not in (Status.BLOCKED, Status.SHADOWED)


def _described(plugin: object) -> str:
    if inspect.ismodule(plugin):
        return plugin.__name__
    return f"{type(plugin).__module__}:{type(plugin).__qualname__}"


def _measured(record: Record, seconds: float) -> Record:
    module = sys.modules.get(record.target.partition(":")[0].strip())
    path = getattr(module, "__file__", None) or record.path
    return attrs.evolve(record, path=path, seconds=seconds)


def _version_against(plugin: object) -> str | None:
    wants = getattr(plugin, "marsys_api", API)
    if isinstance(wants, int) and OLDEST_API <= wants <= API:
        return None
    return f"written for plugin API {wants!r}; this engine speaks {OLDEST_API} to {API}"


def _refuse_what_cannot_work(plugin: object) -> None:
    if plugin is None or isinstance(plugin, type):
        msg = f"a plugin is a module or an instance, not {'None' if plugin is None else f'the class {plugin.__name__}'}"
        raise PluginError(msg)
    try:
        hash(plugin)
    except TypeError as error:
        msg = f"the plugin object cannot be hashed ({error}); an attrs class needs eq=False"
        raise PluginError(msg) from error
    settings = getattr(plugin, "marsys_settings", None)
    if settings is not None and not (isinstance(settings, type) and attrs.has(settings)):
        msg = f"marsys_settings is an attrs class, not {settings!r}"
        raise PluginError(msg)


def _instead_of(ended: SystemExit) -> PluginError:
    error = PluginError(f"it called sys.exit({ended.code!r})")
    error.__cause__ = ended
    return error


def _misfit(manager: Manager, plugin: object, error: pluggy.PluginValidationError) -> str:
    """Say in one line why pluggy refuses a plugin; nearly always an argument that a hook does not have."""
    for hook in hookspecs.__all__:
        if manager.parse_hookimpl_opts(plugin, hook) is None:
            continue
        offered = getattr(manager.hook, hook).spec.argnames
        parameters = inspect.signature(getattr(plugin, hook)).parameters
        unknown = [each for each in parameters if each not in offered]
        if unknown:
            asked, hint = ", ".join(map(repr, unknown)), nearest(unknown[0], offered)
            return f"{hook} asks for {asked}, and is offered: {', '.join(offered) or 'nothing'}{hint and '.'}{hint}"
    return "; ".join(str(error).splitlines())


def _refuse_implementation(implementation: HookImpl, caller: HookCaller) -> None:
    hook, function = caller.name, implementation.function
    if caller.spec is None:
        if implementation.optionalhook:
            return
        msg = f"there is no hook called {hook!r}.{nearest(hook, hookspecs.__all__)}"
        raise PluginError(msg)
    if implementation.wrapper or implementation.hookwrapper:
        msg = f"{hook} is a wrapper; hooks are asked one by one, so write a middleware"
        raise PluginError(msg)
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        msg = f"{hook} is async; hooks are plain functions, and what waits belongs into a provider's open"
        raise PluginError(msg)
    unpassed = set(implementation.kwargnames) & set(caller.spec.argnames)
    if unpassed:
        msg = f"{hook} gives {', '.join(sorted(unpassed))} a default, and would never be passed it; leave that out"
        raise PluginError(msg)


def _refuse_unmarked(plugin: object, hooks: Sequence[str]) -> None:
    unmarked = [name for name in hookspecs.__all__ if name not in hooks and hasattr(plugin, name)]
    if unmarked:
        msg = f"{', '.join(unmarked)} not marked with @hookimpl"
        raise PluginError(msg)
    if not hooks:
        msg = f"it implements no hook; there are: {', '.join(hookspecs.__all__)}"
        raise PluginError(msg)


def _unregister(manager: Manager, plugin: object, name: str) -> None:
    # Also after a registration that failed: pluggy 1.6 leaves some of its hooks behind.
    if plugin is not None and manager.get_plugin(name) is plugin:
        manager.unregister(plugin, name)
