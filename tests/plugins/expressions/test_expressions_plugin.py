"""Conditions as texts: read before a run by the language of a plugin, and judged in it."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import trio

from marsys import Edge, ExecutionConfig, Orchestra, PluginSettings, Topology
from marsys_core.agents import FunctionAgent, Registry
from marsys_core.errors import ConfigError
from marsys_core.events import StepFinished
from marsys_core.plugins import compose
from tests.core.fakes import BARE, Heard, run

ALL = PluginSettings()


def played(name: str, *scores: float) -> FunctionAgent:
    """An agent that writes these scores, one at each visit."""
    left = list(scores)

    async def act(prompt: Any, context: Any) -> str:
        if left:
            context.state["score"] = left.pop(0)
        return f"{prompt}{name}"

    with Registry():
        return FunctionAgent(act, name=name)


def reviewed(*scores: float) -> Any:
    topology = Topology(
        edges=[
            "W -> R",
            Edge("R", "W", condition="score < 0.8 and visits < 3"),
            {"source": "R", "target": "end", "metadata": {"condition": "score >= 0.8 or visits >= 3"}},
        ]
    )
    return run("", topology, [played("W"), played("R", *scores)], plugins=ALL)


@pytest.mark.parametrize(
    ("scores", "said"), [((0.9,), "WR"), ((0.1, 0.8), "WRWR"), ((0.1, 0.2, 0.3, 0.4), "WRWRWR")]
)
def test_a_writer_and_a_reviewer_loop_as_told(scores, said):
    ran = reviewed(*scores)
    assert ran.result.success, ran.result.error
    assert ran.result.final_response == said
    assert ran.of(StepFinished)[-1].conditions == (("W", False), ("end", True))


def test_the_five_facts_come_before_keys_of_the_state_that_are_called_like_them():
    topology = Topology(edges=["A"])
    topology.add_node("B")
    condition = "visits == 1 and steps == 1 and errors == 0 and output == 'A' and state['visits'] == 'mine' and key == 2"
    topology.add_edge("A", "B", condition=condition)
    ran = run("", topology, [played("A"), played("B")], plugins=ALL, state={"visits": "mine", "key": 2})
    assert ran.result.final_response == "AB"


def test_conditions_that_cannot_be_read_are_told_all_at_once_with_their_edges():
    topology = Topology(
        edges=["A -> end", Edge("A", "B", condition="score <"), Edge("B", "A", condition="lambda: 1")]
    )
    ran = run("", topology, [played("A"), played("B")], plugins=ALL)
    assert ran.heard.events == []
    assert isinstance(ran.result.error, ConfigError)
    assert ran.result.error.problems == (
        "edge A -> B: the condition 'score <' cannot be read: it is no expression: invalid syntax (at its end) "
        "@ $.edges[1].condition",
        "edge B -> A: the condition 'lambda: 1' cannot be read: a lambda is not allowed (character 1) "
        "@ $.edges[2].condition",
    )


def test_without_a_plugin_that_reads_expressions_the_run_does_not_begin():
    topology = Topology(edges=[Edge("A", "B", condition="visits < 3")])
    ran = run("", topology, [played("A"), played("B")], plugins=BARE)
    assert isinstance(ran.result.error, ConfigError)
    assert ran.result.error.problems == (
        "the conditions of 'A -> B' are expressions, and there is no expression language.",
    )


def test_a_name_that_is_not_there_fails_the_branch_and_the_nearest_is_told():
    topology = Topology(edges=[Edge("A", "B", condition="scor > 1")])
    ran = run("", topology, [played("A"), played("B")], plugins=ALL, state={"score": 1})
    assert str(ran.result.error) == (
        "the condition 'scor > 1' of edge A -> B raised KeyError: \"nothing is called 'scor'; there are: errors, "
        "output, score, state, steps, visits. Did you mean 'score'?\" (at branch 0, node 'A', step 1)"
    )


class Shouting:
    """An expression language of somebody else's."""

    name = "shouting"

    def compile(self, text: str) -> Any:
        return lambda names: text == "YES"


class Other:
    def marsys_expressions(self) -> list[Any]:
        return [Shouting()]


def other(*, chooses: bool) -> PluginSettings:
    from marsys_core import hookimpl

    class Plugin(Other):
        marsys_expressions = hookimpl(Other.marsys_expressions)

    if chooses:

        def marsys_choose(self: Any, kind: str, names: Any) -> str | None:
            return "shouting" if kind == "expression" else None

        Plugin.marsys_choose = hookimpl(marsys_choose)  # type: ignore[attr-defined]
    return PluginSettings(plugins={"shouting": Plugin()})


@pytest.mark.parametrize("chooses", [True, False])
def test_of_several_languages_one_is_chosen(chooses):
    composition = compose(other(chooses=chooses))
    assert composition.names("expression") == ("shouting", "simple")
    assert composition.choose("expression") == ("shouting" if chooses else "simple")


def test_another_plugins_language_reads_the_conditions_where_it_is_chosen():
    topology = Topology(edges=[Edge("A", "B", condition="YES"), Edge("A", "C", condition="no")])
    agents = [played("A"), played("B"), played("C")]
    assert run("", topology, agents, plugins=other(chooses=True)).result.final_response == "AB"


def test_expressions_are_read_once_for_all_runs_of_an_orchestra(monkeypatch):
    from marsys.expressions import SimpleExpressions

    read = []
    compile_one = SimpleExpressions.compile

    def counted(self: Any, text: str) -> Any:
        read.append(text)
        return compile_one(self, text)

    monkeypatch.setattr(SimpleExpressions, "compile", counted)
    topology = Topology(edges=[Edge("A", "B", condition="visits < 3")])

    async def main() -> None:
        async with Orchestra(sinks=[Heard()]) as orchestra:
            for _ in range(3):
                await orchestra.execute(
                    "", topology, agents=[played("A"), played("B")], execution_config=ExecutionConfig()
                )

    trio.run(main)
    assert read == ["visits < 3"]


def test_the_library_is_imported_when_the_first_expression_is_read():
    program = "import sys; from marsys_core.plugins import compose; c = compose(); print('simpleeval' in sys.modules); c.item('expression', 'simple').compile('1'); print('simpleeval' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == ["False", "True"]
