"""What holds of every run, whatever its agents do and in whatever order their steps end."""

from __future__ import annotations

from collections import Counter

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from marsys_core import events as e
from marsys_core.config import ExecutionConfig
from marsys_core.orchestrator import Phase
from tests.core.examples import examples
from tests.core.orchestrator.bridge import Play, verdict_of
from tests.core.orchestrator.driver import Outcome, fold
from tests.core.orchestrator.journals import Ledger, journal, snapshot
from tests.core.reference.strategies import plays

cases = st.builds(lambda drawn, people: Play(*drawn, people=people), plays(), st.booleans())
budgets = st.sampled_from([None, None, 0.5, {"max_steps": 0}, {"max_steps": 3, "max_tokens": 9}])
early_cases = st.builds(
    lambda drawn, early, people, budget: Play(*drawn, early=early, people=people, budget=budget),
    plays(),
    st.booleans(),
    st.booleans(),
    budgets,
)
# Looking at every event of a run costs the square of its length.
short_cases = early_cases.map(lambda play: attrs.evolve(play, max_steps=12))
configs = st.builds(
    ExecutionConfig,
    first_result=st.sampled_from([False, False, True]),
    detached_failures=st.sampled_from(["record", "record", "fail"]),
    max_steps_per_branch=st.none() | st.integers(1, 4),
    max_tokens=st.none() | st.just(9),
)
seeds = st.none() | st.integers(0, 2**16)


@st.composite
def runs(draw: st.DrawFn) -> Outcome:
    """A whole run, also of the kinds whose outcome depends on which step ends first."""
    return draw(early_cases).simulation(draw(seeds), draw(configs)).start().run()


@pytest.mark.slow
@examples(120)
@given(runs())
def test_what_is_below_a_fork_takes_no_more_steps_than_its_share(run: Outcome) -> None:
    for fork in run.of(e.BranchForked):
        children = [f"{fork.branch}.{fork.first + index}" for index in range(len(fork.calls))]
        below = [
            event
            for event in run.of(e.StepStarted)
            if any(event.branch == child or event.branch.startswith(f"{child}.") for child in children)
        ]
        assert fork.budget is None or len(below) <= fork.budget["max_steps"]


@pytest.mark.slow
@examples(120)
@given(runs())
def test_every_branch_settles_once_and_every_join_ends_once(run: Outcome) -> None:
    started = Counter(event.branch for event in run.of(e.BranchStarted))
    assert started == Counter(event.branch for event in run.of(e.BranchSettled))
    assert set(started.values()) == {1}
    assert [b.id for b in run.state.branches.values() if b.phase is not Phase.SETTLED] == []
    assert type(run.events[-1]) is e.RunFinished

    opened = {(f.branch, f.fork) for f in run.of(e.BranchForked) if not f.detached}
    completed = Counter((event.branch, event.fork) for event in run.of(e.JoinCompleted))
    cancelled = Counter((event.branch, event.fork) for event in run.of(e.JoinCancelled))
    assert set(completed) | set(cancelled) == opened
    # A join that a person had opened again ends once more.
    opened_again = Counter((event.branch, event.fork) for event in run.of(e.JoinReopened))
    assert {
        id for id in opened if completed[id] > 1 + opened_again[id] or cancelled[id] > 1 + opened_again[id]
    } == set()
    assert all(completed[id] >= opened_again[id] for id in opened)
    owners = {event.branch: event.outcome for event in run.of(e.BranchSettled)}
    # A join that was cut short completes with what has arrived, unless its owner is cancelled too.
    assert all(owners[branch] in ("cancelled", "failed") for branch, _ in opened - set(completed))


@pytest.mark.slow
@examples(120)
@given(runs())
def test_every_value_ends_in_exactly_one_place(run: Outcome) -> None:
    ledger = Ledger.of(run.events, run.values)
    assert ledger.handed == ledger.ended


@pytest.mark.slow
@examples(150)
@given(cases, st.integers(0, 2**16))
def test_neither_the_outcome_nor_the_journal_depends_on_the_order_in_which_steps_end(
    play: Play, seed: int
) -> None:
    first, other = play.simulation().start().run(), play.simulation(seed).start().run()
    assert verdict_of(first) == verdict_of(other)
    if not verdict_of(first).limited:
        assert journal(first.events) == journal(other.events)


@pytest.mark.slow
@examples(100)
@given(cases, seeds)
def test_two_runs_of_one_script_give_equal_journals(play: Play, seed: int | None) -> None:
    one, two = (play.simulation(seed).start().run() for _ in range(2))
    assert journal(one.events) == journal(two.events)
    assert len({event.id for event in one.events}) == len(one.events)


@pytest.mark.slow
@examples(40)
@given(short_cases, seeds)
def test_folding_a_journal_gives_the_state_at_every_event(play: Play, seed: int | None) -> None:
    simulation = play.simulation(seed)
    seen = []
    record = simulation.orchestrator.append

    def record_and_look(event: e.Event) -> None:
        seen.append(snapshot(simulation.orchestrator.state))
        record(event)

    simulation.orchestrator.append = record_and_look
    simulation.start().run()
    rebuilt = fold([])
    for event, before in zip(simulation.events, seen, strict=True):
        assert before == snapshot(rebuilt)
        rebuilt.apply(event)


@pytest.mark.slow
@examples(60)
@given(short_cases, configs, seeds)
def test_a_run_rebuilt_from_any_prefix_makes_the_same_decisions(
    play: Play, config: ExecutionConfig, seed: int | None
) -> None:
    original = play.simulation(seed, config).start()
    original.run()
    whole = journal(original.events)
    for cut in range(1, len(original.events) + 1):
        prefix = original.events[:cut]
        rest = [move for move in original.moves if move[0] >= cut]
        again = play.simulation(config=config).resume(prefix).follow(rest)
        again.run()
        assert journal([*prefix, *again.events]) == whole
