"""Commands that plugins add to the command line."""

from __future__ import annotations

import attrs

from marsys_core.errors import PluginError

__all__ = ["Command"]


def _names_a_function(_command: object, _attribute: object, target: str) -> None:
    module, colon, function = target.partition(":")
    if not (colon and function.isidentifier() and all(part.isidentifier() for part in module.split("."))):
        msg = f"target {target!r} is not of the form 'package.module:function'"
        raise ValueError(msg)


@attrs.frozen
class Command:
    """One command, imported only when it is used.

    Args:
        name: What a person types after ``marsys``.
        help: One line for the list of commands.
        target: Where the function lives: ``"package.module:function"``. It is imported when used. A plain
            function is called with the list of arguments, or with none if it takes none, and what it
            returns is the exit code. A ``click.Command`` is used as it is; with ``@click.pass_obj`` it is
            handed a `marsys.cli.Knobs`, whose ``over()`` gives the `PluginSettings` of its engine.
    """

    name: str
    help: str
    target: str = attrs.field(validator=_names_a_function)

    def load(self) -> object:
        """Import the function.

        Raises:
            PluginError: The module cannot be imported or has no such function; the cause is chained.
        """
        import importlib

        module, _, function = self.target.partition(":")
        try:
            return getattr(importlib.import_module(module), function)
        except (ImportError, AttributeError) as error:
            msg = f"command {self.name!r} cannot be imported from {self.target!r}: {type(error).__name__}: {error}"
            raise PluginError(msg) from error
