"""How runs and branches end before their time: limits, first results, stops, and notes that lead nowhere."""

from __future__ import annotations

from marsys_core import events as e
from marsys_core.actions import CallTools, Fail, Finish, Return
from marsys_core.config import ExecutionConfig
from marsys_core.errors import ActionError, Cancelled
from marsys_core.orchestrator import Complete, Steer, StopRun, Traits
from marsys_core.topology import Node, Topology
from tests.core.orchestrator.driver import Outcome, Simulation, drive, invoke

HUB = "H <-> A; H <-> B; H <-> C"


def test_the_first_result_ends_the_run_and_cancels_the_rest() -> None:
    script = {"H": invoke("A", "B", "C"), "A": Finish("a"), "B": Finish("b")}
    out = drive(HUB, script, config=ExecutionConfig(first_result=True))
    assert (out.success, out.values) == (True, ["a"])
    assert out.settled == {"0": "cancelled", "0.0": "finished", "0.1": "cancelled", "0.2": "cancelled"}
    assert [event.reason for event in out.of(e.RunStopped)] == ["first_result"]
    assert [type(command) for command in out.commands[-2:]] == [StopRun, Complete]


def test_the_step_limit_stops_the_run_and_is_named() -> None:
    out = drive("A -> B; B -> A", {"A": invoke("B"), "B": invoke("A")}, config=ExecutionConfig(max_steps=7))
    assert (out.success, len(out.steps)) == (False, 7)
    assert out.error == "failed: LimitError: the run took 7 steps (max_steps=7)"
    assert [(event.limit, event.value) for event in out.of(e.LimitReached)] == [("max_steps", 7)]


def test_a_run_that_takes_just_its_limit_succeeds() -> None:
    assert drive("A -> B", {}, config=ExecutionConfig(max_steps=2)).final == "B"


def test_a_branch_fails_at_its_own_step_limit_and_the_others_go_on() -> None:
    config = ExecutionConfig(max_steps_per_branch=3, convergence_policy=0.5)
    script = {"H": [invoke("A", "B"), Return("done")], "A": invoke("X"), "X": Return("x"), "B": Return("b")}
    out = drive("H <-> A; H <-> B; A <-> X", script, config=config)
    assert out.final == "done"
    assert out.settled["0.0"] == "failed"
    [item] = out.inputs("H")[1].failures
    assert item.value.message == (
        "branch 0.0 took 3 steps (max_steps_per_branch=3) (at branch 0.0, node 'X', step 3)"
    )


def test_forks_nest_no_deeper_than_the_limit() -> None:
    topology = "A <-> B; A <-> C; B <-> D; B <-> E"
    script = {"A": invoke("B", "C"), "B": invoke("D", "E"), "C": Return("c")}
    out = drive(topology, script, config=ExecutionConfig(max_branch_depth=1))
    assert not out.success
    assert "a fork at 'B' would be 2 deep (max_branch_depth=1)" in out.error
    assert [drop.value for drop in out.of(e.Dropped)] == ["for D", "for E", "c"]
    assert "D" not in out.path


def test_content_that_no_fork_could_be_made_of_is_dropped_once() -> None:
    config = ExecutionConfig(max_branch_depth=1)
    nodes = ["A", "B", "C", Node("hub", kind="gather"), "D", "E"]
    topology = Topology(nodes, ["A -> [B, C]", "B -> hub", "hub -> [D, E]"], entry_point="A")
    out = drive(topology, {"A": invoke("B", "C"), "B": "b"}, config=config)
    assert [event.value for event in out.of(e.Dropped) if event.branch == "0.0"] == ["b"]


def test_a_stop_settles_every_branch_and_drops_what_they_hold() -> None:
    simulation = Simulation.of(HUB, {"H": invoke("A", "B", "C")}).start()
    simulation.advance()
    simulation.advance()
    simulation.accept(simulation.orchestrator.stop(Cancelled("enough"), "cancelled"))
    out = simulation.run()
    assert (out.success, out.error) == (False, "failed: Cancelled: enough")
    assert out.settled == {"0": "failed", "0.0": "cancelled", "0.1": "cancelled", "0.2": "cancelled"}
    assert [drop.value for drop in out.of(e.Dropped)] == ["for A", "for B", "for C"]


