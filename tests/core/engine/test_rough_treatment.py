"""What a host or an agent does that nobody should: nothing hangs, nothing is lost, and the error is told."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing

from marsys_core.actions import Fail, Invoke
from marsys_core.agents import Agent, BaseAgent, agent
from marsys_core.engine.shared import execute_bare
from marsys_core.errors import (
    AgentError,
    Cancelled,
    ConfigError,
    LifecycleError,
    PluginError,
    RecoverableError,
)
from marsys_core.messages import Message, ToolCall, Usage
from marsys_core.models import ModelResponse
from marsys_core.orchestra import Orchestra
from marsys_core.tools import tool
from tests.core.engine.test_shared import played, request
from tests.core.fakes import BARE, FakeModel, call, run


def detaching(seconds: float = 0) -> BaseAgent:
    @agent(name="Hub")
    async def hub(prompt: Any) -> Any:
        await trio.sleep(seconds)
        return Invoke([("Other", 1)], wait=False) if isinstance(prompt, str) else "hub"

    return hub


def test_closing_an_orchestra_ends_a_run_that_another_task_waits_for() -> None:
    results = []

    @agent(name="Other")
    async def other(prompt: Any) -> str:
        await trio.sleep(100)
        return "other"

    async def main() -> None:
        began = trio.current_time()

        async def one(orchestra: Orchestra) -> None:
            results.append(await orchestra.execute("x", "Hub -> Other", agents=[detaching(1), other]))

        async with trio.open_nursery() as nursery:
            for wait in (0.5, 1.5):  # before and after it has detached a branch
                async with Orchestra(plugins=BARE) as orchestra:
                    nursery.start_soon(one, orchestra)
                    await trio.sleep(wait)
        assert trio.current_time() - began < 10

    played(main)
    assert [type(result.error) for result in results] == [Cancelled, Cancelled]


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()])
def test_what_ends_a_program_comes_out_of_a_detached_branch_of_a_bare_call(error: BaseException) -> None:
    @agent(name="Other")
    async def other(prompt: Any) -> str:
        await trio.sleep(1)
        raise error

    async def main() -> None:
        await execute_bare(Orchestra(plugins=BARE), request_of("Hub -> Other", detaching(), other))

    with pytest.raises(type(error)):
        played(main)


def request_of(topology: str, *agents: BaseAgent) -> Any:
    made = request(*agents)
    made.topology = topology
    return made


@pytest.mark.parametrize("number", [0, -1, "x", 1.5, True])
def test_a_number_of_threads_that_is_none_is_refused(number: Any) -> None:
    with pytest.raises(ConfigError, match=r"^max_threads is a whole number from 1, not "):
        Orchestra(max_threads=number)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"context": "abc"}, r"^context= takes a mapping, not 'abc'$"),
        ({"session_id": 5}, r"^session_id= takes text, not 5$"),
        ({"max_steps": "a"}, r"^max_steps= takes a whole number, not 'a'$"),
    ],
)
def test_an_argument_of_another_kind_is_refused(given: dict[str, Any], text: str) -> None:
    async def main() -> None:
        async with Orchestra(plugins=BARE) as orchestra:
            with pytest.raises(ConfigError, match=text):
                await orchestra.execute("x", "A", **given)

    trio.run(main)


class Unavailable(ConnectionError):
    def __init__(self, retry_after: Any) -> None:
        super().__init__("busy")
        self.retry_after = retry_after


@pytest.mark.parametrize(
    ("retry_after", "attempts"), [(100_000.0, 1), (float("inf"), 1), ("soon", 3), (1, 3)]
)
def test_a_wait_that_is_too_long_is_not_waited_and_one_that_is_none_is_left_out(
    retry_after: Any, attempts: int
) -> None:
    tried = []

    @agent
    async def Busy(prompt: Any) -> str:
        tried.append(trio.current_time())
        raise Unavailable(retry_after)

    ran = run("x", "Busy", [Busy], auto_retry_on_error=True, raise_errors=False)
    assert len(tried) == attempts
    assert "busy" in str(ran.result.error)


class Speechless(Exception):
    def __str__(self) -> str:
        raise ValueError("no words")


class Fixed(RecoverableError):
    def __setattr__(self, name: str, value: Any) -> None:
        if name == "place":
            raise AttributeError(name)
        super().__setattr__(name, value)


@pytest.mark.parametrize("error", [Speechless(), Fixed("fixed")])
def test_an_error_that_cannot_be_told_or_placed_is_one_all_the_same(error: Exception) -> None:
    @agent
    async def Raises(prompt: Any) -> str:
        raise error

    failed = run("x", "Raises", [Raises], raise_errors=False).result.error
    assert type(failed) is AgentError
    assert "node 'Raises'" in str(failed)


class Labelled(Exception):
    error_class = "critical"


def test_an_error_of_somebody_else_does_not_say_how_a_run_ends() -> None:
    @agent
    async def Gives(prompt: Any) -> Any:
        return Fail(Labelled("up"))

    assert type(run("x", "Gives", [Gives]).result.error) is Labelled
    lone = run(
        "x", "Hub -> [Gives, Gives2]", [agent(name="Hub")(echo), Gives, agent(name="Gives2")(Gives.function)]
    )
    assert [type(each) for each in lone.result.error.failures] == [Labelled, Labelled]


async def echo(prompt: Any) -> Any:
    return prompt


def test_a_context_that_is_kept_is_over_with_its_step() -> None:
    kept: list[Any] = []

    class Keeps(BaseAgent):
        async def _run(self, prompt: Any, context: Any, **kwargs: Any) -> str:
            kept.append((context, context.memory))
            if len(kept) > 1:
                with pytest.raises(LifecycleError, match=r" is over: a context lives as long as its step$"):
                    await kept[0][0].generate("again")
                with pytest.raises(LifecycleError, match=r" is over: "):
                    await kept[0][0].call_tool("any")
                with pytest.raises(
                    LifecycleError, match=r"^the step that this conversation was handed to is over$"
                ):
                    kept[0][1].add(Message("user", "ghost"))
            return "kept"

    keeps = Keeps(FakeModel(["never asked"]))
    assert run(
        "x", {"nodes": ["Keeps", "B"], "edges": ["Keeps -> B"]}, {"Keeps": keeps, "B": keeps}
    ).result.success


def test_a_response_with_fields_of_other_types_is_malformed() -> None:
    answers = [
        ModelResponse(content=None),
        ModelResponse(tool_calls=[ToolCall("1", "x")]),
        ModelResponse(usage="x"),
    ]  # type: ignore[arg-type]
    for answer in answers:
        error = run("x", "A", [Agent("A", model=FakeModel([answer]))]).result.error
        assert "returned a response with fields of other types than ModelResponse has" in str(error)


@pytest.mark.parametrize(
    "usage",
    [
        Usage(-1000, 2),
        Usage(2, -1),
        Usage(float("nan"), 1),  # type: ignore[arg-type]
        Usage(1, 1, cost=float("nan")),
        Usage(1, 1, cost=-5.0),
        Usage(1, 1, cost=float("inf")),
        Usage("1", 1),  # type: ignore[arg-type]
    ],
)
def test_a_usage_that_nobody_can_have_spent_is_malformed_and_undoes_no_budget(usage: Usage) -> None:
    model = FakeModel([ModelResponse(content="x", usage=usage)])
    ran = run("x", "A", [Agent("A", model=model)], max_tokens=10_000)
    assert "returned a usage that nobody can have spent: Usage(input_tokens=" in str(ran.result.error)
    assert ran.result.usage.total_tokens >= 0
    assert 0 <= ran.result.usage.cost < 1


def test_calls_of_a_reply_that_cannot_be_told_apart_are_given_ids_of_their_own() -> None:
    @tool
    async def look(at: int) -> str:
        return f"saw {at}"

    for ids, made in (
        (("c", "c"), ["c", "c-2"]),
        (("", ""), ["call-1", "call-2"]),
        (("c-2", "c", "c"), ["c-2", "c", "c-3"]),
    ):
        model = FakeModel([[call("look", id, at=at) for at, id in enumerate(ids)], "done"])
        assert run("x", "A", [Agent("A", model=model, tools=[look])]).result.success
        _, said, *answers = model.requests[1].messages
        assert [each.id for each in said.tool_calls] == made
        assert [(each.tool_call_id, each.text) for each in answers] == [
            (id, f"saw {at}") for at, id in enumerate(made)
        ]


def test_middleware_that_returns_no_response_is_named() -> None:
    class Broken:
        name = "broken"

        async def model_call(self, call: Any, proceed: Any) -> Any:
            await proceed(call)

    error = run("x", "A", [Agent("A", model=FakeModel(["hi"]))], middleware=[Broken()]).result.error
    assert str(error).startswith(
        "middleware round a call of model 'fake' returned None, and not a ModelResponse (at branch 0"
    )


def test_a_run_that_is_started_as_its_engine_closes_is_cancelled() -> None:
    @agent
    async def Any_(prompt: Any) -> str:
        return "never"

    async def main() -> None:
        async with Orchestra(plugins=BARE) as orchestra:
            started = orchestra.start("x", "Any_", agents=[Any_])
        assert type((await started.result()).error) is Cancelled
        assert started.status == "cancelled"

    trio.run(main)


def test_middleware_that_cannot_say_whether_it_applies_is_named() -> None:
    class Unsure:
        def applies(self, config: Any) -> bool:
            raise ZeroDivisionError("oh")

        async def agent_step(self, call: Any, proceed: Any) -> Any:
            return await proceed(call)

    async def main() -> None:
        async with Orchestra(plugins=BARE, middleware=[Unsure()]) as orchestra:
            with pytest.raises(
                PluginError, match=r"failed to say whether it applies: ZeroDivisionError: oh$"
            ):
                await orchestra.execute("x", "A", agents=[agent(name="A")(lambda prompt: "")])

    trio.run(main)
