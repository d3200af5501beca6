"""On random nets, with random scripts, in any order of the steps, the orchestrator does as the rules say."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.core.examples import examples
from tests.core.orchestrator.bridge import Play, verdict_of
from tests.core.reference.strategies import plays

SEEDS = (None, 1, 2)


@pytest.mark.slow
@examples(200)
@given(st.lists(plays(), min_size=4, max_size=4))
def test_the_orchestrator_agrees_with_the_reference(cases) -> None:
    for net, script, policy in cases:
        play = Play(net, script, policy)
        expected = play.expected()
        for seed in SEEDS:
            assert verdict_of(play.simulation(seed).start().run()) == expected
