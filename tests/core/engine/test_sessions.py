"""Several runs as turns of one session."""

from __future__ import annotations

import re
from typing import Any

import pytest
import trio

from marsys_core.agents import Agent, BaseAgent, agent
from marsys_core.config import ExecutionConfig
from marsys_core.errors import ConfigError, CriticalError
from marsys_core.messages import Message, ToolCall
from marsys_core.orchestra import Orchestra
from marsys_core.results import RunResult
from tests.core.fakes import BARE, FakeModel, bare, invoking, virtually

SOFT = ExecutionConfig(raise_errors=False)


def turns(agents: list[BaseAgent], *tasks: str, topology: str = "A", session: str = "s1") -> list[RunResult]:
    async def main() -> list[RunResult]:
        async with bare(agents=agents) as orchestra:
            return [
                await orchestra.execute(task, topology, session_id=session, execution_config=SOFT)
                for task in tasks
            ]

    return virtually(main)


def test_an_agent_of_the_session_goes_on_where_it_stopped() -> None:
    model = FakeModel(["one", "two"])
    turns([Agent("A", model=model, memory_scope="session")], "first", "second")
    assert model.said() == [("user", "first"), ("assistant", "one"), ("user", "second")]


def test_an_agent_of_the_run_begins_anew() -> None:
    model = FakeModel(["one", "two"])
    turns([Agent("A", model=model)], "first", "second")
    assert model.said() == [("user", "second")]


def test_sessions_do_not_mix() -> None:
    model = FakeModel(["one", "two", "three"])

    async def main() -> None:
        async with bare(agents=[Agent("A", model=model, memory_scope="session")]) as orchestra:
            await orchestra.execute("first", "A", session_id="s1")
            await orchestra.execute("other", "A", session_id="s2")
            await orchestra.execute("none", "A")

    virtually(main)
    assert model.said(1) == [("user", "other")]
    assert model.said(2) == [("user", "none")]


def test_what_was_said_in_a_run_that_failed_is_kept_and_acceptable() -> None:
    model = FakeModel([invoking("B"), "back"])

    @agent
    async def B(prompt: str) -> str:
        raise ValueError(prompt)

    first, second = turns(
        [Agent("A", model=model, memory_scope="session"), B], "first", "second", topology="A <-> B"
    )
    assert not first.success
    assert second.final_response == "back"
    assert [role for role, _ in model.said()] == ["user", "assistant", "tool", "user"]


def test_two_runs_of_one_session_at_once_lose_nothing_and_it_is_said() -> None:
    model = FakeModel(lambda request: request.messages[-1].text.upper(), delay=1)

    async def main() -> tuple[list[RunResult], RunResult]:
        async with bare(agents=[Agent("A", model=model, memory_scope="session")]) as orchestra:
            results: list[RunResult] = []

            async def one(task: str) -> None:
                results.append(await orchestra.execute(task, "A", session_id="s"))

            async with trio.open_nursery() as nursery:
                nursery.start_soon(one, "a")
                nursery.start_soon(one, "b")
            return results, await orchestra.execute("c", "A", session_id="s")

    results, last = virtually(main)
    assert sorted(text for _, text in model.said()) == ["A", "B", "a", "b", "c"]
    warned = [w for result in results for w in result.metadata["warnings"]]
    assert warned == [
        "another run of session 's' has ended meanwhile: what 'A' said in this one stands after it"
    ]
    assert not last.metadata["warnings"]


def test_a_session_of_a_bare_call_is_forgotten_and_says_so() -> None:
    async def main() -> RunResult:
        return await Orchestra.run(
            "hi", "A", agents=[Agent("A", model=FakeModel(["x"]), memory_scope="session")], session_id="s"
        )

    assert virtually(main).metadata["warnings"] == (
        "session 's' is forgotten with this call; keep one Orchestra open for several turns",
    )


def test_the_messages_of_a_run_are_what_the_next_one_goes_on_with() -> None:
    model = FakeModel(["one", "two"])
    a = Agent("A", model=model)

    async def main() -> RunResult:
        first = await a.run("first")
        return await a.run("second", messages=first.messages)

    result = virtually(main)
    assert model.said() == [("user", "first"), ("assistant", "one"), ("user", "second")]
    assert [m.text for m in result.messages] == ["first", "one", "second", "two"]


def test_the_messages_end_with_the_answer_whoever_gave_it() -> None:
    a = Agent("A", model=FakeModel([invoking("B")]))
    (result,) = turns([a, Agent("B", model=FakeModel(["from B"]))], "go", topology="A -> B")
    assert [m.role for m in result.messages] == ["user", "assistant", "tool", "assistant"]
    assert result.messages[-1].text == "from B"


def test_functions_have_messages_too() -> None:
    @agent
    async def A(prompt: Any) -> Any:
        return {"n": 1}

    (result,) = turns([A], "go")
    assert [(m.role, m.text) for m in result.messages] == [("user", "go"), ("assistant", '{"n": 1}')]


def test_messages_beside_a_session_are_refused() -> None:
    async def main() -> None:
        async with Orchestra(
            plugins=BARE, agents=[Agent("A", model=FakeModel(["x"]), memory_scope="session")]
        ) as o:
            with pytest.raises(
                CriticalError,
                match=r"^messages= is given, and agent 'A' goes on with session 's' \(memory_scope='session'\); leave one of the two out$",
            ):
                await o.execute("go", "A", session_id="s", messages=[Message("user", "before")])

    virtually(main)


def test_peers_make_a_team_that_answers_its_caller() -> None:
    lead = Agent("Lead", model=FakeModel([invoking("Helper"), "done"]), allowed_peers=["Helper"])
    helper = Agent("Helper", model=FakeModel([invoking("Deep"), "helped"]), allowed_peers=["Deep"])
    deep = Agent("Deep", model=FakeModel(["deep"]))

    async def main() -> RunResult:
        return await lead.auto_run("go", agents=[helper, deep])

    result = virtually(main)
    assert result.final_response == "done"
    assert result.total_steps == 5


def test_a_peer_that_nobody_made_is_in_the_result() -> None:
    lead = Agent("Lead", model=FakeModel(["x"]), allowed_peers=["Helpr"])

    async def main() -> RunResult:
        return await lead.auto_run("go", agents=[Agent("Helper", model=FakeModel())])

    result = virtually(main)
    assert not result.success
    assert "no agent is registered as 'Helpr'" in str(result.error)
    assert "Did you mean 'Helper'?" in str(result.error)


CALLING = Message("assistant", "", (ToolCall("c1", "look", "{}"),))
ANSWER = Message("tool", "seen", tool_call_id="c1")


@pytest.mark.parametrize(
    ("messages", "told"),
    [
        ([ANSWER], "messages[0] answers the tool call 'c1', which is not open there"),
        ([CALLING, ANSWER, ANSWER], "messages[2] answers the tool call 'c1', which is not open there"),
        ([CALLING, Message("user", "x"), ANSWER], "messages= leaves the tool calls 'c1' without an answer; "),
        ([CALLING], "messages= leaves the tool calls 'c1' without an answer; "),
    ],
)
def test_a_conversation_that_no_provider_would_take_is_refused(messages: Any, told: str) -> None:
    async def main() -> None:
        async with bare() as o:
            with pytest.raises(ConfigError, match=f"^{re.escape(told)}"):
                await o.execute("go", "A", agents=[Agent("A", model=FakeModel([]))], messages=messages)
            result = await o.execute(
                "go", "A", agents=[Agent("A", model=FakeModel(["on"]))], messages=[CALLING, ANSWER]
            )
            assert result.final_response == "on"

    virtually(main)
