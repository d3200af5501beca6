"""Which plugins the command line was asked for."""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from marsys_core.errors import ConfigError
from marsys_core.plugins.knobs import PluginSettings

__all__ = ["Knobs"]

_BUT = "no:"


def _stripped(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(name.strip() for name in names)


@attrs.frozen(kw_only=True)
class Knobs:
    """What was said of plugins before the command: ``-p``, ``--no-plugins``, ``--strict-plugins``.

    A command gets it with ``@click.pass_obj``, and asks it for the settings of its engine::

        @click.command()
        @click.pass_obj
        def main(knobs):
            composition = compose(knobs.over())

    Args:
        names: What stood after each ``-p``: a name, or ``no:`` and a name.
        none: Whether ``--no-plugins`` was given.
        strict: Whether ``--strict-plugins`` was given.

    Raises:
        ConfigError: ``--no-plugins`` beside ``-p NAME``, or a ``-p`` without a name.
    """

    names: tuple[str, ...] = attrs.field(default=(), converter=_stripped)
    none: bool = False
    strict: bool = False

    def __attrs_post_init__(self) -> None:
        if self.none and self._only():
            msg = f"--no-plugins and -p {self._only()[0]} contradict each other; leave one out"
            raise ConfigError(msg)
        if not all(name.removeprefix(_BUT).strip() for name in self.names):
            msg = "-p needs the name of a plugin, as in -p NAME or -p no:NAME; 'marsys plugins' lists them"
            raise ConfigError(msg)

    def over(self, file: PluginSettings | None = None) -> PluginSettings:
        """Return the settings of a file under those of the environment, under those of the command line.

        Args:
            file: What a configuration file says; nothing where left out.

        Raises:
            ConfigError: An environment variable cannot be read.
        """
        settings = PluginSettings.from_environment(file)
        if self.none:
            settings = settings.layered(only=(), only_knob="--no-plugins")
        elif only := self._only():
            settings = settings.layered(only=only, only_knob="-p")
        for name in self._blocked():
            settings = settings.layered(block=[name], block_knob=f"-p {_BUT}{name}")
        return settings.layered(strict=True) if self.strict else settings

    def _only(self) -> list[str]:
        return [name for name in self.names if not name.startswith(_BUT)]

    def _blocked(self) -> Iterable[str]:
        return [name.removeprefix(_BUT).strip() for name in self.names if name.startswith(_BUT)]
