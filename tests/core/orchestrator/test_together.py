"""What holds of runs in which everything goes on at once: people, rules, conditions, state, budgets, limits."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marsys_core import events as e
from marsys_core.orchestrator import Facts, Phase, Reading
from marsys_core.orchestrator.shared import written
from tests.core.examples import examples
from tests.core.orchestrator.bridge import verdict_of
from tests.core.orchestrator.driver import Outcome, fold
from tests.core.orchestrator.journals import Ledger, journal, snapshot
from tests.core.orchestrator.together import Everything, calm, wild

seeds = st.none() | st.integers(0, 2**16)


def as_is(value: Any) -> Any:
    return value


def shared(branch: Any) -> dict[str, Any]:
    return dict(Reading(branch.shared, as_is))


@pytest.mark.slow
@examples(150)
@given(wild(), seeds)
def test_every_branch_settles_once_and_every_join_ends_once(case: Everything, seed: int | None) -> None:
    run = case.simulation(seed).start().run()
    started = Counter(event.branch for event in run.of(e.BranchStarted))
    assert started == Counter(event.branch for event in run.of(e.BranchSettled))
    assert set(started.values()) == {1}
    assert [b.id for b in run.state.branches.values() if b.phase is not Phase.SETTLED] == []
    assert type(run.events[-1]) is e.RunFinished
    assert run.orchestrator.open_questions == []
    assert len({event.id for event in run.events}) == len(run.events)
    opened = {(f.branch, f.fork) for f in run.of(e.BranchForked) if not f.detached}
    ends = [
        Counter((event.branch, event.fork) for event in run.of(kind))
        for kind in (e.JoinCompleted, e.JoinCancelled, e.JoinReopened)
    ]
    for id in opened:
        completed, cancelled, reopened = (each[id] for each in ends)
        assert completed in (reopened, reopened + 1)
        assert cancelled <= 1 + reopened
        assert completed + cancelled > reopened
        # One that is open when its branch comes to its end was cancelled.
        assert completed > reopened or run.settled[id[0]] in ("cancelled", "failed")
    assert {id for each in ends for id in each} <= opened


@pytest.mark.slow
@examples(150)
@given(wild(), seeds)
def test_every_value_ends_in_exactly_one_place(case: Everything, seed: int | None) -> None:
    run = case.simulation(seed).start().run()
    ledger = Ledger.of(run.events, run.values)
    assert ledger.handed == ledger.ended


@pytest.mark.slow
@examples(150)
@given(wild(), seeds)
def test_every_write_ends_in_the_state_of_the_run_or_is_dropped(case: Everything, seed: int | None) -> None:
    run = case.simulation(seed).start().run()
    made: Counter[tuple[str, Any]] = Counter()
    for event in run.of(e.StepFinished):
        made.update((key, value) for key, op, value, *_ in event.writes if key in ("log", "text", "latest"))
    kept, dropped = shared(run.state.branches["0"]), Counter[tuple[str, Any]]()
    for event in run.of(e.Dropped):
        if event.state:
            dropped.update(
                (key, each) for key in ("log", "text", "latest") for each in event.value.get(key, ())
            )
    log = list(kept["log"])
    assert made - dropped == Counter((key, each) for key in ("log", "text", "latest") for each in log)
    assert dropped - made == Counter()
    # Every reducer has seen the same writes in the same order.
    assert log == list(kept.get("list", ())) == [each for each in kept.get("text", "").split("|") if each]
    assert log[-1:] == [kept["latest"]] if log else "latest" not in kept
    assert [b.id for b in run.state.branches.values() if b.writes and not b.detached] == []


@pytest.mark.slow
@examples(100)
@given(wild(), seeds)
def test_a_step_sees_what_its_branch_has_written_and_nothing_of_what_is_under_way(
    case: Everything, seed: int | None
) -> None:
    simulation = case.simulation(seed)
    record, state, own = simulation.orchestrator.append, simulation.orchestrator.state, {}

    def look(event: e.Event) -> None:
        if type(event) is e.StepStarted:
            seen = shared(state.branches[event.branch])["log"]
            assert own.get(event.branch, []) == [each for each in seen if each.split(":")[0] == event.branch]
            for writer in {each.split(":")[0] for each in seen}:
                assert (
                    f"{event.branch}.".startswith(f"{writer}.") or state.branches[writer].outcome is not None
                )
        elif type(event) is e.StepFinished:
            made = [value for key, _, value, *_ in event.writes if key == "log"]
            own.setdefault(event.branch, []).extend(made)
        record(event)

    simulation.orchestrator.append = look
    simulation.start().run()


@pytest.mark.slow
@examples(100)
@given(wild(), seeds)
def test_conditions_read_what_a_step_came_to_and_nobody_goes_where_they_are_false(
    case: Everything, seed: int | None
) -> None:
    simulation = case.simulation(seed)
    machine, record = simulation.orchestrator, simulation.orchestrator.append
    closed: dict[str, set[str]] = {}

    def look(event: e.Event) -> None:
        branch = machine.state.branches.get(event.branch)
        match event:
            case e.StepFinished(node=node, action=action, writes=writes):
                assert branch is not None
                facts = Facts(
                    branch,
                    node,
                    written(branch.shared, writes),
                    branch.value,
                    getattr(action, "value", None),
                    as_is,
                )
                links = machine.graph.conditional.get(node, ())
                told = tuple((link.target, link.edge.condition(facts)) for link in links)  # type: ignore[operator,misc]
                assert event.conditions == told
                closed[event.branch] = {target for target, is_open in told if not is_open}
            case e.BranchForked(calls=calls):
                assert closed.get(event.branch, set()).isdisjoint(node for node, _ in calls)
            case e.BranchMoved(how=how, node=node):
                assert how in ("again", "answer", "join", "return") or node not in closed.get(
                    event.branch, ()
                )
                closed[event.branch] = {target for target, is_open in event.conditions if not is_open}
            case e.JoinCompleted():  # where it goes on is no matter of edges
                closed.pop(event.branch, None)
            case e.UserAsked(kind="question"):
                assert "user" not in closed.get(event.branch, ())
        record(event)

    simulation.orchestrator.append = look
    simulation.start().run()


@pytest.mark.slow
@examples(100)
@given(wild(), seeds)
def test_no_limit_is_passed_whoever_is_asked_and_whatever_is_made_again(
    case: Everything, seed: int | None
) -> None:
    run = case.simulation(seed).start().run()
    steps = Counter(event.branch for event in run.of(e.StepStarted))
    assert steps.total() == run.state.steps <= case.config.max_steps
    most = case.config.max_steps_per_branch
    assert most is None or max(steps.values(), default=0) <= most
    assert max(id.count(".") for id in run.settled) <= case.config.max_branch_depth
    for fork in run.of(e.BranchForked):
        if fork.budget is not None:
            again = [
                (event.first, len(event.calls))
                for event in run.of(e.JoinReopened)
                if (event.branch, event.fork) == (fork.branch, fork.fork)
            ]
            children = {
                f"{fork.branch}.{first + i}"
                for first, count in [(fork.first, len(fork.calls)), *again]
                for i in range(count)
            }
            below = [
                n for id, n in steps.items() if any(f"{id}.".startswith(f"{child}.") for child in children)
            ]
            assert sum(below) <= fork.budget["max_steps"]


@pytest.mark.slow
@examples(150)
@given(calm(), st.integers(0, 2**16))
def test_neither_the_outcome_nor_the_journal_depends_on_the_order_in_which_steps_end(
    case: Everything, seed: int
) -> None:
    first, other = case.simulation().start().run(), case.simulation(seed).start().run()
    assert verdict_of(first) == verdict_of(other)
    if not verdict_of(first).limited:
        assert journal(first.events) == journal(other.events)
        assert shared(first.state.branches["0"]) == shared(other.state.branches["0"])


@pytest.mark.slow
@examples(40)
@given(wild(12), seeds)
def test_folding_a_journal_gives_the_state_at_every_event(case: Everything, seed: int | None) -> None:
    simulation = case.simulation(seed)
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
@given(wild(12), seeds)
def test_a_run_rebuilt_from_any_prefix_makes_the_same_decisions(case: Everything, seed: int | None) -> None:
    original = case.simulation(seed).start()
    last: Outcome = original.run()
    whole = journal(original.events)
    for cut in range(1, len(original.events) + 1):
        prefix = original.events[:cut]
        rest = [move for move in original.moves if move[0] >= cut]
        again = case.simulation().resume(prefix).follow(rest)
        ran = again.run()
        assert journal([*prefix, *again.events]) == whole
        assert shared(ran.state.branches["0"]) == shared(last.state.branches["0"])
