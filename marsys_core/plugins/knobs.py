"""Which plugins are wanted, and with what settings: the environment, the configuration, the application."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

import attrs

from marsys_core.errors import ConfigError, nearest

__all__ = ["PluginSettings"]

_WORDS = {
    "1": True,
    "true": True,
    "yes": True,
    "on": True,
    "": False,
    "0": False,
    "false": False,
    "no": False,
    "off": False,
}
_KEYS = ("only", "block", "require", "strict", "prefer")


def _copied(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _copied(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_copied(each) for each in value]
    return value


def _mapping(value: Mapping[str, Any]) -> Mapping[str, Any]:
    return MappingProxyType(_copied(value))


def _objects(value: Mapping[str, object]) -> Mapping[str, object]:
    return MappingProxyType(dict(value))


def _names(value: Iterable[str]) -> tuple[str, ...]:
    if isinstance(value, str):
        msg = f"a list of plugin names is needed, not the string {value!r}; write [{value!r}]"
        raise ConfigError(msg)
    stripped = (name.strip() for name in value)
    return tuple(dict.fromkeys(name for name in stripped if name))


def _names_or_none(value: Iterable[str] | None) -> tuple[str, ...] | None:
    return None if value is None else _names(value)


def _frozen(value: Any) -> object:
    """Turn a value into a hashable one that is equal only for values of the same types."""
    if isinstance(value, Mapping):
        return tuple((key, _frozen(each)) for key, each in value.items())
    if isinstance(value, (list, tuple)):
        return type(value), tuple(_frozen(each) for each in value)
    hash(value)
    return type(value), value


def _key(settings: PluginSettings) -> object:
    objects = tuple((name, id(plugin)) for name, plugin in settings.plugins.items())
    data = [getattr(settings, name) for name in ("discover", *_KEYS, "sections", "choices", "knobs")]
    try:
        return objects, tuple(_frozen(each) for each in data)
    except TypeError:  # a section holds something that cannot be compared: not kept, only slower
        return None


def _refuse_unknown(cls: type[PluginSettings]) -> type[PluginSettings]:
    """Make the constructor name an unknown field with the nearest one, as those of the configuration do."""
    known = [field.name for field in attrs.fields(cls) if field.init]
    construct = cls.__init__

    @functools.wraps(construct)
    def init(self: PluginSettings, **given: Any) -> None:
        problems = [
            f"unknown field {name!r}.{nearest(name, known)} @ $.plugins"
            for name in given
            if name not in known
        ]
        if problems:
            msg = "PluginSettings is not valid:"
            raise ConfigError(msg, problems)
        construct(self, **given)

    cls.__init__ = init  # type: ignore[method-assign]
    return cls


@_refuse_unknown
@attrs.frozen(kw_only=True)
class PluginSettings:
    """Which plugins are wanted, and how. Plain data; names are an entry point's or a distribution's.

    Args:
        plugins: Plugins that the application hands over, by name. They are registered first, no knob
            keeps them out, and what they raise is raised.
        discover: Whether installed plugins are looked for at all.
        only: Load these and no others; None for all, empty for none.
        block: Never load these.
        require: These must be loaded, optionally in some versions: ``"marsys-postgres>=1.2"``. A
            distribution's name requires all its plugins.
        strict: Whether a broken or incompatible plugin is an error. One that is unavailable is not.
        prefer: Whose declaration is taken where two have the same name:
            ``{"memory.sqlite": "marsys-other"}``.
        sections: Each plugin's own settings, by the plugin's name.
        choices: Which provider is the default, by kind: ``{"memory": "sqlite"}``.
        knobs: Which setting a name in `only` or `block` came from, for messages. Filled by `layered`.
    """

    plugins: Mapping[str, object] = attrs.field(factory=dict, converter=_objects)
    discover: bool = True
    only: tuple[str, ...] | None = attrs.field(default=None, converter=_names_or_none)
    block: tuple[str, ...] = attrs.field(default=(), converter=_names)
    require: tuple[str, ...] = attrs.field(default=(), converter=_names)
    strict: bool = False
    prefer: Mapping[str, str] = attrs.field(factory=dict, converter=_mapping)
    sections: Mapping[str, Mapping[str, Any]] = attrs.field(factory=dict, converter=_mapping)
    choices: Mapping[str, str] = attrs.field(factory=dict, converter=_mapping)
    knobs: Mapping[str, str] = attrs.field(factory=dict, converter=_mapping)
    key: object = attrs.field(init=False, repr=False, eq=False, default=attrs.Factory(_key, takes_self=True))
    """What equal settings have in common, or None where a section cannot be compared."""

    @classmethod
    def from_mapping(cls, table: Mapping[str, Any]) -> PluginSettings:
        """Read the ``plugins`` table of a configuration file.

        Its keys ``only``, ``block``, ``require``, ``strict`` and ``prefer`` are the knobs; every other
        key is a plugin's name, and its value that plugin's section.

        Raises:
            ConfigError: Something in it is neither; every problem at once.
        """
        sections = {name: value for name, value in table.items() if name not in _KEYS}
        problems = [*_wrong_knobs(table), *_wrong_sections(sections)]
        if problems:
            msg = "the plugins table cannot be read:"
            raise ConfigError(msg, problems)
        knobs = {name: value for name, value in table.items() if name in _KEYS}
        return cls(**knobs, sections=sections)

    @classmethod
    def from_environment(
        cls, file: PluginSettings | None = None, environ: Mapping[str, str] | None = None
    ) -> PluginSettings:
        """Return the file's settings with the environment's in front.

        ``MARSYS_PLUGINS`` takes the place of `only` (empty: no plugin is loaded by itself),
        ``MARSYS_STRICT_PLUGINS`` that of `strict`, and ``MARSYS_BLOCK_PLUGINS`` adds to `block`: what the
        file blocks stays blocked.

        Args:
            file: What a configuration file says; nothing where left out.
            environ: The variables; those of the process where left out.

        Raises:
            ConfigError: ``MARSYS_STRICT_PLUGINS`` is neither yes nor no.
        """
        environ = os.environ if environ is None else environ
        only = environ.get("MARSYS_PLUGINS")
        return (file or cls()).layered(
            only=None if only is None else only.split(","),
            block=environ.get("MARSYS_BLOCK_PLUGINS", "").split(","),
            strict=_truth(environ.get("MARSYS_STRICT_PLUGINS")),
            only_knob="MARSYS_PLUGINS",
            block_knob="MARSYS_BLOCK_PLUGINS",
        )

    def layered(
        self,
        *,
        only: Iterable[str] | None = None,
        block: Iterable[str] = (),
        require: Iterable[str] = (),
        strict: bool | None = None,
        only_knob: str = "only=",
        block_knob: str = "block=",
    ) -> PluginSettings:
        """Return these settings with stronger ones in front: the command line's, or the application's.

        `only` and `strict` take the place of what was there; `block` and `require` add to it.

        Args:
            only: None where the layer says nothing.
            block: More names to block.
            require: More names to require.
            strict: None where the layer says nothing.
            only_knob: What messages call this layer's `only`.
            block_knob: What messages call this layer's `block`.
        """
        block = _names(block)
        knobs = {**{f"block {name}": block_knob for name in block}, **self.knobs}
        if only is not None:
            knobs["only"] = only_knob
        return attrs.evolve(
            self,
            only=self.only if only is None else only,
            block=(*self.block, *block),
            require=(*self.require, *require),
            strict=self.strict if strict is None else strict,
            knobs=knobs,
        )

    def only_knob(self) -> str:
        """Say where `only` came from."""
        return self.knobs.get("only", "plugins.only")

    def block_knob(self, name: str) -> str:
        """Say where a name in `block` came from."""
        return self.knobs.get(f"block {name}", "plugins.block")


def _truth(word: str | None) -> bool | None:
    if word is None:
        return None
    known = _WORDS.get(word.strip().lower())
    if known is None:
        msg = f"MARSYS_STRICT_PLUGINS={word!r} is neither '1' nor '0'"
        raise ConfigError(msg)
    return known


def _wrong_knobs(table: Mapping[str, Any]) -> list[str]:
    problems = [
        f"expected a list of names, got {table[name]!r} @ $.plugins.{name}"
        for name in ("only", "block", "require")
        if name in table and not _is_list_of_strings(table[name])
    ]
    if not isinstance(table.get("strict", False), bool):
        problems.append(f"expected true or false, got {table['strict']!r} @ $.plugins.strict")
    prefer = table.get("prefer", {})
    if not isinstance(prefer, Mapping) or not _is_list_of_strings(list(prefer.values())):
        problems.append(f"expected names by 'kind.name', got {prefer!r} @ $.plugins.prefer")
    return problems


def _is_list_of_strings(value: object) -> bool:
    return isinstance(value, (list, tuple)) and all(isinstance(each, str) for each in value)


def _wrong_sections(sections: Mapping[str, Any]) -> list[str]:
    return [
        f"expected a plugin's table of settings, got {value!r} @ $.plugins.{name}.{nearest(name, _KEYS)}"
        for name, value in sections.items()
        if not isinstance(value, Mapping)
    ]
