from __future__ import annotations

import pytest

from marsys_core.errors import ConfigError
from marsys_core.plugins import PluginSettings


def test_names_are_stripped_and_empty_ones_are_nothing() -> None:
    settings = PluginSettings.from_environment(environ={"MARSYS_PLUGINS": " memory , marsys-postgres,"})
    assert settings.only == ("memory", "marsys-postgres")
    assert settings.block == ()


def test_an_empty_variable_means_no_plugin_and_an_unset_one_means_nothing() -> None:
    assert PluginSettings.from_environment(environ={"MARSYS_PLUGINS": ""}).only == ()
    assert PluginSettings.from_environment(environ={}).only is None


def test_the_environment_beats_the_file_and_adds_to_what_it_blocks() -> None:
    file = PluginSettings(only=["a"], block=["b"], strict=True, require=["r"])
    environ = {"MARSYS_PLUGINS": "c", "MARSYS_BLOCK_PLUGINS": "d", "MARSYS_STRICT_PLUGINS": "0"}
    settings = PluginSettings.from_environment(file, environ)
    assert (settings.only, settings.block, settings.strict, settings.require) == (
        ("c",),
        ("b", "d"),
        False,
        ("r",),
    )
    assert (settings.only_knob(), settings.block_knob("b"), settings.block_knob("d")) == (
        "MARSYS_PLUGINS",
        "plugins.block",
        "MARSYS_BLOCK_PLUGINS",
    )


def test_a_stronger_layer_beats_the_environment() -> None:
    settings = PluginSettings.from_environment(
        environ={"MARSYS_PLUGINS": "a", "MARSYS_STRICT_PLUGINS": "yes"}
    )
    settings = settings.layered(
        only=["b"], block=["x"], require=["r>=1"], strict=False, only_knob="-p", block_knob="-p"
    )
    assert (settings.only, settings.block, settings.strict, settings.require) == (
        ("b",),
        ("x",),
        False,
        ("r>=1",),
    )
    assert (settings.only_knob(), settings.block_knob("x")) == ("-p", "-p")


def test_a_layer_that_says_nothing_changes_nothing() -> None:
    settings = PluginSettings(only=["a"], block=["b"], strict=True)
    assert settings.layered() == settings
    assert PluginSettings.from_environment(settings, {}) == settings


def test_a_truth_value_that_is_neither_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^MARSYS_STRICT_PLUGINS='maybe' is neither '1' nor '0'$"):
        PluginSettings.from_environment(environ={"MARSYS_STRICT_PLUGINS": "maybe"})


def test_a_table_holds_knobs_and_sections() -> None:
    settings = PluginSettings.from_mapping(
        {"only": ["memory"], "strict": True, "prefer": {"memory.sqlite": "x"}, "memory": {"capacity": 3}}
    )
    assert settings == PluginSettings(
        only=["memory"], strict=True, prefer={"memory.sqlite": "x"}, sections={"memory": {"capacity": 3}}
    )


def test_every_problem_of_a_table_is_told_at_once() -> None:
    table = {"only": "memory", "block": [1], "strict": "yes", "prefer": {"a.b": 1}, "requires": ["x"]}
    with pytest.raises(ConfigError) as caught:
        PluginSettings.from_mapping(table)
    assert caught.value.problems == (
        "expected a list of names, got 'memory' @ $.plugins.only",
        "expected a list of names, got [1] @ $.plugins.block",
        "expected true or false, got 'yes' @ $.plugins.strict",
        "expected names by 'kind.name', got {'a.b': 1} @ $.plugins.prefer",
        "expected a plugin's table of settings, got ['x'] @ $.plugins.requires. Did you mean 'require'?",
    )


def test_a_string_is_not_a_list_of_names() -> None:
    with pytest.raises(
        ConfigError, match=r"^a list of plugin names is needed, not the string 'memory'; write \['memory'\]$"
    ):
        PluginSettings(only="memory")


def test_changing_a_mapping_afterwards_changes_nothing() -> None:
    section = {"hosts": ["a"]}
    settings = PluginSettings(sections={"x": section})
    section["hosts"].append("b")
    assert settings.sections["x"] == {"hosts": ["a"]}


def test_equal_settings_have_equal_keys_and_different_ones_have_not() -> None:
    assert PluginSettings(sections={"x": {"a": [1]}}).key == PluginSettings(sections={"x": {"a": [1]}}).key
    # 1 == True == 1.0 in Python, and a settings class tells them apart.
    keys = {PluginSettings(sections={"x": {"a": value}}).key for value in (1, True, 1.0, "1", None)}
    assert len(keys) == 5
    one, other = object(), object()
    assert PluginSettings(plugins={"x": one}).key != PluginSettings(plugins={"x": other}).key


def test_settings_that_cannot_be_compared_have_no_key() -> None:
    assert PluginSettings(sections={"x": {"a": {1, 2}}}).key is None
