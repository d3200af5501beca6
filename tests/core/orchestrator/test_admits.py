"""Nodes that do not take everything: what is refused at the node that hands it over."""

from __future__ import annotations

import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marsys_core import events as e
from marsys_core.actions import Invoke, Return
from marsys_core.errors import ActionError
from marsys_core.orchestrator import Traits
from tests.core.examples import examples
from tests.core.orchestrator.bridge import Play
from tests.core.orchestrator.driver import Outcome, Simulation, invoke
from tests.core.orchestrator.journals import Ledger, journal
from tests.core.reference.strategies import plays

NOTES = Traits(notes=True)


def driven(topology: str, script: dict[str, Any], traits: Traits = NOTES, **takes: Any) -> Outcome:
    """Run `script`; every node of `takes` takes that value and nothing else."""
    simulation = Simulation.of(topology, script, traits=dict.fromkeys("ABCDH", traits))

    def admits(node: str, value: Any) -> str:
        return "" if node not in takes or value == takes[node] else f"{node!r} does not take {value!r}"

    simulation.orchestrator.admits = admits
    return simulation.start().run()


def test_who_hands_over_what_is_not_taken_is_told_and_asked_again() -> None:
    out = driven("A -> B", {"A": [Invoke([("B", 1)]), Invoke([("B", 2)])]}, B=2)

    assert (out.path, out.final) == (["A", "B"], "B")
    [steered] = out.of(e.StepSteered)
    assert steered.note.startswith(
        "Your last reply could not be carried out: 'B' does not take 1. Here there are: "
    )


def test_who_takes_no_notes_fails_at_once() -> None:
    out = driven("A -> B", {"A": Invoke([("B", 1)])}, Traits(), B=2)
    error = out.state.branches["0"].error.exception

    assert isinstance(error, ActionError)
    assert str(error) == "'B' does not take 1 (at branch 0, node 'A', step 1)"
    assert out.path == ["A"]


def test_every_call_of_a_fork_is_looked_at() -> None:
    out = driven("A <-> [B, C]", {"A": [invoke("B", "C"), "done"]}, B=1, C=2)

    assert "'B' does not take 'for B'; 'C' does not take 'for C'" in out.of(e.StepSteered)[0].note


def test_what_is_delivered_or_given_back_is_no_input() -> None:
    delivers = {"A": invoke("B", "C"), "B": invoke("D"), "C": invoke("D")}
    assert driven("A -> [B, C] -> D", delivers, D=1).path == ["A", "B", "C", "D"]
    back = {"A": [invoke("B"), "done"], "B": invoke("A")}
    assert driven("A <-> B", back, A=1).path == ["A", "B", "A"]


def test_a_detached_call_is_looked_at_wherever_it_goes() -> None:
    out = driven(
        "A <-> B; B <-> C", {"A": [invoke("B"), "a"], "B": [invoke("A", wait=False), Return("b")]}, A=1
    )

    assert len(out.of(e.StepSteered)) == 1
    assert out.path == ["A", "B", "A"]


@pytest.mark.slow
@examples(60)
@given(plays(), st.none() | st.integers(0, 2**16), st.booleans(), st.integers(1, 4))
def test_a_run_with_refusals_goes_on_the_same_from_any_prefix_and_loses_no_value(
    drawn: Any, seed: int | None, notes: bool, part: int
) -> None:
    def admits(node: str, value: Any) -> str:
        return "" if zlib.crc32(f"{node}{value}".encode()) % part else "not this"

    def simulation(*args: Any) -> Simulation:
        made = Play(*drawn, max_steps=12).simulation(*args)
        made.orchestrator.admits = admits
        made.orchestrator.traits = dict.fromkeys(made.orchestrator.graph.nodes, Traits(notes=notes))
        return made

    original = simulation(seed).start()
    run = original.run()
    ledger = Ledger.of(run.events, run.values)
    assert ledger.handed == ledger.ended
    whole = journal(original.events)
    for cut in range(1, len(original.events) + 1):
        prefix = original.events[:cut]
        again = simulation(None).resume(prefix).follow([move for move in original.moves if move[0] >= cut])
        again.run()
        assert journal([*prefix, *again.events]) == whole
