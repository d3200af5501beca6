from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marsys_core.errors import TopologyError
from marsys_core.topology import ConvergencePolicy
from tests.core.topology.strategies import policies


def test_short_forms_stand_for_policies():
    assert ConvergencePolicy.of("all") == ConvergencePolicy()
    assert ConvergencePolicy.of("any") == ConvergencePolicy(quorum=1)
    assert ConvergencePolicy.of(0.5) == ConvergencePolicy(min_ratio=0.5)
    assert ConvergencePolicy.of({"quorum": 2, "early": True}) == ConvergencePolicy(quorum=2, early=True)
    policy = ConvergencePolicy(timeout=3)
    assert ConvergencePolicy.of(policy) is policy


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, r"a convergence policy is a float, .*, not None; for a number of calls write \{'quorum': n\}"),
        (1, r"a convergence policy is a float, .*, not 1; for a number of calls write \{'quorum': n\}"),
        (
            "majorty",
            r"no convergence policy is called 'majorty'; there are: all, any, majority\. Did you mean 'majority'\?",
        ),
        (1.5, r"min_ratio is a number from 0 to 1, not 1\.5"),
        (float("nan"), r"min_ratio is a number from 0 to 1, not nan"),
        ({"quorum": 0}, r"quorum is a whole number from 1, not 0"),
        ({"timeout": 0}, r"timeout is a number of seconds above 0, at most 1e9, or None, not 0"),
        ({"early": "yes"}, r"early is True or False, not 'yes'"),
        (
            {"on_insufficient": "users"},
            r"on_insufficient is 'fail', 'proceed' or 'user', not 'users'\. Did you mean 'user'\?",
        ),
        (
            {"on_insufficient": "procede"},
            r"on_insufficient is 'fail', 'proceed' or 'user', not 'procede'\. Did you mean 'proceed'\?",
        ),
        ({"min_ratio": 0.5, "quorum": 1}, r"give min_ratio=0\.5 or quorum=1, not both"),
        ({"qorum": 1}, r"a convergence policy has no field 'qorum'; it has: .* Did you mean 'quorum'\?"),
    ],
)
def test_what_is_no_policy_is_refused(value, message):
    with pytest.raises(TopologyError, match=f"^{message}$"):
        ConvergencePolicy.of(value)


def test_all_is_met_only_without_a_failure():
    policy = ConvergencePolicy()
    assert policy.met(3, 0, 3)
    assert not policy.met(2, 1, 3)
    assert policy.hopeless(0, 1, 3)


def test_a_majority_is_more_than_half_of_those_that_count():
    policy = ConvergencePolicy.of("majority")
    assert [policy.met(delivered, 4 - delivered, 4) for delivered in range(5)] == [
        False,
        False,
        False,
        True,
        True,
    ]
    assert not policy.met(500_000_000, 500_000_000, 1_000_000_000)
    assert policy.met(500_000_001, 499_999_999, 1_000_000_000)


def test_a_ratio_is_met_early_once_failures_of_all_open_calls_could_not_change_it():
    policy = ConvergencePolicy(min_ratio=0.5)
    assert not policy.met(1, 0, 4)
    assert policy.met(2, 0, 4)


def test_calls_that_left_do_not_count_towards_a_ratio():
    # Of four calls two left and one delivered: one is open, and its failure would leave one of two.
    assert ConvergencePolicy(min_ratio=0.5).met(1, 0, 4 - 2)
    assert ConvergencePolicy().met(1, 0, 4 - 3)


def test_calls_that_left_can_make_a_quorum_unreachable():
    policy = ConvergencePolicy(quorum=2)
    assert not policy.hopeless(1, 0, 3 - 1)
    assert policy.hopeless(1, 0, 3 - 2)
    assert not policy.met(1, 0, 3 - 2)


def test_where_every_call_left_any_policy_is_met():
    for policy in (ConvergencePolicy(), ConvergencePolicy(quorum=2)):
        assert policy.met(0, 0, 0)
        assert not policy.hopeless(0, 0, 0)


@given(policies, st.integers(0, 6), st.integers(0, 6), st.integers(0, 3), st.data())
def test_met_and_hopeless_are_final_whatever_the_open_calls_do(policy, delivered, failed, still_open, data):
    total = delivered + failed + still_open
    met, hopeless = policy.met(delivered, failed, total), policy.hopeless(delivered, failed, total)
    more, gone = data.draw(st.integers(0, still_open)), 0
    if policy.quorum is None:  # a call that leaves lowers what can still deliver, never what has
        gone = data.draw(st.integers(0, still_open - more))
    settled = (delivered + more, failed + still_open - more - gone, total - gone)
    assert policy.met(*settled) != policy.hopeless(*settled) or settled[2] == 0
    if met:
        assert policy.met(*settled)
    if hopeless and not (gone and settled[2] == 0):
        assert not policy.met(*settled)
