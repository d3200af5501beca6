"""What rules say is done, recorded before it is done, and asked once."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marsys_core import events as e
from marsys_core.actions import AskUser, Fail, Finish, Invoke, Return
from marsys_core.errors import RuleBlocked, RuleError, RuleStopped
from marsys_core.events import identity
from marsys_core.orchestrator import Phase, Traits
from marsys_core.orchestrator.rulings import _reassigned
from marsys_core.protocols.rule import Allow, Block, Modify, RuleFacts, Stop
from marsys_core.topology import Edge, Node, Topology
from tests.core.examples import examples
from tests.core.orchestrator.bridge import Play, verdict_of
from tests.core.orchestrator.driver import Outcome, Simulation, drive, fold, invoke
from tests.core.orchestrator.journals import Ledger, journal, snapshot
from tests.core.orchestrator.ruling import Table, stopping, tables
from tests.core.reference.strategies import plays


class Saying:
    """Says what a table gives for a node."""

    def __init__(self, **said: Any) -> None:
        self.said = said
        self.asked: list[RuleFacts] = []

    def answer(self, facts: RuleFacts) -> Any:
        self.asked.append(facts)
        return self.said.get(facts.node)


class Before(Saying):
    def before_step(self, facts: RuleFacts) -> Any:
        return self.answer(facts)


class After(Saying):
    def after_step(self, facts: RuleFacts) -> Any:
        return self.answer(facts)


class Forking(Saying):
    def before_fork(self, facts: RuleFacts) -> Any:
        return self.answer(facts)


def dropped(ran: Outcome) -> list[Any]:
    return [event.value for event in ran.of(e.Dropped)]


def error_of(ran: Outcome, branch: str = "0") -> BaseException:
    failure = ran.state.branches[branch].error
    assert failure.exception is not None
    return failure.exception


# -- before a step -----------------------------------------------------------------------------------


def test_a_rule_is_shown_where_the_step_is_and_what_it_is_given() -> None:
    rule = Before()
    ran = drive("A -> B", {"A": "from A"}, task="the task", rules=[rule])

    assert ran.final == "B"
    first, second = rule.asked
    assert (first.node, first.branch_id, first.step, first.run_step, first.value) == (
        "A",
        "0",
        1,
        1,
        "the task",
    )
    assert (second.node, second.step, second.run_step, second.value) == ("B", 2, 2, "from A")
    assert (second.task, second.elapsed, second.action) == ("task", 0.0, None)


def test_what_is_allowed_leaves_no_event() -> None:
    ruled = drive("A -> B", {}, rules=[Before(A=Allow()), After(), Forking()])

    assert [identity(event) for event in ruled.events] == [
        identity(event) for event in drive("A -> B", {}).events
    ]


def test_a_blocked_step_fails_its_branch_and_what_it_would_have_been_given_is_dropped() -> None:
    ran = drive("A -> B", {"A": "from A"}, rules=[Before(B=Block("B rests"))])

    assert not ran.success
    assert ran.path == ["A"]
    assert dropped(ran) == ["from A"]
    error = error_of(ran)
    assert isinstance(error, RuleBlocked)
    assert (error.rule, error.reason) == ("Before", "B rests")
    assert str(error) == "rule Before blocked the step of 'B': B rests (at branch 0, node 'B', step 1)"


def test_a_block_without_a_reason_says_so_much_and_no_more() -> None:
    ran = drive("A", {}, rules=[Before(A=Block())])

    assert str(error_of(ran)) == "rule Before blocked the step of 'A' (at branch 0, node 'A')"


def test_a_blocked_child_is_a_failure_for_the_policy_of_its_join() -> None:
    topology = Topology([Node("A", dispatch="all", convergence_policy={"min_ratio": 0.5}), "B", "C", "D"], [
        "A -> B", "A -> C", "B -> D", "C -> D"
    ])  # fmt: skip
    ran = drive(topology, {}, rules=[Before(C=Block("no"))])

    assert ran.success
    [joined] = ran.inputs("D")
    assert [item.node for item in joined] == ["B", "C"]
    assert joined.failures[0].value.error == "RuleBlocked"


def test_a_step_is_given_what_a_rule_puts_in_the_place_of_its_input() -> None:
    ran = drive(
        "A -> B", {"A": "from A", "B": lambda given: f"got {given}"}, rules=[Before(B=Modify("new", "why"))]
    )

    assert ran.final == "got new"
    [event] = ran.of(e.RuleDecided)
    assert (event.rule, event.index, event.reason, event.given, event.value) == (
        "Before",
        0,
        "why",
        "from A",
        "new",
    )


def test_each_rule_sees_what_those_before_it_have_made_of_the_value() -> None:
    first, second, third = Before(A=Modify("one")), Before(A=Modify("two")), Before()
    ran = drive("A", {"A": str}, task="none", rules=[first, second, third])

    assert ran.final == "two"
    assert [rule.asked[-1].value for rule in (first, second, third)] == ["none", "one", "two"]
    assert [event.index for event in ran.of(e.RuleDecided)] == [0, 1]


def test_a_rule_can_stop_the_run_and_every_branch_settles() -> None:
    rules = [Before(C=Stop("enough"))]
    ran = drive("A -> [B, C]; B -> D; C -> D", {}, rules=rules)

    assert not ran.success
    assert ran.path == ["A", "B"]
    assert all(branch.phase is Phase.SETTLED for branch in ran.state.branches.values())
    stopped = ran.state.stopping.exception
    assert isinstance(stopped, RuleStopped)
    assert str(stopped).startswith("rule Before stopped the run at 'C': enough")
    assert (stopped.rule, stopped.reason) == ("Before", "enough")


def test_a_rule_that_raises_fails_the_branch_and_is_named() -> None:
    class Broken:
        def before_step(self, facts: RuleFacts) -> None:
            raise KeyError("gone")

    ran = drive("A", {}, rules=[Broken()])

    error = error_of(ran)
    assert isinstance(error, RuleError)
    assert error.rule == "Broken"
    assert type(error.__cause__) is KeyError
    assert str(error) == "rule Broken failed: it raised KeyError: 'gone' (at branch 0, node 'A')"


@pytest.mark.parametrize("said", [True, "no", Block, 0])
def test_what_is_no_verdict_is_an_error(said: Any) -> None:
    ran = drive("A", {}, rules=[Before(A=said)])

    assert str(error_of(ran)).startswith(
        f"rule Before failed: before_step returned {said!r}, not None, Allow()"
    )


def test_a_coroutine_is_no_verdict() -> None:
    async def later() -> None: ...

    ran = drive("A", {}, rules=[Before(A=later())])

    assert isinstance(error_of(ran), RuleError)


def test_a_rule_is_not_asked_about_a_step_that_a_limit_forbids() -> None:
    from marsys_core.config import ExecutionConfig

    rule = Before()
    drive("A -> B", {}, config=ExecutionConfig(max_steps=1), rules=[rule])

    assert [facts.node for facts in rule.asked] == ["A"]


# -- after a step ------------------------------------------------------------------------------------


@pytest.mark.parametrize("said", ["content", Return("content"), Finish("content")])
def test_a_rule_can_put_another_value_in_the_place_of_what_a_step_came_to(said: Any) -> None:
    rule = After(A=Modify("changed"))
    ran = drive("A", {"A": said}, rules=[rule])

    assert ran.final == "changed"
    assert rule.asked[0].value == "content"
    assert type(rule.asked[0].action).__name__ in ("Content", "Return", "Finish")
    [finished] = ran.of(e.StepFinished)
    assert finished.action.value == "changed"


def test_the_next_rule_sees_the_action_with_the_value_that_holds() -> None:
    second = After()
    drive("A", {"A": Return("one")}, rules=[After(A=Modify("two")), second])

    assert second.asked[0].action == Return("two")


@pytest.mark.parametrize("said", [Invoke([("B", 1)]), AskUser("who?"), Fail("no")])
def test_an_action_without_a_value_has_none_to_modify(said: Any) -> None:
    ran = drive("A <-> B; A -> user", {"A": said}, rules=[After(A=Modify("x"))])

    kind = type(said).__name__
    expected = f"rule After failed: a step that ended in {kind} has no output value to modify"
    assert str(error_of(ran)).startswith(expected)


def test_a_blocked_action_fails_an_agent_that_takes_no_notes() -> None:
    ran = drive("A", {"A": "rude"}, rules=[After(A=Block("be polite"))])

    error = error_of(ran)
    assert isinstance(error, RuleBlocked)
    assert str(error) == "rule After blocked the action of 'A': be polite (at branch 0, node 'A', step 1)"
    assert ran.of(e.StepFinished) == []


def test_an_agent_that_takes_notes_is_told_why_and_acts_again() -> None:
    class Polite:
        def after_step(self, facts: RuleFacts) -> Any:
            return Block("be polite") if facts.value == "rude" else None

    ran = drive("A", {"A": ["rude", "rude", "kind"]}, traits={"A": Traits(notes=True)}, rules=[Polite()])

    assert ran.final == "kind"
    notes = [event.note for event in ran.of(e.StepSteered)]
    assert len(notes) == 2
    assert "rule Polite blocked the action of 'A': be polite" in notes[0]


def test_an_agent_that_goes_on_being_blocked_fails() -> None:
    ran = drive("A", {}, traits={"A": Traits(notes=True)}, rules=[After(A=Block("no"))])

    assert isinstance(error_of(ran), RuleBlocked)
    assert len(ran.of(e.StepSteered)) == 3


def test_a_rule_can_stop_the_run_after_a_step() -> None:
    ran = drive("A -> B", {}, rules=[After(A=Stop("seen enough"))])

    assert ran.path == ["A"]
    assert isinstance(ran.state.stopping.exception, RuleStopped)
    [event] = ran.of(e.RuleDecided)
    assert event.given == "A"


# -- before a fork -----------------------------------------------------------------------------------

SIDE_BY_SIDE = "A -> [B, C]; B -> D; C -> D"


@pytest.mark.parametrize("said", ["content", invoke("B", "C"), invoke("B", "C", wait=False)])
def test_every_fork_is_asked_about_with_its_calls(said: Any) -> None:
    rule = Forking()
    drive(SIDE_BY_SIDE, {"A": [said, Return("end")]}, rules=[rule])

    payloads = ["content"] * 2 if said == "content" else ["for B", "for C"]
    assert rule.asked[0].value == [["B", payloads[0]], ["C", payloads[1]]]


def test_what_makes_no_fork_is_not_asked_about() -> None:
    rule = Forking()
    drive("A <-> B; A -> C", {"A": [invoke("B"), invoke("C")]}, rules=[rule])

    assert rule.asked == []


@pytest.mark.parametrize("said", ["content", invoke("B", "C")])
def test_the_calls_that_a_rule_gives_are_made(said: Any) -> None:
    ran = drive(SIDE_BY_SIDE, {"A": said}, rules=[Forking(A=Modify([("C", "one"), ("C", "two")]))])

    assert ran.inputs("B") == []
    assert ran.inputs("C") == ["one", "two"]
    assert len(ran.inputs("D")) == 1


def test_content_that_was_kept_from_a_node_does_not_go_there_later() -> None:
    topology = Topology([Node("H", dispatch="all"), "S", "T"], ["H <-> S", "H <-> T"])
    ran = drive(topology, {}, rules=[Forking(H=Modify([("S", "only")]))])

    assert ran.path == ["H", "S", "H"]
    assert ran.success


def test_a_fork_of_which_one_call_is_left_is_a_call() -> None:
    ran = drive("H <-> S; H <-> T", {"H": [invoke("S", "T"), "end"]}, rules=[Forking(H=Modify([("T", "t")]))])

    assert ran.of(e.BranchForked) == []
    assert [event.how for event in ran.of(e.BranchMoved)] == ["call", "return"]
    assert ran.final == "end"


def test_several_entries_are_a_fork_that_is_asked_about() -> None:
    rule = Forking(start=Modify([("B", "b")]))
    ran = drive("start -> A; start -> B", {}, rules=[rule])

    assert [facts.node for facts in rule.asked] == ["start"]
    assert ran.path == ["B"]


def test_a_gather_node_is_asked_about_where_it_forks() -> None:
    ran = drive(
        "A -> gather:1; gather:1 -> B; gather:1 -> C", {}, rules=[Forking(**{"gather:1": Block("no")})]
    )

    assert isinstance(error_of(ran), RuleBlocked)
    assert str(error_of(ran)).startswith("rule Forking blocked the fork at 'gather:1': no")
    assert dropped(ran) == ["A"]


def test_the_last_word_of_a_conversation_can_be_a_fork_that_is_asked_about() -> None:
    topology = Topology(
        [Node("A", dispatch="all"), "B", "C", "D"],
        [{"source": "A", "target": "B", "pattern": "alternating", "max_turns": 1}, "A -> C", "A -> D"],
    )
    rule = Forking(A=Modify([("D", "only")]))
    ran = drive(topology, {}, rules=[rule])

    assert [facts.value for facts in rule.asked] == [[["C", "A"], ["D", "A"]]]
    assert ran.path == ["A", "D"]


def test_a_blocked_fork_is_steered_like_any_other_action() -> None:
    ran = drive(
        "H <-> S; H <-> T",
        {"H": [invoke("S", "T"), "alone"]},
        traits={"H": Traits(notes=True)},
        rules=[Forking(H=Block("one at a time"))],
    )

    assert ran.final == "alone"
    [steered] = ran.of(e.StepSteered)
    assert "rule Forking blocked the fork at 'H': one at a time" in steered.note


@pytest.mark.parametrize(
    ("calls", "why"),
    [
        ([("D", 1), ("B", 2)], "it calls 'D', and from 'A' edges lead to: B, C"),
        ([], "before_fork gave a value that cannot be taken: Invoke needs at least one (node, payload)"),
        ("BC", "before_fork gave a value that cannot be taken: Invoke takes a sequence of (node, payload)"),
    ],
)
def test_calls_that_cannot_be_made_are_an_error(calls: Any, why: str) -> None:
    ran = drive(SIDE_BY_SIDE, {}, rules=[Forking(A=Modify(calls))])

    assert isinstance(error_of(ran), RuleError)
    assert why in str(error_of(ran))


@pytest.mark.parametrize("said", ["content", invoke("B", "D")])
def test_a_rule_cannot_send_a_fork_along_an_edge_that_is_closed(said: Any) -> None:
    closed = Edge("A", "C", condition=lambda facts: False)
    topology = Topology(
        [Node("A", dispatch="all"), "B", "C", "D"], ["A -> B", "A -> D", closed], entry_point="A"
    )
    ran = drive(topology, {"A": said}, rules=[Forking(A=Modify([("B", 1), ("C", 2)]))])

    assert ran.path == ["A"]
    assert isinstance(error_of(ran), RuleError)
    assert "the edge A -> C is closed here, since its condition" in str(error_of(ran))


def test_a_rule_cannot_send_a_fork_from_a_gather_along_an_edge_that_is_closed() -> None:
    closed = Edge("hub", "C", condition=lambda facts: False)
    nodes = ["A", Node("hub", kind="gather"), "B", "C", "D"]
    topology = Topology(nodes, ["A -> hub", "hub -> B", "hub -> D", closed], entry_point="A")
    ran = drive(topology, {}, rules=[Forking(hub=Modify([("B", 1), ("C", 2)]))])

    assert ran.path == ["A"]
    assert "the edge hub -> C is closed here" in str(error_of(ran))


def test_a_rule_can_stop_the_run_before_a_fork() -> None:
    ran = drive(SIDE_BY_SIDE, {}, rules=[Forking(A=Stop())])

    assert ran.path == ["A"]
    assert list(ran.state.branches) == ["0"]


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        ("ABC", [("x", 0, 1), ("y", 1, 2), ("z", 2, 3)]),
        ("AC", [("x", 0, 1), ("y", 1, 1), ("z", 1, 2)]),
        ("B", [("x", 0, 0), ("y", 0, 1), ("z", 1, 1)]),
        ("CCA", [("x", 0, 0), ("y", 0, 0), ("z", 0, 3)]),
    ],
)
def test_every_tool_call_keeps_the_answers_to_what_is_left_of_it(after: str, expected: Any) -> None:
    replies = (("x", 0, 1), ("y", 1, 2), ("z", 2, 3))
    before = tuple((name, 0) for name in "ABC")

    assert _reassigned(replies, before, tuple((name, 0) for name in after)) == tuple(expected)


# -- whatever the rules say --------------------------------------------------------------------------


rule_lists = st.lists(tables, min_size=1, max_size=2)
cases = st.builds(lambda drawn, people: Play(*drawn, max_steps=30, people=people), plays(), st.booleans())
short_cases = st.builds(
    lambda drawn, people: Play(*drawn, max_steps=10, people=people), plays(), st.booleans()
)
seeds = st.none() | st.integers(0, 2**16)


def simulation(play: Play, rules: list[Table], seed: int | None, notes: bool = False) -> Simulation:
    made = play.simulation(seed).ruled_by(rules)
    made.orchestrator.traits = {name: Traits(notes=notes) for name in play.net.nodes}
    return made


@pytest.mark.slow
@examples(100)
@given(cases, st.lists(stopping, min_size=1, max_size=2), seeds, st.booleans())
def test_every_value_ends_in_exactly_one_place(
    play: Play, rules: list[Table], seed: int | None, notes: bool
) -> None:
    ran = simulation(play, rules, seed, notes).start().run()
    ledger = Ledger.of(ran.events, ran.values)
    assert ledger.handed == ledger.ended
    assert [b.id for b in ran.state.branches.values() if b.phase is not Phase.SETTLED] == []


@pytest.mark.slow
@examples(100)
@given(cases, rule_lists, st.integers(0, 2**16), st.booleans())
def test_neither_outcome_nor_journal_depends_on_the_order_of_the_steps(
    play: Play, rules: list[Table], seed: int, notes: bool
) -> None:
    first, other = (simulation(play, rules, each, notes).start().run() for each in (None, seed))
    assert verdict_of(first) == verdict_of(other)
    if not verdict_of(first).limited:
        assert journal(first.events) == journal(other.events)


@pytest.mark.slow
@examples(60)
@given(short_cases, st.lists(stopping, min_size=1, max_size=2), seeds, st.booleans())
def test_a_run_rebuilt_from_any_prefix_asks_nobody_twice_and_decides_the_same(
    play: Play, rules: list[Table], seed: int | None, notes: bool
) -> None:
    original = simulation(play, rules, seed, notes).start()
    original.run()
    whole = journal(original.events)
    for cut in range(1, len(original.events) + 1):
        prefix = original.events[:cut]
        rest = [move for move in original.moves if move[0] >= cut]
        again = simulation(play, rules, None, notes).resume(prefix).follow(rest)
        again.run()
        assert journal([*prefix, *again.events]) == whole


@pytest.mark.slow
@examples(40)
@given(short_cases, rule_lists, seeds)
def test_folding_gives_the_state_at_every_event(play: Play, rules: list[Table], seed: int | None) -> None:
    original = simulation(play, rules, seed)
    seen: list[Any] = []
    record = original.orchestrator.append

    def record_and_look(event: e.Event) -> None:
        seen.append(snapshot(original.orchestrator.state))
        record(event)

    original.orchestrator.append = record_and_look
    original.start().run()
    rebuilt = fold([])
    for event, before in zip(original.events, seen, strict=True):
        assert before == snapshot(rebuilt)
        rebuilt.apply(event)


class Counting:
    """Counts how often it is asked about each place, and lets all be."""

    def __init__(self) -> None:
        self.count: dict[tuple[str, str, int], int] = {}

    def before_step(self, facts: RuleFacts) -> None:
        self._asked("before_step", facts)

    def after_step(self, facts: RuleFacts) -> None:
        self._asked("after_step", facts)

    def _asked(self, point: str, facts: RuleFacts) -> None:
        key = (point, facts.branch_id, facts.step)
        self.count[key] = self.count.get(key, 0) + 1


def test_a_rule_whose_answer_is_in_the_journal_is_not_asked_again() -> None:
    topology, script = "A -> B -> C", {"A": "a", "B": "b"}
    rules = [Before(B=Modify("changed")), After(B=Modify("more"))]
    original = Simulation.of(topology, script, rules=[Counting(), *rules, Counting()]).start()
    original.run()
    for cut in range(1, len(original.events) + 1):
        prefix = original.events[:cut]
        first, last = Counting(), Counting()
        silent = Before(B=Stop("asked again")), After(B=Stop("asked again"))
        known = {event.point for event in prefix if type(event) is e.RuleDecided}
        again = [rules[0] if "before_step" not in known else silent[0]]
        again += [rules[1] if "after_step" not in known else silent[1]]
        ran = Simulation.of(topology, script, rules=[first, *again, last]).resume(prefix)
        started = {(ev.branch, ev.step) for ev in prefix if type(ev) is e.StepStarted}
        ran.run()
        assert journal([*prefix, *ran.events]).keys() == journal(original.events).keys()
        assert all(times == 1 for times in {**first.count, **last.count}.values())
        assert not {("before_step", *place) for place in started} & {*first.count, *last.count}