def test_a_second_stop_changes_nothing() -> None:
    out = drive(HUB, {})
    assert out.orchestrator.stop(Cancelled("late"), "cancelled") == []
    assert type(out.events[-1]) is e.RunFinished


def steered(script: object, topology: str = "A -> B; A -> end", **options) -> Outcome:
    return drive(topology, {"A": script}, traits={"A": Traits(notes=True)}, config=ExecutionConfig(**options))


WRONG = "there is no edge from 'A' to 'Z'; its edges lead to: B, end"
NOTE = f"Your last reply could not be carried out: {WRONG}. Here there are: agents you may invoke: B; finish."
EXACT = (
    ' Call invoke_agent with exactly {"invocations": [{"agent_name": "B", "request": "..."}]}, '
    "or answer in plain text."
)


def test_an_agent_that_takes_notes_is_told_what_was_wrong_and_asked_again() -> None:
    out = steered([invoke("Z"), invoke("Z"), invoke("Z"), invoke("B")])
    assert (out.path, out.final) == (["A", "B"], "B")
    assert [command.note for command in out.commands if isinstance(command, Steer)] == [
        NOTE,
        NOTE,
        NOTE + EXACT,
    ]
    assert [(event.attempt, event.note) for event in out.of(e.StepSteered)] == [
        (1, NOTE),
        (2, NOTE),
        (3, NOTE + EXACT),
    ]
    assert out.state.steps == 2


def test_after_the_last_note_the_branch_fails_with_the_last_reply() -> None:
    out = steered(invoke("Z"))
    error = out.state.branches["0"].error.exception
    assert isinstance(error, ActionError)
    assert str(error) == f"{WRONG} (asked 4 times) (at branch 0, node 'A', step 1)"
    assert error.reply == invoke("Z")


def test_the_number_of_notes_can_be_set_and_starts_afresh_with_each_step() -> None:
    assert len(steered(invoke("Z"), max_steering_retries=1).of(e.StepSteered)) == 1
    again = steered([invoke("Z"), invoke("B"), invoke("Z"), "done"], "A <-> B", max_steering_retries=1)
    assert [event.attempt for event in again.of(e.StepSteered)] == [1, 1]


def test_malformed_replies_are_noted_too() -> None:
    out = steered([None, '{"next_action": "dance"}', CallTools((("add", {}),)), "done"])
    reasons = [
        event.note.removeprefix("Your last reply could not be carried out: ")
        for event in out.of(e.StepSteered)
    ]
    assert reasons[0].startswith("the agent returned None; return text, data or an action. Here there are: ")
    assert reasons[1].startswith("next_action 'dance' is not known; there are: ")
    assert reasons[2].startswith("this agent has no tools to call. Here there are: ")
    assert out.final == "done"


def test_the_exact_call_names_nobody_who_is_waiting_for_this_agent() -> None:
    out = drive(
        "A <-> B",
        {"A": invoke("B"), "B": [invoke("Z"), invoke("Z"), invoke("Z"), Return("b")]},
        traits={"B": Traits(notes=True)},
    )
    assert out.of(e.StepSteered)[2].note.endswith(
        "Here there are: agents you may invoke: none; return_result. Answer in plain text."
    )


def test_an_agent_that_takes_no_notes_fails_at_once() -> None:
    out = drive("A -> B", {"A": invoke("Z")})
    assert out.error == (
        "failed: ActionError: there is no edge from 'A' to 'Z'; its edges lead to: B (at branch 0, node 'A', step 1)"
    )
    assert out.of(e.StepSteered) == []


def test_the_error_of_the_agent_is_the_error_of_the_run() -> None:
    out = drive("A -> B", {"B": Fail(ValueError("no such page"))})
    assert out.error == "failed: ValueError: no such page"
