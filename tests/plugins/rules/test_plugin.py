"""The plugin offers its rules by name, and the package offers them as objects."""

from __future__ import annotations

import marsys
from marsys import rules
from marsys_core.plugins import PluginSettings, compose


def test_every_rule_has_its_name_and_says_what_it_is() -> None:
    declared = compose(PluginSettings(only=["rules"])).items("rule")

    assert [each.name for each in declared] == [
        "timeout", "max_steps", "max_agents", "max_turns", "agent_timeout", "parallel", "convergence_point"
    ]  # fmt: skip
    assert all(each.summary for each in declared)
    made = {each.make for each in declared}
    assert {getattr(rules, name) for name in rules.__all__ if getattr(rules, name) in made} == made


def test_verdicts_and_facts_are_public_in_both_places() -> None:
    for name in ("Allow", "Block", "Modify", "Stop", "RuleFacts"):
        assert getattr(marsys, name) is getattr(rules, name)
