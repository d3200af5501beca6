"""Shared state, on random nets, in any order of the steps: a model with plain dicts, and what is conserved."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable
from copy import deepcopy
from typing import Any
from zlib import crc32

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from marsys_core import events as e
from marsys_core.config import ExecutionConfig
from marsys_core.frozen import thaw
from marsys_core.orchestrator import Branch, Frame, Phase, Reading, Sharing
from marsys_core.orchestrator.shared import fold_write
from marsys_core.topology import Reducer
from tests.core.examples import examples
from tests.core.orchestrator.bridge import Play
from tests.core.orchestrator.driver import Outcome, Simulation
from tests.core.orchestrator.journals import journal, snapshot
from tests.core.reference.strategies import plays


def mixed(old: int, new: int) -> int:
    """Depends on the order of its arguments and of its calls."""
    return (old * 31 + new) % 1009


REDUCERS = {
    "log": Reducer("append"),
    "total": Reducer("add", initial=0),
    "text": Reducer("add"),
    "last": Reducer("last"),
    "mixed": Reducer(mixed, initial=7),
}
INITIAL = {"log": [], "total": 0, "mixed": 7, "plain": "given"}


@attrs.define(eq=False)
class Writing(Simulation):
    """A simulation whose steps write: what, is a pure function of the place; `odds` of a clash in 64."""

    odds: int = 0
    seen: dict[tuple[str, int], dict[str, Any]] = attrs.field(factory=dict)

    @classmethod
    def of_play(
        cls, play: Play, seed: int | None = None, config: ExecutionConfig | None = None, odds: int = 0
    ) -> Writing:
        made = play.simulation(seed, config)
        writing = cls(made.orchestrator, made.script, made.rng, odds=odds)
        writing.orchestrator.append = writing.record
        writing.orchestrator.sharing = Sharing(REDUCERS)
        return writing

    def start(self, task: Any = "task") -> Simulation:
        self.accept(self.orchestrator.start(task, state=dict(INITIAL)))
        return self

    def end(self, branch: Branch) -> None:
        self.moves.append((len(self.events), "end", branch.id))
        if branch.phase is Phase.RUNNING:
            visible = Reading(branch.shared, lambda value: value)
            self.seen[branch.id, branch.steps] = thaw(dict(visible))
            frame, sharing = Frame(branch.shared), self.orchestrator.sharing
            place = f"{branch.id}:{branch.node}:{branch.steps}"
            writes = tuple(sharing.write(frame, key, value) for key, value in wanted(place, self.odds))
            self.accept(self.orchestrator.on_step(branch, self.action(branch), writes=writes))


def wanted(place: str, odds: int) -> Iterable[tuple[str, Any]]:
    lot = crc32(place.encode())
    if lot & 1:
        yield "log", place
    if lot & 2:
        yield "total", lot % 7
    if lot & 4:
        yield "text", f"<{place}>"
    if lot & 8:
        yield "last", place
    if lot & 16:
        yield "mixed", lot % 100
    if lot & 32:
        yield f"own {place.split(':')[0]}", place
    if lot // 64 % 64 < odds:
        yield "plain", place


LOST = ("failed", "cancelled")


@attrs.define
class Model:
    """Every branch has a dict of its own, copied at each fork, and a list of what it wrote."""

    state: dict[str, dict[str, Any]] = attrs.field(factory=dict)
    wrote: dict[str, list[tuple[str, Any]]] = attrs.field(factory=dict)
    of_call: dict[str, tuple[Any, int]] = attrs.field(factory=dict)
    went: dict[str, Any] = attrs.field(factory=dict)
    outcome: dict[str, str] = attrs.field(factory=dict)
    before: dict[tuple[str, int], dict[str, Any]] = attrs.field(factory=dict)

    @classmethod
    def of(cls, events: Iterable[e.Event]) -> Model:
        model = cls()
        for event in events:
            model.read(event)
        return model

    def read(self, event: e.Event) -> None:
        branch = event.branch
        match event:
            case e.BranchStarted():
                parent = self.state.get(branch.rpartition(".")[0], INITIAL)
                self.state[branch], self.wrote[branch] = deepcopy(parent), []
                self.of_call[branch] = (event.join, event.call)
            case e.StepFinished():
                for write in event.writes:
                    self.write(branch, write[0], write[2])
            case e.BranchDelivered():
                self.went[branch] = (event.join, event.call)
            case e.BranchSettled():
                self.outcome[branch] = event.outcome
            case e.JoinCompleted() if event.state is not None:
                self.join(branch, (branch, event.fork))
            case e.StateMerged():
                for key, value in self.wrote[branch]:
                    self.write("0", key, value)

    def write(self, branch: str, key: str, value: Any) -> None:
        state = self.state[branch]
        match key:
            case "log":
                state[key] = [*state[key], value]
            case "total" | "text":
                state[key] = state[key] + value if key in state else value
            case "mixed":
                state[key] = mixed(state[key], value)
            case _:
                state[key] = value
        self.wrote[branch].append((key, value))

    def join(self, owner: str, join: tuple[str, int]) -> None:
        """The children that are neither lost nor went further out, and those from further in that came here."""
        taken = []
        for branch, own in self.of_call.items():
            outcome, went = self.outcome.get(branch), self.went.get(branch)
            if outcome in (None, *LOST):
                continue
            if went is not None and went[0] == join:
                taken.append((went[1], key_of(branch), branch))
            elif went is None and own[0] == join:
                taken.append((own[1], key_of(branch), branch))
        for _, _, branch in sorted(taken):
            for key, value in self.wrote[branch]:
                self.write(owner, key, value)


def key_of(branch: str) -> tuple[int, ...]:
    return tuple(map(int, branch.split(".")))


def final(run: Outcome) -> dict[str, Any]:
    return thaw(dict(Reading(run.state.branches["0"].shared, lambda value: value)))


cases = plays().map(lambda drawn: Play(*drawn, max_steps=30))
early_cases = st.builds(lambda play, early: attrs.evolve(play, early=early), cases, st.booleans())
short_cases = early_cases.map(lambda play: attrs.evolve(play, max_steps=12))
seeds = st.none() | st.integers(0, 2**16)
odds = st.sampled_from([0, 0, 2, 20])


@pytest.mark.slow
@examples(150)
@given(early_cases, seeds, odds)
def test_state_is_as_a_model_with_plain_dicts_says(play: Play, seed: int | None, clashes: int) -> None:
    simulation = Writing.of_play(play, seed, odds=clashes)
    run = simulation.start().run()
    model = Model()
    for event in run.events:
        if type(event) is e.StepFinished:
            step = next(n for n in reversed(range(1, 99)) if (event.branch, n) in model.before)
            assert simulation.seen[event.branch, step] == model.before[event.branch, step]
        elif type(event) is e.StepStarted:
            model.before[event.branch, event.step] = deepcopy(model.state[event.branch])
        model.read(event)
    assert final(run) == model.state["0"]


@pytest.mark.slow
@examples(150)
@given(early_cases, seeds, odds)
def test_every_write_is_in_the_final_state_or_dropped_once(
    play: Play, seed: int | None, clashes: int
) -> None:
    run = Writing.of_play(play, seed, odds=clashes).start().run()
    done = Counter(w[2] for event in run.of(e.StepFinished) for w in event.writes if w[0] == "log")
    dropped = [event.value.get("log", []) for event in run.of(e.Dropped) if event.state]
    assert done == Counter(final(run)["log"]) + Counter(place for places in dropped for place in places)


@pytest.mark.slow
@examples(80)
@given(cases, st.integers(0, 2**16), odds)
def test_neither_the_state_nor_the_journal_depends_on_the_order_of_the_steps(
    play: Play, seed: int, clashes: int
) -> None:
    first = Writing.of_play(play, odds=clashes).start().run()
    other = Writing.of_play(play, seed, odds=clashes).start().run()
    if "max_steps=" not in first.error:
        assert journal(first.events) == journal(other.events)
        assert final(first) == final(other)


@pytest.mark.slow
@examples(50)
@given(short_cases, seeds, odds)
def test_a_run_with_state_rebuilt_from_any_prefix_makes_the_same_decisions(
    play: Play, seed: int | None, clashes: int
) -> None:
    original = Writing.of_play(play, seed, odds=clashes).start()
    original.run()
    whole = journal(original.events)
    for cut in range(1, len(original.events) + 1):
        prefix = original.events[:cut]
        rest = [move for move in original.moves if move[0] >= cut]
        again = Writing.of_play(play, odds=clashes).resume(prefix).follow(rest)
        again.run()
        assert journal([*prefix, *again.events]) == whole


@pytest.mark.slow
@examples(30)
@given(short_cases, seeds, odds)
def test_folding_a_journal_with_state_gives_the_state_at_every_event(
    play: Play, seed: int | None, clashes: int
) -> None:
    simulation = Writing.of_play(play, seed, odds=clashes)
    seen = []
    record = simulation.orchestrator.append

    def record_and_look(event: e.Event) -> None:
        seen.append(snapshot(simulation.orchestrator.state))
        record(event)

    simulation.orchestrator.append = record_and_look
    simulation.start().run()
    rebuilt = Writing.of_play(play).orchestrator.state
    for event, before in zip(simulation.events, seen, strict=True):
        assert before == snapshot(rebuilt)
        rebuilt.apply(event)


def test_layers_stay_few_however_often_a_branch_forks_and_writes() -> None:
    frame = Frame()
    for number in range(1000):
        frame = Frame(frame)
        fold_write(frame, ("log", "append", number))
    assert frame.depth <= 17
    assert frame.get("log").value(lambda value: value) == list(range(1000))


def test_a_list_that_grows_is_put_together_when_it_is_read_and_earlier_readers_keep_theirs() -> None:
    frame, rng = Frame(), random.Random(1)
    read = []
    for number in range(200):
        fold_write(frame, ("log", "append", number))
        if rng.random() < 0.3:
            read.append((number, frame.get("log").value(lambda value: value)))
    assert all(items == list(range(number + 1)) for number, items in read)
