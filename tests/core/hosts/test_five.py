"""The same under each of the five hosts: equal results, equal journals."""

from __future__ import annotations

from collections import Counter
from typing import Any
from zlib import crc32

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from marsys_core.agents import FunctionAgent, Registry, agent
from marsys_core.config import ExecutionConfig
from marsys_core.errors import CriticalError, RecoverableError
from marsys_core.topology import Node, Topology
from tests.core.engine.corpus import CORPUS, Books
from tests.core.examples import examples
from tests.core.hosts.five import (
    HOSTS,
    ON_A_LOOP,
    OTHERS,
    Case,
    error_of,
    scheduled,
    tell,
    told,
    virtual,
    without_order,
)
from tests.core.orchestrator.bridge import action_of, edge_of, node_of, policy_of
from tests.core.reference import data as ref
from tests.core.reference.net import Net, Policy
from tests.core.reference.strategies import TableScript, plays

each_order = pytest.mark.parametrize("turned", [False, True], ids=["by age", "turned"])


def case_of(name: str) -> Case:
    workflow, books = CORPUS[name], Books()
    person = workflow.person
    return Case(
        topology=workflow.topology,
        options={
            "agents": workflow.agents(books),
            "execution_config": workflow.config,
            "channel": None if person is None else person(books),
        },
    )


@each_order
@pytest.mark.parametrize("name", CORPUS)
def test_a_workflow_comes_to_the_same_under_every_host(name: str, turned: bool) -> None:
    with scheduled(turned=turned):
        seen = {host: tell(case_of(name), host) for host in HOSTS}
    if name in ON_A_LOOP:
        seen = {host: without_order(each) for host, each in seen.items()}
    assert seen == dict.fromkeys(HOSTS, seen["trio"])


def test_a_difference_is_seen() -> None:
    def case(delay: float) -> Case:
        @agent
        async def A(prompt: Any) -> str:
            await trio.sleep(delay)
            return "a"

        return Case(topology="A", options={"agents": [A]})

    first, other = tell(case(1), "trio"), tell(case(2), "asyncio")

    assert first.journal == other.journal != []
    assert first != other == tell(case(2), "sync")


# -- errors --------------------------------------------------------------------------------------


async def _fails(prompt: Any) -> Any:
    raise CriticalError("broken")


async def _passes(prompt: Any) -> Any:
    raise RecoverableError("for now")


async def _bug(prompt: Any) -> Any:
    raise ZeroDivisionError("a bug")


async def _group(prompt: Any) -> Any:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_bug, prompt)
        nursery.start_soon(_fails, prompt)


async def _waits(prompt: Any) -> Any:
    await trio.sleep_forever()


async def _ends(prompt: Any) -> Any:
    raise SystemExit(3)


FAILING: dict[str, dict[str, Any]] = {
    "a critical error": {"A": _fails},
    "a passing error": {"A": _passes},
    "a bug": {"A": _bug},
    "several at once": {"A": _group},
    "a timeout": {"A": _waits, "config": {"timeout": 5}},
    "a step's timeout": {"A": _waits, "config": {"step_timeout": 5}},
    "an agent that is not there": {"topology": "A -> Nobody", "A": _fails},
    "a topology that cannot be read": {"topology": "A ->> B", "A": _fails},
    "an option that there is not": {"A": _fails, "options": {"max_step": 3}},
    "an option of another kind": {"A": _fails, "options": {"max_steps": "many"}},
    "an answer that does not fit": {"A": lambda prompt: "no number", "options": {"output_type": int}},
}


def failure(name: str, host: str) -> Any:
    """What a host raises, as plain data, or else the result."""
    given = FAILING[name]
    config = ExecutionConfig(**given.get("config", {}))
    case = Case(
        topology=given.get("topology", "A"),
        options={
            "agents": [FunctionAgent(given["A"], name="A")],
            "execution_config": config,
            **given.get("options", {}),
        },
    )
    with virtual(), Registry():
        try:
            return told(HOSTS[host](case), case.heard)
        except Exception as error:
            return error_of(error), case.heard.journal


@pytest.mark.parametrize("name", FAILING)
def test_what_goes_wrong_is_told_the_same_under_every_host(name: str) -> None:
    with scheduled():
        expected = failure(name, "trio")
        assert isinstance(expected, tuple) or expected.error is not None
        assert {host: failure(name, host) for host in OTHERS} == dict.fromkeys(OTHERS, expected)


@pytest.mark.parametrize("host", HOSTS)
def test_an_agent_that_ends_the_program_ends_it_under_every_host(host: str) -> None:
    case = Case(topology="A", options={"agents": [FunctionAgent(_ends, name="A")]})

    with pytest.raises((SystemExit, BaseExceptionGroup)) as caught:
        HOSTS[host](case)

    assert leaf(caught.value) == (SystemExit, "3")


def leaf(error: BaseException) -> tuple[type[BaseException], str]:
    while isinstance(error, BaseExceptionGroup):
        (error,) = error.exceptions
    return type(error), str(error)


# -- at random -----------------------------------------------------------------------------------


def random_case(net: Net, script: TableScript, policy: Policy) -> Case:
    """The net as a topology, and agents that do what the script says after seconds that depend on the place."""
    visits: Counter[tuple[str, str]] = Counter()

    async def act(prompt: Any, context: Any) -> Any:
        place = (context.branch_id, context.node)
        visits[place] += 1
        await trio.sleep(crc32(repr((place, visits[place])).encode()) % 5)
        action = script(
            ref.Turn(branch=place[0], name="", node=place[1], visit=visits[place], input=str(prompt))
        )
        return ref.Fail("no call") if action == ref.Invoke(()) else action_of(action)

    nodes: list[Node] = [node_of(name, spec, early=False) for name, spec in net.nodes.items()]
    with Registry():
        agents = [FunctionAgent(act, name=name) for name, spec in net.nodes.items() if spec.kind == "agent"]
    config = ExecutionConfig(
        raise_errors=False, convergence_policy=policy_of(policy), max_steps=60, max_branch_depth=999
    )
    return Case(
        topology=Topology(nodes, [edge_of(edge) for edge in net.edges], entry_point=net.entry_point),
        options={"agents": agents, "execution_config": config},
    )


@pytest.mark.slow
@examples(100)
@given(plays(), st.sampled_from(OTHERS), st.booleans())
def test_a_random_run_comes_to_the_same_under_any_host(
    play: tuple[Net, TableScript, Policy], host: str, turned: bool
) -> None:
    with scheduled(turned=turned):
        assert tell(random_case(*play), host) == tell(random_case(*play), "trio")
