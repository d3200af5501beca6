"""Rules in runs: looked up once, checked before anything runs, and asked with whole values."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from typing import Any

import pytest
import trio

from marsys_core import events as e
from marsys_core import hookimpl
from marsys_core.actions import Content, Return
from marsys_core.agents import Agent, FunctionAgent, agent
from marsys_core.config import ExecutionConfig
from marsys_core.engine.rulebook import Rulebook
from marsys_core.errors import (
    CriticalError,
    LimitError,
    RuleBlocked,
    RuleError,
    RuleStopped,
    RunTimeout,
    StepTimeout,
    TopologyError,
)
from marsys_core.orchestra import Orchestra
from marsys_core.orchestrator import Orchestrator, RunStep
from marsys_core.plugins.knobs import PluginSettings
from marsys_core.protocols.rule import Block, Modify, RuleFacts, RuleType, Stop
from marsys_core.topology import NO_LIMITS, Limits, Node, Topology
from marsys_core.values import Ref
from tests.core.fakes import BARE, FakeModel, bare, invoking, run, virtually


def names(*letters: str) -> list[FunctionAgent]:
    async def act(prompt: Any, context: Any) -> Any:
        await trio.lowlevel.checkpoint()
        return context.node

    return [FunctionAgent(act, name=letter) for letter in letters]


class Before:
    def __init__(self, say: Callable[[RuleFacts], Any]) -> None:
        self.before_step = say


class After:
    def __init__(self, say: Callable[[RuleFacts], Any]) -> None:
        self.after_step = say


class Forking:
    def __init__(self, say: Callable[[RuleFacts], Any]) -> None:
        self.before_fork = say


class Lower:
    """Lowers one limit."""

    def __init__(self, field: str, value: Any) -> None:
        self.field, self.value = field, value
        self.name = f"{field}({value})"

    def limits(self, limits: Limits) -> Limits:
        return limits.lowered(self.field, self.value, self.name)


# -- what a rule is shown ----------------------------------------------------------------------------


def test_a_rule_sees_large_values_whole_and_what_it_gives_is_kept_as_any_other() -> None:
    seen: list[Any] = []

    def look(facts: RuleFacts) -> Any:
        seen.append((facts.value, facts.task))
        return Modify([*facts.value, "more"])

    ran = run(["long" * 2000], Topology(["A"], rules=[Before(look)]), [given_back("A")])

    assert seen == [(["long" * 2000], ["long" * 2000])]
    assert ran.result.unwrap() == ["long" * 2000, "more"]
    [event] = ran.of(e.RuleDecided)
    assert isinstance(event.given, Ref)
    assert isinstance(event.value, Ref)


def given_back(name: str) -> FunctionAgent:
    async def act(prompt: Any) -> Any:
        return prompt

    return FunctionAgent(act, name=name)


def test_what_a_rule_does_to_a_value_that_it_is_shown_changes_nothing() -> None:
    def spoil(facts: RuleFacts) -> None:
        facts.value.append("spoilt")

    ran = run(["good"], Topology(["A"], rules=[Before(spoil)]), [given_back("A")])

    assert ran.result.unwrap() == ["good"]


def test_a_rule_knows_how_long_the_run_has_taken() -> None:
    @agent
    async def A(prompt: Any) -> str:
        await trio.sleep(7)
        return "a"

    def look(facts: RuleFacts) -> Any:
        return Stop("too long") if facts.elapsed > 5 else None

    ran = run("x", Topology(edges=["A -> B"], rules=[Before(look)]), [A, *names("B")])

    assert isinstance(ran.result.error, RuleStopped)
    assert str(ran.result.error) == "rule Before stopped the run at 'B': too long"


def test_a_rule_sees_the_action_of_a_step() -> None:
    seen: list[Any] = []

    @agent
    async def B(prompt: Any) -> Any:
        return Return("b")

    run(
        "x",
        Topology(edges=["A -> B"], rules=[After(lambda facts: seen.append(facts.action))]),
        [*names("A"), B],
    )

    assert seen == [Content("A"), Return("b")]


@pytest.mark.parametrize(
    ("value", "why"),
    [(object(), "cannot be recorded"), ("x" * 200, "max_value_bytes")],
)
def test_a_value_that_cannot_be_recorded_is_the_rules_error(value: Any, why: str) -> None:
    topology = Topology(["A"], rules=[After(lambda facts: Modify(value))])
    ran = run("x", topology, names("A"), max_value_bytes=100)

    error = ran.result.error
    assert isinstance(error, RuleError)
    assert str(error).startswith("rule After failed: after_step gave a value that cannot be taken: ")


# -- agents with models ------------------------------------------------------------------------------


def test_a_model_is_told_why_its_answer_was_blocked_and_its_history_stays_valid() -> None:
    def polite(facts: RuleFacts) -> Any:
        return Block("say please") if facts.value == "give" else None

    model = FakeModel(["give", "please give"])
    ran = run("x", Topology(["A"], rules=[After(polite)]), [Agent("A", model=model)])

    assert ran.result.unwrap() == "please give"
    assert "rule After blocked the action of 'A': say please" in model.said(1)[-1][1]
    assert ("assistant", "give") not in model.said(1)


def test_a_model_whose_calls_were_changed_gets_an_answer_to_each_of_its_tool_calls() -> None:
    def without_c(facts: RuleFacts) -> Any:
        return Modify([(node, payload) for node, payload in facts.value if node != "C"])

    model = FakeModel([[invoking("B", id="1"), invoking("C", id="2"), invoking("D", id="3")], "the end"])
    topology = Topology(edges=["A <-> [B, C, D]"], rules=[Forking(without_c)])
    ran = run("x", topology, [Agent("A", model=model), *names("B", "C", "D")])

    assert ran.result.unwrap() == "the end"
    answers = {
        message.tool_call_id: message.text for message in model.requests[1].messages if message.role == "tool"
    }
    assert answers == {"1": "B", "2": "no answer: the work went on elsewhere", "3": "D"}


def test_a_model_of_whose_calls_one_is_left_gets_its_answer() -> None:
    model = FakeModel([[invoking("B", id="1"), invoking("C", id="2")], "the end"])
    topology = Topology(edges=["A <-> [B, C]"], rules=[Forking(lambda facts: Modify(facts.value[1:]))])
    ran = run("x", topology, [Agent("A", model=model), *names("B", "C")])

    assert ran.result.unwrap() == "the end"
    assert len(model.requests) == 2


# -- limits ------------------------------------------------------------------------------------------


def sleeper(name: str, seconds: float) -> FunctionAgent:
    async def act(prompt: Any) -> str:
        await trio.sleep(seconds)
        return name

    return FunctionAgent(act, name=name)


def test_the_smaller_of_a_rule_and_a_setting_holds_and_the_error_says_which() -> None:
    topology = Topology(["A"], rules=[Lower("timeout", 20)])
    by_rule = run("x", topology, [sleeper("A", 99)], timeout=30)
    by_setting = run("x", topology, [sleeper("A", 99)], timeout=10)

    assert isinstance(by_rule.result.error, RunTimeout)
    assert str(by_rule.result.error) == "the run took longer than timeout=20 s (rule timeout(20))"
    assert str(by_setting.result.error) == "the run took longer than timeout=10 s"


def test_a_rule_can_bound_the_steps_of_a_run() -> None:
    ran = run("x", Topology(edges=["A -> B -> C"], rules=[Lower("max_steps", 2)]), names("A", "B", "C"))

    assert isinstance(ran.result.error, LimitError)
    assert str(ran.result.error) == "the run took 2 steps (rule max_steps(2)) (max_steps=2)"


def test_a_rule_can_bound_the_steps_at_a_time() -> None:
    now, most = 0, 0

    async def act(prompt: Any) -> str:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await trio.sleep(1)
        now -= 1
        return "x"

    topology = Topology(edges=["A -> [B, C, D, E]"], rules=[Lower("max_agents", 2)])
    ran = run("x", topology, [FunctionAgent(act, name=name) for name in "ABCDE"])

    assert ran.result.success
    assert most == 2


def test_a_rule_can_bound_the_steps_of_one_agent() -> None:
    topology = Topology(edges=["A -> B"], rules=[Lower("agent_timeout", {"B": 5, "": 50})])
    ran = run("x", topology, [sleeper("A", 20), sleeper("B", 20)])

    error = ran.result.error
    assert isinstance(error, StepTimeout)
    assert (error.limit, error.seconds, error.place.node) == ("agent_timeout", 5, "B")
    assert str(error).startswith(
        "the step of 'B' took longer than agent_timeout=5 s (rule agent_timeout({'B': 5, '': 50}))"
    )


def test_a_step_timeout_that_is_smaller_than_the_rules_is_the_settings() -> None:
    topology = Topology(["A"], rules=[Lower("agent_timeout", {"": 50})])
    ran = run("x", topology, [sleeper("A", 99)], step_timeout=3)

    assert str(ran.result.error).startswith("the step of 'A' took longer than step_timeout=3 s (at")


def test_a_rule_can_bound_the_turns_of_conversations_by_who_opens_them() -> None:
    topology = Topology(edges=["A <~> B"], rules=[Lower("max_turns", {"A": 3, "": 5})])

    assert run("x", topology, names("A", "B")).result.total_steps == 3
    topology.entry_point = "B"
    assert run("x", topology, names("A", "B")).result.total_steps == 5


# -- shapes ------------------------------------------------------------------------------------------


def test_a_rule_can_change_nodes_for_the_run_and_the_topology_stays_as_it_is() -> None:
    class All:
        def shape(self, topology: Topology) -> list[Node]:
            return [Node("A", dispatch="all")]

    topology = Topology(edges=["A -> B", "A -> C"], rules=[All()])
    ran = run("x", topology, names("A", "B", "C"))

    assert ran.result.unwrap() == ["B", "C"]
    [started] = ran.of(e.RunStarted)
    assert started.dispatch == {"A": "all"}
    assert topology.nodes["A"].dispatch is None


# -- what is wrong is found before anything runs -----------------------------------------------------


def offering(*types: RuleType) -> PluginSettings:
    class Plugin:
        @hookimpl
        def marsys_rules(self) -> Any:
            return types

    return PluginSettings(discover=False, plugins={"mine": Plugin()})


def refusal(topology: Topology, plugins: PluginSettings = BARE) -> str:
    ran = run("x", topology, names("A"), plugins=plugins)
    assert isinstance(ran.result.error, TopologyError)
    assert ran.heard.events == []
    return str(ran.result.error)


def test_a_plugin_offers_rules_by_name() -> None:
    class Quota:
        def __init__(self, steps: int) -> None:
            self.steps = steps

        def before_step(self, facts: RuleFacts) -> Any:
            return Block(f"only {self.steps}") if facts.run_step > self.steps else None

    plugins = offering(RuleType("quota", Quota, "so many steps"))
    ran = run("x", Topology(edges=["A -> B"], rules=["quota(1)"]), names("A", "B"), plugins=plugins)

    assert isinstance(ran.result.error, RuleBlocked)
    assert str(ran.result.error).startswith("rule quota(1) blocked the step of 'B': only 1")


def test_everything_that_is_wrong_is_said_at_once_with_its_place() -> None:
    class Nodes:
        nodes = ("Aa", "A")

        def before_step(self, facts: RuleFacts) -> None: ...

    class BadLimits:
        def limits(self, limits: Limits) -> Any:
            return 3

    class Raises:
        def shape(self, topology: Topology) -> Any:
            raise KeyError("x")

    def one(number: int) -> Any:
        if number < 1:
            msg = "at least 1"
            raise ValueError(msg)
        return object()

    topology = Topology(["A"], rules=["onne(1)", "one", "one(0)", Nodes(), BadLimits(), Raises()])
    assert refusal(topology, offering(RuleType("one", one))).split("\n") == [
        "this topology cannot run:",
        "  - no rule is called 'onne'; there are: one. Did you mean 'one'? @ $.rules[0]",
        "  - rule 'one' takes (number), not one(): missing a required argument: 'number' @ $.rules[1]",
        "  - rule one(0): at least 1 @ $.rules[2]",
        "  - no node is called 'Aa'; there are: A. Did you mean 'A'? @ $.rules[3]",
        "  - rule BadLimits: limits() returned 3, not Limits @ $.rules[4]",
        "  - rule Raises: KeyError: 'x' @ $.rules[5]",
    ]


def test_what_is_wrong_with_rules_is_said_beside_what_is_wrong_with_the_rest() -> None:
    error = refusal(Topology(["A", "Nobody"], edges=[], rules=["nothing"]))

    assert "no agent is registered as 'Nobody'" in error
    assert "no rule is called 'nothing'; there are: none. @ $.rules[0]" in error


def test_what_a_name_makes_has_to_be_a_rule() -> None:
    error = refusal(Topology(["A"], rules=["one"]), offering(RuleType("one", lambda: 3)))

    assert "rule 'one' was made as 3: a rule is a text, a mapping or an object with one of" in error


def test_a_declaration_that_makes_nothing_is_refused() -> None:
    with pytest.raises(TypeError, match="marsys_rules declares 3; expected an object with make"):
        run("x", "A", names("A"), plugins=offering(3))  # type: ignore[arg-type]


# -- what it costs -----------------------------------------------------------------------------------


def test_rules_are_made_once_for_all_runs_of_equal_topologies() -> None:
    made: list[Any] = []

    def one() -> Any:
        made.append(None)
        return Before(lambda facts: None)

    plugins = offering(RuleType("one", one))

    async def main() -> None:
        for _ in range(3):
            async with Orchestra(plugins=plugins) as orchestra:
                topology = Topology(["A"], rules=["one"])
                for _ in range(3):
                    (await orchestra.execute("x", topology, agents=names("A"))).unwrap()

    virtually(main)
    assert len(made) == 1


def test_objects_that_look_alike_are_not_taken_for_each_other() -> None:
    async def main() -> list[Any]:
        async with bare() as orchestra:
            found = []
            for word in ("one", "two"):
                topology = Topology(["A"], rules=[After(lambda facts, word=word: Modify(word))])
                found.append((await orchestra.execute("x", topology, agents=names("A"))).unwrap())
            return found

    assert virtually(main) == ["one", "two"]


def test_a_run_without_rules_has_no_rulebook() -> None:
    async def main() -> Any:
        async with bare() as orchestra:
            handle = orchestra.start("x", "A", agents=[sleeper("A", 1)])
            await trio.sleep(0.5)
            shell = handle._shell
            await handle.result()
            return shell.orchestrator if shell is not None else None

    orchestrator = virtually(main)
    assert orchestrator.rules is None
    assert orchestrator.limits is NO_LIMITS


def test_a_broken_rule_is_a_critical_error_for_a_caller_who_wants_errors_raised() -> None:
    async def main() -> None:
        async with bare() as orchestra:
            await orchestra.execute(
                "x", Topology(["A"], rules=["nothing"]), agents=names("A"), execution_config=ExecutionConfig()
            )

    with pytest.raises(CriticalError, match=r"no rule is called 'nothing'"):
        virtually(main)


def calls_of_a_step(asked: dict[str, Any], steps: int = 100) -> float:
    """How many Python functions a step of the orchestrator calls: a measure that does not depend on the machine."""
    nodes = [Node(name, dispatch="next", rounds=steps // 2) for name in "AB"]
    orchestrator = Orchestrator(
        Topology(nodes, ["A -> B", "B -> A"], entry_point="A").graph, ExecutionConfig(max_steps=steps)
    )
    orchestrator.rules = Rulebook(**asked) if asked else None
    count = 0

    def profile(frame: Any, event: str, argument: Any) -> None:
        nonlocal count
        count += event == "call"

    commands = orchestrator.start("task")
    before = sys.getprofile()
    gc.disable()  # what it frees may have finalizers, which count for nothing here
    sys.setprofile(profile)
    try:
        while commands and type(commands[0]) is RunStep:
            orchestrator.begin(commands[0].branch)
            commands = orchestrator.on_step(commands[0].branch, Content("x"))
    finally:
        sys.setprofile(before)
        gc.enable()
    return count / orchestrator.state.steps


def test_a_step_pays_little_for_a_rule_that_says_nothing() -> None:
    def nothing(facts: RuleFacts) -> None: ...

    plain = calls_of_a_step({})
    for point, allowed in (("before_step", 7), ("after_step", 7), ("before_fork", 2)):
        assert calls_of_a_step({point: (("nothing", nothing),)}) - plain <= allowed, point
