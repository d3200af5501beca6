from __future__ import annotations

import pytest

from marsys import topologies
from marsys.topologies.plugin import marsys_topologies
from marsys_core.errors import UnknownName


def test_every_pattern_is_offered_by_its_name_with_a_summary():
    patterns = {pattern.name: pattern for pattern in marsys_topologies()}
    assert {"PatternConfig", *patterns} == set(topologies.__all__)
    for name, pattern in patterns.items():
        assert pattern.build is getattr(topologies, name)
        assert pattern.summary


def test_a_pattern_is_built_by_its_parameters():
    patterns = {pattern.name: pattern for pattern in marsys_topologies()}
    topology = patterns["hub_and_spoke"].build(hub="H", spokes=["S1", "S2"], parallel_spokes=True)
    assert topology == topologies.hub_and_spoke("H", ["S1", "S2"], True)


def test_pattern_config_offers_what_the_installed_plugins_offer():
    assert {pattern.name for pattern in marsys_topologies()} <= set(dir(topologies.PatternConfig))
    assert topologies.PatternConfig.ring(["A", "B", "C"]) == topologies.ring(["A", "B", "C"])


def test_a_pattern_that_nobody_offers_is_named_with_the_nearest():
    with pytest.raises(
        UnknownName, match=r"^no pattern is called 'rign'; there are: .* Did you mean 'ring'\?"
    ):
        topologies.PatternConfig.rign(["A", "B"])
