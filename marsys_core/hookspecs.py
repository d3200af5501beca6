"""The hooks a plugin may implement. Each is asked once, when an engine is put together.

Every hook is a plain function: it returns quickly, has no side effects and never waits. List hooks
return an iterable of declarations (a list, a tuple, a generator), which is empty where there is
nothing to offer. Wrappers are refused; what wants to stand round a call is middleware.

`settings` is the plugin's own section of the configuration and never another plugin's: an instance of
the attrs class that the plugin names as ``marsys_settings``, or else the section as a read-only mapping.
An implementation leaves out the arguments it does not need.

Implementations are asked in this order: marked ``tryfirst``; then plugins that the application handed
over, those of ``marsys-core``, and the others by name of distribution; then marked ``trylast``. They
are called one by one: one that raises costs its plugin every declaration (the plugin is `broken`, or
`unavailable` where it raised `PluginUnavailable`), and costs the others nothing. In strict mode it
raises, and so it does for a plugin that the application handed over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    from marsys_core.errors import ErrorClass
    from marsys_core.memory import Memory
    from marsys_core.models import Model
    from marsys_core.plugins.providers import Provider
    from marsys_core.protocols.cache import Cache
    from marsys_core.protocols.channel import Channel
    from marsys_core.protocols.command import Command
    from marsys_core.protocols.event_sink import EventSink
    from marsys_core.protocols.expression import ExpressionLanguage
    from marsys_core.protocols.guard import Guard
    from marsys_core.protocols.health import HealthCheck
    from marsys_core.protocols.middleware import Middleware
    from marsys_core.protocols.rule import RuleType
    from marsys_core.protocols.schema import SchemaChecker
    from marsys_core.protocols.secret_source import SecretSource
    from marsys_core.protocols.store import Store
    from marsys_core.tools import Tool
    from marsys_core.topology import Pattern

__all__ = [
    "marsys_caches",
    "marsys_channels",
    "marsys_choose",
    "marsys_classify_error",
    "marsys_commands",
    "marsys_event_sinks",
    "marsys_expressions",
    "marsys_guards",
    "marsys_health_checks",
    "marsys_journals",
    "marsys_memory",
    "marsys_middleware",
    "marsys_models",
    "marsys_rules",
    "marsys_schema_checkers",
    "marsys_secrets",
    "marsys_tools",
    "marsys_topologies",
]

hookspec = pluggy.HookspecMarker("marsys")


@hookspec
def marsys_models(settings: Any) -> Iterable[Provider[Model]]:  # type: ignore[empty-body]
    """Offer models.

    Args:
        settings: The plugin's own section of the configuration.

    Each provider joins the table of models under its name. It is opened when an agent first names it,
    then held until the engine closes; the engine calls the open object directly.

    Called once, when a composition is made.

    If an implementation raises, its plugin is dropped with everything it declared, and its record says why.

    Example:
        ::

            @hookimpl
            def marsys_models():
                return [Provider("echo", open_echo, summary="Answers with the last message")]

    .. versionadded:: 0.1
    """


@hookspec
def marsys_secrets(settings: Any) -> Iterable[Provider[SecretSource]]:  # type: ignore[empty-body]
    """Offer sources of secrets: files, keyrings, vaults that hold keys by their names.

    Args:
        settings: The plugin's own section of the configuration.

    Each provider joins the table of secret sources under its name. They are opened when a key is looked for that
    the environment has not, and asked in the order of their declaration.

    Called once, when a composition is made.

    If an implementation raises, its plugin is dropped with everything it declared, and its record says why.

    Example:
        ::

            @hookimpl
            def marsys_secrets():
                return [Provider("vault", open_vault, settings=VaultSettings)]

    .. versionadded:: 0.1
    """


@hookspec
def marsys_tools(settings: Any) -> Iterable[Tool | Callable[..., Any] | Provider[Any]]:  # type: ignore[empty-body]
    """Offer tools: plain functions, `Tool` objects, or providers of toolboxes.

    Args:
        settings: The plugin's own section of the configuration.

    Each joins the table of tools under its name; a plain function's is its ``__name__``. A provider is
    opened when an agent first names it.

    Called once, when a composition is made.

    If an implementation raises, its plugin is dropped with everything it declared, and its record says why.

    Example:
        ::

            @hookimpl
            def marsys_tools():
                return [current_time, Provider("files", open_files, settings=FilesSettings)]

    .. versionadded:: 0.1
    """


@hookspec
def marsys_memory(settings: Any) -> Iterable[Provider[Memory]]:  # type: ignore[empty-body]
    """Offer places where agents remember.

    Args:
        settings: The plugin's own section of the configuration.

    Each provider joins the table of memories under its name, and is opened when an agent or the
    configuration first names it.

    Called once, when a composition is made.

    If an implementation raises, its plugin is dropped with everything it declared, and its record says why.

    Example:
        ::

            @hookimpl
            def marsys_memory():
                return [Provider("working", open_working, settings=WorkingSettings)]

    .. versionadded:: 0.1
    """


@hookspec
def marsys_topologies(settings: Any) -> Iterable[Pattern]:  # type: ignore[empty-body]
    """Offer patterns: pure functions from parameters to a topology.

    Args:
        settings: The plugin's own section of the configuration.

    Each joins the table of patterns under its ``name``; its ``build`` is called when a run asks for it.

    Called once, when a composition is made.

    If an implementation raises, its plugin is dropped with everything it declared, and its record says why.

    Example:
        ::

            @hookimpl
            def marsys_topologies():
                return [Pattern("pipeline", pipeline, summary="One agent after the other")]

    .. versionadded:: 0.1
    """


@hookspec
def marsys_caches(settings: Any) -> Iterable[Provider[Cache]]:  # type: ignore[empty-body]
    """Offer caches for model responses.

    Args:
        settings: The plugin's own section of the configuration.

    Each provider joins the table of caches under its name, and is opened when the configuration names it.

    Called once, when a composition is made.

    If an implementation raises, its plugin is dropped with everything it declared, and its record says why.

    Example:
        ::

            @hookimpl
            def marsys_caches():
                return [Provider("memory", open_memory_cache, settings=CacheSettings)]

    .. versionadded:: 0.1
    """


@hookspec
def marsys_journals(settings: Any) -> Iterable[Provider[Store]]:  # type: ignore[empty-body]
    """Offer stores, which keep what happened in runs, so that another process can go on with them.

    Args:
        settings: The plugin's own section of the configuration.

    Each provider joins the table of journals under its name, and is opened when the engine is told to use it.

    Called once, when a composition is made.

    If an implementation raises, its plugin is dropped with everything it declared, and its record says why.

    Example:
        ::

            @hookimpl
            def marsys_journals():
                return [Provider("sqlite", open_sqlite, settings=StorageSettings)]

    .. versionadded:: 0.2
    """


@hookspec
def marsys_channels(settings: Any) -> Iterable[Provider[Channel]]:  # type: ignore[empty-body]
    """Offer channels: ways to a person who answers what runs ask.

    Args:
        settings: The plugin's own section of the configuration.

    Each provider joins the table of channels under its name, and is opened when a run first names it.

    Called once, when a composition is made.

    If an implementation raises, its plugin is dropped with everything it declared, and its record says why.

    Example:
        ::

            @hookimpl
            def marsys_channels():
                return [Provider("chat", open_chat, settings=ChatSettings)]

    .. versionadded:: 0.2
    """


@hookspec
def marsys_guards(settings: Any) -> Iterable[Provider[Guard]]:  # type: ignore[empty-body]
    """Offer guards: what may refuse a task or a tool call.

    Args:
        settings: The plugin's own section of the configuration.

    Each provider joins the table of guards under its name. Those that the engine is told to use are
    opened before the first run starts.

    Called once, when a composition is made.

    If an implementation raises, the engine does not start, whatever it raises: guards fail closed. The
    same holds for any other failure of a plugin that has this hook. A plugin that cannot even be
    imported is not known to hold guards: name those you depend on in ``plugins.require``.

    Example:
        ::

            @hookimpl
            def marsys_guards():
                return [Provider("input-size", open_input_size, settings=InputSizeSettings)]

    .. versionadded:: 0.1
    """


@hookspec
def marsys_schema_checkers(settings: Any) -> Iterable[Provider[SchemaChecker]]:  # type: ignore[empty-body]
    """Offer what checks values against JSON Schemas, for agents with an `output_schema` or `input_schema`.

    Args:
        settings: The plugin's own section of the configuration.

    Each provider joins the table of schema checkers under its name. One is opened when a run is put together
    that has such an agent: the chosen one, or the only one there is.

    Called once, when a composition is made.

    If an implementation raises, its plugin is dropped with everything it declared, and its record says why.

    Example:
        ::

            @hookimpl
            def marsys_schema_checkers():
                return [Provider("strict", make=make_strict_checker)]

    .. versionadded:: 0.1
    """


@hookspec
def marsys_event_sinks(settings: Any) -> Iterable[Provider[EventSink]]:  # type: ignore[empty-body]
    """Offer listeners on the events of runs: metrics, traces, logs.

    Args:
        settings: The plugin's own section of the configuration.

    Each provider joins the table of event sinks under its name, and is opened when the engine is told
    to use it. Its methods are looked up once.

    Called once, when a composition is made.

    If an implementation raises, its plugin is dropped with everything it declared, and its record says why.

    Example:
        ::

            @hookimpl
            def marsys_event_sinks():
                return [Provider("counters", open_counters)]

    .. versionadded:: 0.1
    """


@hookspec
def marsys_middleware(settings: Any) -> Iterable[Middleware]:  # type: ignore[empty-body]
    """Offer objects that stand round model calls, tool calls or steps.

    Args:
        settings: The plugin's own section of the configuration.

    They are nested in the order in which they are declared, the first one outermost.

    Called once, when a composition is made.

    If an implementation raises, its plugin is dropped with everything it declared, and its record says why.

    Example:
        ::

            @hookimpl
            def marsys_middleware(settings):
                return [Pace("pace", calls_a_second=settings.calls_a_second)]

    .. versionadded:: 0.1
    """


@hookspec
def marsys_commands() -> Iterable[Command]:  # type: ignore[empty-body]
    """Offer commands for the command line.

    Each is listed by name and help; its function is imported only when the command is used.

    Called when the command line starts, before any settings are read, and when a composition is made.

    If an implementation raises, its plugin is dropped with everything it declared, and its record says why.

    Example:
        ::

            @hookimpl
            def marsys_commands():
                return [Command("tail", "Follow a run", target="marsys_tail.command:main")]

    .. versionadded:: 0.1
    """


@hookspec(firstresult=True)
def marsys_choose(kind: str, names: Sequence[str], settings: Any) -> str | None:
    """Choose the default among several providers of one kind.

    Args:
        kind: What is to be chosen, for example ``"memory"``.
        names: What there is, sorted.
        settings: The plugin's own section of the configuration.

    The first answer that is not None is taken. The engine's own implementation, asked last, takes the only
    one there is, or raises and lists them.

    Called when something is needed that the configuration does not name.

    If an implementation raises, or answers with a name that is not among `names`, the error names the plugin
    and goes to whoever asked; naming one in the configuration avoids the question.

    Example:
        ::

            @hookimpl
            def marsys_choose(kind, names):
                return "sqlite" if kind == "memory" and "sqlite" in names else None

    .. versionadded:: 0.1
    """


@hookspec(firstresult=True)
def marsys_classify_error(error: BaseException) -> ErrorClass | None:
    """Say what an exception of your provider's library means for the caller of a run.

    Args:
        error: What was raised; its type is usually all that is looked at.

    The first answer that is not None is taken; None means "not mine".

    Called only when something went wrong that the engine cannot classify by itself.

    If an implementation raises, or answers with anything but an `ErrorClass` or None, it is skipped and logged.

    Example:
        ::

            @hookimpl
            def marsys_classify_error(error):
                return ErrorClass.RECOVERABLE if isinstance(error, PoolExhausted) else None

    .. versionadded:: 0.1
    """


@hookspec
def marsys_health_checks(settings: Any) -> Iterable[HealthCheck]:  # type: ignore[empty-body]
    """Offer questions whether something works.

    Args:
        settings: The plugin's own section of the configuration.

    Each is asked by ``marsys.health_check()`` and by a server's health page.

    Called once, when a composition is made.

    If an implementation raises, its plugin is dropped with everything it declared, and its record says why.

    Example:
        ::

            @hookimpl
            def marsys_health_checks():
                return [HealthCheck("disk", check_disk)]

    .. versionadded:: 0.1
    """


@hookspec
def marsys_rules(settings: Any) -> Iterable[RuleType]:  # type: ignore[empty-body]
    """Offer rules: what bounds a run, shapes its topology, or is asked before and after steps.

    Args:
        settings: The plugin's own section of the configuration.

    Each joins the table of rules under its ``name``; its ``make`` is called with the arguments that a
    topology gives, once for all runs of equal topologies.

    Called once, when a composition is made.

    If an implementation raises, its plugin is dropped with everything it declared, and its record says why.

    Example:
        ::

            @hookimpl
            def marsys_rules():
                return [RuleType("quota", Quota, summary="So many steps of each agent")]

    .. versionadded:: 0.1
    """


@hookspec
def marsys_expressions(settings: Any) -> Iterable[ExpressionLanguage]:  # type: ignore[empty-body]
    """Offer expression languages: what reads the conditions of edges that are texts.

    Args:
        settings: The plugin's own section of the configuration.

    Each joins the table of expression languages under its ``name``. One of them, which `marsys_choose`
    picks where there are several, reads every expression of a topology before its run begins; what it raises
    as `ConfigError` is told with the path of the edge.

    Called once, when a composition is made.

    If an implementation raises, its plugin is dropped with everything it declared, and its record says why.

    Example:
        ::

            @hookimpl
            def marsys_expressions():
                return [Arithmetic(name="arithmetic", max_nodes=100)]

    .. versionadded:: 0.1
    """
