"""Plugins that go wrong, each in its own way, and what has to be said of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import attrs

from tests.foreign.wheels import build_wheel

__all__ = ["CLASHING", "GUARDS", "HARMLESS", "MISBEHAVING", "Misbehaving", "wheels_of"]


@attrs.frozen(kw_only=True)
class Misbehaving:
    """A distribution with one plugin.

    Args:
        source: The plugin's module, which is called ``<name>_plugin``.
        status: What the plugin should be.
        reason: Why, to the letter.
        plugin: The plugin's name, where it is not the distribution's.
        target: What the entry point names, where it is not the module.
    """

    source: str = ""
    status: str = "broken"
    reason: str = ""
    plugin: str = ""
    target: str = ""


_IMPORTS = "from marsys_core import Provider, hookimpl\n"


def _model(name: str) -> str:
    """Return a plugin with one model, which nobody opens."""
    return f"""{_IMPORTS}
def make(context, settings):
    raise AssertionError("nobody asked for it")

@hookimpl
def marsys_models():
    return [Provider({name!r}, make=make, summary="from somebody else")]
"""


MISBEHAVING = {
    "bad-import": Misbehaving(
        source="import not_there_xyz", reason="ModuleNotFoundError: No module named 'not_there_xyz'"
    ),
    "bad-syntax": Misbehaving(
        source="def (:", reason="SyntaxError: invalid syntax (bad_syntax_plugin.py, line 1)"
    ),
    "bad-target": Misbehaving(
        target="bad_target_elsewhere", reason="ModuleNotFoundError: No module named 'bad_target_elsewhere'"
    ),
    "bad-attribute": Misbehaving(
        target="bad_attribute_plugin:gone",
        reason="AttributeError: module 'bad_attribute_plugin' has no attribute 'gone'",
    ),
    "bad-signature": Misbehaving(
        source=_IMPORTS + "@hookimpl\ndef marsys_models(settings, colour): return []",
        reason="PluginError: marsys_models asks for 'colour', and is offered: settings",
    ),
    "bad-hook-name": Misbehaving(
        source=_IMPORTS + "@hookimpl\ndef marsys_modles(): return []",
        reason="PluginError: there is no hook called 'marsys_modles'. Did you mean 'marsys_models' or 'marsys_tools'?",
    ),
    "bad-unmarked": Misbehaving(
        source="def marsys_models(): return []",
        reason="PluginError: marsys_models not marked with @hookimpl",
    ),
    "bad-api": Misbehaving(
        source=f"marsys_api = 99\n{_model('from-the-future')}",
        status="incompatible",
        reason="written for plugin API 99; this engine speaks 1 to 1",
    ),
    "bad-hook": Misbehaving(
        source=_IMPORTS + "@hookimpl\ndef marsys_tools(): raise RuntimeError('no tools today')",
        reason="RuntimeError: no tools today",
    ),
    "bad-answer": Misbehaving(
        source=_IMPORTS + "@hookimpl\ndef marsys_models(): pass",
        reason="PluginError: marsys_models returned None; expected a list, empty where there is nothing",
    ),
    "bad-exit": Misbehaving(source="import sys; sys.exit(0)", reason="SystemExit: 0"),
    "bad-hook-exit": Misbehaving(
        source=_IMPORTS + "@hookimpl\ndef marsys_models(): raise SystemExit('enough')",
        reason="SystemExit: enough",
    ),
}
"""Those that `marsys plugins check` does not let pass."""

HARMLESS = {
    "odd-unavailable": Misbehaving(
        source="from marsys_core.errors import PluginUnavailable\nraise PluginUnavailable('pip install odd[all]')",
        status="unavailable",
        reason="pip install odd[all]",
    ),
    "odd-printing": Misbehaving(
        source=f"print('hello from the plugin')\n{_model('printing')}", status="loaded"
    ),
    # The standard plugins come first, and then the distributions by name.
    "odd-shadow": Misbehaving(
        source=_model("shadow"), plugin="models", status="shadowed", reason="marsys-core 0.1.0 has the name"
    ),
    "odd-twin-a": Misbehaving(source=_model("twin-a"), plugin="twin", status="loaded"),
    "odd-twin-b": Misbehaving(
        source=_model("twin-b"), plugin="twin", status="shadowed", reason="odd-twin-a 1.0 has the name"
    ),
}
"""Those that it lets pass: nothing is wrong with them, or nothing that a program could not live with."""

CLASHING = {
    "clash-standard": Misbehaving(source=_model("extractive"), status="loaded"),
    "clash-left": Misbehaving(source=_model("acme"), status="loaded"),
    "clash-right": Misbehaving(source=_model("acme"), status="loaded"),
}
"""Those whose models have a name that is taken."""

GUARDS = {
    "bad-guard": Misbehaving(
        source=_IMPORTS + "@hookimpl\ndef marsys_guards(): raise RuntimeError('no key for the guard')",
        reason="RuntimeError: no key for the guard",
    ),
}
"""One that holds guards, without which the engine does not start."""


def wheels_of(group: Mapping[str, Misbehaving], folder: Path) -> list[Path]:
    """Write a wheel for each of a group."""
    wheels = []
    for name, each in group.items():
        module = f"{name.replace('-', '_')}_plugin"
        files, plugins = {f"{module}.py": each.source}, {each.plugin or name: each.target or module}
        wheels.append(build_wheel(folder, name, files, plugins))
    return wheels
